"""BM25 over the live chunks alone: every number in a score is counted among what is there when the question comes.

A word of the title or the headings counts `title_weight` words, in tf and in length alike. `bm25` has the formulas.
A word of the question that may stand for several terms (its stems in several languages) is as frequent as all of them
together, so that none gets the weight of a rarity for being in a language that is rare here.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence
from itertools import chain
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
from ragagent.text.analyser import Word

RARITY = 10_000
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Scorer:
    """The scores of one question over one snapshot."""

    def __init__(self, parts: Sequence[Part], words: Sequence[Word], settings: RetrievalSettings) -> None:
        """`words` are those of the question, each with the terms that it may stand for."""
        self._parts = parts
        chunks = sum(part.count for part in parts)
        total = sum(part.terms[1] + settings.title_weight * part.terms[0] for part in parts)
        self._formula = Formula.of(settings, chunks, total / chunks if total else 1.0)
        # In sorted order, so that sums of floats come out the same whatever the order of the question.
        asked = sorted(set(chain.from_iterable(words)))
        lists = [PartLists.of(part, [text.encode() for text in asked]) for part in parts]
        head = settings.title_weight > 0
        frequencies = [sum(one.frequency(term, head=head) for one in lists) for term in range(len(asked))]
        present = [term for term, frequency in enumerate(frequencies) if frequency]
        self._lists = [one.only(present) for one in lists]
        self._terms = [asked[term] for term in present]
        self._words, self._counted = words, {asked[term]: frequencies[term] for term in present}
        self._weights = self._weights_of(words)

    def best(self, count: int, masks: Sequence[Mask | None], search: Search = acceleration.best) -> Ranking:
        """The `count` best of the live chunks that have a term of the question, within `masks` (None: all).

        Highest score first, equal scores by chunk id, whichever `search` finds them.
        """
        if not self._terms:
            return ranking.EMPTY
        within = [_live(part, mask) for part, mask in zip(self._parts, masks, strict=True)]
        return search(Question(self._formula, self._weights, count), self._lists, within)

    def scores(self, rows: Rows) -> Floats:
        """float64[n]: the scores of those live chunks, 0 for one without a term of the question; for few of them."""
        total = np.zeros(len(rows))
        for numbers, terms, shares in self._postings(rows):
            total += np.bincount(numbers, weights=self._weights[terms] * shares, minlength=len(rows))
        return total

    def coverage(self, rows: Rows) -> Floats:
        """float64[n]: how much of the question those chunks of a ranking have, 0..1, each word by its idf.

        A word that no chunk has counts too: what lacks it lacks much.
        """
        total = np.zeros(len(rows))
        for numbers, terms, _ in self._postings(rows):
            total += np.bincount(numbers, weights=self._weights[terms], minlength=len(rows))
        whole = math.fsum(map(self._idf_of, self._words))
        return np.minimum(total / whole, 1.0) if whole > 0 else total

    def rarities(self) -> list[Word]:
        """The words of the question that one chunk in `RARITY` or fewer have: none in a collection of fewer."""
        return [word for word in self._words if 0 < self._together(word) * RARITY <= self._formula.chunks]

    def having(self, rows: Rows, words: Sequence[Word]) -> Mask:
        """bool[n]: whether those live chunks have each of `words`, some of the question's, at least one."""
        numbers = {term: number for number, term in enumerate(self._terms)}
        held = np.zeros((len(rows), len(words)), np.bool_)
        for found, terms, _ in self._postings(rows):
            for place, word in enumerate(words):
                wanted = [numbers[term] for term in word if term in numbers]
                held[found[np.isin(terms, wanted)], place] = True
        return np.asarray(held.all(axis=1))

    def _postings(self, rows: Rows) -> Iterator[tuple[Rows, Rows, Floats]]:
        """For each part, of all that those chunks have of the question: numbers in `rows`, terms, and shares."""
        order = np.argsort(rows)
        for lists in self._lists:
            places, inside = lists.part.block.find(rows[order])
            if len(places):
                numbers, terms, frequencies = lists.each_found(places, self._formula)
                lengths = lists.part.block.lengths[places[numbers]]
                yield order[inside][numbers], terms, self._formula.shares(frequencies, lengths)

    def explain(self, rows: Sequence[int]) -> dict[int, str]:
        """The arithmetic of the score of each of those chunks, by row; "" for one without a term of the question."""
        pieces: dict[int, list[str]] = {row: [] for row in rows}
        wanted = np.array(sorted(pieces), np.int64)
        for lists in self._lists:
            places, _ = lists.part.block.find(wanted)
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
                f"{self._terms[term]} {share:.4g} (idf {self._weights[term]:.4g}, tf {frequency:g}, "
                f"length {length:g}/{self._formula.average:.4g})",
            )

    def _weights_of(self, words: Sequence[Word]) -> Floats:
        """For each term that is there the sum of its idfs in the words that may stand for it."""
        idfs: dict[str, list[float]] = {term: [] for term in self._terms}
        for word in words:
            there = idfs.keys() & set(word)
            idf = self._idf_of(word) if there else 0.0
            for term in there:
                idfs[term].append(idf)
        return np.array([math.fsum(found) for found in idfs.values()])

    def _idf_of(self, word: Word) -> float:
        """The idf of all terms of a word together; that of the rarest for one that no chunk has."""
        return self._idf(min(max(1, self._together(word)), self._formula.chunks))

    def _together(self, word: Word) -> int:
        """How many chunks have a term that the word may stand for, those that have two of them twice."""
        return sum(self._counted.get(term, 0) for term in set(word))

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
