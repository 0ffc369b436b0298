"""A view: everything search needs, in memory or mapped, as of one commit. Views are immutable and shared by threads."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index import block, checksums, codes, postings, records, schema, store, workers
from ragagent.index.block import Block, Part
from ragagent.text.analyser import Analyser
from ragagent.types import Span

_TAIL = """
SELECT c.row, c.document, c.id, c.embedding, p.terms, p.counts, p.checksum, e.vector
FROM postings p JOIN chunks c ON c.row = p.chunk JOIN embeddings e ON e.row = c.embedding
WHERE p.chunk > ? AND p.edition = ? ORDER BY p.chunk
"""
_RANGE = """
SELECT c.row, c.document, c.id, c.embedding, c.start, c."end", c.headings, d.title, e.vector
FROM chunks c JOIN documents d ON d.row = c.document JOIN embeddings e ON e.row = c.embedding
WHERE c.row BETWEEN ? AND ? AND c.edition = ? ORDER BY c.row
"""

_COMPACTED_CHUNKS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A segment as the database lists it."""

    id: int
    first: int
    last: int
    chunks: int
    dense: str
    sparse: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The segments and the tail of one edition, in ascending order of row, as of commit `generation`.

    `sequence` is the last death that was taken in; `damaged` are the ids of segments whose files are missing or
    altered and which were built again, in memory, from the database.
    """

    generation: int
    edition: int
    dimension: int
    sequence: int
    parts: tuple[Part, ...]
    damaged: frozenset[int]
    totals: tuple[int, ...] = ()
    """For each part the sum of the rows of its live chunks."""

    @property
    def chunks(self) -> int:
        """How many chunks are live."""
        return sum(part.count for part in self.parts)

    def require_all(self, documents: Collection[int], found: int) -> None:
        """Raises sqlite3.DatabaseError, which is `translated`, unless those documents (rows) have `found` chunks here.

        Looks at every chunk: 0.5 ms for a million.
        """
        wanted = list(documents)
        count = sum(int(np.count_nonzero(part.live & _among(part.block.documents, wanted))) for part in self.parts)
        if count != found:
            raise sqlite3.DatabaseError(f"{found} passages of a document are found where {count} were written")

    @property
    def tail(self) -> tuple[Part, ...]:
        """The parts that are in no segment."""
        return tuple(part for part in self.parts if part.segment is None)


def _among(documents: npt.NDArray[np.int64], wanted: list[int]) -> npt.NDArray[np.bool_]:
    # One is what is nearly always asked for, and compared in a third of the time.
    return documents == wanted[0] if len(wanted) == 1 else np.isin(documents, wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Makes views of one knowledge base: of the edition given, or of the one that is live at the time."""

    folder: Path
    analyser: Analyser
    edition: int | None = None

    def load(self, connection: sqlite3.Connection, before: View | None) -> View:
        """The view of the commit that `connection` sees, made from an earlier one with as little work as possible."""
        edition = schema.edition(connection) if self.edition is None else self.edition
        if before is not None and before.edition != edition:
            before = None
        sequence = int(connection.execute("SELECT coalesce(max(sequence), 0) FROM dead").fetchone()[0])
        gone = _rows(connection, "SELECT row FROM dead WHERE sequence > ?", (before.sequence if before else sequence,))
        segments, damaged = self._segments(connection, edition, before, gone)
        dimension = schema.dimension(connection, edition)
        covered = max([0, *(one.last for one in listed(connection, edition))])
        tail = [_after(part, covered).without(gone) for part in (before.tail if before else ())]
        tail = [part for part in tail if part.count]
        newest = int(tail[-1].block.rows[-1]) if tail else covered
        parts = (*segments, *_compacted([*tail, *self._newer(connection, edition, newest)], dimension))
        return View(
            generation=schema.generation(connection),
            edition=edition,
            dimension=dimension,
            # The table may have been emptied; numbers are never given twice.
            sequence=max(sequence, before.sequence if before else 0),
            parts=parts,
            damaged=damaged,
            totals=_totals(connection, edition, parts, before),
        )

    def _segments(
        self, connection: sqlite3.Connection, edition: int, before: View | None, gone: npt.NDArray[np.int64]
    ) -> tuple[list[Part], frozenset[int]]:
        """The segments: those that are held already without what is `gone` since, the others with all deaths."""
        held = {part.segment: part for part in (before.parts if before else ()) if part.segment is not None}
        damaged = set(before.damaged) if before else set()
        there = listed(connection, edition)
        fresh = self._read([one for one in there if one.id not in held], schema.dimension(connection, edition))
        parts = []
        for one in there:
            if one.id in held:
                parts.append(held[one.id].without(gone))
                continue
            read = fresh[one.id]
            if read is None:
                damaged.add(one.id)
                read = self.rebuilt(connection, edition, one.first, one.last)
            # A segment is made without the rows that are dead by then; those that died since are listed.
            dead = _rows(connection, "SELECT row FROM dead WHERE row BETWEEN ? AND ?", (one.first, one.last))
            parts.append(block.whole(read, one.id).without(dead))
        return parts, frozenset(damaged & {part.segment for part in parts if part.segment is not None})

    def _read(self, fresh: Sequence[Listed], dimension: int) -> dict[int, Block | None]:
        """The blocks of segments from their files; all bytes are verified, on every core."""
        blocks = workers.each(
            lambda one: block.read(self.folder, one.dense, one.sparse, dimension), fresh, parallel=True
        )
        return dict(zip([one.id for one in fresh], blocks, strict=True))

    def _newer(self, connection: sqlite3.Connection, edition: int, row: int) -> list[Part]:
        """The rows of the tail after `row`, as a part."""
        rows = connection.execute(_TAIL, (row, edition)).fetchall()
        if not rows:
            return []
        if any(checksums.terms(row[:4], *row[4:6]) != row[6] for row in rows):
            return [block.whole(self.rebuilt(connection, edition, rows[0][0], rows[-1][0]))]
        analysed = [(row[4].split(), np.frombuffer(row[5], np.uint16).reshape(-1, 2)) for row in rows]
        vectors = _vectors(connection, edition, rows)
        return [block.whole(_block([row[:4] for row in rows], analysed, vectors))]

    def rebuilt(self, connection: sqlite3.Connection, edition: int, first: int, last: int) -> Block:
        """The block of an edition's rows `first` to `last`, from the database alone: texts are analysed anew."""
        rows = connection.execute(_RANGE, (first, last, edition)).fetchall()
        analysed = []
        for _, document, _, _, start, end, headings, title, _ in rows:
            text = records.text_of(connection, document, Span(start, end))
            analysed.append(store.analysed(self.analyser, title, records.headings(headings), text))
        return _block([row[:4] for row in rows], analysed, _vectors(connection, edition, rows))


