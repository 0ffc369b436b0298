"""Hits to evidence: the best sentences of the best passages within a token budget, each character traceable."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ragagent.retrieve import compress
from ragagent.settings import AnswerSettings
from ragagent.types import Document, Evidence, Hit, Passage, Span, digest

_MAX_HEADER_CHARS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    """Adjoining chunks of one document, as one span; `hit` is the best of them."""

    document: Document
    span: Span
    hit: Hit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """A unit of a region that may go into the evidence."""

    region: int
    unit: compress.Unit
    score: float


def pack(
    question: str,
    hits: Sequence[Hit],
    *,
    document: Callable[[str], Document | None],
    count_tokens: Callable[[str], int],
    settings: AnswerSettings,
) -> Evidence:
    """The evidence for `question`: at most `settings.passages` passages with the `settings.sentences` best sentences.

    Chunks of one document that overlap or adjoin become one passage. The best passage comes first, the second best
    last, the others between, numbered from 1 as they stand. `tokens` is the count of `rendered(passages)` and never
    exceeds `settings.evidence_tokens`. A hit whose document is gone or has changed since is left out, for nothing of it
    could be verified. Cost: a few calls of `count_tokens`.
    """
    regions = _regions(hits, document, settings.passages)
    ranked = _ranked(question, regions)[: settings.sentences]
    passages, tokens = _fitted(regions, ranked, count_tokens, settings.evidence_tokens)
    return Evidence(question=question, passages=passages, tokens=tokens)


def rendered(passages: Sequence[Passage]) -> str:
    """The passages as the model reads them, each between marks that its text does not contain."""
    mark = _mark(passages)
    return "\n".join(f"<{mark} {p.number}{_header(p)}>\n{p.text}\n</{mark}>" for p in passages)


def locate(passage: Passage, start: int, end: int) -> Span | None:
    """The range of the document that `passage.text[start:end]` was taken from.

    None when the range is empty, outside the text, or not inside one piece, for then the document has something else
    between its ends.
    """
    at = 0
    for piece in passage.pieces:
        size = piece.end - piece.start
        if at <= start < end <= at + size:
            return Span(piece.start + start - at, piece.start + end - at)
        at += size + 1
    return None


def piece_texts(passage: Passage) -> list[str]:
    """The text of each piece of the passage, in order."""
    found, at = [], 0
    for piece in passage.pieces:
        size = piece.end - piece.start
        found.append(passage.text[at : at + size])
        at += size + 1
    return found


def _regions(hits: Sequence[Hit], document: Callable[[str], Document | None], limit: int) -> list[_Region]:
    found: list[_Region] = []
    for hit in sorted(hits, key=lambda hit: hit.rank):
        source = document(hit.document_id)
        span = hit.chunk.span
        if source is None or span.of(source.text) != hit.chunk.text:
            continue
        near = [
            region for region in found if region.document.id == source.id and _adjoin(region.span, span, source.text)
        ]
        if near:
            whole = Span(min(span.start, *(r.span.start for r in near)), max(span.end, *(r.span.end for r in near)))
            found[found.index(near[0])] = replace(near[0], span=whole)
            found = [region for region in found if region not in near[1:]]
        elif len(found) < limit:
            found.append(_Region(document=source, span=span, hit=hit))
    return found


def _adjoin(one: Span, other: Span, text: str) -> bool:
    first, second = sorted((one, other))
    return second.start <= first.end or not text[first.end : second.start].strip()


def _ranked(question: str, regions: Sequence[_Region]) -> list[_Choice]:
    """Every unit of the regions, the best for the question first; ties by region, then reading order."""
    pairs = [
        (index, unit) for index, region in enumerate(regions) for unit in compress.units(region.document, region.span)
    ]
    texts = [unit.span.of(regions[index].document.text) for index, unit in pairs]
    found = compress.scores(question, texts)
    choices = [_Choice(region=index, unit=unit, score=score) for (index, unit), score in zip(pairs, found, strict=True)]
    return sorted(choices, key=lambda choice: (-choice.score, choice.region, choice.unit.span))


def _fitted(
    regions: Sequence[_Region], ranked: Sequence[_Choice], count_tokens: Callable[[str], int], budget: int
) -> tuple[tuple[Passage, ...], int]:
    """The passages of as many of the best choices as the budget holds, and their tokens."""
    for keep in range(len(ranked), 0, -1):
        passages = _passages(regions, ranked[:keep])
        tokens = count_tokens(rendered(passages))
        if tokens <= budget:
            return passages, tokens
    return _cut(regions, ranked, count_tokens, budget)


def _cut(
    regions: Sequence[_Region], ranked: Sequence[_Choice], count_tokens: Callable[[str], int], budget: int
) -> tuple[tuple[Passage, ...], int]:
    """The best choice alone, halved at white space until it fits; nothing if it never does."""
    for choice in ranked[:1]:
        span = choice.unit.span
        while span.end > span.start:
            passages = _passages(regions, [replace(choice, unit=compress.Unit(span=span))])
            tokens = count_tokens(rendered(passages))
            if tokens <= budget:
                return passages, tokens
            span = _half(regions[choice.region].document.text, span)
    return (), 0


def _half(text: str, span: Span) -> Span:
    """The first half of a span, ended at white space where there is some."""
    middle = (span.start + span.end) // 2
    words = re.compile(r"\s+\S*$").sub("", text[span.start : middle])
    return Span(span.start, span.start + len(words))


def _passages(regions: Sequence[_Region], choices: Sequence[_Choice]) -> tuple[Passage, ...]:
    by_region: dict[int, list[_Choice]] = {}
    for choice in choices:
        by_region.setdefault(choice.region, []).append(choice)
    best_first = [_passage(regions[index], by_region[index]) for index in sorted(by_region)]
    ordered = best_first[:1] + best_first[2:] + best_first[1:2]
    return tuple(replace(passage, number=number) for number, passage in enumerate(ordered, 1))


def _passage(region: _Region, choices: Sequence[_Choice]) -> Passage:
    text = region.document.text
    spans = [choice.unit.span for choice in choices] + [c.unit.header for c in choices if c.unit.header is not None]
    pieces = compress.joined(spans, text)
    hit = region.hit
    return Passage(
        number=0,
        chunk_id=hit.chunk.id,
        document_id=region.document.id,
        uri=region.document.uri,
        title=region.document.title,
        text=_text(pieces, text),
        pieces=pieces,
        headings=hit.chunk.headings,
        page=region.document.page_at(pieces[0].start),
        score=hit.score,
    )


def _text(pieces: Sequence[Span], text: str) -> str:
    """The pieces with one space between them, or one line break where a line ends."""
    found = pieces[0].of(text)
    for before, piece in itertools.pairwise(pieces):
        found += ("\n" if "\n" in text[before.end : piece.start] else " ") + piece.of(text)
    return found


def _mark(passages: Sequence[Passage]) -> str:
    """A tag name that no passage contains, so that no text can close its own marks; the same for the same passages."""
    mark = "passage"
    texts = [passage.text for passage in passages]
    while any(re.search(rf"<\s*/?\s*{mark}", text, re.IGNORECASE) for text in texts):
        mark = f"passage-{digest(mark, *texts)[:6]}"
    return mark


def _header(passage: Passage) -> str:
    """Where the passage stands, for the model: title and headings, harmless whatever they contain."""
    parts = dict.fromkeys(part for part in (passage.title, *passage.headings) if part)
    plain = " > ".join(re.sub(r"[\s<>]+", " ", part).strip() for part in parts)
    return f': "{plain[:_MAX_HEADER_CHARS]}"' if plain else ""
