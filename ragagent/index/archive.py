"""Versions of documents that are gone but belong to a snapshot, each as one compressed record.

A version lived from the commit `born` up to, not including, the commit `died`. It is kept exactly as long as a
snapshot's generation lies between the two.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ragagent.errors import Corrupt
from ragagent.index import checksums, records, schema
from ragagent.types import Block, Chunk, Document, Span

NEEDED = "EXISTS (SELECT 1 FROM snapshots WHERE generation >= archive.born AND generation < archive.died)"
"""Whether a row of the archive belongs to a snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A document with all that is written with it, one `contents` digest and one row of `embeddings` for each chunk."""

    document: Document
    source: str
    stamp: str
    chunks: tuple[Chunk, ...]
    contents: tuple[bytes, ...]
    embeddings: tuple[int, ...]


def version(connection: sqlite3.Connection, row: int) -> Version:
    """The document at `row` as it is now, with its chunks in the live edition. Raises Corrupt when it is not sound."""
    key, source, stamp = connection.execute("SELECT id, source, stamp FROM documents WHERE row = ?", (row,)).fetchone()
    document = records.document(connection, key)
    if document is None:
        raise Corrupt(f"{key}: listed, but not there")
    rows = connection.execute(
        "SELECT content, embedding FROM chunks WHERE document = ? AND edition = ? ORDER BY position",
        (row, schema.edition(connection)),
    ).fetchall()
    return Version(
        document=document,
        source=source,
        stamp=stamp,
        chunks=tuple(records.chunks(connection, key)),
        contents=tuple(content for content, _ in rows),
        embeddings=tuple(embedding for _, embedding in rows),
    )


def keep(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Archives those of the documents at `rows` that a snapshot has as they are now.

    Inside the transaction that is about to change or remove them. Without snapshots it costs next to nothing.
    """
    (newest,) = connection.execute("SELECT max(generation) FROM snapshots").fetchone()
    if newest is None:
        return
    edition, died = schema.edition(connection), schema.generation(connection) + 1
    for row in rows:
        (born,) = connection.execute("SELECT born FROM documents WHERE row = ?", (row,)).fetchone()
        if born <= newest:
            _store(connection, version(connection, row), (born, died, edition))


def _store(connection: sqlite3.Connection, one: Version, life: tuple[int, int, int]) -> None:
    born, died, edition = life
    document = one.document
    stored = connection.execute(
        "INSERT INTO archive (document_id, uri, born, died, revision, edition, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (document.id, document.uri, born, died, document.revision, edition, packed(one)),
    )
    seal(connection, [int(stored.lastrowid or 0)])
    connection.executemany(
        "INSERT INTO archived_embeddings (archive, embedding) VALUES (?, ?)",
        sorted({(int(stored.lastrowid or 0), embedding) for embedding in one.embeddings}),
    )


_SEALED = "id, document_id, uri, born, died, revision, edition, record"


def seal(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Renews the checksums of archived versions that were changed, inside the caller's transaction."""
    for row in rows:
        values = connection.execute(f"SELECT {_SEALED} FROM archive WHERE id = ?", (row,)).fetchone()
        connection.execute("UPDATE archive SET checksum = ? WHERE id = ?", (_checksum(values), row))


def require_sound(connection: sqlite3.Connection, rows: Sequence[int]) -> None:
    """Raises Corrupt, naming the document, when one of the archived versions at `rows` is not what was written."""
    for row in rows:
        values = connection.execute(f"SELECT {_SEALED}, checksum FROM archive WHERE id = ?", (row,)).fetchone()
        if values is None or _checksum(values[:-1]) != values[-1]:
            raise damaged(values[2] if values else f"version {row}", "its record")


def _checksum(values: Sequence[Any]) -> int:
    return checksums.row(*values[:-1], zlib.crc32(values[-1]))


def damaged(name: str, what: object) -> Corrupt:
    """The error for an archived version that is not what was written."""
    return Corrupt(
        f"{name}: its archived version is damaged ({what}); "
        "remove the snapshots that hold it, or restore the knowledge base from a backup"
    )


def packed(one: Version) -> bytes:
    """A version as compressed JSON; zlib's own checksum tells damage."""
    document = one.document
    record = {
        "document": {
            **{name: getattr(document, name) for name in _PLAIN},
            "metadata": dict(document.metadata),
            "acl": document.acl,
            "blocks": json.loads(records.blocks_as_json(document.blocks)),
        },
        "source": one.source,
        "stamp": one.stamp,
        "chunks": [[chunk.id, *chunk.span, chunk.headings, chunk.page, chunk.position] for chunk in one.chunks],
        "contents": [content.hex() for content in one.contents],
        "embeddings": one.embeddings,
    }
    return zlib.compress(json.dumps(record, default=list).encode("utf-8", "surrogatepass"))


_PLAIN = ("id", "uri", "title", "text", "media_type", "revision")


def unpacked(record: bytes, name: str) -> Version:
    """The version that `packed` gave. Raises Corrupt, naming the document, when it is damaged."""
    try:
        stored: dict[str, Any] = json.loads(zlib.decompress(record))
    except (zlib.error, ValueError) as error:
        raise damaged(name, error) from error
    given = stored["document"]
    document = Document(
        **{key: given[key] for key in _PLAIN},
        metadata=given["metadata"],
        acl=tuple(given["acl"]),
        blocks=tuple(
            Block(kind=kind, span=Span(start, end), level=level, number=number)
            for kind, start, end, level, number in given["blocks"]
        ),
    )
    return Version(
        document=document,
        source=stored["source"],
        stamp=stored["stamp"],
        chunks=tuple(
            Chunk(
                id=key,
                document_id=document.id,
                span=Span(start, end),
                text=document.text[start:end],
                headings=tuple(headings),
                page=page,
                position=position,
            )
            for key, start, end, headings, page, position in stored["chunks"]
        ),
        contents=tuple(bytes.fromhex(content) for content in stored["contents"]),
        embeddings=tuple(stored["embeddings"]),
    )
