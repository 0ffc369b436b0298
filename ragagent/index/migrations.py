"""Older formats, brought forward: one transaction, so that a kill or a full disk leaves the old format as it was."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragagent.errors import Corrupt, StorageFull
from ragagent.index import archive, checksums, filters, records, schema, snapshots, store, tallies
from ragagent.index.database import connect, translated
from ragagent.index.lock import WriterLock
from ragagent.protocols import KnownDocument
from ragagent.types import Chunk, Document, Span, digest

_SEGMENT_CHUNKS = 65_536
_PAGE = 1000
_OLD = "format1_"
_REBUILT = ("meta", "fingerprint", "embeddings", "chunks", "postings", "dead", "segments")
_DOCUMENT = ("uri", "source", "revision", "title", "media_type", "metadata", "acl", "blocks", "characters")


def bring_up(folder: Path, lock_timeout_s: float) -> bool:
    """Brings the database in `folder` to the format of this code; returns whether there was anything to do.

    About as long as writing the data once, and room for it a second time. The segments are to be built again: they
    are listed without files. Raises StorageFull, Locked or Corrupt, and leaves the database as it was then.
    """
    connection = connect(folder, read_only=True)
    try:
        with translated(folder):
            if schema.version(connection) == schema.VERSION:
                return False
    finally:
        connection.close()
    try:
        with WriterLock(folder, lock_timeout_s).held():
            _bring_up(folder)
    except StorageFull as error:
        raise StorageFull(
            f"{folder}: made by an older ragagent and to be brought to format {schema.VERSION}, which takes "
            f"permission to write and room for the data a second time: {error}"
        ) from error
    return True


def _bring_up(folder: Path) -> None:
    connection = connect(folder, read_only=False)
    try:
        # Tables change places, so nothing may follow their references meanwhile.
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA legacy_alter_table = ON")
        with translated(folder):
            connection.execute("BEGIN IMMEDIATE")
            try:
                if schema.version(connection) == 1:
                    _from_format_1(connection)
                elif schema.version(connection) == 2:
                    _from_format_2(connection)
                else:
                    _from_format_3(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
    finally:
        connection.close()


def _from_format_3(connection: sqlite3.Connection) -> None:
    """Format 3 did not filter by who may read a document, nor by what `ragagent.where.fields` works out."""
    _seal_documents(connection)
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")


def _from_format_2(connection: sqlite3.Connection) -> None:
    """Format 2 had fewer checksums; those it had are made to cover the row's number, and stay wrong where wrong."""
    for table, columns in _ADDED.items():
        for column in columns:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
    connection.execute(f"ALTER TABLE meta RENAME TO {_OLD}meta")
    _create(connection, "TABLE")
    stored = dict(connection.execute(f"SELECT key, value FROM {_OLD}meta"))
    schema.begin(connection, generation=stored["generation"] + 1, edition=stored["edition"])
    connection.execute(f"DROP TABLE {_OLD}meta")

    def vector(blob: bytes, row: int) -> bytes:
        components, checksum = blob[: -checksums.CRC_BYTES], blob[-checksums.CRC_BYTES :]
        sound = zlib.crc32(components).to_bytes(checksums.CRC_BYTES, "little") == checksum
        made = checksums.with_checksum(components, row)
        return made if sound else components + bytes(255 - byte for byte in made[-checksums.CRC_BYTES :])

    def terms(old: int, row: int, document: int, key: str, embedding: int, joined: str, counts: bytes) -> int:
        before = zlib.crc32(counts, zlib.crc32(joined.encode("utf-8", "surrogatepass"), row & 0xFFFFFFFF))
        return checksums.terms((row, document, key, embedding), joined, counts) ^ (before ^ old)

    connection.create_function("bound", 2, checksums.bound, deterministic=True)
    connection.create_function("new_vector", 2, vector, deterministic=True)
    connection.create_function("new_terms", 7, terms, deterministic=True)
    connection.execute("UPDATE chunks SET checksum = bound(checksum, row)")
    connection.execute("UPDATE embeddings SET vector = new_vector(vector, row)")
    connection.execute(
        "UPDATE postings SET checksum = (SELECT new_terms(postings.checksum, c.row, c.document, c.id, c.embedding,"
        " postings.terms, postings.counts) FROM chunks c WHERE c.row = postings.chunk)"
    )
    _seal(connection)


_ADDED = {
    "editions": ("chunks", "total", "checksum"),
    "documents": ("mark",),
    "snapshots": ("checksum",),
    "archive": ("checksum",),
}


