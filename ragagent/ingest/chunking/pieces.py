"""The smallest parts that chunks are made of, and the places between them."""

from __future__ import annotations

from dataclasses import dataclass

from ragagent.types import Span

HEADING_CHARS = 150
Run = tuple[int, int]
"""Atoms from the first up to, and without, the second: they become a chunk."""

# How strong a boundary is: the place before an atom.
WITHIN, SENTENCE, BLOCK, SECTION = range(4)


@dataclass(frozen=True, slots=True)
class Atom:
    """A piece of a text, and how good a place to cut stands before it.

    `holds`: what follows is not parted from it where that can be avoided (a heading and its text, a caption and its
    table, the header of a table and its first row). `context` is what a row cannot be read without: the caption and
    the header of its table, on lines of their own; it is repeated where a chunk begins with the row. `context_tokens`
    is what it takes of the room.
    """

    start: int
    end: int
    strength: int
    headings: tuple[str, ...] = ()
    holds: bool = False
    context: str = ""
    context_tokens: int = 0


def stripped(text: str, start: int, end: int) -> list[Span]:
    """The range without outer white space; nothing where that is all of it."""
    piece = text[start:end]
    bare = piece.strip()
    start += len(piece) - len(piece.lstrip())
    return [Span(start, start + len(bare))] if bare else []


def lines(text: str, span: Span) -> list[Span]:
    """The lines of a range without outer white space, empty ones left out."""
    found: list[Span] = []
    position = span.start
    for line in span.of(text).split("\n"):
        found.extend(stripped(text, position, position + len(line)))
        position += len(line) + 1
    return found
