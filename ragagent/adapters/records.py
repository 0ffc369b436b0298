"""What other frameworks are told of a hit beside its text."""

from __future__ import annotations

from typing import Any

from ragagent.types import Hit


def metadata(hit: Hit) -> dict[str, Any]:
    """The document's own metadata, and where the text stands: the names of these win where both have them.

    `start` and `end` are character offsets into the text of the document `document_id`; `also` are uris of copies.
    """
    return {
        **hit.metadata,
        "uri": hit.uri,
        "title": hit.title,
        "document_id": hit.document_id,
        "chunk_id": hit.chunk.id,
        "page": hit.page,
        "start": hit.chunk.span.start,
        "end": hit.chunk.span.end,
        "headings": list(hit.chunk.headings),
        "rank": hit.rank,
        "score": hit.score,
        "also": list(hit.also),
    }
