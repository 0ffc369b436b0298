"""A moment at which work ends with what there is of it, known beforehand or brought on by somebody."""

from __future__ import annotations

import threading
import time


class Deadline:
    """Ends `seconds` from now, or never by itself where that is None; `end` brings it on. Safe for several threads."""

    def __init__(self, seconds: float | None = None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds
        self._ended = threading.Event()

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        return self._ended.is_set() or (self._at is not None and time.monotonic() >= self._at)

    def end(self) -> None:
        """The time is over now."""
        self._ended.set()

    def wait(self, done: threading.Event, pause_s: float = 0.05) -> bool:
        """Waits until the time is over or `done` is set; whether the time is over."""
        while not self.over:
            if done.wait(pause_s):
                return False
        return True
