"""Editions: the same documents cut, embedded or analysed in different ways, side by side, one of them live.

    building --swap--> live --swap of another--> old --swap (rollback)--> live
    building, old --drop--> gone

An edition that is not live marks the documents that it has as they are now; whoever writes a document takes the marks
away. A swap needs every document to be marked, and is one transaction.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from ragagent.errors import IndexStateError
from ragagent.index import archive, records, schema, store
from ragagent.index.archive import Version
from ragagent.index.database import Readers, shorten_log, translated
from ragagent.index.fingerprint import alike
from ragagent.index.upkeep import Step, build, due, publish, sweep
from ragagent.index.view import Loader, View
from ragagent.protocols import Entry, KnownDocument
from ragagent.text.analyser import Analyser

State = Literal["live", "building", "old"]

_DROPPED_AT_ONCE = 4096
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """What an edition is built with; of how many `documents`, and how many `built` it has in `chunks`.

    `created` is in seconds since 1970.
    """

    id: int
    fingerprint: Mapping[str, str]
    dimension: int
    state: State
    created: float
    documents: int
    built: int
    chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbuilt:
    """A document that an edition lacks, at `row`; `born` is the generation of the version that is there."""

    row: int
    born: int
    known: KnownDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A document as an edition that is not live shall have it, made from the version of generation `born`.

    Where it was `reread`, its record is another than the one that is there, and takes its place at the swap.
    """

    entry: Entry
    born: int
    reread: bool = False


