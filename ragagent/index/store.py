"""Writing: documents, chunks, vectors and terms go into SQLite in one transaction, or not at all.

A batch is written table by table, not document by document: a statement that runs once for all rows costs a fraction
of one that runs for each, and the rows of a table come in the order in which it keeps them.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.errors import ConfigError
from ragagent.index import archive, checksums, filters, postings, records, schema, tallies
from ragagent.index.archive import Version
from ragagent.index.database import remember, translated
from ragagent.index.vectors import Stored
from ragagent.protocols import Entry
from ragagent.text.analyser import Analyser
from ragagent.text.language import detect
from ragagent.types import Chunk, Document, Metadata, Vector, digest

Counts = npt.NDArray[np.uint16]

_GROUP = 500
"""So many values are bound to one statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A chunk that is in the database: `content` changes with anything that search sees of it."""

    row: int
    edition: int
    content: bytes
    embedding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _New:
    """A chunk that goes into the database."""

    row: int
    document: int
    title: str
    chunk: Chunk
    content: bytes
    embedding: int


@contextlib.contextmanager
def transaction(folder: Path, connection: sqlite3.Connection) -> Iterator[None]:
    """Runs a block as one commit, seen by every reader at once; an error undoes all of it."""
    with translated(folder):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            schema.add(connection, "generation", 1)
            made = schema.generation(connection)
            connection.execute("COMMIT")
            remember(folder, made)
        except BaseException:
            # A full disk has already rolled back by itself.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def write(connection: sqlite3.Connection, entries: Sequence[Entry], remove: Iterable[str], analyser: Analyser) -> None:
    """Removes, then adds or replaces, inside the caller's transaction.

    The chunks go into the live edition; other editions lose the documents that change, and their marks as built.
    """
    edition = schema.edition(connection)
    # Of two entries for one document the later one counts.
    latest = list({one.document.id: one for one in entries}.values())
    embeddings = _embedded(connection, latest, edition)
    write_versions(connection, [_version(*both) for both in zip(latest, embeddings, strict=True)], remove, analyser)


def write_versions(
    connection: sqlite3.Connection, versions: Sequence[Version], remove: Iterable[str], analyser: Analyser
) -> None:
    """As `write`, of versions of documents, one for each document, whose embeddings are there already."""
    edition = schema.edition(connection)
    gone = rows_of(connection, remove)
    there = rows_of(connection, [one.document.id for one in versions])
    archive.keep(connection, list({**gone, **there}.values()))
    freed = _delete_documents(connection, [row for key, row in gone.items() if key not in there])
    rows = _write_documents(connection, versions, there)
    freed |= _forget_editions(connection, list(there.values()), edition)
    freed |= _write_chunks(connection, edition, versions, rows, analyser)
    drop_embeddings(connection, freed)


def write_built(connection: sqlite3.Connection, edition: int, entries: Sequence[Entry], analyser: Analyser) -> None:
    """Writes the chunks and vectors of `entries` for an edition that is not live, and marks them as built.

    Inside the caller's transaction, and the caller has seen that the documents are there and as they were when the
    entries were made. The documents themselves stay as they are.
    """
    current = rows_of(connection, [one.document.id for one in entries])
    embeddings = _embedded(connection, entries, edition)
    versions = [_version(*both) for both in zip(entries, embeddings, strict=True)]
    freed = _write_chunks(connection, edition, versions, [current[one.document.id] for one in entries], analyser)
    drop_embeddings(connection, freed)
    marks = [(edition, row) for row in current.values()]
    connection.executemany("INSERT OR REPLACE INTO built (edition, document) VALUES (?, ?)", marks)


def retag(connection: sqlite3.Connection, metadata: Mapping[str, Metadata]) -> tuple[str, ...]:
    """Gives documents (by id) new metadata, inside the caller's transaction; returns the ids that are not there.

    Chunks, vectors and texts stay as they are, in every edition.
    """
    return _change(connection, metadata, lambda old, key: replace(old, metadata=metadata[key], revision=""))


def relabel(connection: sqlite3.Connection, acls: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Gives documents (by id) new readers; otherwise as `retag`."""
    return _change(connection, acls, lambda old, key: old.labelled(acls[key]))


