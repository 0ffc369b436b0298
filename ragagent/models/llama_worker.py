"""The model process: loads one GGUF model and answers the requests that come through its standard input.

A separate process because llama.cpp may abort, hang or be killed, and must not take the application with it. It
ends with the application: at the end of its input, or by the kernel's word where there is one.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

from ragagent.errors import ModelError, RagAgentError
from ragagent.models.wire import LoadOptions, receive, send
from ragagent.types import Grammar, Sampling

HEARTBEAT_S = 0.5
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Runs until the input ends."""
    # Whatever a library prints must not get into the messages.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _die_with_parent()
    Worker(sys.stdin.buffer, output).run()


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Worker:
    """One thread reads, one reports that work goes on, and the main thread works."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink
        self._writing = threading.Lock()
        self._requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._engine: Any = None
        self._progress = 0
        self._current: int | None = None
        self._cancelled: set[int] = set()
        self._turn = threading.Lock()

    def run(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._report, daemon=True).start()
        while True:
            self._handle(self._requests.get())

    def _read(self) -> None:
        while (message := receive(self._source)) is not None:
            if message["op"] == "cancel":
                self._cancel(message["id"])
            elif message["op"] == "count" and self._engine is not None:
                self._handle(message)  # counting needs no turn: the vocabulary never changes
            else:
                self._requests.put(message)
        os._exit(0)

    def _report(self) -> None:
        pause = threading.Event()
        while not pause.wait(HEARTBEAT_S):
            self._send({"op": "alive", "progress": self._progress})

    def _cancel(self, identifier: int) -> None:
        with self._turn:
            self._cancelled.add(identifier)
            if self._current == identifier and self._engine is not None:
                self._engine.cancel.set()

    def _handle(self, message: dict[str, Any]) -> None:
        answers = {
            "load": self._load,
            "chat": self._worked,
            "sample": self._worked,
            "score": self._worked,
            "count": self._count,
            "build": self._build,
            "prompt": self._prompt,
        }
        try:
            answers[message["op"]](message)
        except RagAgentError as error:
            self._send({"op": "failed", "id": message["id"], "kind": type(error).__name__, "message": str(error)})

    def _load(self, message: dict[str, Any]) -> None:
        from ragagent.models.llama_engine import Engine
        from ragagent.models.llama_load import start_backend

        start_backend()
        given = dict(message["options"])
        given["lora"] = tuple((path, scale) for path, scale in given["lora"])
        self._engine = Engine(LoadOptions(**given), self._progressed)
        self._send({"op": "ready", "id": message["id"], **self._engine.description()})
        # The first grammar would have to wait for this; now it is done while the first prompt is read.
        threading.Thread(target=self._engine.vocabulary.prepare_constraints, daemon=True).start()

    def _build(self, message: dict[str, Any]) -> None:
        from ragagent.models.llama_load import describe_build, start_backend

        start_backend()
        self._send({"op": "ready", "id": message["id"], **describe_build()})

    def _count(self, message: dict[str, Any]) -> None:
        self._send(
            {"op": "count", "id": message["id"], "tokens": len(self._engine.vocabulary.tokenize(message["text"]))}
        )

    def _prompt(self, message: dict[str, Any]) -> None:
        tokens = self._engine.prompt(message["messages"], [])
        spelled = [self._engine.vocabulary.spelling(token).decode("utf-8", "replace") for token in tokens]
        self._send({"op": "prompt", "id": message["id"], "tokens": tokens, "spelled": spelled})

    def _worked(self, message: dict[str, Any]) -> None:
        """Does what can be cancelled meanwhile."""
        identifier = message["id"]
        with self._turn:
            self._current = identifier
            self._engine.cancel.clear()
            if identifier in self._cancelled:
                self._engine.cancel.set()
        try:
            if message["op"] == "score":
                self._score(identifier, message)
            else:
                self._generate(identifier, message)
        finally:
            with self._turn:
                self._current = None
                self._cancelled.discard(identifier)

    def _score(self, identifier: int, message: dict[str, Any]) -> None:
        from ragagent.models.llama_engine import Cancelled

        prompts = [self._engine.prompt(messages, []) for messages in message["conversations"]]
        self._progressed(1)
        try:
            found = self._engine.log_likelihoods(prompts, message["texts"])
        except Cancelled:
            raise ModelError("stopped before it was known how likely the texts are") from None
        self._send({"op": "score", "id": identifier, "log_likelihoods": found})

    def _generate(self, identifier: int, message: dict[str, Any]) -> None:
        grammar = Grammar(**message["grammar"]) if message["grammar"] else None
        prompt = self._engine.prompt(message["messages"], message["tools"])
        self._progressed(1)
        if message["op"] == "sample":
            found = self._engine.samples(
                prompt,
                message["count"],
                message["max_tokens"],
                Sampling(**message["sampling"]),
                grammar,
                likeliest=message["likeliest"],
            )
            texts = [{"text": text, **dataclasses.asdict(outcome)} for text, outcome in found]
            self._send({"op": "samples", "id": identifier, "completions": texts})
            return
        pieces = self._engine.generate(prompt, message["max_tokens"], Sampling(**message["sampling"]), grammar)
        for piece in pieces:
            if isinstance(piece, str):
                self._send({"op": "delta", "id": identifier, "text": piece})
            else:
                self._send({"op": "done", "id": identifier, **dataclasses.asdict(piece)})

    def _progressed(self, amount: int) -> None:
        self._progress += amount

    def _send(self, message: dict[str, Any]) -> None:
        try:
            with self._writing:
                send(self._sink, message)
        except BrokenPipeError:
            os._exit(0)


if __name__ == "__main__":
    main()
