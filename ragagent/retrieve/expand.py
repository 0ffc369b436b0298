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
    neighbours: int = 0,
) -> list[Hit]:
    """Each hit with the passage that `settings.strategy` gives in place of its chunk, whose id it keeps.

    `parents`: the chunks under the same headings, up to `parent_tokens`; `sentences`: `window_sentences` on each side;
    otherwise `neighbours` on each side under the same headings, up to `parent_tokens`, and with 0 the hits as they are.
    The caption and the header of a table go with each of its rows anyway (`ragagent.retrieve.compress`). A hit whose
    document is gone or has changed since stays as it is. Cost: one reading of each hit's document.
    """
    if settings.strategy not in {"parents", "sentences"} and not neighbours:
        return list(hits)
    known = {key: (chunks(key), document(key)) for key in dict.fromkeys(hit.document_id for hit in hits)}
    return [_expanded(hit, *known[hit.document_id], settings, neighbours) for hit in hits]


def around(chunks: Sequence[Chunk], at: int, settings: ChunkingSettings, neighbours: int = 0) -> Span:
    """The passage around the chunk that is `at` that place among the chunks of its document, in reading order."""
    if settings.strategy not in {"parents", "sentences"}:
        first, last = _beside(chunks, at, neighbours, settings.parent_tokens * _BYTES_PER_TOKEN)
    elif settings.strategy == "sentences":
        first, last = max(0, at - settings.window_sentences), min(len(chunks), at + settings.window_sentences + 1)
    else:
        first, last = _parent(chunks, at, settings.parent_tokens * _BYTES_PER_TOKEN)
    return Span(chunks[first].span.start, max(one.span.end for one in chunks[first:last]))


def _expanded(
    hit: Hit, chunks: Sequence[Chunk], document: Document | None, settings: ChunkingSettings, neighbours: int
) -> Hit:
    at = next((place for place, one in enumerate(chunks) if one.id == hit.chunk.id), None)
    if at is None or document is None or chunks[at].span.of(document.text) != hit.chunk.text:
        return hit
    span = around(chunks, at, settings, neighbours)
    return replace(hit, chunk=replace(hit.chunk, span=span, text=span.of(document.text)))


def _beside(chunks: Sequence[Chunk], at: int, neighbours: int, most: int) -> tuple[int, int]:
    """So many chunks on each side, the nearer ones first and the one after before the one before, as far as they go."""
    first, last, size = at, at + 1, _bytes(chunks[at])
    for _ in range(neighbours):
        if last < len(chunks) and _titles(chunks[last]) == _titles(chunks[at]) and size + _bytes(chunks[last]) <= most:
            size += _bytes(chunks[last])
            last += 1
        before = first - 1
        if before >= 0 and _titles(chunks[before]) == _titles(chunks[at]) and size + _bytes(chunks[before]) <= most:
            size += _bytes(chunks[before])
            first = before
    return first, last


def _bytes(chunk: Chunk) -> int:
    return len(chunk.text.encode("utf-8", "surrogatepass"))


def _parent(chunks: Sequence[Chunk], at: int, most: int) -> tuple[int, int]:
    """The part of the section that the chunk falls into when the section is taken in parts of at most `most` bytes."""
    headings = _titles(chunks[at])
    before = list(takewhile(lambda one: _titles(one) == headings, reversed(chunks[:at])))
    first, size = at - len(before), 0
    for place in range(first, len(chunks)):
        length = _bytes(chunks[place])
        if size and (size + length > most or _titles(chunks[place]) != headings):
            if place > at:
                return first, place
            first, size = place, 0
        size += length
    return first, len(chunks)


def _titles(chunk: Chunk) -> tuple[str, ...]:
    """The headings without what a part of a table repeats."""
    return tuple(one for one in chunk.headings if "\n" not in one)
