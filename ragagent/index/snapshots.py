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

from ragagent.errors import ConfigError, FingerprintMismatch
from ragagent.index import archive, fingerprint, schema, store
from ragagent.index.database import Readers
from ragagent.text.analyser import Analyser

_NAME_CHARS = 200
_AT_ONCE = 256

_STATE = """
SELECT id, uri, revision FROM documents WHERE born <= {generation}
UNION ALL SELECT document_id, uri, revision FROM archive WHERE born <= {generation} AND died > {generation}
"""


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
            return tuple(_all(connection))

    def diff(self, name: str, other: str | None = None) -> Difference:
        """What changed from snapshot `name` to snapshot `other`, or to now. Raises ConfigError for an unknown name."""
        with self._readers.snapshot() as connection:
            last = schema.generation(connection) if other is None else _generation(connection, other)
            return _difference(connection, _generation(connection, name), last)

    def restore(self, name: str) -> Restored:
        """Makes the documents what they were, in one transaction and without embedding anything.

        The state before is kept as an automatic snapshot. Raises ConfigError for an unknown name, FingerprintMismatch
        when the documents were cut or embedded with other parts than the live edition, Corrupt when what has to come
        back is damaged; nothing is changed then.
        """
        with self._writer() as connection, store.transaction(self._folder, connection):
            generation = _generation(connection, name)
            _require_edition(connection, name, generation)
            difference = _difference(connection, schema.generation(connection), generation)
            stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
            before = _created(connection, _free(connection, f"before {name} {stamp}"), automatic=True)
            gone = [key for (key,) in connection.execute("SELECT id FROM documents WHERE born > ?", (generation,))]
            # Read before anything is archived: the versions that come back are there already.
            rows = [
                row
                for (row,) in connection.execute(
                    "SELECT id FROM archive WHERE born <= ? AND died > ? ORDER BY uri, id", (generation, generation)
                )
            ]
            self._bring_back(connection, rows, gone)
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
                _generation(connection, name)
            for name in wanted:
                connection.execute("DELETE FROM snapshots WHERE name = ?", (name,))
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
    (documents,) = connection.execute("SELECT count(*) FROM documents").fetchone()
    created = time.time()
    connection.execute(
        "INSERT INTO snapshots (name, generation, created, documents, automatic) VALUES (?, ?, ?, ?, ?)",
        (name, schema.generation(connection), created, documents, automatic),
    )
    return Snapshot(name=name, created=created, documents=documents, automatic=automatic)


def _all(connection: sqlite3.Connection) -> Iterable[Snapshot]:
    rows = connection.execute("SELECT name, created, documents, automatic FROM snapshots ORDER BY generation, name")
    return [Snapshot(name=row[0], created=row[1], documents=row[2], automatic=bool(row[3])) for row in rows]


def _generation(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT generation FROM snapshots WHERE name = ?", (name,)).fetchone()
    if row is None:
        there = ", ".join(repr(one.name) for one in _all(connection)) or "none"
        raise ConfigError(f"no snapshot {name!r}; there are: {there}")
    return int(row[0])


def _free(connection: sqlite3.Connection, wanted: str) -> str:
    taken = {one.name for one in _all(connection)}
    names = [wanted[-_NAME_CHARS:], *(f"{wanted[-_NAME_CHARS + 8 :]} ({number})" for number in range(2, 1000))]
    return next(name for name in names if name not in taken)


def _difference(connection: sqlite3.Connection, first: int, last: int) -> Difference:
    before, after = (f"({_STATE.format(generation=generation)})" for generation in (first, last))

    # Joined by id: ids are unique within a state.
    states = f"WITH a AS MATERIALIZED {before}, b AS MATERIALIZED {after}"

    def names(query: str) -> tuple[DocumentName, ...]:
        rows = connection.execute(f"{states} SELECT id, uri FROM ({query}) ORDER BY uri, id")
        return tuple(DocumentName(id=key, uri=uri) for key, uri in rows)

    return Difference(
        added=names("SELECT id, uri FROM b WHERE id NOT IN (SELECT id FROM a)"),
        removed=names("SELECT id, uri FROM a WHERE id NOT IN (SELECT id FROM b)"),
        changed=names("SELECT b.id, b.uri FROM b JOIN a ON a.id = b.id WHERE a.revision != b.revision"),
    )


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
