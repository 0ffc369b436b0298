"""Reading processes that wait for the next file, so that a file need not wait for one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from ragagent.ingest.isolation.process import ReadingProcess

_IDLE_S = 30.0
_WAIT_S = 1.0
"""About what starting a process costs, in processor time too: so long it is better to wait for one that is at work."""


class Pool:
    """Keeps reading processes between files and for half a minute between ingests. Safe to use from several threads."""

    def __init__(self) -> None:
        """Starts nothing."""
        self._idle: list[ReadingProcess] = []
        self._at_work = 0
        self._lock = threading.Condition()
        self._timer: threading.Timer | None = None

    @contextlib.contextmanager
    def process(self) -> Iterator[ReadingProcess]:
        """A process for one file. Raises ConnectorError when none can be started.

        While others are at work, one of these is waited for before another is started: of many small files one process
        reads more than is embedded meanwhile.
        """
        chosen = self._taken()
        try:
            chosen = chosen or ReadingProcess()
            yield chosen
        finally:
            self._give_back(chosen)

    def rest(self) -> None:
        """Keeps the processes that wait for half a minute more, then ends them."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(_IDLE_S, self.close) if self._idle else None
            if self._timer is not None:
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Ends the processes that wait; the pool can be used again."""
        with self._lock:
            idle, self._idle = self._idle, []
            if self._timer is not None:
                self._timer.cancel()
        for one in idle:
            one.close()

    def _taken(self) -> ReadingProcess | None:
        """A process that waits; None where one has to be started. Either counts as at work from now on."""
        until = time.monotonic() + _WAIT_S
        with self._lock:
            while True:
                while self._idle:
                    chosen = self._idle.pop()
                    if chosen.usable:
                        self._at_work += 1
                        return chosen
                    chosen.close()
                left = until - time.monotonic()
                if not self._at_work or left <= 0:
                    self._at_work += 1
                    return None
                self._lock.wait(left)

    def _give_back(self, process: ReadingProcess | None) -> None:
        with self._lock:
            self._at_work -= 1
            if process is not None and process.usable:
                self._idle.append(process)
                process = None
            self._lock.notify()
        if process is not None:
            process.close()
