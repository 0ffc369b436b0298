"""What becomes of commits: the tail is folded into segments, segments are merged, damaged ones mended, files swept up.

None of it changes what a search finds. A step is decided on a view, its segment is built and written aside without any
lock, and it is published in one transaction if the segments that it replaces are still there; so a kill between any
two instructions leaves the old state or the new one, and at most a file that nobody lists. Chunks that die between
the view and the publication stay listed as dead.

Small steps are done at once. Large ones are built by a thread of the writing process, one at a time, while commits and
searches go on; whoever holds the writer's lock, the thread or a commit, publishes what is ready.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragagent.errors import IndexStateError
from ragagent.index import block, segments, store
from ragagent.index.block import Part, Written
from ragagent.index.database import shorten_log, translated
from ragagent.index.view import View, listed

FOLD_CHUNKS = 4096
"""A tail of this many chunks becomes a segment."""
FOLD_CHUNKS_AT_CLOSE = 256
"""A smaller tail is cheaper to read from the database than a segment is to write."""
MOST_CHUNKS = 262_144
"""A segment never grows beyond this, so no step takes longer than merging so many chunks does."""
AT_ONCE_CHUNKS = 1024
"""A step of so few chunks is done at once: about 20 ms."""
_FAN = 4
_SETTLED_CHUNKS = MOST_CHUNKS // 16
"""Neighbours of so many chunks and more are merged at the end of writing as long as they fit into one segment: each
segment costs a search 0.1 ms, and a chunk is merged for that 16 times at most."""
_BEHIND = 8
"""A tail this many times as long as it should be makes writers wait for the thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Puts one segment over the rows `first` to `last` in the place of `parts`, as they were at death `sequence`.

    `old` are the ids of the segments among them; none when the tail is folded.
    """

    edition: int
    dimension: int
    first: int
    last: int
    parts: tuple[Part, ...]
    old: tuple[int, ...]
    sequence: int

    @property
    def chunks(self) -> int:
        """How many chunks have to be read and written."""
        return sum(len(part.block) for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A step whose files are written, and how many chunks they hold."""

    step: Step
    written: Written
    chunks: int


def due(connection: sqlite3.Connection, view: View, fold_chunks: int, *, settle: bool = False) -> Step | None:
    """The next step for the edition of `view`, whose commit `connection` must see; None when all is well.

    With `settle`, also one that pays only if no more is written for a while.
    """
    there = listed(connection, view.edition)
    covered = max([0, *(one.last for one in there)])
    if _tail_rows(connection, view, covered) >= fold_chunks:
        (last,) = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
        return _step(view, covered + 1, last, view.tail)
    parts = [part for part in view.parts if part.segment is not None]
    chosen = _mergeable(parts) or (_settling(parts) if settle else [])
    if not chosen:
        return None
    replaced = {part.segment for part in chosen}
    rows = [row for one in there if one.id in replaced for row in (one.first, one.last)]
    return _step(view, rows[0], rows[-1], chosen)


def build(folder: Path, step: Step) -> Built:
    """Merges and writes; needs no lock. Raises OSError."""
    made = block.merged(step.parts, step.dimension)
    return Built(step=step, written=block.write(folder, made), chunks=len(made))


def publish(folder: Path, connection: sqlite3.Connection, built: Built) -> bool:
    """Puts a built segment in its place; false when what it was built from is gone. Needs the writer's lock."""
    step, written = built.step, built.written
    files = block.files(folder, written.dense, written.sparse)
    try:
        if not _current(connection, step) or not all(file.exists() for file in files):
            return False
        _replace(folder, connection, built)
        return True
    finally:
        for file in files:
            segments.release(file)


def _current(connection: sqlite3.Connection, step: Step) -> bool:
    """Whether the step's range of rows is cut into segments as it was."""
    there = listed(connection, step.edition)
    inside = tuple(one.id for one in there if one.first <= step.last and one.last >= step.first)
    edition = connection.execute("SELECT count(*) FROM editions WHERE id = ?", (step.edition,)).fetchone()
    return inside == step.old and edition == (1,)


