"""Rows of the database as the records of `ragagent.types`, and back.

What is read is held against its checksum; a row that is not what was written raises Corrupt, naming the document. What
is not found is asked for a second time, in another tree of the database: the ids, uris and sources of documents are
among the attributes as well.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ragagent.errors import Corrupt
from ragagent.index import checksums, schema
from ragagent.protocols import KnownDocument
from ragagent.types import Block, Chunk, Document, Span, inner_uri

PIECE_BYTES = 1_990
"""Texts are stored in pieces of at most so many bytes of UTF-8: four fill a page of the database to 98 %, where one of
twice the size would leave a third of it empty."""

_VALUES = "uri, source, revision, title, media_type, metadata, acl, blocks, characters"
_DOCUMENT = f"row, id, born, checksum, {_VALUES}"
_CHUNK = 'c.row, c.id, d.id, c.start, c."end", c.page, c.headings, c.position, c.document, c.embedding, c.checksum'
_CHUNK_COLUMNS = 11
_TEXT = "text:"
"""How attributes that are texts begin; see `ragagent.index.filters`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A chunk with what a hit shows of its document."""

    row: int
    chunk: Chunk
    title: str
    uri: str
    metadata: Mapping[str, Any]


def document_values(document: Document, source: str) -> tuple[str | int, ...]:
    """The columns of a document's row: uri, source, revision, title, media_type, metadata, acl, blocks, characters."""
    metadata = json.dumps(dict(document.metadata), default=list)
    return (
        *(document.uri, source, document.revision, document.title, document.media_type),
        *(metadata, json.dumps(document.acl), blocks_as_json(document.blocks), len(document.text)),
    )


def document_checksum(document_id: str, values: Sequence[str | int], born: int) -> int:
    """The checksum of a document's row: all but its stamp, which is no part of the document."""
    return checksums.row(document_id, born, *values)


def mark(row: int, document_id: str, born: int, known: KnownDocument) -> int:
    """The checksum of what is remembered of a document's source, and of who may read it."""
    return checksums.row(row, document_id, born, known.uri, known.source, known.stamp, known.revision, *known.acl)


def lost(name: str) -> Corrupt:
    """The error for documents of which one tree of the database knows and another does not."""
    return Corrupt(
        f"{name}: the database has lost the way to documents that are in it. Restore it from a backup, or ingest again "
        "into a new folder"
    )


def damaged(uri: str, what: str) -> Corrupt:
    """The error for a document of which something stored is not what was written."""
    return Corrupt(
        f"{uri}: {what} in the database is damaged. Remove the document (ragagent documents remove) and ingest it "
        "again, or restore the knowledge base from a backup"
    )


def damaged_chunk(connection: sqlite3.Connection, row: int, what: str) -> Corrupt:
    """As `damaged`, for the document of the chunk at `row`."""
    found = connection.execute(
        "SELECT d.uri FROM chunks c JOIN documents d ON d.row = c.document WHERE c.row = ?", (row,)
    ).fetchone()
    return damaged(found[0] if found else f"chunk {row}", what)


def damaged_embedding(connection: sqlite3.Connection, row: int) -> Corrupt:
    """As `damaged`, for a document that has the embedding at `row`."""
    found = connection.execute("SELECT row FROM chunks WHERE embedding = ?", (row,)).fetchone()
    return damaged_chunk(connection, found[0] if found else -1, "a vector")


def headings(stored: str) -> tuple[str, ...]:
    """The headings of a chunk as they were stored. Raises Corrupt when they are no list."""
    try:
        return tuple(json.loads(stored))
    except (ValueError, TypeError) as error:
        raise Corrupt(
            f"the headings {stored!r} of a passage are damaged; ragagent doctor names the document"
        ) from error


