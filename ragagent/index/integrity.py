"""Whether the rows of the database are what was written: every checksum, and that rows belong together.

Reads everything once, some rows at a time: about 30 s of one core for a million chunks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import islice

from ragagent.errors import Corrupt
from ragagent.index import archive, checksums, filters, records, schema, tallies
from ragagent.types import Chunk, Span

_MOST = 20
_PAGE = 1000
_OTHERWISE = "ingest again into a new folder, or restore a backup"


def findings(connection: sqlite3.Connection) -> Iterator[str]:
    """Every disagreement as a sentence that says what to do; at most some of each kind."""
    for check in (_documents, _known, _chunks, _vectors, _tail, _archive, _counts, _strays):
        yield from islice(check(connection), _MOST)


def _documents(connection: sqlite3.Connection) -> Iterator[str]:
    """Records, texts and what filters ask for."""
    for row, key, uri, source in connection.execute("SELECT row, id, uri, source FROM documents ORDER BY row"):
        try:
            document = records.document(connection, key)
        except (Corrupt, ValueError) as error:
            yield str(error)
            continue
        if document is None:
            yield f"{uri}: cannot be found by its id; {_OTHERWISE}"
            continue
        stored = set(connection.execute("SELECT key, value FROM attributes WHERE document = ?", (row,)))
        if stored != set(filters.attributes(document, source)):
            yield f"{uri}: filters see other values than the document has; remove it and ingest it again"


def _known(connection: sqlite3.Connection) -> Iterator[str]:
    """What is remembered of sources."""
    try:
        records.known(connection, None)
    except Corrupt as error:
        yield str(error)


def _counts(connection: sqlite3.Connection) -> Iterator[str]:
    """Whether there is as much of everything as was counted when it was written."""
    for key in tallies.unsound(connection):
        yield f"database: what filters by {key!r} look at is damaged; {_OTHERWISE}"
    for table in ("documents", "snapshots"):
        (count,) = connection.execute(f"SELECT count(*) FROM {table} NOT INDEXED").fetchone()
        if count != (wanted := schema.facts(connection)[table]):
            yield f"database: {count} {table} where {wanted} were written; {_OTHERWISE}"
    for one in schema.editions(connection):
        query = "SELECT count(*), coalesce(sum(row), 0) FROM chunks NOT INDEXED WHERE edition = ?"
        if connection.execute(query, (one.id,)).fetchone() != (one.chunks, one.total):
            yield f"database: other chunks of edition {one.id} than were written; {_OTHERWISE}"


def _chunks(connection: sqlite3.Connection) -> Iterator[str]:
    """Passages of every edition, against the texts that they are parts of.

    Those of a record that waits for a swap have their text in that record, which has its own checksum.
    """
    query = (
        'SELECT c.id, d.id, c.start, c."end", c.page, c.headings, c.position, c.embedding, c.checksum, d.uri, d.row'
        ", c.row FROM documents d JOIN chunks c ON c.document = d.row WHERE c.edition = (SELECT value FROM meta"
        " WHERE key = 'edition') OR EXISTS (SELECT 1 FROM built WHERE edition = c.edition AND document = d.row"
        " AND record IS NULL) ORDER BY d.row"
    )
    held, text = -1, ""
    for values in connection.execute(query):
        key, document, start, end, page, headings, position, embedding, checksum, uri, row, number = values
        if row != held:
            held, text = row, records.text_of(connection, row)
        try:
            chunk = Chunk(
                id=key,
                document_id=document,
                span=Span(start, end),
                text=text[start:end],
                page=page,
                headings=records.headings(headings),
                position=position,
            )
            sound = 0 <= start <= end <= len(text) and checksums.chunk(chunk, embedding, number) == checksum
        except Corrupt:
            sound = False
        if not sound:
            yield f"{uri}: the passage at {start}..{end} is damaged; remove the document and ingest it again"


def _vectors(connection: sqlite3.Connection) -> Iterator[str]:
    dimensions = dict(connection.execute("SELECT id, dimension FROM editions"))
    rows = connection.execute(
        "SELECT e.row, e.vector, (SELECT edition FROM chunks WHERE embedding = e.row) FROM embeddings e ORDER BY e.row"
    )
    while page := rows.fetchmany(_PAGE):
        for row, vector, edition in page:
            # One that only a snapshot has tells its own dimension.
            dimension = dimensions.get(edition, (len(vector) - checksums.CRC_BYTES) // 2)
            if checksums.damaged([vector], [row], dimension):
                yield str(records.damaged_embedding(connection, row))


def _tail(connection: sqlite3.Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT c.row, c.document, c.id, c.embedding, p.terms, p.counts, p.checksum"
        " FROM postings p JOIN chunks c ON c.row = p.chunk ORDER BY c.row"
    )
    while page := rows.fetchmany(_PAGE):
        for *key, terms, counts, checksum in page:
            chunk = key[0]
            if checksums.terms((key[0], key[1], key[2], key[3]), terms, counts) != checksum:
                yield str(records.damaged_chunk(connection, chunk, "the terms of a passage"))


def _archive(connection: sqlite3.Connection) -> Iterator[str]:
    for uri, record, key in connection.execute("SELECT uri, record, id FROM archive ORDER BY id"):
        try:
            archive.require_sound(connection, [key])
            version = archive.unpacked(record, uri)
        except Corrupt as error:
            yield f"archive: {error}"
            continue
        held = connection.execute("SELECT embedding FROM archived_embeddings WHERE archive = ?", (key,))
        if {embedding for (embedding,) in held} != set(version.embeddings):
            yield f"archive: {uri}: its vectors are not all kept; remove the snapshots that hold it"


def _strays(connection: sqlite3.Connection) -> Iterator[str]:
    """Rows that belong to nothing."""
    strays = {
        "vectors that nothing has": "SELECT count(*) FROM embeddings e"
        " WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE embedding = e.row)"
        " AND NOT EXISTS (SELECT 1 FROM archived_embeddings WHERE embedding = e.row)",
        "archived versions that no snapshot has": f"SELECT count(*) FROM archive WHERE NOT {archive.NEEDED}",
        "segments of no edition": "SELECT count(*) FROM segments WHERE edition NOT IN (SELECT id FROM editions)",
    }
    for name, query in strays.items():
        (count,) = connection.execute(query).fetchone()
        if count:
            yield f"database: {count} {name}; {_OTHERWISE}"
    states = [state for (state,) in connection.execute("SELECT state FROM editions WHERE state = 'live'")]
    live = connection.execute("SELECT state FROM editions WHERE id = ?", (schema.edition(connection),)).fetchone()
    if len(states) != 1 or live != ("live",):
        yield f"database: not exactly one edition is live; {_OTHERWISE}"
