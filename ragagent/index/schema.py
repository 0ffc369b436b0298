"""The tables of a knowledge base, their version, and what the index was built with.

meta         generation (counts commits), edition (the live one), how many documents and snapshots there are, and the
             checksum of all of these
editions     what the documents were cut, embedded and analysed with; one is live, others are being built or kept;
             how many chunks each has, and the sum of their rows
documents    one row for each document; its text lies in `texts`, in pieces, so that a passage of a long text
             is read without the rest; `born` is the generation of the commit that wrote this version
attributes   what `where` can ask for: (key, value, document)
tallies      for each key of the attributes how many there are, and a sum over them (`ragagent.index.tallies`)
chunks       one row for each chunk of an edition; rows only grow and are never used twice
embeddings   one vector for each text that an embedder saw, shared by the chunks that have it, of any edition
postings     the analysed terms of the chunks that are in no segment yet: the tail
dead         rows that are gone but still in a segment or in a reader's memory
segments     the immutable files: each holds the rows first..last of an edition, apart from those that were dead when
             it was made
built        the documents that an edition which is not live has chunks for, as the documents are now, or with the
             record that takes the place of what they are now when the edition becomes the live one
snapshots    names for generations
archive      versions of documents that are gone but belong to a snapshot: born <= generation < died
archived_embeddings  the vectors that an archived version needs

Checksums are CRC-32; `ragagent.index.checksums` says of what. They tell a flipped bit, not a forger. A row that is
found is held against its checksum; that none is missing is known from the counts and sums, and from asking a second
tree of the database: ids, uris and sources of documents are in the attributes as well.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragagent.atomic import sync_folder
from ragagent.errors import Corrupt, FingerprintMismatch, NewerVersion
from ragagent.index import checksums
from ragagent.index.database import FILE_NAME, connect, single, translated

VERSION = 4
APPLICATION_ID = 0x52414758
_ASIDE = ".aside"

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE editions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('live', 'building', 'old')),
    created REAL NOT NULL,
    chunks INTEGER NOT NULL DEFAULT 0,
    total INTEGER NOT NULL DEFAULT 0,
    checksum INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE documents (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    uri TEXT NOT NULL,
    source TEXT NOT NULL,
    stamp TEXT NOT NULL,
    revision TEXT NOT NULL,
    title TEXT NOT NULL,
    media_type TEXT NOT NULL,
    metadata TEXT NOT NULL,
    acl TEXT NOT NULL,
    blocks TEXT NOT NULL,
    characters INTEGER NOT NULL,
    born INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    mark INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX documents_by_uri ON documents (uri, id);
CREATE INDEX documents_by_source ON documents (source);
CREATE INDEX documents_by_born ON documents (born);
CREATE TABLE texts (
    document INTEGER NOT NULL REFERENCES documents (row) ON DELETE CASCADE,
    start INTEGER NOT NULL,
    text TEXT NOT NULL,
    checksum INTEGER NOT NULL,
    PRIMARY KEY (document, start)
) WITHOUT ROWID;
CREATE TABLE attributes (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (row) ON DELETE CASCADE,
    PRIMARY KEY (key, value, document)
) WITHOUT ROWID;
CREATE INDEX attributes_by_document ON attributes (document);
CREATE TABLE tallies (key TEXT PRIMARY KEY, count INTEGER NOT NULL, total INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE embeddings (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE,
    vector BLOB NOT NULL
);
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    edition INTEGER NOT NULL REFERENCES editions (id),
    document INTEGER NOT NULL REFERENCES documents (row),
    id TEXT NOT NULL,
    position INTEGER NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    page INTEGER,
    headings TEXT NOT NULL,
    content BLOB NOT NULL,
    embedding INTEGER NOT NULL REFERENCES embeddings (row),
    checksum INTEGER NOT NULL,
    UNIQUE (edition, id)
);
CREATE INDEX chunks_by_document ON chunks (document, edition, position);
CREATE INDEX chunks_by_embedding ON chunks (embedding);
CREATE TABLE postings (
    chunk INTEGER PRIMARY KEY REFERENCES chunks (row) ON DELETE CASCADE,
    edition INTEGER NOT NULL,
    terms TEXT NOT NULL,
    counts BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE TABLE dead (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    row INTEGER NOT NULL UNIQUE,
    edition INTEGER NOT NULL
);
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    edition INTEGER NOT NULL REFERENCES editions (id),
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    dense TEXT NOT NULL,
    sparse TEXT NOT NULL,
    bytes INTEGER NOT NULL
);
CREATE TABLE built (
    edition INTEGER NOT NULL REFERENCES editions (id),
    document INTEGER NOT NULL REFERENCES documents (row) ON DELETE CASCADE,
    record BLOB,
    PRIMARY KEY (edition, document)
) WITHOUT ROWID;
CREATE INDEX built_by_document ON built (document);
CREATE TABLE snapshots (
    name TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    created REAL NOT NULL,
    documents INTEGER NOT NULL,
    automatic INTEGER NOT NULL,
    checksum INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE archive (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document_id TEXT NOT NULL,
    uri TEXT NOT NULL,
    born INTEGER NOT NULL,
    died INTEGER NOT NULL,
    revision TEXT NOT NULL,
    edition INTEGER NOT NULL,
    record BLOB NOT NULL,
    checksum INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX archive_by_life ON archive (died, born);
CREATE TABLE archived_embeddings (
    archive INTEGER NOT NULL REFERENCES archive (id) ON DELETE CASCADE,
    embedding INTEGER NOT NULL REFERENCES embeddings (row),
    PRIMARY KEY (archive, embedding)
) WITHOUT ROWID;
CREATE INDEX archived_by_embedding ON archived_embeddings (embedding);
"""

