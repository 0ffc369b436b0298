"""Hits to evidence: the best sentences of the best passages within a token budget, each character traceable."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace

from ragagent.retrieve import compress, rewrite
from ragagent.settings import AnswerSettings
from ragagent.text import columns, tables, unicode
from ragagent.types import Document, Evidence, Hit, Passage, Span, digest

_MAX_HEADER_CHARS = 120
# Shares of the neighbours and a bonus keep the gold string in five sentences more often than without (200 questions of
# XQuAD English: 0.97 against 0.95). A bonus by chunk rather than by passage, of 0.8 rather than 0.4, with titles read:
# 0.972 against 0.960 of 250 questions (SQuAD 2.0), 0.968 against 0.960 (XQuAD English), 0.816 against 0.808 (German).
_SHARE_BEFORE, _SHARE_AFTER, _RANK_BONUS = 0.2, 0.1, 0.8
_ROW_BONUS, _LEAST_NAMED = 1.0, 0.5
_FOOTNOTE = re.compile(r"\(\d{1,2}\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    """Adjoining chunks of one document, as one span; `hits` are theirs, the best first."""

    document: Document
    span: Span
    hits: tuple[Hit, ...]

    @property
    def hit(self) -> Hit:
        """The best of the hits."""
        return self.hits[0]

    def rank(self, span: Span) -> int:
        """The rank of the best hit that `span` touches; of the worst where it touches none."""
        ranks = [hit.rank for hit in self.hits if hit.chunk.span.start < span.end and span.start < hit.chunk.span.end]
        return min(ranks, default=self.hits[-1].rank)


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
    last, the others between, numbered from 1 as they stand. `tokens` is the count of `rendered` and never
    exceeds `settings.evidence_tokens`. A hit whose document is gone or has changed since is left out, for nothing of it
    could be verified. Cost: a few calls of `count_tokens`.
    """
    regions = _regions(hits, document)
    ranked = _best(_ranked(question, regions), settings)
    passages, tokens = _fitted(
        regions, ranked, lambda some: count_tokens(rendered(some, question)), settings.evidence_tokens
    )
    return Evidence(question=question, passages=passages, tokens=tokens)


def rendered(passages: Sequence[Passage], question: str = "") -> str:
    """The passages as the model reads them, each between marks that its text does not contain.

    The cells of tables stand beside the names of their columns, without columns about another period than `question`.
    """
    texts = [columns.labelled(passage.text, question) for passage in passages]
    mark = _mark(texts)
    return "\n".join(
        f"<{mark} {p.number}{_header(p)}>\n{text}\n</{mark}>" for p, text in zip(passages, texts, strict=True)
    )


def locate(passage: Passage, start: int, end: int) -> Span | None:
    """The range of the document that `passage.text[start:end]` was taken from.

    None when the range is empty, outside the text, or not inside one piece, for then the document has something else
    between its ends.
    """
    for piece, inside in zip(passage.pieces, piece_ranges(passage), strict=True):
        if inside.start <= start < end <= inside.end:
            shift = piece.start - inside.start
            return Span(start + shift, end + shift)
    return None


def piece_ranges(passage: Passage) -> list[Span]:
    """Where each piece stands in `passage.text`, in order."""
    found, at = [], 0
    for piece in passage.pieces:
        size = piece.end - piece.start
        found.append(Span(at, at + size))
        at += size + 1
    return found


def _regions(hits: Sequence[Hit], document: Callable[[str], Document | None]) -> list[_Region]:
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
            hits_there = sorted([*(hit for r in near for hit in r.hits), hit], key=lambda hit: hit.rank)
            found[found.index(near[0])] = replace(near[0], span=whole, hits=tuple(hits_there))
            found = [region for region in found if region not in near[1:]]
        else:
            found.append(_Region(document=source, span=span, hits=(hit,)))
    return found


def _adjoin(one: Span, other: Span, text: str) -> bool:
    first, second = sorted((one, other))
    return second.start <= first.end or not text[first.end : second.start].strip()