def _change(
    connection: sqlite3.Connection, ids: Iterable[str], changed: Callable[[Document, str], Document]
) -> tuple[str, ...]:
    wanted = list(ids)
    there = rows_of(connection, wanted)
    archive.keep(connection, list(there.values()))
    staged = "SELECT 1 FROM built WHERE document = ? AND record IS NOT NULL"
    # A record that waits for a swap is as the document was before; it is to be made again.
    waiting = [row for row in there.values() if connection.execute(staged, (row,)).fetchone()]
    drop_embeddings(connection, _forget_editions(connection, waiting, schema.edition(connection)))
    for key, row in there.items():
        old = archive.version(connection, row)
        new = changed(old.document, key)
        values = _document_values(old, new, _next_generation(connection))
        values = (*values, _mark(row, new.id, values))
        connection.execute(f"UPDATE documents SET {_ASSIGNED} WHERE row = ?", (*values, row))
        _remove_attributes(connection, [row])
        _write_attributes(connection, [(row, new, old.source)])
    return tuple(key for key in wanted if key not in there)


def write_record(connection: sqlite3.Connection, row: int, version: Version) -> None:
    """Puts a version in the place of the document at `row`, all but its chunks, inside the caller's transaction."""
    _write_documents(connection, [version], {version.document.id: row})


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


def text_key(embedder: str, text: str) -> bytes:
    """The key of the embedding of `text` by the embedder of that fingerprint."""
    return bytes.fromhex(digest(embedder, digest(text)))


def cached_vectors(
    connection: sqlite3.Connection, texts: Iterable[str], edition: int | None = None
) -> dict[str, Vector]:
    """The stored vectors of those texts by the embedder of an edition (the live one), normalised.

    A vector that is damaged counts as none.
    """
    embedder, dimension = _embedder(connection, edition), schema.dimension(connection, edition)
    keys = {text_key(embedder, text): text for text in texts}
    found: dict[str, Vector] = {}
    for group in grouped(keys):
        numbers = list(_embedding_rows(connection, group).values())
        query = f"SELECT digest, vector, row FROM embeddings WHERE row IN ({_places(numbers)})"
        rows = connection.execute(query, numbers).fetchall()
        bad = set(checksums.damaged([row[1] for row in rows], [row[2] for row in rows], dimension))
        sound = [row for place, row in enumerate(rows) if place not in bad]
        vectors = checksums.unpacked([row[1] for row in sound], dimension)
        for (key, _, _), vector in zip(sound, vectors, strict=True):
            found[keys[key]] = _normalised(vector)
    return found


def vectors_of(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, Vector]:
    """The stored vectors of those of the chunks of these ids that the live edition has, normalised."""
    edition = schema.edition(connection)
    places: dict[str, int] = {}
    for group in grouped(dict.fromkeys(ids)):
        query = f"SELECT id, embedding FROM chunks WHERE edition = ? AND id IN ({_places(group)})"
        places.update(connection.execute(query, [edition, *group]))
    vectors = Stored(connection, schema.dimension(connection)).read(np.array(list(places.values()), np.int64))
    return {key: _normalised(vector) for key, vector in zip(places, vectors, strict=True)}


def _normalised(vector: npt.NDArray[Any]) -> Vector:
    found: Vector = vector.astype(np.float32)
    return found / max(float(np.linalg.norm(found)), 1e-12)


def _embedding_rows(connection: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, int]:
    """The rows of the embeddings of those keys (at most a group) that are there.

    The keys are read from the rows themselves: an index that leads to the wrong row is not believed.
    """
    query = f"SELECT row FROM embeddings WHERE digest IN ({_places(keys)})"
    rows = [row for (row,) in connection.execute(query, keys).fetchall()]
    wanted = set(keys)
    found = connection.execute(f"SELECT digest, row FROM embeddings WHERE row IN ({_places(rows)})", rows)
    return {key: row for key, row in found if key in wanted}


def touch(connection: sqlite3.Connection, stamps: Mapping[str, str]) -> None:
    """Sets stamps by document id, inside the caller's transaction. Raises Corrupt where a record is damaged."""
    known = records.known_of(connection, list(stamps))
    there = rows_of(connection, known)
    for group in grouped(there):
        query = f"SELECT id, born FROM documents WHERE id IN ({_places(group)})"
        changed = []
        for key, born in connection.execute(query, group).fetchall():
            new = replace(known[key], stamp=stamps[key])
            changed.append((new.stamp, records.mark(there[key], key, born, new), there[key]))
        connection.executemany("UPDATE documents SET stamp = ?, mark = ? WHERE row = ?", changed)