NAME_KEY = "embedder_name"
"""The one key of the fingerprint that is only remembered, not compared: a model may be reached by several names."""


def create(folder: Path, fingerprint: Mapping[str, str], dimension: int) -> None:
    """Makes the database, whole or not at all. The caller holds the writer's lock and has seen that there is none."""
    with translated(folder):
        # Built aside, so that it appears whole: a kill while SQLite writes its first pages would leave a rollback
        # journal, which no reader can play back.
        aside = folder / f"{FILE_NAME}{_ASIDE}"
        for leftover in (*folder.glob(f"{aside.name}*"), *folder.glob(f"{FILE_NAME}-*")):
            leftover.unlink()
        connection = sqlite3.connect(aside, isolation_level=None)
        try:
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in TABLES.split(";"):
                connection.execute(statement)
            edition = insert_edition(connection, fingerprint, dimension, "live")
            begin(connection, generation=1, edition=edition)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        finally:
            connection.close()
        aside.replace(folder / FILE_NAME)
        sync_folder(folder)
        sync_folder(folder.parent)


def exists(folder: Path) -> bool:
    """Whether `folder` holds a knowledge base. Raises Corrupt for a foreign database, NewerVersion for a newer one."""
    file = folder / FILE_NAME
    with translated(folder):
        if not file.is_file() or (file.stat().st_size == 0 and not _logged(file)):
            return False
    connection = connect(folder, read_only=True)
    try:
        return checked(folder, connection)
    finally:
        connection.close()


def _logged(file: Path) -> bool:
    log = file.with_name(file.name + "-wal")
    return log.is_file() and log.stat().st_size > 0


def checked(folder: Path, connection: sqlite3.Connection) -> bool:
    """Whether the schema is there, in a version that this code reads."""
    with translated(folder):
        found = version(connection)
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables == 0:
        return False
    if application != APPLICATION_ID:
        raise Corrupt(f"{folder / FILE_NAME}: a database, but not one of ragagent; choose another folder")
    if found > VERSION:
        raise NewerVersion(
            f"{folder}: made by a newer ragagent (format {found}, this one reads up to {VERSION}); "
            "it is left as it is. Upgrade ragagent to use it"
        )
    return True


