"""Documents with one hit for each of some chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ragagent.types import Chunk, Document, Hit, Span

Hits = Callable[[Sequence[tuple[Document, Span]]], list[Hit]]


@pytest.fixture(scope="session")
def hits_of() -> Hits:
    """Hits over parts of documents, ranked as they are given."""

    def hits(parts: Sequence[tuple[Document, Span]]) -> list[Hit]:
        return [_hit(document, span, rank) for rank, (document, span) in enumerate(parts, 1)]

    return hits


def _hit(document: Document, span: Span, rank: int) -> Hit:
    chunk = Chunk(
        id=f"{document.id}:{span.start}-{span.end}", document_id=document.id, span=span, text=span.of(document.text)
    )
    return Hit(chunk=chunk, rank=rank, score=1 / rank, via="hybrid", title=document.title, uri=document.uri)
