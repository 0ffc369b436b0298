"""What `doctor` asks of an index: is every file sound, and do they agree?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ragagent.errors import Corrupt
from ragagent.index import block, integrity, recall, schema, segments
from ragagent.index.vectors import Stored
from ragagent.index.view import Loader, View, listed

_SAMPLED = 200
_MOST_FINDINGS = 20
_LEAST_RECALL = 0.9


def findings(folder: Path, connection: sqlite3.Connection, view: View, loader: Loader) -> tuple[str, ...]:
    """Every disagreement as a sentence that says what to do; empty when all is well. Reads every file whole."""
    return (
        *_database(connection),
        *_segment_files(folder, connection, view),
        *_rows(connection, view),
        *integrity.findings(connection),
        *_rebuilding(connection, view, loader),
        *_recall(connection, view),
    )


def missing_commits(folder: Path, newest: int, connection: sqlite3.Connection) -> list[str]:
    """Whether commits that were acknowledged are not in the database; `newest` was read before it was."""
    there = schema.generation(connection)
    if there >= newest:
        return []
    return [
        f"{folder}: the database is at commit {there}, and commit {newest} was there already: its log was damaged, or "
        "an older copy was put in its place. What is found is right for that commit; ingest again what is missing. The "
        "next write settles this"
    ]


def _database(connection: sqlite3.Connection) -> Iterator[str]:
    for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST_FINDINGS})").fetchall():
        if line != "ok":
            yield f"database: {line}; restore it from a backup or ingest again into a new folder"
    for table, *_ in connection.execute("PRAGMA foreign_key_check").fetchmany(_MOST_FINDINGS):
        yield f"database: a row of {table} refers to nothing; ingest again into a new folder"


def _segment_files(folder: Path, connection: sqlite3.Connection, view: View) -> Iterator[str]:
    """Files of the live edition; another one's are looked at, and mended, when it is the live one."""
    for one in listed(connection, view.edition):
        for suffix, digest in ((block.DENSE, one.dense), (block.SPARSE, one.sparse)):
            file = segments.path(folder, digest, suffix)
            if not segments.intact(file, digest):
                state = "damaged" if file.exists() else "missing"
                yield f"{file}: {state}; searches are right without it and the next write builds it again"


def _rows(connection: sqlite3.Connection, view: View) -> Iterator[str]:
    """Whether what search sees is what the database holds, row by row."""
    stored = np.array(
        [
            row
            for (row,) in connection.execute("SELECT row FROM chunks WHERE edition = ? ORDER BY row", (view.edition,))
        ],
        np.int64,
    )
    seen = np.concatenate([np.zeros(0, np.int64), *(part.block.rows[part.live] for part in view.parts)])
    if not np.array_equal(stored, np.sort(seen)):
        yield f"search sees {len(seen)} chunks where the database has {len(stored)}; ingest again into a new folder"


def _recall(connection: sqlite3.Connection, view: View) -> Iterator[str]:
    """Whether dense search finds what it should; these vectors may be such as its codes cannot tell apart."""
    try:
        found = recall.estimated(view, Stored(connection, view.dimension))
    except Corrupt:
        # Said by name already.
        return
    if found is not None and found < _LEAST_RECALL:
        yield (
            f"dense search finds {found:.0%} of the {recall.COUNT} nearest chunks; the embedder puts too many texts in "
            "one place, so use another one, or hybrid search"
        )


def _rebuilding(connection: sqlite3.Connection, view: View, loader: Loader) -> Iterator[str]:
    """Whether the first chunks of each part have the terms and the vectors that the database gives them."""
    for part in view.parts:
        rows = part.block.rows[part.live][: _SAMPLED // 10]
        if not len(rows):
            continue
        try:
            again = loader.rebuilt(connection, view.edition, int(rows[0]), int(rows[-1]))
        except Corrupt:
            # A damaged row, which has been named above.
            continue
        kept = np.flatnonzero(part.live)[: len(rows)]
        same = np.array_equal(again.lengths, part.block.lengths[kept]) and np.array_equal(
            again.codes.nibbles, part.block.codes.nibbles[kept]
        )
        if not same:
            yield f"chunks from row {rows[0]} on are indexed otherwise than stored; ingest again into a new folder"