def begin(connection: sqlite3.Connection, *, generation: int, edition: int) -> None:
    """Writes the first `meta`, of an index without documents."""
    facts = {"generation": generation, "edition": edition, "documents": 0, "snapshots": 0, _CHECK: 0}
    connection.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
    _seal(connection)


_CHECK = "check"


def facts(connection: sqlite3.Connection) -> dict[str, int]:
    """What `meta` says; also of format 1 and 2. Raises sqlite3.DatabaseError, which is `translated`, when damaged."""
    stored = dict(connection.execute("SELECT key, value FROM meta"))
    if _CHECK in stored:
        if stored.pop(_CHECK) != _checksum(stored):
            raise sqlite3.DatabaseError("the counts of the knowledge base are damaged")
    elif version(connection) >= _SEALED or "generation" not in stored:
        raise sqlite3.DatabaseError("a row that every knowledge base has is missing")
    return stored


_SEALED = 3
"""The format since which `meta` has a checksum."""


def _checksum(stored: Mapping[str, int]) -> int:
    return checksums.row(*(part for pair in sorted(stored.items()) for part in pair))


def _seal(connection: sqlite3.Connection) -> None:
    stored = dict(connection.execute("SELECT key, value FROM meta WHERE key != ?", (_CHECK,)))
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (_checksum(stored), _CHECK))


def put(connection: sqlite3.Connection, **values: int) -> None:
    """Sets facts of `meta`, inside the caller's transaction."""
    facts(connection)
    connection.executemany("UPDATE meta SET value = ? WHERE key = ?", [(value, key) for key, value in values.items()])
    _seal(connection)


def add(connection: sqlite3.Connection, key: str, count: int) -> None:
    """Adds to a fact of `meta`, inside the caller's transaction."""
    if count:
        put(connection, **{key: facts(connection)[key] + count})


def generation(connection: sqlite3.Connection) -> int:
    """The number of the commit that the connection sees."""
    return facts(connection)["generation"]


def version(connection: sqlite3.Connection) -> int:
    """The format of the database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def insert_edition(connection: sqlite3.Connection, fingerprint: Mapping[str, str], dimension: int, state: str) -> int:
    """Adds an edition, inside the caller's transaction; returns its id, which is never used twice."""
    stored = connection.execute(
        "INSERT INTO editions (fingerprint, dimension, state, created) VALUES (?, ?, ?, ?)",
        (json.dumps(dict(fingerprint), sort_keys=True), dimension, state, time.time()),
    )
    made = int(stored.lastrowid or 0)
    seal_edition(connection, made)
    return made


_EDITION = "id, fingerprint, dimension, state, created, chunks, total"


@dataclass(frozen=True, slots=True)
class Built:
    """A row of `editions`. `total` is the sum of the rows of its `chunks`."""

    id: int
    fingerprint: str
    dimension: int
    state: str
    created: float
    chunks: int
    total: int


def editions(connection: sqlite3.Connection) -> list[Built]:
    """Every edition, the oldest first. Raises sqlite3.DatabaseError, which is `translated`, when one is damaged."""
    rows = connection.execute(f"SELECT {_EDITION}, checksum FROM editions ORDER BY id").fetchall()
    if any(_of_row(row[:-1]) != row[-1] for row in rows):
        raise sqlite3.DatabaseError("what it was built with is damaged")
    return [Built(*row[:-1]) for row in rows]


def built(connection: sqlite3.Connection, edition: int) -> Built:
    """The edition of that id. Raises sqlite3.DatabaseError, which is `translated`, when it is not there or damaged."""
    row = connection.execute(f"SELECT {_EDITION}, checksum FROM editions WHERE id = ?", (edition,)).fetchone()
    if row is None or _of_row(row[:-1]) != row[-1]:
        raise sqlite3.DatabaseError("what it was built with is damaged")
    return Built(*row[:-1])


def _of_row(values: Sequence[Any]) -> int:
    return checksums.row(*values[:4], repr(values[4]), *values[5:])


