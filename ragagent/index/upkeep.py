"""What the writer does after a commit: shorten the log, fold the tail into a segment, merge segments, mend, sweep up.

None of it changes what a search finds. Each step writes its files aside and publishes them in one transaction, so a
kill between any two instructions leaves the old state or the new one, and at most a file that nobody lists.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragagent.index import block, schema, segments, store
from ragagent.index.block import Block, Part
from ragagent.index.database import shorten_log, translated
from ragagent.index.view import View, listed

FOLD_CHUNKS = 4096
"""A tail of this many chunks becomes a segment."""
FOLD_CHUNKS_AT_CLOSE = 256
"""A smaller tail is cheaper to read from the database than a segment is to write."""
_FAN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """The steps over one edition of a knowledge base: the one given, or the live one.

    The caller holds the writer's lock; `view` gives the newest view of that edition.
    """

    folder: Path
    connection: sqlite3.Connection
    view: Callable[[], View]
    edition: int | None = None

    def run(self, fold_chunks: int) -> None:
        """Folds a tail of `fold_chunks` or more, and merges until nothing is left to merge."""
        with translated(self.folder):
            shorten_log(self.folder, self.connection)
            if not self._due(fold_chunks):
                return
            if self._tail_size() >= fold_chunks:
                self._fold()
            while merging := _mergeable([part for part in self.view().parts if part.segment is not None]):
                self._publish(merging, block.merged(merging))
            self.sweep()

    def mend(self) -> None:
        """Writes the files of damaged segments again, from what the view built in their place."""
        view = self.view()
        with translated(self.folder):
            for part in view.parts:
                if part.segment in view.damaged:
                    self._publish([part], block.merged([part]))

    def purge(self) -> None:
        """Writes every segment anew that has dead chunks, so that nothing of them is left in any file."""
        with translated(self.folder):
            for part in self.view().parts:
                if part.segment is not None and part.count < len(part.block):
                    self._publish([part], block.merged([part]))
            self.sweep()

    def sweep(self) -> None:
        """Removes files that no segment lists."""
        files = {
            segments.path(self.folder, getattr(one, suffix), suffix)
            for one in listed(self.connection)
            for suffix in block.SUFFIXES
        }
        with translated(self.folder):
            segments.sweep(self.folder, files)

    def _due(self, fold_chunks: int) -> bool:
        if self._tail_size() >= fold_chunks:
            return True
        # Where more than half of all rows are dead there is a segment with more than half of its rows dead, so there
        # is something to do, and doing it ends the state.
        dead, chunks = self.connection.execute(
            "SELECT (SELECT count(*) FROM dead WHERE edition = :edition"
            " AND row <= (SELECT max(last) FROM segments WHERE edition = :edition)),"
            " (SELECT coalesce(sum(chunks), 0) FROM segments WHERE edition = :edition)",
            {"edition": self._edition},
        ).fetchone()
        return bool(dead * 2 > chunks)

    def _tail_size(self) -> int:
        """Rows of the tail, the dead ones too: readers have to be told of them until they are folded away."""
        query = (
            "SELECT (SELECT count(*) FROM postings WHERE edition = :edition) + (SELECT count(*) FROM dead"
            " WHERE edition = :edition"
            " AND row > (SELECT coalesce(max(last), 0) FROM segments WHERE edition = :edition))"
        )
        return int(self.connection.execute(query, {"edition": self._edition}).fetchone()[0])

    @property
    def _edition(self) -> int:
        return schema.edition(self.connection) if self.edition is None else self.edition

    def _fold(self) -> None:
        view = self.view()
        (last,) = self.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchone()
        (covered,) = self.connection.execute(
            "SELECT coalesce(max(last), 0) FROM segments WHERE edition = ?", (self._edition,)
        ).fetchone()
        self._replace([], covered + 1, last, block.merged(view.tail))

    def _publish(self, parts: Sequence[Part], made: Block) -> None:
        """Puts one segment in the place of those of `parts`, which are neighbours."""
        replaced = {part.segment for part in parts}
        old = [one for one in listed(self.connection) if one.id in replaced]
        self._replace([one.id for one in old], old[0].first, old[-1].last, made)

    def _replace(self, old: Sequence[int], first: int, last: int, made: Block) -> None:
        written = block.write(self.folder, made)
        with store.transaction(self.folder, self.connection):
            self.connection.executemany("DELETE FROM segments WHERE id = ?", [(one,) for one in old])
            self.connection.execute(
                "INSERT INTO segments (edition, first, last, chunks, dense, sparse, bytes)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self._edition, first, last, len(made), written.dense, written.sparse, written.size),
            )
            covered = (first, last, self._edition)
            self.connection.execute("DELETE FROM postings WHERE chunk BETWEEN ? AND ? AND edition = ?", covered)
            self.connection.execute("DELETE FROM dead WHERE row BETWEEN ? AND ? AND edition = ?", covered)


def _mergeable(parts: Sequence[Part]) -> list[Part]:
    """Neighbouring segments to merge next: several of like size, or one that is mostly dead; none when all is well.

    No segment of a merge is larger than the others together, so a chunk is at least in twice as large a segment
    after it: n chunks are merged log2(n) times at most.
    """
    for part in parts:
        if part.count * 2 < len(part.block):
            return [part]
    windows = [list(parts[at : at + _FAN]) for at in range(len(parts) - _FAN + 1)]
    sizes = [[part.count for part in window] for window in windows]
    alike = [(sum(size), at) for at, size in enumerate(sizes) if 2 * max(size) <= sum(size)]
    return windows[min(alike)[1]] if alike else []
