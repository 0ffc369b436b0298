"""From the chunk that was found to the passage around it: small chunks are found more surely than they are read.

What is around a chunk is worked out from the chunks that its document has now, so nothing more is stored, and an edit
elsewhere changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from ragagent.settings import ChunkingSettings
from ragagent.types import Chunk, Document, Hit, Span

_BYTES_PER_TOKEN = 4
"""Of UTF-8: about right for every script, without asking the tokenizer."""


def expanded(
    hits: Sequence[Hit],
    *,
    chunks: Callable[[str], Sequence[Chunk]],
    document: Callable[[str], Document | None],
    settings: ChunkingSettings,
) -> list[Hit]:
    """Each hit with the passage that `settings.strategy` gives in place of its chunk, whose id it keeps.

    `parents`: the neighbours under the same headings, up to `parent_tokens`; `sentences`: `window_sentences` on each
    side; otherwise the hits as they are. A hit whose document is gone or has changed since stays as it is. Cost: one
    reading of each hit's document.
    """
    if settings.strategy not in {"parents", "sentences"}:
        return list(hits)
    known = {key: (chunks(key), document(key)) for key in dict.fromkeys(hit.document_id for hit in hits)}
    return [_expanded(hit, *known[hit.document_id], settings) for hit in hits]


def around(chunks: Sequence[Chunk], at: int, settings: ChunkingSettings) -> Span:
    """The passage around the chunk that is `at` that place among the chunks of its document, in reading order."""
    if settings.strategy == "sentences":
        first, last = max(0, at - settings.window_sentences), min(len(chunks), at + settings.window_sentences + 1)
    else:
        first, last = _parent(chunks, at, settings.parent_tokens * _BYTES_PER_TOKEN)
    return Span(chunks[first].span.start, max(one.span.end for one in chunks[first:last]))


def _expanded(hit: Hit, chunks: Sequence[Chunk], document: Document | None, settings: ChunkingSettings) -> Hit:
    at = next((place for place, one in enumerate(chunks) if one.id == hit.chunk.id), None)
    if at is None or document is None or chunks[at].span.of(document.text) != hit.chunk.text:
        return hit
    span = around(chunks, at, settings)
    return replace(hit, chunk=replace(hit.chunk, span=span, text=span.of(document.text)))


def _parent(chunks: Sequence[Chunk], at: int, most: int) -> tuple[int, int]:
    """The part of the section that the chunk falls into when the section is taken in parts of at most `most` bytes."""
    headings = _titles(chunks[at])
    before = list(takewhile(lambda one: _titles(one) == headings, reversed(chunks[:at])))
    first, size = at - len(before), 0
    for place in range(first, len(chunks)):
        length = len(chunks[place].text.encode("utf-8", "surrogatepass"))
        if size and (size + length > most or _titles(chunks[place]) != headings):
            if place > at:
                return first, place
            first, size = place, 0
        size += length
    return first, len(chunks)


def _titles(chunk: Chunk) -> tuple[str, ...]:
    """The headings without what a part of a table repeats."""
    return tuple(one for one in chunk.headings if "\n" not in one)