class Editions:
    """The editions of one index. Writing takes the writer's lock for each call; reading takes none."""

    def __init__(
        self,
        folder: Path,
        *,
        readers: Readers,
        writer: Callable[[], AbstractContextManager[sqlite3.Connection]],
        analyser: Analyser,
        fold_chunks: int,
    ) -> None:
        """`writer` gives the connection of whoever holds the writer's lock, and the lock with it."""
        self._folder = folder
        self._readers = readers
        self._writer = writer
        self._analyser = analyser
        self._fold_chunks = fold_chunks
        self._view: View | None = None

    def all(self) -> tuple[Edition, ...]:
        """Every edition, the oldest first."""
        with self._readers.snapshot() as connection:
            return tuple(_edition(connection, one) for one in schema.editions(connection))

    def live(self) -> Edition:
        """The one that is searched."""
        with self._readers.snapshot() as connection:
            return _edition(connection, schema.built(connection, schema.edition(connection)))

    def begin(self, fingerprint: Mapping[str, str], dimension: int) -> Edition:
        """The edition that is built with these parts: one that was begun or is kept, or else a new one.

        Another one that was begun and not finished is dropped.
        """
        with self._writer():
            others = [one for one in self.all() if one.state != "live"]
            for one in others:
                if dict(one.fingerprint) == dict(fingerprint) and one.dimension == dimension:
                    return one
            for one in others:
                if one.state == "building":
                    self.drop(one.id)
            with self._transaction() as connection:
                made = schema.insert_edition(connection, fingerprint, dimension, "building")
            return next(one for one in self.all() if one.id == made)

    def unbuilt(self, edition: int, count: int, *, after: int = 0) -> list[Unbuilt]:
        """Up to `count` documents that the edition lacks, in the order of row, of the rows `after` one."""
        with self._readers.snapshot() as connection:
            return _unbuilt(connection, edition, count, after)

    def build(self, edition: int, shadows: Sequence[Shadow]) -> int:
        """Writes documents of an edition that is not live, in one transaction; returns how many.

        One that was removed or written since it was read is passed over, and stays unbuilt.
        """
        with self._transaction() as connection:
            _require_not_live(connection, edition)
            dimension = schema.dimension(connection, edition)
            for shadow in shadows:
                store.require(shadow.entry, dimension)
            current = [one for one in shadows if _born(connection, one.entry.document.id) == one.born]
            store.write_built(connection, edition, [one.entry for one in current], self._analyser)
            for one in current:
                if one.reread:
                    _stage(connection, edition, one.entry)
        self.fold(edition, self._fold_chunks)
        return len(current)

    def fold(self, edition: int, fold_chunks: int = 1) -> None:
        """Puts the chunks that are in no segment yet into one, if they are at least `fold_chunks`, and merges segments.

        Segments are built without the lock, so that writers wait for none of it.
        """
        failed = 0
        while step := self._due(edition, fold_chunks):
            with contextlib.ExitStack() as held:
                if failed >= _ATTEMPTS:
                    # Another writer sweeps up our files before they are listed; now it has to wait.
                    held.enter_context(self._writer())
                with translated(self._folder):
                    built = build(self._folder, step)
                connection = held.enter_context(self._writer())
                with translated(self._folder):
                    failed += not publish(self._folder, connection, built)
                    sweep(self._folder, connection)
                    shorten_log(self._folder, connection)

    def _due(self, edition: int, fold_chunks: int) -> Step | None:
        loader = Loader(folder=self._folder, analyser=self._analyser, edition=edition)
        with self._readers.snapshot() as connection:
            before = self._view
            if before is None or before.edition != edition or before.generation > schema.generation(connection):
                before = None
            self._view = loader.load(connection, before)
            # A damaged segment is mended when the edition is live: records that wait for the swap are not in `texts`.
            return None if self._view.damaged else due(connection, self._view, fold_chunks)

    def swap(self, edition: int) -> bool:
        """Makes an edition the live one, in one transaction; false, and nothing done, when it lacks a document.

        The one that was live is kept as the old one, and an older one is dropped.
        """
        with self._transaction() as connection:
            _require_not_live(connection, edition)
            if _unbuilt(connection, edition, 1):
                return False
            before = schema.edition(connection)
            _bring_staged(connection, edition, before)
            connection.execute("DELETE FROM built WHERE edition = ?", (edition,))
            connection.execute(
                "INSERT OR IGNORE INTO built (edition, document) SELECT ?, row FROM documents", (before,)
            )
            schema.change_edition(connection, before, state="old")
            schema.change_edition(connection, edition, state="live")
            schema.put(connection, edition=edition)
        self._view = None
        for one in self.all():
            if one.state == "old" and one.id != before:
                self.drop(one.id)
        return True

    def drop(self, edition: int) -> None:
        """Removes an edition that is not live, in bounded steps; one that is interrupted is no edition any more."""
        with self._writer():
            with self._transaction() as connection:
                _require_not_live(connection, edition)
                _bequeath(connection, edition)
                # Nobody shall swap to what is left after a kill: it is a building one that nothing asks for.
                schema.change_edition(connection, edition, state="building", fingerprint="{}")
                for table in ("segments", "postings", "built"):
                    connection.execute(f"DELETE FROM {table} WHERE edition = ?", (edition,))
            while self._drop_some(edition):
                pass
            with self._transaction() as connection:
                connection.execute("DELETE FROM dead WHERE edition = ?", (edition,))
                connection.execute("DELETE FROM editions WHERE id = ?", (edition,))
            self._view = None

    def finish(self) -> bool:
        """Drops the edition that is kept for a rollback, and what an interrupted drop left; whether one was kept."""
        with self._writer():
            spare = [
                one for one in self.all() if one.state == "old" or (one.state == "building" and not one.fingerprint)
            ]
            for one in spare:
                self.drop(one.id)
        return any(one.state == "old" for one in spare)

    def _drop_some(self, edition: int) -> bool:
        """Removes the chunks of some documents; false when there are none left."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT row, embedding FROM chunks WHERE edition = ? LIMIT ?", (edition, _DROPPED_AT_ONCE)
            ).fetchall()
            connection.executemany("DELETE FROM chunks WHERE row = ?", [(row,) for row, _ in rows])
            schema.count_chunks(connection, edition, (), [row for row, _ in rows])
            store.drop_embeddings(connection, {embedding for _, embedding in rows})
        return bool(rows)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._writer() as connection, store.transaction(self._folder, connection):
            yield connection


def _edition(connection: sqlite3.Connection, one: schema.Built) -> Edition:
    documents = schema.facts(connection)["documents"]
    built = _count_built(connection, one.id)
    return Edition(
        id=one.id,
        fingerprint=json.loads(one.fingerprint),
        dimension=one.dimension,
        state=cast(State, one.state),
        created=one.created,
        documents=documents,
        built=documents if one.state == "live" else built,
        chunks=one.chunks,
    )


def _count_built(connection: sqlite3.Connection, edition: int) -> int:
    """How many documents an edition that is not live has chunks for.

    Counted along the key, which a flipped bit can cut short, and in another order. Raises sqlite3.DatabaseError when
    they differ.
    """
    (built,) = connection.execute("SELECT count(*) FROM built WHERE edition = ?", (edition,)).fetchone()
    (again,) = connection.execute(
        "SELECT count(*) FROM built INDEXED BY built_by_document WHERE document > -1 AND edition = ?", (edition,)
    ).fetchone()
    if built != again:
        raise sqlite3.DatabaseError("the list of documents that an edition has chunks for is damaged")
    return int(built)


def _require_not_live(connection: sqlite3.Connection, edition: int) -> None:
    row = connection.execute("SELECT state FROM editions WHERE id = ?", (edition,)).fetchone()
    if row is None or row[0] == "live":
        state = "live already" if row else "gone: another migration took its place"
        raise IndexStateError(f"edition {edition} is {state}; run the migration again")


def _bequeath(connection: sqlite3.Connection, edition: int) -> None:
    """Lets versions that snapshots have of an edition pass as the live one's, where chunks and vectors are alike."""
    live = schema.edition(connection)
    if alike(schema.fingerprint(connection, edition), schema.fingerprint(connection, live)):
        rows = [row for (row,) in connection.execute("SELECT id FROM archive WHERE edition = ?", (edition,))]
        archive.require_sound(connection, rows)
        connection.executemany("UPDATE archive SET edition = ? WHERE id = ?", [(live, row) for row in rows])
        archive.seal(connection, rows)


