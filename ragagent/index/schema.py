"""The tables of a knowledge base, their version, and what the index was built with.

meta         generation (counts commits), dimension
fingerprint  what the index was built with: embedder, chunker, analyser
documents    one row for each document; its text lies in `texts`, in pieces, so that a passage of a long text
             is read without the rest
attributes   what `where` can ask for: (key, value, document)
chunks       one row for each chunk; rows only grow and are never used twice
embeddings   one vector for each text that was embedded, shared by the chunks that have it
postings     the analysed terms of the chunks that are in no segment yet: the tail
dead         rows that are gone but still in a segment or in a reader's memory
segments     the immutable files: each holds the rows first..last, apart from those that were dead when it was made
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from ragagent.errors import Corrupt, FingerprintMismatch, NewerVersion
from ragagent.index.database import FILE_NAME, connect, translated

VERSION = 1
APPLICATION_ID = 0x52414758

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE fingerprint (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
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
    blocks TEXT NOT NULL
);
CREATE INDEX documents_by_uri ON documents (uri, id);
CREATE INDEX documents_by_source ON documents (source);
CREATE TABLE texts (
    document INTEGER NOT NULL REFERENCES documents (row) ON DELETE CASCADE,
    start INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (document, start)
) WITHOUT ROWID;
CREATE TABLE attributes (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    document INTEGER NOT NULL REFERENCES documents (row) ON DELETE CASCADE,
    PRIMARY KEY (key, value, document)
) WITHOUT ROWID;
CREATE INDEX attributes_by_document ON attributes (document);
CREATE TABLE embeddings (
    row INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    vector BLOB NOT NULL
);
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES documents (row),
    id TEXT NOT NULL UNIQUE,
    position INTEGER NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    page INTEGER,
    headings TEXT NOT NULL,
    content BLOB NOT NULL,
    embedding INTEGER NOT NULL REFERENCES embeddings (row)
);
CREATE INDEX chunks_by_document ON chunks (document, position);
CREATE INDEX chunks_by_embedding ON chunks (embedding);
CREATE TABLE postings (
    chunk INTEGER PRIMARY KEY REFERENCES chunks (row) ON DELETE CASCADE,
    terms TEXT NOT NULL,
    counts BLOB NOT NULL
);
CREATE TABLE dead (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    row INTEGER NOT NULL UNIQUE
);
CREATE TABLE segments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    dense TEXT NOT NULL,
    sparse TEXT NOT NULL,
    bytes INTEGER NOT NULL
);
"""

NAME_KEY = "embedder_name"
"""The one key of the fingerprint that is only remembered, not compared: a model may be reached by several names."""


def create(folder: Path, fingerprint: Mapping[str, str], dimension: int) -> None:
    """Makes the database, whole or not at all. The caller holds the writer's lock and has seen that there is none."""
    with translated(folder):
        # Built in one transaction: a kill leaves an empty file, which the next `create` fills.
        connection = sqlite3.connect(folder / FILE_NAME, isolation_level=None)
        try:
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in TABLES.split(";"):
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES ('generation', 1), ('dimension', ?)", (dimension,))
            connection.executemany("INSERT INTO fingerprint VALUES (?, ?)", sorted(fingerprint.items()))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        finally:
            connection.close()


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
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables == 0:
        return False
    if application != APPLICATION_ID:
        raise Corrupt(f"{folder / FILE_NAME}: a database, but not one of ragagent; choose another folder")
    if version > VERSION:
        raise NewerVersion(
            f"{folder}: made by a newer ragagent (format {version}, this one reads up to {VERSION}); "
            "it is left as it is. Upgrade ragagent to use it"
        )
    return True


def generation(connection: sqlite3.Connection) -> int:
    """The number of the commit that the connection sees."""
    return int(connection.execute("SELECT value FROM meta WHERE key = 'generation'").fetchone()[0])


def fingerprint(connection: sqlite3.Connection) -> dict[str, str]:
    """What the index was built with."""
    return dict(connection.execute("SELECT key, value FROM fingerprint ORDER BY key"))


def dimension(connection: sqlite3.Connection) -> int:
    """The number of components of a vector."""
    return int(connection.execute("SELECT value FROM meta WHERE key = 'dimension'").fetchone()[0])


def require_fingerprint(
    folder: Path, connection: sqlite3.Connection, given: Mapping[str, str], given_dimension: int | None
) -> None:
    """Raises FingerprintMismatch, naming every key that differs; what is not given is not compared."""
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
            "Use the settings it was built with, or ingest into a new knowledge base"
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
