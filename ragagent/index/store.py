"""Writing: documents, chunks, vectors and terms go into SQLite in one transaction, or not at all."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ragagent.errors import ConfigError
from ragagent.index import filters, postings, records
from ragagent.index.database import translated
from ragagent.protocols import Entry
from ragagent.text.analyser import Analyser
from ragagent.types import Chunk, Document, Vector, digest

Counts = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A chunk that is in the database: `content` changes with anything that search sees of it."""

    row: int
    content: bytes
    embedding: int


@contextlib.contextmanager
def transaction(folder: Path, connection: sqlite3.Connection) -> Iterator[None]:
    """Runs a block as one commit, seen by every reader at once; an error undoes all of it."""
    with translated(folder):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'generation'")
            connection.execute("COMMIT")
        except BaseException:
            # A full disk has already rolled back by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def write(connection: sqlite3.Connection, entries: Sequence[Entry], remove: Iterable[str], analyser: Analyser) -> None:
    """Removes, then adds or replaces, inside the caller's transaction."""
    freed: set[int] = set()
    for document_id in remove:
        freed |= _remove(connection, document_id)
    for entry in entries:
        freed |= _replace(connection, entry, analyser)
    _drop_embeddings(connection, freed)


def require(entry: Entry, dimension: int) -> None:
    """Raises ConfigError, naming the document, when an entry breaks a law of its records."""
    name, text = entry.document.uri, entry.document.text
    count = len(entry.chunks)
    if entry.vectors.shape != (count, dimension) and not (count == 0 and entry.vectors.size == 0):
        raise ConfigError(f"{name}: vectors of shape {entry.vectors.shape}, expected ({count}, {dimension})")
    if not np.isfinite(entry.vectors).all():
        raise ConfigError(f"{name}: a vector with a component that is not a number")
    if entry.texts and len(entry.texts) != count:
        raise ConfigError(f"{name}: {len(entry.texts)} embedded texts for {count} chunks")
    for chunk in entry.chunks:
        if chunk.document_id != entry.document.id:
            raise ConfigError(f"{name}: chunk {chunk.id} says it belongs to {chunk.document_id!r}")
        if chunk.span.start < 0 or chunk.span.of(text) != chunk.text:
            raise ConfigError(f"{name}: chunk {chunk.id} is not the text at its span {tuple(chunk.span)}")
    if len({chunk.id for chunk in entry.chunks}) != count:
        raise ConfigError(f"{name}: two chunks of one id")
    _require_unicode(entry)


def _require_unicode(entry: Entry) -> None:
    document = entry.document
    texts = [document.id, document.uri, document.title, document.text, entry.source, entry.stamp]
    texts += [chunk.id for chunk in entry.chunks]
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{document.uri!r}: holds a lone surrogate ({error.reason}); decode it as text first"
        ) from None


def text_digest(text: str) -> bytes:
    """The key of an embedding."""
    return bytes.fromhex(digest(text))


def cached_vectors(connection: sqlite3.Connection, texts: Iterable[str]) -> dict[str, Vector]:
    """The stored vectors of those texts, normalised."""
    found: dict[str, Vector] = {}
    for text in texts:
        row = connection.execute("SELECT vector FROM embeddings WHERE digest = ?", (text_digest(text),)).fetchone()
        if row is not None and text not in found:
            vector = np.frombuffer(row[0], "<f2").astype(np.float32)
            found[text] = vector / max(float(np.linalg.norm(vector)), 1e-12)
    return found


def touch(connection: sqlite3.Connection, stamps: Mapping[str, str]) -> None:
    """Sets stamps by document id, inside the caller's transaction."""
    connection.executemany("UPDATE documents SET stamp = ? WHERE id = ?", [(new, key) for key, new in stamps.items()])


def analysed(analyser: Analyser, title: str, headings: Sequence[str], text: str) -> tuple[list[str], Counts]:
    """The distinct terms of a chunk and their counts, uint16[n, 2]: in title and headings, and in the text."""
    head = Counter(analyser.index_terms("\n".join([title, *headings])))
    body = Counter(analyser.index_terms(text))
    terms = list(dict.fromkeys([*body, *head]))
    counts = np.array([[field.get(term, 0) for term in terms] for field in (head, body)], np.int64)
    return terms, np.minimum(counts.T, postings.MOST).astype(np.uint16, order="C")


def _remove(connection: sqlite3.Connection, document_id: str) -> set[int]:
    """Removes a document; returns the embeddings its chunks had. An id that is not there is none to remove."""
    row = connection.execute("SELECT row FROM documents WHERE id = ?", (document_id,)).fetchone()
    if row is None:
        return set()
    gone = list(_stored_chunks(connection, row[0]).values())
    _delete_chunks(connection, gone)
    connection.execute("DELETE FROM documents WHERE row = ?", row)
    return {chunk.embedding for chunk in gone}