def _seal(connection: sqlite3.Connection) -> None:
    """Counts what is there and gives it the checksums that it lacks, and the database its version."""
    _seal_documents(connection)
    for (edition,) in connection.execute("SELECT id FROM editions").fetchall():
        connection.execute(
            "UPDATE editions SET (chunks, total) = (SELECT count(*), coalesce(sum(row), 0) FROM chunks"
            " WHERE edition = editions.id) WHERE id = ?",
            (edition,),
        )
        schema.seal_edition(connection, edition)
    for (name,) in connection.execute("SELECT name FROM snapshots").fetchall():
        snapshots.seal(connection, name)
    archive.seal(connection, [row for (row,) in connection.execute("SELECT id FROM archive").fetchall()])
    counts = {
        table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("documents", "snapshots")
    }
    schema.put(connection, **counts)
    tallies.build(connection)
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")


def _seal_documents(connection: sqlite3.Connection) -> None:
    """Gives every record the mark of this format and what filters can ask for, and the tallies what is changed."""
    # Metadata of that name, which says nothing of who may read.
    claimed = connection.execute("SELECT key, value, document FROM attributes WHERE key = 'acl'").fetchall()
    tallies.remove(connection, claimed)
    connection.execute("DELETE FROM attributes WHERE key = 'acl'")
    columns = f"row, born, stamp, checksum, mark, id, {', '.join(_DOCUMENT)}"
    last = 0
    while page := connection.execute(
        f"SELECT {columns} FROM documents WHERE row > ? ORDER BY row LIMIT {_PAGE}", (last,)
    ).fetchall():
        changed: list[tuple[tallies.Attribute, bool]] = []
        for row, born, stamp, checksum, mark, key, *values in page:
            _renew_mark(connection, row, born, (stamp, mark), (key, values))
            # What is damaged keeps what it has; nobody but the owner sees it.
            if records.document_checksum(key, values, born) == checksum:
                changed += _renewed_attributes(connection, row, key, values)
        gone, new = ([one for one, is_new in changed if is_new == wanted] for wanted in (False, True))
        connection.executemany("DELETE FROM attributes WHERE key = ? AND value = ? AND document = ?", gone)
        connection.executemany("INSERT INTO attributes (key, value, document) VALUES (?, ?, ?)", new)
        tallies.remove(connection, gone)
        tallies.add(connection, new)
        last = page[-1][0]


def _renew_mark(
    connection: sqlite3.Connection, row: int, born: int, known: tuple[str, int], document: tuple[str, list[Any]]
) -> None:
    (stamp, stored), (key, (uri, source, revision, _, _, _, acl, *_)) = known, document
    before = KnownDocument(id=key, uri=uri, source=source, stamp=stamp, revision=revision)
    # One that is wrong stays wrong; before format 3 there was none.
    if stored and stored != records.mark(row, key, born, before):
        return
    with contextlib.suppress(Corrupt):
        mark = records.mark(row, key, born, replace(before, acl=records.readers(acl, uri)))
        connection.execute("UPDATE documents SET mark = ? WHERE row = ?", (mark, row))


def _renewed_attributes(
    connection: sqlite3.Connection, row: int, key: str, values: list[Any]
) -> list[tuple[tallies.Attribute, bool]]:
    """The attributes that a document lacks, with True, and those that are worked out otherwise now, with False."""
    uri, source, revision, title, media_type, metadata, acl, *_ = values
    document = Document(
        id=key,
        uri=uri,
        title=title,
        text="",
        media_type=media_type,
        metadata=json.loads(metadata),
        acl=records.readers(acl, uri),
        revision=revision,
    )
    wanted = set(filters.attributes(document, source))
    stored = set(connection.execute("SELECT key, value FROM attributes WHERE document = ?", (row,)))
    gone = [((name, value, row), False) for name, value in sorted(stored - wanted) if name == "date"]
    return gone + [((name, value, row), True) for name, value in sorted(wanted - stored)]


def _from_format_1(connection: sqlite3.Connection) -> None:
    fingerprint, dimension = schema.fingerprint(connection), schema.dimension(connection)
    generation = schema.generation(connection)
    sequences = dict(connection.execute("SELECT name, seq FROM sqlite_sequence"))
    for table in _REBUILT:
        connection.execute(f"ALTER TABLE {table} RENAME TO {_OLD}{table}")
    _create(connection, "TABLE")
    edition = schema.insert_edition(connection, fingerprint, dimension, "live")
    schema.begin(connection, generation=generation + 1, edition=edition)
    _bring_embeddings(connection, fingerprint.get("embedder", ""))
    _bring_documents(connection, generation)
    _bring_chunks(connection, edition)
    for table in _REBUILT:
        connection.execute(f"DROP TABLE IF EXISTS {_OLD}{table}")
    _create(connection, "INDEX")
    for name in ("chunks", "dead", "segments"):
        connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (name,))
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (name, sequences.get(name, 0)))
    _list_segments(connection, edition)
    _seal(connection)


