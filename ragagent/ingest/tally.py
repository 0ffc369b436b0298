"""How far an ingest is, for whoever watches, and what it did, for the report."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeVar

from ragagent.protocols import Progress
from ragagent.types import Duplicates, Failure, IngestReport, Note

Made = TypeVar("Made")


class Tally:
    """Counts. Stages in several threads tell it what they do; it hands that on to one thread's Progress at a time."""

    def __init__(self, progress: Progress | None) -> None:
        self._begin = time.perf_counter()
        self._progress = progress
        self._lock = threading.Lock()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._counts: Counter[str] = Counter()
        self._failures: list[Failure] = []
        self._notes: list[Note] = []
        self._listed = self._items = self._read = 0
        self.total: int | None = None
        """How many items there are to load, once that is known."""
        self.duplicates = Duplicates()
        """What is alike among the documents that were brought in, once that is known."""

    @contextlib.contextmanager
    def working(self, stage: str) -> Iterator[None]:
        """Counts the time of a block as work of a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self._add_seconds(stage, time.perf_counter() - begin)

    def timed(self, stage: str, made: Iterable[Made]) -> Iterator[Made]:
        """The same items; the time that each takes to come counts as work of the stage."""
        items = iter(made)
        while True:
            begin = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._add_seconds(stage, time.perf_counter() - begin)
            yield item

    def tell(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        """Shows how far a stage is."""
        if self._progress is not None:
            with self._lock:
                self._progress.update(stage, done, total, detail)

    def listed(self, uri: str) -> None:
        """Counts an item that the source has named; a long list shows that it grows."""
        self._listed += 1
        self.tell("plan", self._listed, None, uri)

    def read(self, uri: str) -> None:
        """Counts an item that was read."""
        with self._lock:
            self._read += 1
        self.tell("read", self._read, self.total, uri)

    def add(self, **counts: int) -> None:
        """Adds to the numbers of the report."""
        self._counts.update(counts)

    def keep(self, failures: Iterable[Failure], notes: Iterable[Note] = (), items: int = 0) -> None:
        """Keeps what there is to report; so many more items are done."""
        self._failures += failures
        self._notes += notes
        self._items += items
        self.tell("write", self._items, self.total)

    def report(self) -> IngestReport:
        """What has been done until now."""
        return IngestReport(
            **self._counts,
            failed=len(self._failures),
            seconds=round(time.perf_counter() - self._begin, 3),
            failures=tuple(sorted(self._failures, key=lambda one: one.uri)),
            notes=tuple(sorted(self._notes, key=lambda one: one.uri)),
            stage_seconds={stage: round(seconds, 3) for stage, seconds in self._seconds.items()},
            duplicates=self.duplicates,
        )

    def _add_seconds(self, stage: str, seconds: float) -> None:
        with self._lock:
            self._seconds[stage] += seconds
