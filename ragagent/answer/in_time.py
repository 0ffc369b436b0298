"""A language model that stops at a deadline with what it has written, without touching anybody else's request."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Unpack

from ragagent.deadline import Deadline
from ragagent.models.wrapped import Asking, Wrapped, Writing
from ragagent.protocols import LLM, CancelsOfThread, SamplesMany
from ragagent.types import Completion, Delta, Message, Usage

_PAUSE_S = 0.05
_NOTHING = Completion(text="", finish="cancelled", usage=Usage())
# What was cut off may be a part of a word or a number, which says something else.
_TORN = re.compile(r"[^\s]*$")
_TORN_UNSPACED = re.compile(r"[\w.,]*$", re.ASCII)


class InTime(Wrapped):
    """Keeps `LLM` for one thread's work until a deadline; what is asked after that comes back empty and `cancelled`.

    A completion that the deadline cut off ends with a whole word. A model that cannot be stopped from another thread
    stops between two pieces of what it writes.
    """

    def __init__(self, llm: LLM, deadline: Deadline) -> None:
        super().__init__(llm)
        self._deadline = deadline

    def chat(self, messages: Sequence[Message], **asking: Unpack[Asking]) -> Completion:
        """As the model's own, as far as the time goes."""
        last = _NOTHING
        for delta in self.stream(messages, **asking):
            last = delta.completion or last
        return last

    def stream(self, messages: Sequence[Message], **asking: Unpack[Asking]) -> Iterator[Delta]:
        """As the model's own, as far as the time goes; the last piece always carries the completion."""
        if self._over():
            yield Delta(text="", completion=_NOTHING)
            return
        deltas = super().stream(messages, **asking)
        written = ""
        with self._watched(), contextlib.ExitStack() as closed:
            if isinstance(deltas, Generator):
                closed.callback(deltas.close)
            for delta in deltas:
                written += delta.text
                if delta.completion is not None:
                    yield Delta(text="", completion=_whole(delta.completion))
                    return
                yield delta
                if self._over() and not isinstance(self._llm, CancelsOfThread):
                    break
        usage = Usage(completion_tokens=self._llm.count_tokens(written), calls=1)
        yield Delta(text="", completion=_whole(Completion(text=written, finish="cancelled", usage=usage)))

    def _over(self) -> bool:
        return self._deadline.over

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """Within the block this thread's request is cancelled when the time is over."""
        model = self._llm
        if not isinstance(model, CancelsOfThread):
            yield
            return
        done, mine = threading.Event(), threading.get_ident()

        def watch() -> None:
            if self._deadline.wait(done):
                # Again and again, for the request may still wait for its turn.
                model.cancel_of(mine)
                while not done.wait(_PAUSE_S):
                    model.cancel_of(mine)

        watcher = threading.Thread(target=watch, name="deadline", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


class SamplesInTime(InTime):
    """The same for a model that writes several answers side by side."""

    def sample(
        self, messages: Sequence[Message], *, count: int, likeliest: bool = False, **writing: Unpack[Writing]
    ) -> Sequence[Completion]:
        """As the model's own, as far as the time goes."""
        assert isinstance(self._llm, SamplesMany)
        if self._deadline.over:
            return [_NOTHING] * count
        with self._watched():
            found = self._llm.sample(messages, count=count, likeliest=likeliest, **writing)
        return [_whole(one) for one in found]


def in_time(llm: LLM, deadline: Deadline) -> InTime:
    """`llm` until the deadline."""
    able = isinstance(llm, SamplesMany) and isinstance(llm, CancelsOfThread)
    return SamplesInTime(llm, deadline) if able else InTime(llm, deadline)


def _whole(completion: Completion) -> Completion:
    """A completion that was cut off without the word that it ends in."""
    if completion.finish != "cancelled":
        return completion
    torn = _TORN if " " in completion.text or completion.text.isascii() else _TORN_UNSPACED
    return replace(completion, text=torn.sub("", completion.text).rstrip(" "))