def _replace(folder: Path, connection: sqlite3.Connection, built: Built) -> None:
    step, written = built.step, built.written
    with store.transaction(folder, connection):
        connection.executemany("DELETE FROM segments WHERE id = ?", [(one,) for one in step.old])
        connection.execute(
            "INSERT INTO segments (edition, first, last, chunks, dense, sparse, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (step.edition, step.first, step.last, built.chunks, written.dense, written.sparse, written.size),
        )
        covered = (step.first, step.last, step.edition)
        if not step.old:
            connection.execute("DELETE FROM postings WHERE chunk BETWEEN ? AND ? AND edition = ?", covered)
        connection.execute(
            "DELETE FROM dead WHERE row BETWEEN ? AND ? AND edition = ? AND sequence <= ?", (*covered, step.sequence)
        )


def sweep(folder: Path, connection: sqlite3.Connection) -> None:
    """Removes files that no segment lists, of any edition. Needs the writer's lock.

    A step that is being built by another process loses its files to this, and is dropped when it would be published.
    """
    files = {
        segments.path(folder, getattr(one, suffix), suffix) for one in listed(connection) for suffix in block.SUFFIXES
    }
    segments.sweep(folder, files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The steps over one edition, one after another, in the caller's thread, which holds the writer's lock.

    `view` gives the newest view of that edition.
    """

    folder: Path
    connection: sqlite3.Connection
    view: Callable[[], View]

    def run(self, fold_chunks: int, most_chunks: int | None = None) -> bool:
        """Takes steps of up to `most_chunks` (None: any, and those that settle) until nothing is due.

        Returns whether a larger one still is.
        """
        with translated(self.folder):
            shorten_log(self.folder, self.connection)
            swept = True
            while step := due(self.connection, self.view(), fold_chunks, settle=most_chunks is None):
                if most_chunks is not None and step.chunks > most_chunks:
                    break
                publish(self.folder, self.connection, build(self.folder, step))
                swept = False
            if not swept:
                self.sweep()
            return step is not None

    def mend(self) -> None:
        """Writes the files of damaged segments again."""
        with translated(self.folder):
            view = self.view()
            for step in _rewriting(self.connection, view, view.damaged):
                publish(self.folder, self.connection, build(self.folder, step))

    def purge(self) -> None:
        """Writes every segment anew that has dead chunks, so that nothing of them is left in any file."""
        with translated(self.folder):
            view = self.view()
            worn = {part.segment for part in view.parts if part.count < len(part.block)}
            for step in _rewriting(self.connection, view, worn):
                publish(self.folder, self.connection, build(self.folder, step))
            self.sweep()

    def sweep(self) -> None:
        """Removes files that no segment lists."""
        with translated(self.folder):
            sweep(self.folder, self.connection)

    def behind(self, fold_chunks: int) -> bool:
        """Whether the tail has grown so long that writers have to wait."""
        return sum(len(part.block) for part in self.view().tail) > _BEHIND * fold_chunks


class Background:
    """The thread that builds large steps: there while there is something to do.

    `plan` gives the next step; `offer` publishes a built one if the writer's lock can be had at once, and says whether
    that is settled, one way or the other.
    """

    def __init__(self, folder: Path, plan: Callable[[], Step | None], offer: Callable[[Built], bool]) -> None:
        self._folder = folder
        self._plan = plan
        self._offer = offer
        self._state = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ready: Built | None = None
        self._stopping = False
        self._failure: IndexStateError | None = None

    def start(self) -> None:
        """Sees to it that the thread is at work."""
        with self._state:
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._work, name="index upkeep")
                self._thread.start()

    def take(self, *, wait: bool = False) -> Built | None:
        """What is ready to be published, which is then the caller's to do; waits for it if told, while there is work.

        Raises IndexStateError when the thread had to give up.
        """
        with self._state:
            while wait and self._ready is None and self._thread is not None:
                self._state.wait()
            ready, self._ready = self._ready, None
            failure, self._failure = self._failure, None
            self._state.notify_all()
        if failure is not None:
            raise failure
        return ready

    def stop(self) -> None:
        """No step is begun from now on; `take` still gives the one that is being built."""
        with self._state:
            self._stopping = True
            self._state.notify_all()

    def join(self) -> None:
        """Waits for the end of the thread, after `stop`."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        try:
            while not self._stopping and (step := self._plan()) is not None:
                with translated(self._folder):
                    built = build(self._folder, step)
                self._hand_over(built)
        except IndexStateError as error:
            self._failure = error
        finally:
            with self._state:
                self._thread = None
                self._state.notify_all()

    def _hand_over(self, built: Built) -> None:
        """Waits until a commit has taken the step, or the lock is free to publish it from here."""
        taken: Built | None = built
        while taken is not None:
            if not self._stopping and self._offer(taken):
                return
            with self._state:
                self._ready = taken
                self._state.notify_all()
                if self._stopping:
                    return
                self._state.wait(_OFFER_S)
                taken, self._ready = self._ready, None


_OFFER_S = 0.05


def _step(view: View, first: int, last: int, parts: Sequence[Part]) -> Step:
    return Step(
        edition=view.edition,
        dimension=view.dimension,
        first=first,
        last=last,
        parts=tuple(parts),
        old=tuple(part.segment for part in parts if part.segment is not None),
        sequence=view.sequence,
    )


def _rewriting(connection: sqlite3.Connection, view: View, chosen: Collection[int | None]) -> list[Step]:
    """Steps that write each of the segments of those ids anew, from what the view has of it."""
    ranges = {one.id: (one.first, one.last) for one in listed(connection, view.edition)}
    return [
        _step(view, *ranges[part.segment], [part])
        for part in view.parts
        if part.segment is not None and part.segment in chosen
    ]


def _tail_rows(connection: sqlite3.Connection, view: View, covered: int) -> int:
    """Rows of the tail, the dead ones too: readers have to be told of them until they are folded away."""
    query = "SELECT count(*) FROM dead WHERE row > ? AND edition = ?"
    (dead,) = connection.execute(query, (covered, view.edition)).fetchone()
    return sum(part.count for part in view.tail) + int(dead)


def _mergeable(parts: Sequence[Part]) -> list[Part]:
    """Neighbouring segments to merge next: several of like size, or one that is mostly dead; none when all is well.

    No segment of a merge is larger than the others together, so a chunk is in at least twice as large a segment
    after it: n chunks are merged log2(n) times at most. Fewer than four are merged only if that makes a segment more
    than half as large as one may be, so that no more than a few small ones lie between large ones.
    """
    for part in parts:
        if part.count * 2 < len(part.block):
            return [part]
    windows = _windows(parts)
    sized = [(sum(part.count for part in window), max(part.count for part in window), window) for window in windows]
    alike = [
        (total, at)
        for at, (total, most, window) in enumerate(sized)
        if 2 * most <= total <= MOST_CHUNKS and (len(window) == _FAN or 2 * total > MOST_CHUNKS)
    ]
    return windows[min(alike)[1]] if alike else []


def _settling(parts: Sequence[Part]) -> list[Part]:
    """The smallest neighbours of some size that fit into one segment; none where there are none."""
    sized = [(sum(part.count for part in one), min(part.count for part in one), one) for one in _windows(parts)]
    fitting = [
        (total, at) for at, (total, least, _) in enumerate(sized) if least >= _SETTLED_CHUNKS and total <= MOST_CHUNKS
    ]
    return sized[min(fitting)[1]][2] if fitting else []


def _windows(parts: Sequence[Part]) -> list[list[Part]]:
    """Four, three and two neighbours."""
    return [list(parts[at : at + width]) for width in (_FAN, 3, 2) for at in range(len(parts) - width + 1)]
