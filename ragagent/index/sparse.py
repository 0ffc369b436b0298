"""BM25 over the live chunks alone: every number in a score is counted among what is there when the question comes.

A word of the title or the headings counts `title_weight` words, in tf and in length alike. `bm25` has the formulas.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index import acceleration, bm25, ranking
from ragagent.index.acceleration import Search
from ragagent.index.block import Part
from ragagent.index.bm25 import Formula
from ragagent.index.dictionary import Terms
from ragagent.index.lists import PartLists
from ragagent.index.ranking import Ranking
from ragagent.index.scan import Question
from ragagent.settings import RetrievalSettings

Mask = npt.NDArray[np.bool_]


class Scorer:
    """The scores of one question over one snapshot."""

    def __init__(self, parts: Sequence[Part], terms: Sequence[str], settings: RetrievalSettings) -> None:
        self._parts = parts
        chunks = sum(part.count for part in parts)
        total = sum(part.terms[1] + settings.title_weight * part.terms[0] for part in parts)
        self._formula = Formula.of(settings, chunks, total / chunks if total else 1.0)
        # In sorted order, so that sums of floats come out the same whatever the order of the question.
        asked = sorted(Counter(terms).items())
        lists = [PartLists.of(part, [text.encode() for text, _ in asked]) for part in parts]
        head = settings.title_weight > 0
        frequencies = [sum(one.frequency(term, head=head) for one in lists) for term in range(len(asked))]
        present = [term for term, frequency in enumerate(frequencies) if frequency]
        self._lists = [one.only(present) for one in lists]
        self._terms = [asked[term][0] for term in present]
        self._idfs = [self._idf(frequencies[term]) for term in present]
        self._weights = np.array([asked[term][1] * idf for term, idf in zip(present, self._idfs, strict=True)])

    def best(self, count: int, masks: Sequence[Mask | None], search: Search = acceleration.best) -> Ranking:
        """The `count` best of the live chunks that have a term of the question, within `masks` (None: all).

        Highest score first, equal scores by chunk id, whichever `search` finds them.
        """
        if not self._terms:
            return ranking.EMPTY
        within = [_live(part, mask) for part, mask in zip(self._parts, masks, strict=True)]
        return search(Question(self._formula, self._weights, count), self._lists, within)

    def explain(self, rows: Sequence[int]) -> dict[int, str]:
        """The arithmetic of the score of each of those chunks, by row; "" for one without a term of the question."""
        pieces: dict[int, list[str]] = {row: [] for row in rows}
        wanted = np.array(sorted(pieces), np.int64)
        for lists in self._lists:
            held = lists.part.block.rows
            if len(held):
                places = np.searchsorted(held, wanted)
                places = places[held[np.minimum(places, len(held) - 1)] == wanted]
                for row, piece in self._explained(lists, places) if len(places) else ():
                    pieces[row].append(piece)
        return {row: " + ".join(found) for row, found in pieces.items()}

    def _explained(self, lists: PartLists, places: npt.NDArray[np.int64]) -> Iterator[tuple[int, str]]:
        numbers, terms, frequencies = lists.each_found(places, self._formula)
        places = places[numbers]
        lengths = lists.part.block.lengths[places]
        shares = self._weights[terms] * self._formula.shares(frequencies, lengths)
        columns = (lists.part.block.rows[places], terms, shares, frequencies, self._formula.weighted(lengths))
        for row, term, share, frequency, length in zip(*(one.tolist() for one in columns), strict=True):
            yield (
                row,
                f"{self._terms[term]} {share:.4g} (idf {self._idfs[term]:.4g}, tf {frequency:g}, "
                f"length {length:g}/{self._formula.average:.4g})",
            )

    def _idf(self, frequency: int) -> float:
        idf = self._formula.idf(frequency)
        return idf if idf >= 0 else bm25.OKAPI_FLOOR * _average_idf(self._parts, self._formula)


def _live(part: Part, mask: Mask | None) -> Mask | None:
    if part.count == len(part.block):
        return mask
    return part.live if mask is None or mask is part.live else mask & part.live


_Averages = tuple[tuple[weakref.ref[Any], ...], bool, float]
_AVERAGES: list[_Averages] = []


def _average_idf(parts: Sequence[Part], formula: Formula) -> float:
    """The mean over all terms that a live chunk has. Reads every list; kept for the snapshot it was last asked for."""
    head = formula.title_weight > 0
    for known, of, average in tuple(_AVERAGES):
        same = of == head and len(known) == len(parts)
        if same and all(one() is part.live for one, part in zip(known, parts, strict=True)):
            return average
    terms, ranks = Terms.united([part.block.postings.terms for part in parts])
    frequencies = np.zeros(len(terms), np.int64)
    for part, rank in zip(parts, ranks, strict=True):
        frequencies[rank] += part.block.postings.frequencies(part.live, head=head)
    average = math.fsum(map(formula.idf, frequencies[frequencies > 0].tolist())) / int(np.count_nonzero(frequencies))
    _AVERAGES[:] = [(tuple(weakref.ref(part.live) for part in parts), head, average)]
    return average
