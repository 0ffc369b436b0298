"""The compiled loops, loaded beside the searches that make it worth while; until then, and without numba, none.

Loading takes about half a second (some twenty seconds the first time on a machine) and pays in a process that asks a
large collection often. So it begins in the background after some such searches, and none ever waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

LARGE = 50_000
"""Chunks of a collection for which the compiled loops are worth loading."""
_SEARCHES = 3
"""So many searches of a large collection make it likely that more will come."""


@dataclass(frozen=True, slots=True)
class Loops:
    """The loops: `search` of `kernels`, `nearest` and `scores` of `hamming`."""

    search: Callable[..., Any]
    nearest: Callable[..., Any]
    scores: Callable[..., Any]


class Loading:
    """The loops, and how near they are."""

    def __init__(self) -> None:
        self.loops: Loops | None = None
        self._searches = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def asked(self, chunks: int) -> None:
        """Counts a search of so many chunks; the one that makes it worth while starts the loading."""
        if chunks < LARGE or self._thread is not None:
            return
        with self._lock:
            self._searches += 1
            if self._searches >= _SEARCHES and self._thread is None:
                # A daemon: a program that ends meanwhile does not wait for it.
                self._thread = threading.Thread(target=self._load, name="ragagent-kernels", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Waits for the end of a loading that has begun."""
        if self._thread is not None:
            self._thread.join()

    def _load(self) -> None:
        self.loops = load()


LOADING = Loading()


def load() -> Loops | None:
    """The compiled loops; None without numba. Takes its time."""
    try:
        from ragagent.index import hamming, kernels
    except ImportError:
        return None
    return Loops(search=kernels.search, nearest=hamming.nearest, scores=hamming.scores)
