"""Entries of documents to fill an index with in tests, and the vectors that find them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ragagent.protocols import Entry, Index
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Chunk, Document, Metadata, Span, Vector, digest

Factory = Callable[[int], Index]
"""Makes a new, empty index for vectors of that dimension."""

DIMENSION = 32
"""Components of the vectors of `entry` and `vector_of`."""

_EMBEDDER = HashEmbedder(DIMENSION)


def entry(
    uri: str,
    paragraphs: Sequence[str],
    *,
    title: str = "",
    metadata: Metadata | None = None,
    source: str = "",
    stamp: str = "",
) -> Entry:
    """A document of one chunk for each paragraph, embedded by `HashEmbedder(DIMENSION)` with its title before it."""
    document = Document(uri=uri, title=title, text="\n\n".join(paragraphs), metadata=metadata or {})
    chunks = tuple(_chunks(document, paragraphs))
    texts = tuple(f"{title}\n{chunk.text}" for chunk in chunks)
    vectors = _EMBEDDER.embed_documents(texts)
    return Entry(document=document, chunks=chunks, vectors=vectors, texts=texts, source=source, stamp=stamp)


def vector_of(text: str) -> Vector:
    """The query vector that goes with `entry`: float32[DIMENSION]."""
    return _EMBEDDER.embed_query(text)


def _chunks(document: Document, paragraphs: Sequence[str]) -> Iterator[Chunk]:
    start = 0
    for position, text in enumerate(paragraphs):
        before = paragraphs[:position].count(text)
        span = Span(start, start + len(text))
        key = digest(document.id, text, str(before))
        yield Chunk(id=key, document_id=document.id, span=span, text=text, position=position)
        start = span.end + 2
