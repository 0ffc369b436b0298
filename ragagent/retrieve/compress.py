"""The sentences of some passages that bear on a question: extractive, deterministic, offsets kept."""

from __future__ import annotations

import bisect
import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ragagent.text.analyser import Analyser
from ragagent.text.sentences import sentences
from ragagent.types import Block, Document, Span

_K1, _B = 1.2, 0.75
_NUMBER = re.compile(r"(?<![\w.])[($€£¥]*\d[\d,.]*\)?%?")
_WORD = re.compile(r"\w+", re.UNICODE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One sentence or table row of a document. `header` is the span of the lines that name the row's columns."""

    span: Span
    header: Span | None = None


def units(document: Document, span: Span) -> list[Unit]:
    """The sentences and table rows of `document` within `span`, in reading order, disjoint.

    Lines of a table block are rows, and so are lines outside one that hold two figures or more and little else (the
    way the text of a PDF shows a table).
    """
    found: list[Unit] = []
    for part, is_table in _parts(document, span):
        spans = _lines(document.text, part) if is_table else sentences(document.text, part)
        found.extend(_with_headers(document.text, spans, is_table))
    return found


def scores(question: str, texts: Sequence[str]) -> list[float]:
    """BM25 of each text for the question, the texts themselves being the collection (Robertson and Zaragoza 2009).

    k1 1.2, b 0.75, idf ln(1 + (n - df + 0.5) / (df + 0.5)), each question term once.
    """
    bags = [Counter(terms(text)) for text in texts]
    mean = sum(bag.total() for bag in bags) / max(1, len(bags)) or 1.0
    found = [0.0] * len(bags)
    for term in question_terms(question):
        df = sum(term in bag for bag in bags)
        idf = math.log(1 + (len(bags) - df + 0.5) / (df + 0.5))
        for index, bag in enumerate(bags):
            tf = bag[term]
            found[index] += idf * tf * (_K1 + 1) / (tf + _K1 * (1 - _B + _B * bag.total() / mean))
    return found


@functools.cache
def _analyser() -> Analyser:
    return Analyser()


def terms(text: str) -> list[str]:
    """The terms of `text` as the sparse search counts them."""
    return _analyser().index_terms(text)


def question_terms(question: str) -> list[str]:
    """The terms of a question, each once, stop words left out."""
    return list(dict.fromkeys(_analyser().query_terms(question)))


def _parts(document: Document, span: Span) -> Iterable[tuple[Span, bool]]:
    """`span` cut at the table blocks inside it: (part, whether it is a table)."""
    at = span.start
    for block in _tables(document.blocks, span):
        start, end = max(at, block.span.start), min(span.end, block.span.end)
        if at < start:
            yield Span(at, start), False
        if start < end:
            yield Span(start, end), True
        at = max(at, end)
    if at < span.end:
        yield Span(at, span.end), False


def _tables(blocks: Sequence[Block], span: Span) -> list[Block]:
    return [
        block
        for block in blocks
        if block.kind == "table" and block.span.start < span.end and span.start < block.span.end
    ]


def _lines(text: str, span: Span) -> list[Span]:
    """The lines of a part of a text without outer white space; empty ones left out."""
    found = []
    for match in re.compile(r"[^\n]+").finditer(text, *span):
        line = match.group()
        if line.strip():
            start = match.start() + len(line) - len(line.lstrip())
            found.append(Span(start, start + len(line.strip())))
    return found


def _with_headers(text: str, spans: Sequence[Span], is_table: bool) -> list[Unit]:
    """Units of `spans`, each row with the lines above its table that name the columns."""
    rows = [is_table or is_row(span.of(text)) for span in spans]
    found = []
    first = 0
    for index, span in enumerate(spans):
        if not rows[index]:
            first = index + 1
            found.append(Unit(span=span))
            continue
        top = first if is_table else max(0, first - 2)
        header = Span(spans[top].start, spans[min(top + 1, index)].end) if index > top + 1 else None
        found.append(Unit(span=span, header=header))
    return found


def is_row(line: str) -> bool:
    """Whether a line reads like a row of a table: cell marks, or two figures and not many words for each."""
    if line.count("|") >= 2 or line.count("\t") >= 2:
        return True
    figures = len(_NUMBER.findall(line))
    return figures >= 2 and len(_WORD.findall(_NUMBER.sub(" ", line))) <= 4 * figures and line[-1:] not in ".!?"


def joined(spans: Iterable[Span], text: str) -> tuple[Span, ...]:
    """`spans` in reading order, with those that overlap or have only white space between them made one."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and not text[found[-1].end : span.start].strip():
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)


def piece_at(pieces: Sequence[Span], offset: int) -> int:
    """The index of the last piece that begins at or before `offset`; -1 for none."""
    return bisect.bisect_right(pieces, offset, key=lambda piece: piece.start) - 1