def seal_edition(connection: sqlite3.Connection, edition: int) -> None:
    """Renews the checksum of an edition that was changed, inside the caller's transaction."""
    row = connection.execute(f"SELECT {_EDITION} FROM editions WHERE id = ?", (edition,)).fetchone()
    connection.execute("UPDATE editions SET checksum = ? WHERE id = ?", (_of_row(row), edition))


def change_edition(connection: sqlite3.Connection, edition: int, **values: str | int) -> None:
    """Sets columns of an edition, inside the caller's transaction."""
    built(connection, edition)
    names = ", ".join(f"{name} = ?" for name in values)
    connection.execute(f"UPDATE editions SET {names} WHERE id = ?", (*values.values(), edition))
    seal_edition(connection, edition)


def count_chunks(connection: sqlite3.Connection, edition: int, added: Iterable[int], removed: Iterable[int]) -> None:
    """Takes the rows of chunks that came and went into what an edition says, inside the caller's transaction."""
    came, went = list(added), list(removed)
    if came or went:
        now = built(connection, edition)
        chunks, total = now.chunks + len(came) - len(went), now.total + sum(came) - sum(went)
        change_edition(connection, edition, chunks=chunks, total=total)


def edition(connection: sqlite3.Connection) -> int:
    """The live edition."""
    return facts(connection)["edition"]


def edition_of_embedder(connection: sqlite3.Connection, embedder: str) -> int:
    """An edition whose vectors are of the embedder of that fingerprint; 0 where there is none."""
    every = editions(connection)
    return next((one.id for one in every if json.loads(one.fingerprint).get("embedder", "") == embedder), 0)


def fingerprint(connection: sqlite3.Connection, edition: int | None = None) -> dict[str, str]:
    """What an edition, the live one by default, was built with. Also of a database of format 1."""
    if version(connection) == 1:
        return dict(connection.execute("SELECT key, value FROM fingerprint ORDER BY key"))
    stored = _of_edition(connection, "fingerprint", edition)
    try:
        return dict(json.loads(stored))
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"what it was built with is damaged: {stored!r}") from error


def dimension(connection: sqlite3.Connection, edition: int | None = None) -> int:
    """The number of components of the vectors of an edition, the live one by default. Also of format 1."""
    if version(connection) == 1:
        return int(connection.execute("SELECT value FROM meta WHERE key = 'dimension'").fetchone()[0])
    return int(_of_edition(connection, "dimension", edition))


def _of_edition(connection: sqlite3.Connection, column: str, edition: int | None) -> Any:
    wanted = _live(connection) if edition is None else edition
    if version(connection) >= _SEALED:
        return getattr(built(connection, wanted), column)
    return single(connection.execute(f"SELECT {column} FROM editions WHERE id = ?", (wanted,)).fetchone())


def _live(connection: sqlite3.Connection) -> int:
    return edition(connection)


def require_fingerprint(
    folder: Path, connection: sqlite3.Connection, given: Mapping[str, str], given_dimension: int | None
) -> None:
    """Raises FingerprintMismatch, naming every key that differs; what is not given is not compared."""
    with translated(folder):
        stored = {**fingerprint(connection), "dimension": str(dimension(connection))}
    wanted = {**given, **({"dimension": str(given_dimension)} if given_dimension is not None else {})}
    wrong = [
        f"{key} is {stored.get(key, 'not recorded')!r}, now {value!r}"
        for key, value in sorted(wanted.items())
        if key != NAME_KEY and stored.get(key) != value
    ]
    if wrong:
        name = f" (embedder {stored[NAME_KEY]!r})" if NAME_KEY in stored else ""
        raise FingerprintMismatch(
            f"{folder}: built with other parts{name}: {'; '.join(wrong)}. "
            "Use the settings it was built with, or see what a change would take: ragagent migrate --plan"
        )


def stored_fingerprint(folder: Path) -> dict[str, str] | None:
    """What the knowledge base in `folder` was built with; None where there is none."""
    if not exists(folder):
        return None
    connection = connect(folder, read_only=True)
    try:
        with translated(folder):
            return fingerprint(connection)
    finally:
        connection.close()
