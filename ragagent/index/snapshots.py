"""Snapshots: names for commits. What a snapshot has that is changed later goes into the archive first.

Making one writes a single row. Documents carry the commit they were written by (`born`), archived versions the commit
that ended them as well (`died`), so a snapshot of commit g is the documents with born <= g and the archived versions
with born <= g < died.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragagent.errors import ConfigError, Corrupt, FingerprintMismatch
from ragagent.index import archive, checksums, fingerprint, records, schema, store
from ragagent.index.database import Readers
from ragagent.text.analyser import Analyser

_NAME_CHARS = 200
_AT_ONCE = 256

_STATE = """
SELECT id, uri, revision, row AS place FROM documents WHERE born <= {generation}
UNION ALL
SELECT document_id, uri, revision, -id AS place FROM archive WHERE born <= {generation} AND died > {generation}
"""
"""The documents of a state; `place` is the row of a document, or that of an archived version below zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A named state of so many documents. `created` is in seconds since 1970; `automatic` ones precede a restore."""

    name: str
    created: float
    documents: int
    automatic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentName:
    """A document in a list of changes."""

    id: str
    uri: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What changed from one state to another, each in the order of uri."""

    added: tuple[DocumentName, ...]
    removed: tuple[DocumentName, ...]
    changed: tuple[DocumentName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A restore: what it did to the documents, and the snapshot that has the state before it."""

    name: str
    before: str
    difference: Difference


class Snapshots:
    """The snapshots of one index. Writing takes the writer's lock for each call; reading takes none."""

    def __init__(
        self,
        folder: Path,
        *,
        readers: Readers,
        writer: Callable[[], AbstractContextManager[sqlite3.Connection]],
        analyser: Analyser,
    ) -> None:
        """`writer` gives the connection of whoever holds the writer's lock, and the lock with it."""
        self._folder = folder
        self._readers = readers
        self._writer = writer
        self._analyser = analyser

    def create(self, name: str) -> Snapshot:
        """Names the state there is now. Raises ConfigError for a name that is taken or is none."""
        with self._writer() as connection, store.transaction(self._folder, connection):
            return _created(connection, name, automatic=False)

    def list(self) -> tuple[Snapshot, ...]:
        """Every snapshot, the oldest first."""
        with self._readers.snapshot() as connection:
            return tuple(one.snapshot for one in _all(connection))

    def diff(self, name: str, other: str | None = None) -> Difference:
        """What changed from snapshot `name` to snapshot `other`, or to now. Raises ConfigError for an unknown name."""
        with self._readers.snapshot() as connection:
            last = None if other is None else _named(connection, other)
            return _difference(connection, _named(connection, name), last)

    def restore(self, name: str) -> Restored:
        """Makes the documents what they were, in one transaction and without embedding anything.

        The state before is kept as an automatic snapshot. Raises ConfigError for an unknown name, FingerprintMismatch
        when the documents were cut or embedded with other parts than the live edition, Corrupt when what has to come
        back is damaged; nothing is changed then.
        """
        with self._writer() as connection, store.transaction(self._folder, connection):
            wanted = _named(connection, name)
            generation = wanted.generation
            _require_edition(connection, name, generation)
            difference = _difference(connection, None, wanted)
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
            before = _created(connection, _free(connection, f"before {name} {stamp}"), automatic=True)
            since = "SELECT id FROM documents NOT INDEXED WHERE born > ?"
            gone = [key for (key,) in connection.execute(since, (generation,))]
            # Read before anything is archived: the versions that come back are there already.
            rows = [
                row
                for (row,) in connection.execute(
                    "SELECT id FROM archive WHERE born <= ? AND died > ? ORDER BY uri, id", (generation, generation)
                )
            ]
            archive.require_sound(connection, rows)
            self._bring_back(connection, rows, gone)
            if (found := schema.facts(connection)["documents"]) != wanted.snapshot.documents:
                raise _incomplete(name, wanted.snapshot.documents, found)
        return Restored(name=name, before=before.name, difference=difference)

    def _bring_back(self, connection: sqlite3.Connection, rows: Sequence[int], gone: Iterable[str]) -> None:
        """Puts archived versions in the place of the documents that are gone."""
        back = {
            key
            for group in store.grouped(rows)
            for (key,) in connection.execute(f"SELECT document_id FROM archive WHERE id IN ({_marks(group)})", group)
        }
        store.write_versions(connection, (), [key for key in gone if key not in back], self._analyser)
        for at in range(0, len(rows), _AT_ONCE):
            group = rows[at : at + _AT_ONCE]
            stored = connection.execute(
                f"SELECT record, uri FROM archive WHERE id IN ({_marks(group)}) ORDER BY uri, id", group
            ).fetchall()
            versions = [archive.unpacked(record, uri) for record, uri in stored]
            store.write_versions(connection, versions, (), self._analyser)

    def remove(self, names: Iterable[str]) -> None:
        """Forgets snapshots, and what only they have. Raises ConfigError for an unknown name; none is removed then."""
        with self._writer() as connection, store.transaction(self._folder, connection):
            wanted = list(names)
            for name in wanted:
                _named(connection, name)
            forget(connection, wanted)


def forget(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    """Removes snapshots and what only they have, inside the caller's transaction."""
    there = len(_all(connection))
    connection.executemany("DELETE FROM snapshots WHERE name = ?", [(name,) for name in names])
    (left,) = connection.execute("SELECT count(*) FROM snapshots").fetchone()
    schema.add(connection, "snapshots", left - there)
    purge(connection)


def holding(connection: sqlite3.Connection) -> tuple[str, ...]:
    """The names of the snapshots that have versions of documents which are gone or have changed since."""
    rows = connection.execute(
        "SELECT name FROM snapshots WHERE EXISTS"
        " (SELECT 1 FROM archive WHERE born <= snapshots.generation AND died > snapshots.generation)"
        " ORDER BY generation, name"
    )
    return tuple(name for (name,) in rows)


def purge(connection: sqlite3.Connection) -> None:
    """Removes what no snapshot needs from the archive, inside the caller's transaction."""
    rows = [row for (row,) in connection.execute(f"SELECT id FROM archive WHERE NOT {archive.NEEDED}")]
    for group in store.grouped(rows):
        query = f"SELECT DISTINCT embedding FROM archived_embeddings WHERE archive IN ({_marks(group)})"
        freed = [embedding for (embedding,) in connection.execute(query, group)]
        connection.execute(f"DELETE FROM archive WHERE id IN ({_marks(group)})", group)
        store.drop_embeddings(connection, freed)


def _created(connection: sqlite3.Connection, name: str, *, automatic: bool) -> Snapshot:
    if not name.strip() or len(name) > _NAME_CHARS or not name.isprintable():
        raise ConfigError(f"{name!r}: no name for a snapshot; use 1 to {_NAME_CHARS} printable characters")
    if connection.execute("SELECT 1 FROM snapshots WHERE name = ?", (name,)).fetchone():
        raise ConfigError(f"there is a snapshot {name!r} already; take another name, or remove that one first")
    documents = schema.facts(connection)["documents"]
    created = time.time()
    connection.execute(
        "INSERT INTO snapshots (name, generation, created, documents, automatic) VALUES (?, ?, ?, ?, ?)",
        (name, schema.generation(connection), created, documents, automatic),
    )
    seal(connection, name)
    schema.add(connection, "snapshots", 1)
    return Snapshot(name=name, created=created, documents=documents, automatic=automatic)


@dataclass(frozen=True, slots=True)
class _Named:
    """A snapshot and the commit that it names."""

    snapshot: Snapshot
    generation: int


_ROW = "name, generation, created, documents, automatic"


def seal(connection: sqlite3.Connection, name: str) -> None:
    """Renews the checksum of a snapshot that was changed, inside the caller's transaction."""
    row = connection.execute(f"SELECT {_ROW} FROM snapshots WHERE name = ?", (name,)).fetchone()
    connection.execute("UPDATE snapshots SET checksum = ? WHERE name = ?", (_checksum(row), name))


def _checksum(row: Sequence[Any]) -> int:
    return checksums.row(*row[:2], repr(row[2]), *row[3:])


def _all(connection: sqlite3.Connection) -> list[_Named]:
    """Every snapshot, the oldest first. Raises Corrupt when one is missing or damaged."""
    rows = connection.execute(f"SELECT {_ROW}, checksum FROM snapshots ORDER BY generation, name").fetchall()
    if len(rows) != schema.facts(connection)["snapshots"] or any(_checksum(row[:-1]) != row[-1] for row in rows):
        raise Corrupt("the list of snapshots is damaged; restore the knowledge base from a backup")
    return [
        _Named(Snapshot(name=name, created=created, documents=documents, automatic=bool(automatic)), generation)
        for name, generation, created, documents, automatic, _ in rows
    ]


def _named(connection: sqlite3.Connection, name: str) -> _Named:
    every = {one.snapshot.name: one for one in _all(connection)}
    if name not in every:
        raise ConfigError(f"no snapshot {name!r}; there are: {', '.join(map(repr, every)) or 'none'}")
    return every[name]


def _incomplete(name: str, wanted: int, found: int) -> Corrupt:
    return Corrupt(
        f"{name!r} had {wanted} documents, and {found} are found: the database is damaged; restore it from a backup"
    )


def _free(connection: sqlite3.Connection, wanted: str) -> str:
    taken = {one.snapshot.name for one in _all(connection)}
    names = [wanted[-_NAME_CHARS:], *(f"{wanted[-_NAME_CHARS + 8 :]} ({number})" for number in range(2, 1000))]
    return next(name for name in names if name not in taken)


def _difference(connection: sqlite3.Connection, first: _Named | None, last: _Named | None) -> Difference:
    """What changed between two states; None is the one there is now."""
    before, after = (f"({_state(connection, one)})" for one in (first, last))

    # Joined by id: ids are unique within a state.
    states = f"WITH a AS MATERIALIZED {before}, b AS MATERIALIZED {after}"

    def names(query: str) -> tuple[DocumentName, ...]:
        rows = connection.execute(f"{states} SELECT id, uri, place FROM ({query}) ORDER BY uri, id").fetchall()
        _require_sound(connection, rows)
        return tuple(DocumentName(id=key, uri=uri) for key, uri, _ in rows)

    return Difference(
        added=names("SELECT * FROM b WHERE id NOT IN (SELECT id FROM a)"),
        removed=names("SELECT * FROM a WHERE id NOT IN (SELECT id FROM b)"),
        changed=names("SELECT b.* FROM b JOIN a ON a.id = b.id WHERE a.revision != b.revision"),
    )


def _state(connection: sqlite3.Connection, one: _Named | None) -> str:
    """The query of a state. Raises Corrupt unless it finds as many documents as the state had."""
    now = schema.facts(connection)
    query = _STATE.format(generation=now["generation"] if one is None else one.generation)
    (found, different) = connection.execute(f"SELECT count(*), count(DISTINCT id) FROM ({query})").fetchone()
    name, wanted = ("now", now["documents"]) if one is None else (one.snapshot.name, one.snapshot.documents)
    if not found == different == wanted:
        raise _incomplete(name, wanted, found)
    return query


def _require_sound(connection: sqlite3.Connection, rows: Sequence[tuple[str, str, int]]) -> None:
    """Raises Corrupt unless what is said of documents (id, uri, place) is what was written."""
    archive.require_sound(connection, [-place for _, _, place in rows if place < 0])
    there = {key: uri for key, uri, place in rows if place > 0}
    known = records.known_of(connection, list(there))
    for key, uri in there.items():
        if key not in known or known[key].uri != uri:
            raise records.lost(uri)


def _require_edition(connection: sqlite3.Connection, name: str, generation: int) -> None:
    live = schema.edition(connection)
    editions = connection.execute(
        "SELECT DISTINCT edition FROM archive WHERE born <= ? AND died > ?", (generation, generation)
    ).fetchall()
    for (edition,) in editions:
        if edition != live and not _same_parts(connection, edition, live):
            raise FingerprintMismatch(
                f"snapshot {name!r} has documents that were cut or embedded with other parts than are in use now. "
                "Roll the migration back first (ragagent migrate --rollback), or restore a backup into a new folder"
            )


def _same_parts(connection: sqlite3.Connection, first: int, second: int) -> bool:
    """Whether chunks and vectors of two editions are made alike; terms are made anew anyway."""
    rows = connection.execute("SELECT id FROM editions WHERE id IN (?, ?)", (first, second)).fetchall()
    if len(rows) < 2:
        return False
    return fingerprint.alike(schema.fingerprint(connection, first), schema.fingerprint(connection, second))


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
