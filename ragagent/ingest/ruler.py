"""Sizes of ranges of a text, in tokens of one tokenisation of the whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ragagent.types import Span

CHARS_PER_TOKEN = 16
"""What a token may stand for: WordPiece takes a thousand-letter word for one token, and white space for none."""


class Ruler:
    """Measures ranges of `text`, whose tokens stand at `offsets` (int[n, 2], in order)."""

    def __init__(self, offsets: npt.NDArray[np.integer]) -> None:
        pieces = _split_giants(np.asarray(offsets, dtype=np.int64).reshape(-1, 2))
        # Running maxima: a tokeniser that steps back by a character must not break the binary searches.
        self._starts = np.maximum.accumulate(pieces[:, 0]) if len(pieces) else pieces[:, 0]
        self._ends = np.maximum.accumulate(pieces[:, 1]) if len(pieces) else pieces[:, 1]

    def positions(self, starts: list[int], ends: list[int]) -> tuple[list[int], list[int]]:
        """For ranges: the first token that reaches into each, and the one after the last that does."""
        first = np.searchsorted(self._ends, np.asarray(starts, dtype=np.int64), side="right")
        last = np.searchsorted(self._starts, np.asarray(ends, dtype=np.int64), side="left")
        return first.tolist(), last.tolist()

    def cost(self, start: int, end: int) -> int:
        """The tokens that reach into the range, or its characters' worth if that is more."""
        first = np.searchsorted(self._ends, start, side="right")
        last = np.searchsorted(self._starts, end, side="left")
        return cost_of(int(last - first), end - start)

    def back(self, place: int, tokens: int) -> int:
        """Where the token begins that stands so many tokens before a place; 0 where there are not so many."""
        index = int(np.searchsorted(self._ends, place, side="right")) - tokens
        return int(self._starts[index]) if 0 <= index < len(self._starts) else 0 if index < 0 else place

    def cut(self, start: int, end: int, room: int) -> Iterator[Span]:
        """The range in pieces of at most `room`, cut where tokens end; a single character is never cut."""
        while self.cost(start, end) > room:
            stop = min(end, start + room * CHARS_PER_TOKEN)
            index = int(np.searchsorted(self._ends, start, side="right")) + room - 1
            if index < len(self._ends):
                stop = min(stop, int(self._ends[index]))
            while stop > start + 1 and self.cost(start, stop) > room:
                stop -= 1
            stop = max(stop, start + 1)
            yield Span(start, stop)
            start = stop
        if start < end:
            yield Span(start, end)


def cost_of(tokens: int, chars: int) -> int:
    """The size of a range that has so many tokens and characters."""
    return max(tokens, -(-chars // CHARS_PER_TOKEN))


def _split_giants(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Each token of more than CHARS_PER_TOKEN characters as several, so that it can be cut inside."""
    lengths = offsets[:, 1] - offsets[:, 0]
    giants = np.flatnonzero(lengths > CHARS_PER_TOKEN)
    if not len(giants):
        return offsets
    parts: list[npt.NDArray[np.int64]] = []
    last = 0
    for index in giants.tolist():
        start, end = offsets[index].tolist()
        edges = np.append(np.arange(start, end, CHARS_PER_TOKEN), end)
        parts += [offsets[last:index], np.column_stack([edges[:-1], edges[1:]])]
        last = index + 1
    return np.concatenate([*parts, offsets[last:]])
