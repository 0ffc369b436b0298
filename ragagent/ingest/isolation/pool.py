"""Reading processes that wait for the next file, so that a file need not wait for one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from ragagent.ingest.isolation.process import ReadingProcess

_IDLE_S = 30.0


class Pool:
    """Keeps reading processes between files and for half a minute between ingests. Safe to use from several threads."""

    def __init__(self) -> None:
        """Starts nothing."""
        self._idle: list[ReadingProcess] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @contextlib.contextmanager
    def process(self) -> Iterator[ReadingProcess]:
        """A process for one file. Raises ConnectorError when none can be started."""
        chosen = self._taken() or ReadingProcess()
        try:
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
        with self._lock:
            while self._idle:
                chosen = self._idle.pop()
                if chosen.usable:
                    return chosen
                chosen.close()
        return None

    def _give_back(self, process: ReadingProcess) -> None:
        if process.usable:
            with self._lock:
                self._idle.append(process)
        else:
            process.close()
