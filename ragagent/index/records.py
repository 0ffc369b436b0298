"""Rows of the database as the records of `ragagent.types`, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragagent.protocols import KnownDocument
from ragagent.types import Block, Chunk, Document, Span

PIECE_CHARS = 16_384
"""Texts are stored in pieces of this many characters."""

_DOCUMENT = "row, id, uri, title, media_type, revision, metadata, acl, blocks"
_CHUNK = 'c.row, c.id, d.id, c.start, c."end", c.page, c.headings, c.position, c.document'


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A chunk with what a hit shows of its document."""

    row: int
    chunk: Chunk
    title: str
    uri: str
    metadata: Mapping[str, Any]


def headings(stored: str) -> tuple[str, ...]:
    """The headings of a chunk as they were stored."""
    return tuple(json.loads(stored))


def blocks_as_json(blocks: Iterable[Block]) -> str:
    """Blocks as compact JSON."""
    rows = [[block.kind, block.span.start, block.span.end, block.level, block.number] for block in blocks]
    return json.dumps(rows, separators=(",", ":"))


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """`text` cut for storage, each piece with its offset."""
    for start in range(0, len(text), PIECE_CHARS):
        yield start, text[start : start + PIECE_CHARS]


def text_of(connection: sqlite3.Connection, document: int, span: Span | None = None) -> str:
    """The text of a document's row, or the part of it that `span` covers."""
    if span is None:
        rows = connection.execute("SELECT text FROM texts WHERE document = ? ORDER BY start", (document,))
        return "".join(text for (text,) in rows)
    first = span.start // PIECE_CHARS * PIECE_CHARS
    rows = connection.execute(
        "SELECT text FROM texts WHERE document = ? AND start >= ? AND start < ? ORDER BY start",
        (document, first, span.end),
    )
    return "".join(text for (text,) in rows)[span.start - first : span.end - first]


def document(connection: sqlite3.Connection, document_id: str) -> Document | None:
    """The document of that id."""
    row = connection.execute(f"SELECT {_DOCUMENT} FROM documents WHERE id = ?", (document_id,)).fetchone()
    return None if row is None else _document(connection, row)


def documents_after(connection: sqlite3.Connection, uri: str, document_id: str, count: int) -> list[Document]:
    """The next `count` documents in the order of uri, after the one given; begin with two empty strings."""
    rows = connection.execute(
        f"SELECT {_DOCUMENT} FROM documents WHERE (uri, id) > (?, ?) ORDER BY uri, id LIMIT ?",
        (uri, document_id, count),
    ).fetchall()
    return [_document(connection, row) for row in rows]


def known(connection: sqlite3.Connection, source: str | None) -> dict[str, KnownDocument]:
    """What is remembered of each document, by id."""
    query = "SELECT id, uri, source, stamp, revision FROM documents"
    rows = connection.execute(query) if source is None else connection.execute(f"{query} WHERE source = ?", (source,))
    return {row[0]: KnownDocument(id=row[0], uri=row[1], source=row[2], stamp=row[3], revision=row[4]) for row in rows}


def chunks(connection: sqlite3.Connection, document_id: str) -> list[Chunk]:
    """The chunks of a document in reading order."""
    rows = connection.execute(
        f"SELECT {_CHUNK} FROM chunks c JOIN documents d ON d.row = c.document WHERE d.id = ? ORDER BY c.position",
        (document_id,),
    ).fetchall()
    if not rows:
        return []
    text = text_of(connection, rows[0][-1])
    return [_chunk(row, text[row[3] : row[4]]) for row in rows]


def found(connection: sqlite3.Connection, rows: Sequence[int]) -> list[Found]:
    """The chunks at `rows`, in that order. Every row must be there."""
    return [_found(connection, row) for row in rows]


def _found(connection: sqlite3.Connection, row: int) -> Found:
    values = connection.execute(
        f"SELECT {_CHUNK}, d.title, d.uri, d.metadata FROM chunks c JOIN documents d ON d.row = c.document"
        " WHERE c.row = ?",
        (row,),
    ).fetchone()
    text = text_of(connection, values[8], Span(values[3], values[4]))
    return Found(row=row, chunk=_chunk(values, text), title=values[9], uri=values[10], metadata=json.loads(values[11]))


def _document(connection: sqlite3.Connection, row: Sequence[Any]) -> Document:
    return Document(
        id=row[1],
        uri=row[2],
        title=row[3],
        text=text_of(connection, row[0]),
        media_type=row[4],
        revision=row[5],
        metadata=json.loads(row[6]),
        acl=tuple(json.loads(row[7])),
        blocks=tuple(
            Block(kind=kind, span=Span(start, end), level=level, number=number)
            for kind, start, end, level, number in json.loads(row[8])
        ),
    )


def _chunk(row: Sequence[Any], text: str) -> Chunk:
    return Chunk(
        id=row[1],
        document_id=row[2],
        span=Span(row[3], row[4]),
        text=text,
        page=row[5],
        headings=headings(row[6]),
        position=row[7],
    )
