"""Calls that take a while: they tell how far they are, and each can be stopped by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol, TypeAlias, runtime_checkable

from ragagent.protocols import Tool
from ragagent.types import ToolProgress, ToolSpec

_MOST = 100
_APART_S = 0.1
_MOST_CHARS = 200

Tell: TypeAlias = Callable[[ToolProgress], None]
"""Told how far a call is, from any thread; what comes when the call is over is passed over."""


@runtime_checkable
class TellingTool(Protocol):
    """A tool whose calls tell how far they are."""

    @property
    def spec(self) -> ToolSpec: ...

    def begun(self, tell: Tell) -> Tool:
        """The same tool for one call, which tells `tell`; where it can be stopped, stopping it stops no other call."""
        ...


def untold(progress: ToolProgress) -> None:
    """Nobody is told."""


class Bounded:
    """Tells on what a call tells: no more than so many times, and not too often, with what must not be seen hidden."""

    def __init__(
        self, tell: Tell, hidden: Callable[[str], str] = str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell, self._hidden, self._clock = tell, hidden, clock
        self._left, self._last = _MOST, -_APART_S

    def __call__(self, progress: ToolProgress) -> None:
        now = self._clock()
        if self._left == 0 or now - self._last < _APART_S:
            return
        self._left, self._last = self._left - 1, now
        self._tell(replace(progress, text=self._hidden(progress.text)[:_MOST_CHARS]))