def _create(connection: sqlite3.Connection, kind: str) -> None:
    """Makes the tables, or the indexes, that are not there."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    for statement in schema.TABLES.split(";"):
        made = re.match(rf"\s*CREATE {kind} (\w+)", statement)
        if made and made.group(1) not in there:
            connection.execute(statement)


def _bring_embeddings(connection: sqlite3.Connection, embedder: str) -> None:
    def key(text_digest: bytes) -> bytes:
        return bytes.fromhex(digest(embedder, text_digest.hex()))

    connection.create_function("new_key", 1, key, deterministic=True)
    connection.create_function("new_vector", 2, checksums.with_checksum, deterministic=True)
    connection.execute(
        "INSERT INTO embeddings (row, digest, vector)"
        f" SELECT row, new_key(digest), new_vector(vector, row) FROM {_OLD}embeddings ORDER BY row"
    )
    # At once, so that what follows has its room.
    connection.execute(f"DROP TABLE {_OLD}embeddings")


def _bring_documents(connection: sqlite3.Connection, born: int) -> None:
    def checksum(document_id: str, *values: str | int) -> int:
        return records.document_checksum(document_id, values, born)

    connection.create_function("characters_of", 1, len, deterministic=True)
    connection.create_function("in_order", 1, _in_order, deterministic=True)
    connection.create_function("checksum_of_piece", 3, checksums.piece, deterministic=True)
    connection.create_function("checksum_of_document", 1 + len(_DOCUMENT), checksum, deterministic=True)
    connection.execute("ALTER TABLE texts ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0")
    for column in ("characters", "born", "checksum", "mark"):
        connection.execute(f"ALTER TABLE documents ADD COLUMN {column} INTEGER NOT NULL DEFAULT 0")
    connection.execute("UPDATE attributes SET value = in_order(value) WHERE value >= 'number:' AND value < 'number;'")
    connection.execute("UPDATE texts SET checksum = checksum_of_piece(document, start, text)")
    connection.execute(
        "UPDATE documents SET born = ?, characters ="
        " (SELECT coalesce(sum(characters_of(text)), 0) FROM texts WHERE document = row)",
        (born,),
    )
    connection.execute(f"UPDATE documents SET checksum = checksum_of_document(id, {', '.join(_DOCUMENT)})")


def _in_order(value: str) -> str:
    """A number as format 1 encoded it, "number:" and its digits, as text that sorts as numbers do."""
    digits = value.partition(":")[2]
    return filters.encoded(int(digits) if digits.lstrip("-").isdecimal() else float(digits))


def _bring_chunks(connection: sqlite3.Connection, edition: int) -> None:
    documents = connection.execute("SELECT row, id FROM documents ORDER BY row").fetchall()
    for row, document_id in documents:
        connection.executemany(
            'INSERT INTO chunks (edition, row, document, id, position, start, "end", page, headings, content,'
            " embedding, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(edition, *chunk) for chunk in _chunks_with_checksums(connection, row, document_id)],
        )


def _chunks_with_checksums(
    connection: sqlite3.Connection, document: int, document_id: str
) -> Iterator[tuple[object, ...]]:
    text = records.text_of(connection, document)
    rows = connection.execute(
        'SELECT row, document, id, position, start, "end", page, headings, content, embedding'
        f" FROM {_OLD}chunks WHERE document = ? ORDER BY row",
        (document,),
    )
    for row in rows:
        _, _, key, position, start, end, page, headings, _, embedding = row
        chunk = Chunk(
            id=key,
            document_id=document_id,
            span=Span(start, end),
            text=text[start:end],
            headings=tuple(json.loads(headings)),
            page=page,
            position=position,
        )
        yield (*row, checksums.chunk(chunk, embedding, row[0]))


def _list_segments(connection: sqlite3.Connection, edition: int) -> None:
    """Lists segments for all chunks, in bounded pieces; their files are missing, so that they are built again."""
    rows = [row for (row,) in connection.execute("SELECT row FROM chunks ORDER BY row")]
    first = 1
    for at in range(0, len(rows), _SEGMENT_CHUNKS):
        piece = rows[at : at + _SEGMENT_CHUNKS]
        last = store.last_row(connection, "chunks") if at + len(piece) == len(rows) else piece[-1]
        connection.execute(
            "INSERT INTO segments (edition, first, last, chunks, dense, sparse, bytes) VALUES (?, ?, ?, ?, '', '', 0)",
            (edition, first, last, len(piece)),
        )
        first = last + 1
