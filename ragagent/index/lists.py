"""The lists of a question's terms in one part of a snapshot."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index.block import Part
from ragagent.index.bm25 import Floats, Formula
from ragagent.index.postings import BUCKET, BUCKET_BITS, Places

_DEAD_STEPS = 16
"""Finding one dead chunk in a list takes as long as looking up this many of the list's chunks among the live."""


@dataclass(frozen=True, slots=True)
class PartLists:
    """The lists of some terms, in their order, in one part.

    `numbers` are their places in the dictionary of the part's postings (None: not there), `bounds`
    int64[t, buckets + 1] where the buckets of each begin and the last one ends, `sizes` how many chunks have them, the
    dead ones too.
    """

    part: Part
    numbers: Sequence[int | None]
    bounds: Places
    sizes: Sequence[int]

    @classmethod
    def of(cls, part: Part, terms: Sequence[bytes]) -> PartLists:
        """The lists of `terms` in `part`."""
        postings = part.block.postings
        numbers = postings.terms.find_all(terms)
        bounds = postings.all_bounds([-1 if number is None else number for number in numbers])
        return cls(part, numbers, bounds, (bounds[:, -1] - bounds[:, 0]).tolist())

    def only(self, terms: Sequence[int]) -> PartLists:
        """The lists of some of the terms."""
        numbers, sizes = [self.numbers[term] for term in terms], [self.sizes[term] for term in terms]
        return PartLists(self.part, numbers, self.bounds[list(terms)], sizes)

    def frequency(self, term: int, *, head: bool) -> int:
        """How many live chunks have the term; without `head`, in their text."""
        number = self.numbers[term]
        if number is None:
            return 0
        if self.part.count == len(self.part.block):
            return self.sizes[term] - (0 if head else len(self._headed(number)))
        counted = _deaths(self.part.live).counted
        if (number, head) not in counted:
            counted[number, head] = self._live(number, head)
        return counted[number, head]

    def contributions(
        self, term: int, formula: Formula, weight: float, most: int | None = None
    ) -> tuple[Places, Floats]:
        """The places of the chunks that have the term, ascending, and what each gets for it; the dead ones too.

        With `most`, of that many of them at most, from the first.
        """
        number = self.numbers[term]
        if number is None:
            return np.zeros(0, np.int64), np.zeros(0)
        postings = self.part.block.postings
        begin, end = postings.range(number)
        end = end if most is None else min(end, begin + most)
        text, inside, head = postings.counts(begin, end)
        places = postings.chunks(number, most)
        frequencies = text.astype(np.float64)
        frequencies[inside] += formula.title_weight * head
        if formula.title_weight == 0 and len(inside):
            places, frequencies = places[text > 0], frequencies[text > 0]
        return places, weight * formula.shares(frequencies, self.part.block.lengths[places])

    def found(self, term: int, places: Places, formula: Formula) -> tuple[npt.NDArray[np.bool_], Floats]:
        """For each of `places` (ascending) whether the chunk there has the term, and its weighted frequency if so."""
        frequencies = np.zeros(len(places))
        number = self.numbers[term]
        if number is None:
            return np.zeros(len(places), np.bool_), frequencies
        postings = self.part.block.postings
        at = postings.find(number, places)
        inside = np.flatnonzero(at >= 0)
        text, headed, head = postings.counts_at(at[inside])
        frequencies[inside] = text
        frequencies[inside[headed]] += formula.title_weight * head
        return frequencies > 0, frequencies

    def each_found(self, places: Places, formula: Formula) -> tuple[Places, Places, Floats]:
        """All that some chunks have of the terms: numbers in `places`, terms, and weighted frequencies, chunk by chunk.

        For few places: one look into each list for each of them costs less than a search for all of them at once.
        """
        postings = self.part.block.postings
        bounds, found = self.bounds.tolist(), np.full((len(places), len(self.numbers)), -1, np.int64)
        for at, place in enumerate(places.tolist()):
            bucket, wanted = place >> BUCKET_BITS, np.uint16(place & (BUCKET - 1))
            for term, ends in enumerate(bounds):
                begin, end = ends[bucket], ends[bucket + 1]
                posting = begin + int(postings.places[begin:end].searchsorted(wanted)) if begin < end else end
                if posting < end and postings.places[posting] == wanted:
                    found[at, term] = posting
        numbers, terms = np.nonzero(found >= 0)
        text, headed, head = postings.counts_at(found[numbers, terms])
        frequencies = text.astype(np.float64)
        frequencies[headed] += formula.title_weight * head
        counted = frequencies > 0
        return numbers[counted], terms[counted], frequencies[counted]

    def _live(self, number: int, head: bool) -> int:
        postings = self.part.block.postings
        begin, end = postings.range(number)
        dead = _deaths(self.part.live).places
        if head and len(dead) * _DEAD_STEPS < end - begin:
            return end - begin - int(np.count_nonzero(postings.find(number, dead) >= 0))
        counted = self.part.live[postings.chunks(number)]
        if not head:
            counted[self._headed(number) - begin] = False
        return int(np.count_nonzero(counted))

    def _headed(self, number: int) -> Places:
        postings = self.part.block.postings
        return postings.headed(*postings.range(number))


@dataclass(frozen=True, slots=True)
class _Deaths:
    """The places of a part's dead chunks, and the live frequencies that were counted so far, by (term, head)."""

    of: weakref.ref[Any]
    places: Places
    counted: dict[tuple[int, bool], int] = field(default_factory=dict)


_DEATHS: dict[int, _Deaths] = {}


def _deaths(live: npt.NDArray[np.bool_]) -> _Deaths:
    """What is known of the dead of the part that has this very array; forgotten along with it."""
    key = id(live)
    known = _DEATHS.get(key)
    if known is None or known.of() is not live:
        known = _Deaths(weakref.ref(live, lambda _: _DEATHS.pop(key, None)), np.flatnonzero(~live))
        _DEATHS[key] = known
    return known
