"""Inverted lists in flat arrays: for each term the chunks that have it and how often, by field.

Fields are 0, the title and the headings, and 1, the text.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

MOST = 65_535
"""Frequencies are kept up to this number; no passage says a word more often."""


class Terms(Sequence[bytes]):
    """Sorted terms in UTF-8 over two arrays, so that a mapped file is a dictionary without being read."""

    def __init__(self, blob: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> None:
        self.blob = blob
        self.offsets = offsets

    @classmethod
    def of(cls, terms: Sequence[bytes]) -> Terms:
        """`terms`, which must be sorted and distinct."""
        offsets = np.zeros(len(terms) + 1, np.int64)
        np.cumsum([len(term) for term in terms], out=offsets[1:])
        return cls(np.frombuffer(b"".join(terms), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.blob[self.offsets[index] : self.offsets[index + 1]].tobytes()

    def find(self, term: bytes) -> int | None:
        """The place of `term`, or None."""
        place = bisect.bisect_left(self, term)
        return place if place < len(self) and self[place] == term else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Postings:
    """`chunks[starts[t]:starts[t+1]]` are the places, ascending, of the chunks that have term t.

    `counts` (uint16[p, 2]) goes along with `chunks` (uint32[p]).
    """

    terms: Terms
    starts: npt.NDArray[np.int64]
    chunks: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint16]

    def of(self, term: bytes) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
        """The chunks that have `term` and its counts in each."""
        place = self.terms.find(term)
        if place is None:
            return self.chunks[:0], self.counts[:0]
        begin, end = self.starts[place], self.starts[place + 1]
        return self.chunks[begin:end], self.counts[begin:end]

    def frequencies(self, counted: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """int64[t]: how many postings of each term are `counted` (bool[p])."""
        running = np.zeros(len(self.chunks) + 1, np.int64)
        np.cumsum(counted, out=running[1:])
        return running[self.starts[1:]] - running[self.starts[:-1]]


def build(chunks: Iterable[tuple[Sequence[str], npt.NDArray[np.uint16]]]) -> Postings:
    """The postings of chunks in order, each given by its distinct terms and their counts (uint16[n, 2])."""
    vocabulary: dict[str, int] = {}
    numbers: list[int] = []
    sizes: list[int] = []
    counts: list[npt.NDArray[np.uint16]] = [np.zeros((0, 2), np.uint16)]
    for terms, frequencies in chunks:
        numbers += [vocabulary.setdefault(term, len(vocabulary)) for term in terms]
        sizes.append(len(terms))
        counts.append(frequencies)
    places = np.repeat(np.arange(len(sizes), dtype=np.uint32), sizes)
    terms_utf8 = [term.encode() for term in vocabulary]
    return _sorted(terms_utf8, np.array(numbers, np.int64), places, np.concatenate(counts))


def merge(parts: Sequence[tuple[Postings, npt.NDArray[np.bool_]]]) -> Postings:
    """The postings of the kept chunks of `parts`, renumbered in order; terms that no chunk has any more are gone."""
    vocabulary: dict[bytes, int] = {}
    numbers: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    places: list[npt.NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
    counts: list[npt.NDArray[np.uint16]] = [np.zeros((0, 2), np.uint16)]
    base = 0
    for postings, keep in parts:
        mine = np.array([vocabulary.setdefault(term, len(vocabulary)) for term in postings.terms], np.int64)
        kept = keep[postings.chunks]
        renumbered = (np.cumsum(keep) - 1 + base).astype(np.uint32)
        numbers.append(np.repeat(mine, np.diff(postings.starts))[kept])
        places.append(renumbered[postings.chunks[kept]])
        counts.append(postings.counts[kept])
        base += int(keep.sum())
    return _sorted(list(vocabulary), np.concatenate(numbers), np.concatenate(places), np.concatenate(counts))


def _sorted(
    vocabulary: Sequence[bytes],
    numbers: npt.NDArray[np.int64],
    places: npt.NDArray[np.uint32],
    counts: npt.NDArray[np.uint16],
) -> Postings:
    """Postings by term, from one number (into `vocabulary`), place and pair of counts for each posting."""
    used = np.bincount(numbers, minlength=len(vocabulary)) > 0
    order = sorted(np.flatnonzero(used).tolist(), key=vocabulary.__getitem__)
    rank = np.zeros(len(vocabulary), np.int64)
    rank[order] = np.arange(len(order))
    ranked: npt.NDArray[Any] = rank[numbers]
    arrangement = np.argsort(ranked, kind="stable")
    starts = np.zeros(len(order) + 1, np.int64)
    np.cumsum(np.bincount(ranked, minlength=len(order)), out=starts[1:])
    return Postings(
        terms=Terms.of([vocabulary[number] for number in order]),
        starts=starts,
        chunks=places[arrangement],
        counts=counts[arrangement],
    )
