"""Runs that do without structure: windows of so many tokens, and single sentences."""

from __future__ import annotations

from collections.abc import Iterator

from ragagent.ingest.chunking.atoms import Atoms
from ragagent.ingest.chunking.pieces import Run, stripped
from ragagent.ingest.ruler import Ruler
from ragagent.types import Span

_SPACES = (" ", "\n", "\t")


def sentences(atoms: Atoms) -> list[Run]:
    """Each sentence or row by itself; what holds the next one, a heading or caption, goes with it where both fit."""
    found: list[Run] = []
    for index in range(len(atoms.all)):
        first = found[-1][0] if found else 0
        if found and atoms.all[index - 1].holds and atoms.cost(first, index + 1) <= atoms.room:
            found[-1] = (first, index + 1)
        else:
            found.append((index, index + 1))
    return found


def windows(text: str, ruler: Ruler, max_tokens: int, overlap: int) -> list[Span]:
    """The text in spans of at most `max_tokens`, cut between words where there are any.

    Each repeats the last `overlap` tokens of the one before. An edit moves every boundary after it.
    """
    pieces = list(_windows(text, ruler, max_tokens - overlap))
    if overlap:
        pieces = [_extended(text, piece, ruler, overlap, max_tokens) for piece in pieces]
    return [span for piece in pieces for span in stripped(text, *piece)]


def _windows(text: str, ruler: Ruler, room: int) -> Iterator[Span]:
    start = len(text) - len(text.lstrip())
    while start < len(text):
        piece = next(ruler.cut(start, len(text), room))
        stop = _between_words(text, piece)
        yield Span(start, stop)
        start = stop + len(text[stop : stop + _blank(text, stop)])


def _blank(text: str, at: int) -> int:
    """How many blank characters stand at a place."""
    end = at
    while end < len(text) and text[end].isspace():
        end += 1
    return end - at


def _between_words(text: str, piece: Span) -> int:
    """The end of a piece, moved back to white space in its second half if it stands inside a word."""
    start, end = piece
    if end >= len(text) or text[end].isspace() or text[end - 1].isspace():
        return end
    space = max(text.rfind(blank, (start + end) // 2, end) for blank in _SPACES)
    return space if space > start else end


def _extended(text: str, piece: Span, ruler: Ruler, overlap: int, max_tokens: int) -> Span:
    """The piece with up to `overlap` tokens before it, from the beginning of a word where there is one."""
    start = ruler.back(piece.start, overlap)
    if start > 0 and not text[start - 1].isspace():
        spaces = [at for at in (text.find(blank, start, piece.start) for blank in _SPACES) if at >= 0]
        start = min(spaces, default=start)
    return Span(start, piece.end) if ruler.cost(start, piece.end) <= max_tokens else piece
