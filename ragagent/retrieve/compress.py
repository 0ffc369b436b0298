"""The sentences of some passages that bear on a question: extractive, deterministic, offsets kept."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ragagent.text import tables
from ragagent.text.analyser import Analyser
from ragagent.text.sentences import sentences
from ragagent.types import Block, Document, Span

_K1, _B = 1.2, 0.75
_MOST_PARTS = 8
_LINE = re.compile(r"[^\n]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One sentence or table row of a document.

    `context` are the spans that a row cannot be read without: the caption of its table, the lines that name its
    columns, and the label of its group of rows. `heading` is the heading it stands under, if that is in reach.
    """

    span: Span
    context: tuple[Span, ...] = ()
    heading: tuple[Span, ...] = ()

    @property
    def size(self) -> float:
        """How much of a sentence it is: a row of a table counts half."""
        return 0.5 if self.context else 1.0

    @property
    def spans(self) -> tuple[Span, ...]:
        """Everything that is read with the unit, itself last."""
        return (*self.heading, *self.context, self.span)

    def read(self, text: str) -> str:
        """The unit with its heading and context, as one text."""
        return "\n".join(span.of(text) for span in self.spans)


def units(document: Document, span: Span) -> list[Unit]:
    """The sentences and table rows of `document` within `span`, in reading order, disjoint.

    A heading is no unit of its own, for it says nothing alone: it goes with each unit below it, up to the next one.
    Only a heading with nothing below it within `span` stands for itself.
    """
    found: list[Unit] = []
    at = span.start
    for table in _tables(document.blocks, span):
        found += [Unit(span=sentence) for sentence in _sentences(document.text, at, table.span.start)]
        at = max(at, table.span.start)
        limits = Span(at, span.end)
        rows = [replace(unit, span=_within(document.text, unit.span, limits)) for unit in _rows(document, table)]
        found += [unit for unit in rows if unit.span.start < unit.span.end]
        at = max(at, table.span.end)
    found += [Unit(span=sentence) for sentence in _sentences(document.text, at, span.end)]
    return _under_headings(found, [block.span for block in document.blocks if block.kind == "heading"])


def _under_headings(units: Sequence[Unit], headings: Sequence[Span]) -> list[Unit]:
    found: list[Unit] = []
    current: tuple[Span, ...] = ()
    for unit in units:
        if any(heading.start <= unit.span.start and unit.span.end <= heading.end for heading in headings):
            current = (unit.span,)
        else:
            found.append(replace(unit, heading=tuple(span for span in current if span not in unit.context)))
    if units and current == (units[-1].span,):
        found.append(units[-1])
    return found


def scores(question: str, texts: Sequence[str]) -> list[float]:
    """BM25 of each text for the question, the texts themselves being the collection (Robertson and Zaragoza 2009).

    k1 1.2, b 0.75, idf ln(1 + (n - df + 0.5) / (df + 0.5)), each question term once, stop words left out.
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


def terms(text: str) -> list[str]:
    """The terms of `text` as the sparse search counts them."""
    return _analyser().index_terms(text)


def question_terms(question: str) -> list[str]:
    """The terms of a question, each once, stop words left out."""
    return list(dict.fromkeys(_analyser().query_terms(question, "")))


def joined(spans: Iterable[Span], text: str) -> tuple[Span, ...]:
    """`spans` in reading order, with those that overlap or have only white space between them made one."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and not text[found[-1].end : span.start].strip():
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return tuple(found)


@functools.cache
def _analyser() -> Analyser:
    return Analyser()


def _sentences(text: str, start: int, end: int) -> list[Span]:
    return sentences(text, Span(start, end)) if start < end else []


def _within(text: str, span: Span, limits: Span) -> Span:
    """The part of `span` within `limits`, without outer white space; empty where there is none."""
    start, end = max(span.start, limits.start), min(span.end, limits.end)
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return Span(start, start + len(piece.strip()))


def _tables(blocks: Sequence[Block], span: Span) -> list[Block]:
    """The table blocks that overlap `span`, in reading order."""
    found = [b for b in blocks if b.kind == "table" and b.span.start < span.end and span.start < b.span.end]
    return sorted(found, key=lambda block: block.span)


def _rows(document: Document, table: Block) -> Iterator[Unit]:
    """The lines of a table below its header, those with several cells with the context they are read in."""
    lines = list(_lines(document.text, table.span))
    top = tables.header_lines([line.of(document.text) for line in lines])
    names = (Span(lines[0].start, lines[top - 1].end),) if top else _names_before(document, table, lines)
    header = (*_caption(document, table), *names)
    group: tuple[Span, ...] = ()
    for line in lines[top:]:
        label, *cells = tables.cells(line.of(document.text))
        if any(cells):
            yield Unit(span=line, context=header + group)
        elif label.endswith(":"):
            group = (line,)
        else:
            yield Unit(span=line)


def _names_before(document: Document, table: Block, lines: Sequence[Span]) -> tuple[Span, ...]:
    """The names of the columns of a table that goes on below a heading: those of the table before of the same width."""
    width = len(tables.cells(lines[0].of(document.text))) if lines else 0
    start = table.span.start
    before = [block for block in document.blocks if block.kind == "table" and block.span.end <= start]
    for block in sorted(before, key=lambda block: -block.span.end)[:_MOST_PARTS]:
        above = list(_lines(document.text, block.span))
        texts = [line.of(document.text) for line in above]
        if not above or start - block.span.end > tables.MAX_CAPTION_CHARS or len(tables.cells(texts[-1])) != width:
            return ()
        if tables.header_lines(texts):
            # The column of the labels may have no name.
            return (above[0],) if len(tables.cells(texts[0])) in {width - 1, width} else ()
        start = block.span.start
    return ()


def _lines(text: str, span: Span) -> Iterator[Span]:
    """The lines of a part of a text without outer white space; empty ones left out."""
    for match in _LINE.finditer(text, *span):
        line = match.group()
        if line.strip():
            start = match.start() + len(line) - len(line.lstrip())
            yield Span(start, start + len(line.strip()))


def _caption(document: Document, table: Block) -> tuple[Span, ...]:
    """The short block right above a table: its title, or the units its figures are in."""
    above = [
        block
        for block in document.blocks
        if block.kind in {"paragraph", "heading"} and block.span.end <= table.span.start
    ]
    nearest = max(above, key=lambda block: block.span.end, default=None)
    if nearest is None or document.text[nearest.span.end : table.span.start].strip():
        return ()
    short = nearest.span.end - nearest.span.start <= tables.MAX_CAPTION_CHARS
    return (nearest.span,) if short else ()