def _replace(connection: sqlite3.Connection, entry: Entry, analyser: Analyser) -> set[int]:
    """Writes a document; chunks that search could not tell from the stored ones keep their rows."""
    row = _write_document(connection, entry)
    stored = _stored_chunks(connection, row)
    texts = entry.texts or tuple(chunk.text for chunk in entry.chunks)
    contents = [_content(entry.document, chunk, text) for chunk, text in zip(entry.chunks, texts, strict=True)]
    kept = {
        chunk.id: stored[chunk.id].row
        for chunk, content in zip(entry.chunks, contents, strict=True)
        if chunk.id in stored and stored[chunk.id].content == content
    }
    gone = [chunk for key, chunk in stored.items() if key not in kept]
    _delete_chunks(connection, gone)
    for number, chunk in enumerate(entry.chunks):
        if chunk.id in kept:
            _move_chunk(connection, kept[chunk.id], chunk)
        else:
            embedding = _embedding(connection, texts[number], entry.vectors[number])
            _add_chunk(connection, row, chunk, contents[number], embedding)
            terms, counts = analysed(analyser, entry.document.title, chunk.headings, chunk.text)
            connection.execute(
                "INSERT INTO postings VALUES (last_insert_rowid(), ?, ?)", (" ".join(terms), counts.tobytes())
            )
    return {chunk.embedding for chunk in gone}


def _write_document(connection: sqlite3.Connection, entry: Entry) -> int:
    """Inserts or updates the row of a document and what hangs on it besides chunks; returns the row."""
    document = entry.document
    metadata = json.dumps(dict(document.metadata), default=list)
    values = (
        *(document.uri, entry.source, entry.stamp, document.revision, document.title, document.media_type),
        *(metadata, json.dumps(document.acl), records.blocks_as_json(document.blocks), document.id),
    )
    connection.execute(
        "INSERT INTO documents (uri, source, stamp, revision, title, media_type, metadata, acl, blocks, id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET uri = excluded.uri,"
        " source = excluded.source, stamp = excluded.stamp, revision = excluded.revision, title = excluded.title,"
        " media_type = excluded.media_type, metadata = excluded.metadata, acl = excluded.acl, blocks = excluded.blocks",
        values,
    )
    row = int(connection.execute("SELECT row FROM documents WHERE id = ?", (document.id,)).fetchone()[0])
    connection.execute("DELETE FROM texts WHERE document = ?", (row,))
    connection.execute("DELETE FROM attributes WHERE document = ?", (row,))
    pieces = [(row, start, text) for start, text in records.pieces(document.text)]
    connection.executemany("INSERT INTO texts VALUES (?, ?, ?)", pieces)
    attributes = [(key, value, row) for key, value in filters.attributes(document, entry.source)]
    connection.executemany("INSERT INTO attributes VALUES (?, ?, ?)", attributes)
    return row


def _stored_chunks(connection: sqlite3.Connection, document: int) -> dict[str, _Stored]:
    rows = connection.execute("SELECT id, row, content, embedding FROM chunks WHERE document = ?", (document,))
    return {row[0]: _Stored(row=row[1], content=row[2], embedding=row[3]) for row in rows}


def _content(document: Document, chunk: Chunk, embedded: str) -> bytes:
    return bytes.fromhex(digest(document.title, "\0".join(chunk.headings), chunk.text, embedded))


def _delete_chunks(connection: sqlite3.Connection, chunks: Sequence[_Stored]) -> None:
    rows = [(chunk.row,) for chunk in chunks]
    connection.executemany("INSERT INTO dead (row) VALUES (?)", rows)
    connection.executemany("DELETE FROM chunks WHERE row = ?", rows)


def _move_chunk(connection: sqlite3.Connection, row: int, chunk: Chunk) -> None:
    connection.execute(
        'UPDATE chunks SET position = ?, start = ?, "end" = ?, page = ? WHERE row = ?',
        (chunk.position, chunk.span.start, chunk.span.end, chunk.page, row),
    )


def _add_chunk(connection: sqlite3.Connection, document: int, chunk: Chunk, content: bytes, embedding: int) -> None:
    try:
        connection.execute(
            'INSERT INTO chunks (document, id, position, start, "end", page, headings, content, embedding)'
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(document, chunk.id, chunk.position, chunk.span.start, chunk.span.end, chunk.page),
                *(json.dumps(chunk.headings), content, embedding),
            ),
        )
    except sqlite3.IntegrityError as error:
        raise ConfigError(
            f"chunk {chunk.id} of {chunk.document_id!r}: another document has a chunk of this id"
        ) from error


def _embedding(connection: sqlite3.Connection, text: str, vector: Vector) -> int:
    """The row of the text's vector; one that is there already stays, so that equal texts have equal vectors."""
    key = text_digest(text)
    row = connection.execute("SELECT row FROM embeddings WHERE digest = ?", (key,)).fetchone()
    if row is not None:
        return int(row[0])
    stored = connection.execute(
        "INSERT INTO embeddings (digest, vector) VALUES (?, ?)", (key, vector.astype("<f2").tobytes())
    )
    return int(stored.lastrowid or 0)


def _drop_embeddings(connection: sqlite3.Connection, rows: Iterable[int]) -> None:
    """Removes those embeddings that no chunk has any more."""
    connection.executemany(
        "DELETE FROM embeddings WHERE row = ? AND NOT EXISTS (SELECT 1 FROM chunks WHERE embedding = embeddings.row)",
        [(row,) for row in rows],
    )