def _ranked(question: str, regions: Sequence[_Region]) -> list[_Choice]:
    """Every unit of the regions, the best for the question first; ties by region, then reading order.

    A unit's score is its own BM25, read with the title of its document, plus shares of its neighbours' (an answer
    often stands beside the sentence that repeats the question), plus a bonus that falls with the rank of the chunk it
    stands in: adjoining chunks of one document are one passage, but not equally good. A row of a table that the
    question names by its label gets another one: it has what is asked for, and few words beside it.
    """
    found = [compress.units(region.document, region.span) for region in regions]
    texts = [_read(unit, region) for region, units in zip(regions, found, strict=True) for unit in units]
    scored = iter(compress.scores(rewrite.searched(question), texts))
    own = [[next(scored) for _ in units] for units in found]
    best = max((score for scores in own for score in scores), default=0.0)
    asked = set(compress.question_terms(question))
    choices = [
        _Choice(
            region=index,
            unit=unit,
            score=score
            + best * (_RANK_BONUS / regions[index].rank(unit.span) + _ROW_BONUS * _named(unit, regions[index], asked)),
        )
        for index, (units, scores) in enumerate(zip(found, own, strict=True))
        for unit, score in zip(units, _smoothed(scores), strict=True)
    ]
    return sorted(choices, key=lambda choice: (-choice.score, choice.region, choice.unit.span))


def _named(unit: compress.Unit, region: _Region, asked: Set[str]) -> float:
    """The share of the words of a row's label that are `asked` for; 0 for half of them and less, and for no row."""
    if not unit.context:
        return 0.0
    label = tables.cells(unit.span.of(region.document.text))[0]
    words = set(compress.terms(_FOOTNOTE.sub(" ", label)))
    share = len(words & asked) / len(words) if words else 0.0
    return share if share > _LEAST_NAMED else 0.0


def _read(unit: compress.Unit, region: _Region) -> str:
    """The unit with the title of its document: a clause of a contract need not say which contract it is of."""
    return f"{region.document.title}\n{unit.read(region.document.text)}"


def _best(ranked: Sequence[_Choice], settings: AnswerSettings) -> list[_Choice]:
    """The first of `ranked` that are together as many sentences, from as many passages, as the settings say."""
    taken: list[_Choice] = []
    for choice in ranked:
        known = {other.region for other in taken}
        if choice.region not in known and len(known) == settings.passages:
            continue
        if sum(other.unit.size for other in taken) + choice.unit.size > settings.sentences:
            break
        taken.append(choice)
    return taken


def _smoothed(scores: Sequence[float]) -> list[float]:
    """Each score with shares of the one before and the one after it."""
    padded = [0.0, *scores, 0.0]
    return [
        score + _SHARE_BEFORE * before + _SHARE_AFTER * after
        for before, score, after in zip(padded, padded[1:], padded[2:], strict=False)
    ]


def _fitted(
    regions: Sequence[_Region], ranked: Sequence[_Choice], size: Callable[[Sequence[Passage]], int], budget: int
) -> tuple[tuple[Passage, ...], int]:
    """The passages of as many of the best choices as the budget holds, and their tokens."""
    for keep in range(len(ranked), 0, -1):
        passages = _passages(regions, ranked[:keep])
        tokens = size(passages)
        if tokens <= budget:
            return passages, tokens
    return _cut(regions, ranked, size, budget)


def _cut(
    regions: Sequence[_Region], ranked: Sequence[_Choice], size: Callable[[Sequence[Passage]], int], budget: int
) -> tuple[tuple[Passage, ...], int]:
    """The best choice alone, halved at white space until it fits; nothing if it never does."""
    for choice in ranked[:1]:
        span = choice.unit.span
        while span.end > span.start:
            passages = _passages(regions, [replace(choice, unit=compress.Unit(span=span))])
            tokens = size(passages)
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
    spans = [span for choice in choices for span in choice.unit.spans]
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
        also=tuple(dict.fromkeys(uri for one in region.hits for uri in one.also)),
    )


def _text(pieces: Sequence[Span], text: str) -> str:
    """The pieces with one space between them, or one line break where a line ends."""
    found = pieces[0].of(text)
    for before, piece in itertools.pairwise(pieces):
        found += ("\n" if "\n" in text[before.end : piece.start] else " ") + piece.of(text)
    return unicode.shown(found)


def _mark(texts: Sequence[str]) -> str:
    """A tag name that no text contains, so that none can close its own marks; the same for the same texts."""
    mark = "passage"
    while any(re.search(rf"<\s*/?\s*{mark}", text, re.IGNORECASE) for text in texts):
        mark = f"passage-{digest(mark, *texts)[:6]}"
    return mark


def _header(passage: Passage) -> str:
    """Where the passage stands, for the model: title and headings, harmless whatever they contain."""
    parts = dict.fromkeys(part for part in (passage.title, *passage.headings) if part)
    plain = unicode.shown(" > ".join(re.sub(r"[\s<>]+", " ", part).strip() for part in parts))
    return f': "{plain[:_MAX_HEADER_CHARS]}"' if plain else ""