def blocks_as_json(blocks: Iterable[Block]) -> str:
    """Blocks as compact JSON."""
    rows = [[block.kind, block.span.start, block.span.end, block.level, block.number] for block in blocks]
    return json.dumps(rows, separators=(",", ":"))


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """`text` cut for storage, each piece with its offset."""
    start = 0
    while start < len(text):
        piece = text[start : start + PIECE_BYTES]
        while (size := len(piece.encode())) > PIECE_BYTES:
            piece = piece[: len(piece) * PIECE_BYTES // size]
        yield start, piece
        start += len(piece)


def text_of(connection: sqlite3.Connection, document: int, span: Span | None = None) -> str:
    """The text of a document's row, or the part of it that `span` covers. What is damaged is left as it is."""
    if span is None:
        rows = connection.execute("SELECT text FROM texts WHERE document = ? ORDER BY start", (document,))
        return "".join(text for (text,) in rows)
    found = connection.execute(
        "SELECT start, text FROM texts WHERE document = ? AND start < ? AND start >="
        " (SELECT max(start) FROM texts WHERE document = ? AND start <= ?) ORDER BY start",
        (document, max(span.end, span.start + 1), document, span.start),
    ).fetchall()
    first = found[0][0] if found else 0
    return "".join(text for _, text in found)[span.start - first : span.end - first]


def _whole_text(connection: sqlite3.Connection, document: int, uri: str, characters: int) -> str:
    rows = connection.execute(
        "SELECT start, text, checksum FROM texts WHERE document = ? ORDER BY start", (document,)
    ).fetchall()
    if any(checksums.piece(document, start, text) != checksum for start, text, checksum in rows):
        raise damaged(uri, "its text")
    text = "".join(text for _, text, _ in rows)
    if len(text) != characters:
        raise damaged(uri, "its text")
    return text


def document(connection: sqlite3.Connection, document_id: str) -> Document | None:
    """The document of that id."""
    row = connection.execute(f"SELECT {_DOCUMENT} FROM documents WHERE id = ?", (document_id,)).fetchone()
    if row is None:
        require_absent(connection, [document_id])
        return None
    return _document(connection, row)


def require_absent(connection: sqlite3.Connection, ids: Sequence[str]) -> None:
    """Raises Corrupt when one of the documents that were not found is there after all."""
    for start in range(0, len(ids), _BOUND):
        group = [_TEXT + one for one in ids[start : start + _BOUND]]
        query = f"SELECT value FROM attributes WHERE key = 'id' AND value IN ({', '.join('?' * len(group))})"
        there = connection.execute(query, group).fetchone()
        if there is not None:
            raise lost(str(there[0]).removeprefix(_TEXT))


def _require_all(connection: sqlite3.Connection, rows: Sequence[int], low: str, high: str | None) -> None:
    """Raises Corrupt unless the documents at `rows` are all whose uri is from `low` to, and including, `high`.

    Those of `rows` are in the order of uri; `high` is None where there is no end.
    """
    limit, values = ("", [_TEXT + low]) if high is None else (" AND value <= ?", [_TEXT + low, _TEXT + high])
    query = f"SELECT document FROM attributes WHERE key = 'uri' AND value >= ?{limit}"
    if sorted(rows) != sorted(row for (row,) in connection.execute(query, values)):
        raise lost(f"from {low!r} on")


def _within(
    connection: sqlite3.Connection, after: tuple[str, str], found: Sequence[tuple[int, str, str]], *, end: bool
) -> None:
    """Holds a page of a listing (row, uri, id), which begins behind `after`, against the attributes."""
    keys = [(uri, key) for _, uri, key in found]
    if keys != sorted(set(keys)) or (keys and keys[0] <= after):
        raise lost(f"from {after[0]!r} on")
    # The page may begin and end between documents of one uri.
    last = keys[-1] if keys else after
    first = connection.execute("SELECT row FROM documents WHERE uri = ? AND id <= ?", after).fetchall()
    rest = [] if end else connection.execute("SELECT row FROM documents WHERE uri = ? AND id > ?", last).fetchall()
    rows = {row for row, _, _ in found} | {row for (row,) in (*first, *rest)}
    _require_all(connection, sorted(rows), after[0], None if end else last[0])


def documents_after(connection: sqlite3.Connection, uri: str, document_id: str, count: int) -> list[Document]:
    """The next `count` documents in the order of uri, after the one given; begin with two empty strings."""
    rows = connection.execute(
        f"SELECT {_DOCUMENT} FROM documents WHERE (uri, id) > (?, ?) ORDER BY uri, id LIMIT ?",
        (uri, document_id, count),
    ).fetchall()
    found = [_document(connection, row) for row in rows]
    page = [(row[0], one.uri, one.id) for row, one in zip(rows, found, strict=True)]
    _within(connection, (uri, document_id), page, end=len(rows) < count)
    return found


KNOWN = "id, uri, source, stamp, revision, acl"
_KNOWN = f"SELECT {KNOWN}, row, born, mark FROM documents"
_ROW = 6
_BOUND = 500
"""So many values are bound to one statement."""


def known(connection: sqlite3.Connection, source: str | None) -> dict[str, KnownDocument]:
    """What is remembered of each document, by id."""
    if source is None:
        rows = connection.execute(_KNOWN).fetchall()
        there = connection.execute("SELECT document FROM attributes WHERE key = 'id'")
    else:
        rows = connection.execute(f"{_KNOWN} WHERE source = ?", (source,)).fetchall()
        query = "SELECT document FROM attributes WHERE key = 'source' AND value = ?"
        there = connection.execute(query, (_TEXT + source,))
    found = {one.id: one for one in map(_known, rows)}
    if sorted(row[_ROW] for row in rows) != sorted(row for (row,) in there):
        raise lost("every document" if source is None else f"of the source {source!r}")
    return found


def known_of(connection: sqlite3.Connection, ids: Sequence[str]) -> dict[str, KnownDocument]:
    """What is remembered of the documents of those ids, by id."""
    found: dict[str, KnownDocument] = {}
    for start in range(0, len(ids), _BOUND):
        group = ids[start : start + _BOUND]
        rows = connection.execute(f"{_KNOWN} WHERE id IN ({', '.join('?' * len(group))})", group)
        found.update((one.id, one) for one in map(_known, rows))
    require_absent(connection, [one for one in ids if one not in found])
    return found


def known_inside(connection: sqlite3.Connection, uri: str) -> list[KnownDocument]:
    """What is remembered of the documents inside the one of `uri`, in the order of uri."""
    first = inner_uri(uri, "")
    # The uris that begin with `first` are those from it up to the first that ends in the next character.
    last = first[:-1] + chr(ord(first[-1]) + 1)
    rows = connection.execute(f"{_KNOWN} WHERE uri >= ? AND uri < ? ORDER BY uri, id", (first, last)).fetchall()
    query = "SELECT document FROM attributes WHERE key = 'uri' AND value >= ? AND value < ?"
    there = connection.execute(query, (_TEXT + first, _TEXT + last))
    if sorted(row[_ROW] for row in rows) != sorted(row for (row,) in there):
        raise lost(f"inside {uri!r}")
    return [_known(row) for row in rows]


def known_after(connection: sqlite3.Connection, uri: str, document_id: str, count: int) -> list[KnownDocument]:
    """The next `count` in the order of uri, after the one given; begin with two empty strings."""
    rows = connection.execute(
        f"{_KNOWN} WHERE (uri, id) > (?, ?) ORDER BY uri, id LIMIT ?", (uri, document_id, count)
    ).fetchall()
    found = [_known(row) for row in rows]
    page = [(row[_ROW], one.uri, one.id) for row, one in zip(rows, found, strict=True)]
    _within(connection, (uri, document_id), page, end=len(rows) < count)
    return found


def _known(row: Sequence[Any]) -> KnownDocument:
    *values, number, born, stored = row
    one = as_known(values)
    if mark(number, one.id, born, one) != stored:
        raise damaged(one.uri, "its record")
    return one


def as_known(values: Sequence[str]) -> KnownDocument:
    """The columns `KNOWN` of a document's row as a record. Raises Corrupt where the acl is no list."""
    key, uri, source, stamp, revision, acl = values
    return KnownDocument(id=key, uri=uri, source=source, stamp=stamp, revision=revision, acl=readers(acl, uri))


def readers(stored: str, uri: str) -> tuple[str, ...]:
    """An acl as it was stored. Raises Corrupt when it is none."""
    if stored == "[]":
        return ()
    try:
        return tuple(json.loads(stored))
    except (ValueError, TypeError):
        raise damaged(uri, "who may read it") from None


def chunks(connection: sqlite3.Connection, document_id: str) -> list[Chunk]:
    """The chunks of a document in reading order."""
    rows = connection.execute(
        f"SELECT {_CHUNK}, d.uri FROM chunks c JOIN documents d ON d.row = c.document"
        " WHERE d.id = ? AND c.edition = ? ORDER BY c.position",
        (document_id, schema.edition(connection)),
    ).fetchall()
    if not rows:
        return []
    text = text_of(connection, rows[0][8])
    return [_checked(row, text[row[3] : row[4]], row[_CHUNK_COLUMNS]) for row in rows]


def neighbours(connection: sqlite3.Connection, chunk: Chunk) -> list[Chunk]:
    """The chunks before and after one in its document; none where it is not there as it is."""
    rows = connection.execute(
        f"SELECT {_CHUNK}, d.uri FROM chunks c JOIN documents d ON d.row = c.document"
        " WHERE d.id = ? AND c.edition = ? AND c.position BETWEEN ? AND ? ORDER BY c.position",
        (chunk.document_id, schema.edition(connection), chunk.position - 1, chunk.position + 1),
    ).fetchall()
    if all(row[1] != chunk.id for row in rows):
        return []
    return [
        _checked(row, text_of(connection, row[8], Span(row[3], row[4])), row[_CHUNK_COLUMNS])
        for row in rows
        if row[1] != chunk.id
    ]


def found(connection: sqlite3.Connection, rows: Sequence[int]) -> list[Found]:
    """The chunks at `rows`, in that order. Every row must be there."""
    there: dict[int, Sequence[Any]] = {}
    for start in range(0, len(rows), _BOUND):
        group = rows[start : start + _BOUND]
        query = (
            f"SELECT {_CHUNK}, d.born, d.checksum, {_OF_DOCUMENT} FROM chunks c JOIN documents d ON d.row = c.document"
            f" WHERE c.row IN ({', '.join('?' * len(group))})"
        )
        there.update((values[0], values) for values in connection.execute(query, list(group)))
    return [_found(connection, row, there.get(row)) for row in rows]


def _found(connection: sqlite3.Connection, row: int, values: Sequence[Any] | None) -> Found:
    if values is None:
        raise damaged_chunk(connection, row, "a passage that search knows")
    born, checksum, *document = values[_CHUNK_COLUMNS:]
    uri, _, _, title, _, metadata, *_ = document
    if document_checksum(values[2], document, born) != checksum:
        raise damaged(uri, "its record")
    text = text_of(connection, values[8], Span(values[3], values[4]))
    return Found(row=row, chunk=_checked(values, text, uri), title=title, uri=uri, metadata=json.loads(metadata))


def _document(connection: sqlite3.Connection, row: Sequence[Any]) -> Document:
    number, key, born, checksum, *values = row
    uri, _, revision, title, media_type, metadata, acl, blocks, characters = values
    if document_checksum(key, values, born) != checksum:
        raise damaged(uri, "its record")
    return Document(
        id=key,
        uri=uri,
        title=title,
        text=_whole_text(connection, number, uri, characters),
        media_type=media_type,
        revision=revision,
        metadata=json.loads(metadata),
        acl=readers(acl, uri),
        blocks=tuple(
            Block(kind=kind, span=Span(start, end), level=level, number=number)
            for kind, start, end, level, number in json.loads(blocks)
        ),
    )


_OF_DOCUMENT = ", ".join(f"d.{name}" for name in _VALUES.split(", "))


def _checked(row: Sequence[Any], text: str, uri: str) -> Chunk:
    """The chunk of a row with its text. Raises Corrupt when either is not what was written."""
    try:
        chunk = Chunk(
            id=row[1],
            document_id=row[2],
            span=Span(row[3], row[4]),
            text=text,
            page=row[5],
            headings=headings(row[6]),
            position=row[7],
        )
    except Corrupt:
        chunk = None
    if chunk is None or checksums.chunk(chunk, row[9], row[0]) != row[10]:
        raise damaged(uri, "a passage")
    return chunk
