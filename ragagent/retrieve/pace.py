"""How much work fits into the time that is left, foretold from the work done before."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

_REMEMBERED = 8
_PATIENCE = 8
_SHARE = 0.5  # of the time left, for one block: what its cost is wrong by is seen while there is time


class Pace:
    """Seconds for each unit of work, as the dearest of the last blocks had them; a unit is whatever cost grows with.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=_REMEMBERED)
        self._refused = 0
        self._lock = threading.Lock()

    def done(self, work: float, seconds: float) -> None:
        """Takes in what a block cost."""
        if work > 0:
            with self._lock:
                self._rates.append(seconds / work)
                self._refused = 0

    def refused(self) -> None:
        """Takes in that nothing was begun, for what the dearest block cost, which may have been a stall of the machine.

        So that one is forgotten, and the last one that is left after eight times: then a block is tried again.
        """
        with self._lock:
            self._refused += 1
            if len(self._rates) > 1 or (self._rates and self._refused >= _PATIENCE):
                self._rates.remove(max(self._rates))

    def block(self, works: Sequence[float], left_s: float) -> int:
        """How many of the next pieces of work to do in one go; 0 when not even the first fits into the time left.

        All of them where they take less than half of that time; otherwise as many as do, and at least one that fits.
        While nothing is known it is one, for its cost to be seen.
        """
        if not works or left_s <= 0:
            return 0
        with self._lock:
            rate = max(self._rates, default=None)
        if rate is None:
            return 1
        count, total = 0, 0.0
        for work in works:
            total += work * rate
            if total > (left_s * _SHARE if count else left_s):
                break
            count += 1
        return count
