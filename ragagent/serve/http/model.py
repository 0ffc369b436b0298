"""The language model with fair turns, for work that makes many requests: each of them waits for its own turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from ragagent.protocols import LLM, Cancels
from ragagent.serve.http.turns import Turns
from ragagent.types import Completion, Delta, Grammar, Message, Sampling, ToolSpec


class TurnTaking:
    """A language model that keeps `LLM` and asks for a turn before each request. It belongs to one client's work."""

    def __init__(self, llm: LLM, turns: Turns, client: str) -> None:
        self._llm = llm
        self._turns = turns
        self._client = client
        self._at_work = threading.Event()

    @property
    def name(self) -> str:
        return self._llm.name

    @property
    def context_tokens(self) -> int:
        return self._llm.context_tokens

    @property
    def constrains(self) -> bool:
        return self._llm.constrains

    def count_tokens(self, text: str) -> int:
        return self._llm.count_tokens(text)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        tools: Sequence[ToolSpec] = (),
        timeout_s: float | None = None,
    ) -> Completion:
        """As the model's own, after waiting for a turn."""
        with self._turns.turn(self._client), self._working():
            return self._llm.chat(
                messages, max_tokens=max_tokens, sampling=sampling, grammar=grammar, tools=tools, timeout_s=timeout_s
            )

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        tools: Sequence[ToolSpec] = (),
        timeout_s: float | None = None,
    ) -> Iterator[Delta]:
        """As the model's own, after waiting for a turn, which lasts as long as the stream."""
        with self._turns.turn(self._client), self._working():
            yield from self._llm.stream(
                messages, max_tokens=max_tokens, sampling=sampling, grammar=grammar, tools=tools, timeout_s=timeout_s
            )

    def cancel(self) -> None:
        """Ends the request under way, if it is one of this work."""
        if self._at_work.is_set() and isinstance(self._llm, Cancels):
            self._llm.cancel()

    def close(self) -> None:
        """Nothing: the model is the owner's to close."""

    def _working(self) -> _Flag:
        return _Flag(self._at_work)


class _Flag:
    """Sets an event for a block."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __enter__(self) -> None:
        self._event.set()

    def __exit__(self, *error: object) -> None:
        self._event.clear()