def _vectors(connection: sqlite3.Connection, edition: int, rows: Sequence[Sequence[Any]]) -> npt.NDArray[np.float16]:
    """The vectors that come last in `rows`. Raises Corrupt, naming the document, where one is damaged."""
    dimension = schema.dimension(connection, edition)
    stored = [row[-1] for row in rows]
    for place in checksums.damaged(stored, [row[3] for row in rows], dimension):
        raise records.damaged_chunk(connection, rows[place][0], "a vector")
    return checksums.unpacked(stored, dimension)


def _block(
    keys: Sequence[Sequence[Any]],
    analysed: Sequence[tuple[Sequence[str], store.Counts]],
    vectors: npt.NDArray[np.float16],
) -> Block:
    totals = [counts.sum(axis=0, dtype=np.uint32) for _, counts in analysed]
    lengths = np.array(totals, np.uint32).reshape(-1, 2)
    return Block(
        rows=np.array([row for row, _, _, _ in keys], np.int64),
        documents=np.array([document for _, document, _, _ in keys], np.int64),
        embeddings=np.array([embedding for _, _, _, embedding in keys], np.int64),
        ids=np.array([key.encode() for _, _, key, _ in keys], np.bytes_),
        lengths=lengths,
        terms=block.total(lengths),
        postings=postings.build(analysed),
        codes=codes.encoded(vectors),
    )


def _totals(
    connection: sqlite3.Connection, edition: int, parts: Sequence[Part], before: View | None
) -> tuple[int, ...]:
    """The sums of live rows. Raises sqlite3.DatabaseError, which is `translated`, unless search sees what was written.

    What the database says of the edition was counted as chunks came and went, so no entry that is lost in one of its
    trees, and no death that is none, hides a chunk. 1 ms for a million chunks; nothing for a part that is as before.
    """
    held = {id(part): total for part, total in zip(before.parts, before.totals, strict=True)} if before else {}
    totals = tuple(
        held[id(part)] if id(part) in held else int(part.block.rows.sum(where=part.live, dtype=np.int64))
        for part in parts
    )
    wanted, seen = schema.built(connection, edition), sum(part.count for part in parts)
    if (seen, sum(totals)) != (wanted.chunks, wanted.total):
        raise sqlite3.DatabaseError(f"search sees {seen} passages where {wanted.chunks} were written, or other ones")
    return totals


def listed(connection: sqlite3.Connection, edition: int | None = None) -> list[Listed]:
    """The segments of an edition, or of all, in ascending order of row."""
    query = "SELECT id, first, last, chunks, dense, sparse FROM segments"
    if edition is None:
        rows = connection.execute(f"{query} ORDER BY first")
    else:
        rows = connection.execute(f"{query} WHERE edition = ? ORDER BY first", (edition,))
    return [Listed(id=row[0], first=row[1], last=row[2], chunks=row[3], dense=row[4], sparse=row[5]) for row in rows]


def _rows(connection: sqlite3.Connection, query: str, values: Iterable[int]) -> npt.NDArray[np.int64]:
    return np.array([row for (row,) in connection.execute(query, tuple(values))], np.int64)


def _after(part: Part, row: int) -> Part:
    """A part of the tail without what has been folded by now, up to that row."""
    return part.without(part.block.rows[: int(np.searchsorted(part.block.rows, row, side="right"))])


def _compacted(tail: Sequence[Part], dimension: int) -> list[Part]:
    """The parts of the tail, small neighbours of like size merged: few parts, and each row is merged a few times only.

    What is large already stays, so that a search never waits long for this.
    """
    parts: list[Part] = []
    for part in tail:
        parts.append(part)
        while len(parts) > 1 and len(parts[-2].block) <= min(2 * len(parts[-1].block), _COMPACTED_CHUNKS):
            second, first = parts.pop(), parts.pop()
            parts.append(block.whole(block.merged([first, second], dimension)))
    return [part for part in parts if len(part.block)]
