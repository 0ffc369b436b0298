"""Giving room back: in bounded steps, and so thoroughly that nothing of removed documents is left in any file.

Freed pages are cut off the end of the database a few megabytes at a time, each step a transaction of its own, so it
takes no more room than a step. Erasing has to write the database anew: SQLite may leave copies of moved rows in the
unused parts of pages. It takes room for the database twice while it runs.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ragagent.errors import IndexStateError, Locked
from ragagent.index import schema, snapshots, store
from ragagent.index.database import FILE_NAME, shorten_log, translated
from ragagent.index.upkeep import Upkeep
from ragagent.index.view import Loader, View
from ragagent.protocols import Progress
from ragagent.text.analyser import Analyser

_STEP_PAGES = 1024
RUNS = "agent.db"
"""Where agents keep their runs, beside the index."""
_RUNS_NOTE = f"{RUNS} keeps runs of agents, which may quote documents; delete it to forget them"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactReport:
    """What compacting did: sizes of all files in bytes, the snapshots it dropped, and what people should know."""

    size_before: int
    size_after: int
    erased: bool
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What to do beside giving free room back."""

    erase: bool = False
    drop_snapshots: bool = False


def compact(
    folder: Path,
    connection: sqlite3.Connection,
    choice: Choice,
    analyser: Analyser,
    view: Callable[[], View],
    progress: Progress | None = None,
) -> CompactReport:
    """Gives free room back, or erases. The caller holds the writer's lock; `view` gives the newest view.

    Raises IndexStateError, naming them, when snapshots hold removed documents and are not to be dropped; Locked when
    a reader keeps the log from being emptied; StorageFull. Nothing is lost then.
    """
    before = size_of(folder)
    dropped: tuple[str, ...] = ()
    if choice.erase:
        dropped = _erase(folder, connection, choice, analyser, view, progress)
    else:
        _vacuum(folder, connection, progress)
    return CompactReport(
        size_before=before,
        size_after=size_of(folder),
        erased=choice.erase,
        dropped=dropped,
        notes=(_RUNS_NOTE,) if choice.erase and (folder / RUNS).exists() else (),
    )


def size_of(folder: Path) -> int:
    """The size of the files of an index, in bytes."""
    sizes = []
    for file in (*folder.glob(f"{FILE_NAME}*"), *folder.glob("segments/*")):
        # A merge in another process may remove one meanwhile.
        with contextlib.suppress(FileNotFoundError):
            sizes.append(file.stat().st_size)
    return sum(sizes)


def _vacuum(folder: Path, connection: sqlite3.Connection, progress: Progress | None) -> None:
    """Gives the free pages of the database back, in bounded steps. The caller holds the writer's lock."""
    with translated(folder):
        total = _free_pages(connection)
        while left := _free_pages(connection):
            if progress is not None:
                progress.update("compact", total - left, total)
            # As a script: `execute` would stop after the first page.
            connection.executescript(f"PRAGMA incremental_vacuum({_STEP_PAGES})")
            shorten_log(folder, connection)
            if _free_pages(connection) >= left:
                break
        _empty_log(connection)


def _erase(
    folder: Path,
    connection: sqlite3.Connection,
    choice: Choice,
    analyser: Analyser,
    view: Callable[[], View],
    progress: Progress | None,
) -> tuple[str, ...]:
    """Leaves nothing of documents that are gone in any file; returns the snapshots it dropped."""
    with translated(folder):
        holding = snapshots.holding(connection)
        if holding and not choice.drop_snapshots:
            raise IndexStateError(
                f"{folder}: snapshots hold documents that were removed or changed since: "
                f"{', '.join(map(repr, holding))}. Remove them, or let this drop them (--drop-snapshots)"
            )
        with store.transaction(folder, connection):
            snapshots.forget(connection, holding)
        if progress is not None:
            progress.update("segments", 0, None)
        _purge_segments(folder, connection, analyser, view)
        if progress is not None:
            progress.update("database", 0, None)
        connection.execute("VACUUM")
        if not _empty_log(connection):
            raise Locked(f"{folder}: a reader keeps the log of earlier states open; when it is done, run this again")
    return holding


def _purge_segments(folder: Path, connection: sqlite3.Connection, analyser: Analyser, view: Callable[[], View]) -> None:
    live = schema.edition(connection)
    Upkeep(folder=folder, connection=connection, view=view).purge()
    others = connection.execute("SELECT id FROM editions WHERE id != ?", (live,)).fetchall()
    for (edition,) in others:
        loader = Loader(folder=folder, analyser=analyser, edition=edition)
        Upkeep(
            folder=folder,
            connection=connection,
            view=lambda loader=loader: loader.load(connection, None),  # type: ignore[misc]
        ).purge()


def _free_pages(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def _empty_log(connection: sqlite3.Connection) -> bool:
    """Empties the write-ahead log; whether it could."""
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
