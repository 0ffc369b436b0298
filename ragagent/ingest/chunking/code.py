"""Source code in pieces: each definition a section under its name, cut where statements begin."""

from __future__ import annotations

from collections.abc import Iterator

from ragagent.ingest.chunking.pieces import BLOCK, HEADING_CHARS, SECTION, SENTENCE, WITHIN, Atom, lines
from ragagent.text import syntax
from ragagent.types import Document, Span


def is_code(document: Document) -> bool:
    """Whether the whole of a document is source code of a language that has a grammar."""
    return document.media_type in syntax.GRAMMARS


def atoms(text: str, span: Span, media_type: str, headings: tuple[str, ...]) -> Iterator[Atom]:
    """The lines of a code block. The names of the definitions around a line are added to `headings`.

    Where the reader has said a definition's name in a heading of its own, it is not said again.

    A line that begins a definition begins a section; one after an empty line or after a definition is a better place to
    cut than another statement, and a line inside a statement is the last resort.
    """
    outline = syntax.outline(span.of(text), media_type) or syntax.Outline()
    starting = iter(outline.symbols)
    following = next(starting, None)
    around: list[syntax.Symbol] = []
    before = span.start
    for line in lines(text, span):
        start, end = line.start - span.start, line.end - span.start
        strength = SENTENCE if outline.begins(start, end) else WITHIN
        if text.count("\n", before, line.start) > 1 or len(_inside(around, start)) < len(around):
            strength = BLOCK
        around = _inside(around, start)
        while following is not None and following.start < end:
            around = [*_inside(around, following.start), following]
            strength = BLOCK if len(around) == 1 and _is_said(following, headings) else SECTION
            following = next(starting, None)
        names = [symbol.name[:HEADING_CHARS] for symbol in around]
        if around and _is_said(around[0], headings):
            del names[0]
        yield Atom(line.start, line.end, strength, (*headings, *names))
        before = line.end


def _is_said(symbol: syntax.Symbol, headings: tuple[str, ...]) -> bool:
    """Whether the heading right above is the symbol's own, as in `Shelf.add`."""
    return bool(headings) and f".{headings[-1]}".endswith(f".{symbol.name}")


def _inside(around: list[syntax.Symbol], place: int) -> list[syntax.Symbol]:
    """Those definitions that have not ended at a place."""
    return [symbol for symbol in around if place < symbol.end]
