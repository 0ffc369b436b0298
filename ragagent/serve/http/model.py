"""The language model with fair turns, for work that makes many requests: each of them waits for its own turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Unpack

from ragagent.models.wrapped import Asking, Wrapped
from ragagent.protocols import LLM, Cancels
from ragagent.serve.http.turns import Turns
from ragagent.types import Completion, Delta, Message


class TurnTaking(Wrapped):
    """A language model that keeps `LLM` and asks for a turn before each request. It belongs to one client's work."""

    def __init__(self, llm: LLM, turns: Turns, client: str) -> None:
        super().__init__(llm)
        self._turns = turns
        self._client = client
        self._at_work = threading.Event()

    def chat(self, messages: Sequence[Message], **asking: Unpack[Asking]) -> Completion:
        """As the model's own, after waiting for a turn."""
        with self._turns.turn(self._client), self._working():
            return super().chat(messages, **asking)

    def stream(self, messages: Sequence[Message], **asking: Unpack[Asking]) -> Iterator[Delta]:
        """As the model's own, after waiting for a turn, which lasts as long as the stream."""
        with self._turns.turn(self._client), self._working():
            yield from super().stream(messages, **asking)

    def cancel(self) -> None:
        """Ends the request under way, if it is one of this work."""
        if self._at_work.is_set() and isinstance(self._llm, Cancels):
            self._llm.cancel()

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