def analysed(analyser: Analyser, title: str, headings: Sequence[str], text: str) -> tuple[list[str], Counts]:
    """The distinct terms of a chunk and their counts, uint16[n, 2]: in title and headings, and in the text.

    All of it is taken to be in the language of the text, so that the terms depend on the chunk alone.
    """
    language = detect(text)
    head = Counter(analyser.index_terms("\n".join([title, *headings]), language))
    body = Counter(analyser.index_terms(text, language))
    shared = [body.pop(term, 0) for term in head]
    counts = np.zeros((len(head) + len(body), 2), np.int64)
    counts[: len(head), 0] = list(head.values())
    counts[:, 1] = [*shared, *body.values()]
    return [*head, *body], np.minimum(counts, postings.MOST).astype(np.uint16)


def rows_of(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, int]:
    """The rows of those documents that are there, by id."""
    found: dict[str, int] = {}
    for group in grouped(dict.fromkeys(ids)):
        rows = dict(connection.execute(f"SELECT id, row FROM documents WHERE id IN ({_places(group)})", group))
        records.require_absent(connection, [key for key in group if key not in rows])
        found.update(rows)
    return found


def grouped(values: Iterable[Any]) -> Iterator[list[Any]]:
    """Values in lists short enough to be bound to one statement."""
    rest = iter(values)
    while group := list(islice(rest, _GROUP)):
        yield group


def drop_embeddings(connection: sqlite3.Connection, rows: Iterable[int]) -> None:
    """Removes those embeddings that no chunk and no snapshot has any more."""
    connection.executemany(
        "DELETE FROM embeddings WHERE row = ? AND NOT EXISTS (SELECT 1 FROM chunks WHERE embedding = embeddings.row)"
        " AND NOT EXISTS (SELECT 1 FROM archived_embeddings WHERE embedding = embeddings.row)",
        [(row,) for row in rows],
    )