def _unbuilt(connection: sqlite3.Connection, edition: int, count: int, after: int = 0) -> list[Unbuilt]:
    rows = connection.execute(
        f"SELECT row, born, {records.KNOWN} FROM documents WHERE row > ? AND NOT EXISTS"
        " (SELECT 1 FROM built WHERE edition = ? AND document = documents.row) ORDER BY row LIMIT ?",
        (after, edition, count),
    )
    return [Unbuilt(row=row, born=born, known=records.as_known(values)) for row, born, *values in rows]


def _born(connection: sqlite3.Connection, document_id: str) -> int | None:
    row = connection.execute("SELECT born FROM documents WHERE id = ?", (document_id,)).fetchone()
    return None if row is None else int(row[0])


def _stage(connection: sqlite3.Connection, edition: int, entry: Entry) -> None:
    """Keeps the document of `entry` with its mark until the swap."""
    version = Version(
        document=entry.document, source=entry.source, stamp=entry.stamp, chunks=(), contents=(), embeddings=()
    )
    connection.execute(
        "UPDATE built SET record = ? WHERE edition = ? AND document = (SELECT row FROM documents WHERE id = ?)",
        (archive.packed(version), edition, entry.document.id),
    )


def _bring_staged(connection: sqlite3.Connection, edition: int, before: int) -> None:
    """Puts the records that `edition` staged in the place of those that are there, and stages these for `before`."""
    staged = connection.execute(
        "SELECT b.document, b.record, d.uri FROM built b JOIN documents d ON d.row = b.document"
        " WHERE b.edition = ? AND b.record IS NOT NULL",
        (edition,),
    ).fetchall()
    rows = [row for row, _, _ in staged]
    archive.keep(connection, rows)
    for row, record, uri in staged:
        now = archive.version(connection, row)
        kept = Version(document=now.document, source=now.source, stamp=now.stamp, chunks=(), contents=(), embeddings=())
        connection.execute(
            "INSERT INTO built (edition, document, record) VALUES (?, ?, ?)", (before, row, archive.packed(kept))
        )
        store.write_record(connection, row, archive.unpacked(record, uri))