def _places(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _embedder(connection: sqlite3.Connection, edition: int | None) -> str:
    return schema.fingerprint(connection, edition).get("embedder", "")


def _version(entry: Entry, embeddings: Sequence[int]) -> Version:
    texts = entry.texts or tuple(chunk.text for chunk in entry.chunks)
    return Version(
        document=entry.document,
        source=entry.source,
        stamp=entry.stamp,
        chunks=entry.chunks,
        contents=tuple(_content(entry.document, *both) for both in zip(entry.chunks, texts, strict=True)),
        embeddings=tuple(embeddings),
    )


def _content(document: Document, chunk: Chunk, embedded: str) -> bytes:
    return bytes.fromhex(digest(document.title, "\0".join(chunk.headings), chunk.text, embedded))


def _embedded(connection: sqlite3.Connection, entries: Sequence[Entry], edition: int) -> list[list[int]]:
    """For each entry the rows of its chunks' embeddings, written where they are not there yet.

    A vector that is there already stays, so that equal texts have equal vectors.
    """
    embedder = _embedder(connection, edition)
    keys = [
        [text_key(embedder, text) for text in entry.texts or (chunk.text for chunk in entry.chunks)]
        for entry in entries
    ]
    vectors: dict[bytes, Vector] = {}
    for one, entry in zip(keys, entries, strict=True):
        vectors.update(zip(one, entry.vectors[: len(one)], strict=True))
    found: dict[bytes, int] = {}
    for group in grouped(vectors):
        found.update(_embedding_rows(connection, group))
    new = [key for key in vectors if key not in found]
    if new:
        begin = last_row(connection, "embeddings") + 1
        blobs = checksums.packed(np.stack([vectors[key] for key in new]), begin)
        connection.executemany(
            "INSERT INTO embeddings (row, digest, vector) VALUES (?, ?, ?)",
            zip(range(begin, begin + len(new)), new, blobs, strict=True),
        )
        found.update(zip(new, range(begin, begin + len(new)), strict=True))
    return [[found[key] for key in one] for one in keys]


def last_row(connection: sqlite3.Connection, table: str) -> int:
    """The highest row that the table ever had."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else 0


def _delete_documents(connection: sqlite3.Connection, rows: Sequence[int]) -> set[int]:
    """Removes documents with their chunks in every edition; returns the embeddings that those had."""
    freed: set[int] = set()
    for group in grouped(rows):
        gone = [chunk for one in _stored_chunks(connection, group).values() for chunk in one]
        freed |= _delete_chunks(connection, [chunk for _, chunk in gone])
        _remove_attributes(connection, group)
        deleted = connection.execute(f"DELETE FROM documents WHERE row IN ({_places(group)})", group).rowcount
        schema.add(connection, "documents", -deleted)
    return freed


def _forget_editions(connection: sqlite3.Connection, rows: Sequence[int], edition: int) -> set[int]:
    """Takes changed documents out of every edition but one; returns the embeddings that their chunks had."""
    freed: set[int] = set()
    for group in grouped(rows):
        connection.execute(f"DELETE FROM built WHERE document IN ({_places(group)}) AND edition != {edition}", group)
        gone = [chunk for one in _stored_chunks(connection, group).values() for _, chunk in one]
        freed |= _delete_chunks(connection, [chunk for chunk in gone if chunk.edition != edition])
    return freed


_ASSIGNED = (
    "uri = ?, source = ?, stamp = ?, revision = ?, title = ?, media_type = ?, metadata = ?, acl = ?, blocks = ?,"
    " characters = ?, born = ?, checksum = ?, mark = ?"
)
_INSERTED = (
    "INSERT INTO documents (uri, source, stamp, revision, title, media_type, metadata, acl, blocks, characters, born,"
    " checksum, mark, row, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def _write_documents(
    connection: sqlite3.Connection, versions: Sequence[Version], there: Mapping[str, int]
) -> list[int]:
    """Inserts or updates the rows of documents and what hangs on them besides chunks; returns the rows in order."""
    new = iter(range(last_row(connection, "documents") + 1, last_row(connection, "documents") + 1 + len(versions)))
    rows = [there.get(one.document.id) or next(new) for one in versions]
    both = list(zip(versions, rows, strict=True))
    born = _next_generation(connection)
    values = {row: _document_values(one, one.document, born) for one, row in both}
    values = {row: (*values[row], _mark(row, one.document.id, values[row])) for one, row in both}
    old = [(row,) for row in there.values()]
    connection.executemany(f"UPDATE documents SET {_ASSIGNED} WHERE row = ?", [(*values[row], row) for (row,) in old])
    connection.executemany("DELETE FROM texts WHERE document = ?", old)
    _remove_attributes(connection, list(there.values()))
    inserted = [(*values[row], row, one.document.id) for one, row in both if one.document.id not in there]
    connection.executemany(_INSERTED, inserted)
    schema.add(connection, "documents", len(inserted))
    pieces = [(row, start, text) for one, row in both for start, text in records.pieces(one.document.text)]
    connection.executemany(
        "INSERT INTO texts (document, start, text, checksum) VALUES (?, ?, ?, ?)",
        [(*piece, checksums.piece(*piece)) for piece in pieces],
    )
    _write_attributes(connection, [(row, one.document, one.source) for one, row in both])
    return rows


def _next_generation(connection: sqlite3.Connection) -> int:
    """The number of the commit that is being made."""
    return schema.generation(connection) + 1


def _mark(row: int, document_id: str, values: Sequence[Any]) -> int:
    uri, source, stamp, revision, _, _, _, acl, *_, born, _ = values
    known = records.as_known((document_id, uri, source, stamp, revision, acl))
    return records.mark(row, document_id, born, known)


def _document_values(version: Version, document: Document, born: int) -> tuple[Any, ...]:
    values = records.document_values(document, version.source)
    uri, source, *rest = values
    return uri, source, version.stamp, *rest, born, records.document_checksum(document.id, values, born)


def _write_attributes(connection: sqlite3.Connection, documents: Sequence[tuple[int, Document, str]]) -> None:
    attributes = [
        (key, value, row) for row, document, source in documents for key, value in filters.attributes(document, source)
    ]
    attributes.sort()
    connection.executemany("INSERT INTO attributes (key, value, document) VALUES (?, ?, ?)", attributes)
    tallies.add(connection, attributes)


def _remove_attributes(connection: sqlite3.Connection, documents: Sequence[int]) -> None:
    for group in grouped(documents):
        of_them = f"FROM attributes WHERE document IN ({_places(group)})"
        gone = connection.execute(f"SELECT key, value, document {of_them}", group).fetchall()
        tallies.remove(connection, gone)
        connection.execute(f"DELETE {of_them}", group)


def _write_chunks(
    connection: sqlite3.Connection,
    edition: int,
    versions: Sequence[Version],
    rows: Sequence[int],
    analyser: Analyser,
) -> set[int]:
    """Writes the chunks of documents, given by their rows, for an edition; those that search could not tell from the
    stored ones keep their rows. Returns the embeddings of the chunks that are gone."""
    stored = _stored_chunks(connection, rows)
    next_row = last_row(connection, "chunks") + 1
    new: list[_New] = []
    moved: list[tuple[object, ...]] = []
    gone: list[_Stored] = []
    for version, document in zip(versions, rows, strict=True):
        old = {key: one for key, one in stored.get(document, ()) if one.edition == edition}
        for chunk, content, embedding in zip(version.chunks, version.contents, version.embeddings, strict=True):
            same = old.get(chunk.id)
            if same is not None and same.content == content:
                del old[chunk.id]
                checksum = checksums.chunk(chunk, same.embedding, same.row)
                moved.append((chunk.position, *chunk.span, chunk.page, checksum, same.row))
            else:
                new.append(
                    _New(
                        row=next_row + len(new),
                        document=document,
                        title=version.document.title,
                        chunk=chunk,
                        content=content,
                        embedding=embedding,
                    )
                )
        gone += old.values()
    freed = _delete_chunks(connection, gone)
    connection.executemany(
        'UPDATE chunks SET position = ?, start = ?, "end" = ?, page = ?, checksum = ? WHERE row = ?', moved
    )
    _add_chunks(connection, edition, new)
    connection.executemany(
        "INSERT INTO postings (chunk, edition, terms, counts, checksum) VALUES (?, ?, ?, ?, ?)",
        _terms(edition, new, analyser),
    )
    return freed


def _stored_chunks(connection: sqlite3.Connection, documents: Sequence[int]) -> dict[int, list[tuple[str, _Stored]]]:
    """The chunks of documents in every edition, with their ids, by the rows of the documents."""
    found: dict[int, list[tuple[str, _Stored]]] = {}
    for group in grouped(documents):
        rows = connection.execute(
            f"SELECT document, id, row, edition, content, embedding FROM chunks WHERE document IN ({_places(group)})",
            group,
        )
        for document, key, row, edition, content, embedding in rows:
            one = _Stored(row=row, edition=edition, content=content, embedding=embedding)
            found.setdefault(document, []).append((key, one))
    return found


def _delete_chunks(connection: sqlite3.Connection, chunks: Sequence[_Stored]) -> set[int]:
    """Removes chunks; returns the embeddings that they had."""
    connection.executemany("INSERT INTO dead (row, edition) VALUES (?, ?)", [(one.row, one.edition) for one in chunks])
    connection.executemany("DELETE FROM chunks WHERE row = ?", [(one.row,) for one in chunks])
    for edition in {one.edition for one in chunks}:
        schema.count_chunks(connection, edition, (), [one.row for one in chunks if one.edition == edition])
    return {one.embedding for one in chunks}


def _add_chunks(connection: sqlite3.Connection, edition: int, new: Sequence[_New]) -> None:
    try:
        connection.executemany(
            'INSERT INTO chunks (row, edition, document, id, position, start, "end", page, headings, content,'
            " embedding, checksum) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    *(one.row, edition, one.document, one.chunk.id, one.chunk.position, *one.chunk.span),
                    *(one.chunk.page, json.dumps(one.chunk.headings), one.content, one.embedding),
                    checksums.chunk(one.chunk, one.embedding, one.row),
                )
                for one in new
            ],
        )
    except sqlite3.IntegrityError as error:
        raise ConfigError(_conflict(connection, edition, new)) from error
    schema.count_chunks(connection, edition, [one.row for one in new], ())


def _conflict(connection: sqlite3.Connection, edition: int, new: Sequence[_New]) -> str:
    """Which chunk has an id that another document's chunk has, in words."""
    owners = {one.chunk.id: one.document for one in new}
    for one in new:
        row = connection.execute(
            "SELECT document FROM chunks WHERE edition = ? AND id = ?", (edition, one.chunk.id)
        ).fetchone()
        if owners[one.chunk.id] != one.document or (row is not None and row[0] != one.document):
            return f"chunk {one.chunk.id} of {one.chunk.document_id!r}: another document has a chunk of this id"
    return "two chunks of one id"


def _terms(edition: int, new: Sequence[_New], analyser: Analyser) -> Iterator[tuple[object, ...]]:
    for one in new:
        terms, counts = analysed(analyser, one.title, one.chunk.headings, one.chunk.text)
        joined, stored = " ".join(terms), counts.tobytes()
        yield (
            one.row,
            edition,
            joined,
            stored,
            checksums.terms((one.row, one.document, one.chunk.id, one.embedding), joined, stored),
        )
