"""BM25 over the live chunks alone: every number in a score is counted among what is there when the question comes.

Lucene form (Kamphuis et al., "Which BM25 do you mean?", 2020): idf = ln(1 + (N - df + 0.5) / (df + 0.5)),
score = sum of idf * tf / (tf + k1 * (1 - b + b * length / average)). Okapi form, as rank-bm25 has it:
idf = ln(N - df + 0.5) - ln(df + 0.5), a quarter of the average idf where that is negative, and tf * (k1 + 1) on top.
A word of the title or the headings counts `title_weight` words, in tf and in length alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index import ranking
from ragagent.index.block import Part
from ragagent.index.ranking import Ranking
from ragagent.settings import RetrievalSettings

Mask = npt.NDArray[np.bool_]

_OKAPI_FLOOR = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The live chunks of one part that have a term: places, weighted frequencies and lengths."""

    places: npt.NDArray[np.int64]
    frequencies: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.float64]

    def only(self, at: int) -> _Found:
        """The one chunk at that position."""
        one = slice(at, at + 1)
        return _Found(places=self.places[one], frequencies=self.frequencies[one], lengths=self.lengths[one])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """A term of the question: how often it is asked for, how rare it is, and where it is, part by part."""

    text: str
    repeats: int
    idf: float
    found: tuple[_Found, ...]


class Scorer:
    """The scores of one question over one snapshot."""

    def __init__(self, parts: Sequence[Part], terms: Sequence[str], settings: RetrievalSettings) -> None:
        self._parts = parts
        self._settings = settings
        self._chunks = sum(part.count for part in parts)
        total = sum(part.terms[1] + settings.title_weight * part.terms[0] for part in parts)
        self._average = total / self._chunks if total else 1.0
        # In sorted order, so that sums of floats come out the same whatever the order of the question.
        self._terms = [self._term(text, repeats) for text, repeats in sorted(Counter(terms).items())]

    def best(self, count: int, masks: Sequence[Mask | None]) -> Ranking:
        """The `count` best of the chunks that have a term of the question, within `masks`."""
        return ranking.best([self._within(number, count, mask) for number, mask in enumerate(masks)], count)

    def explain(self, row: int) -> str:
        """The arithmetic of one chunk's score, term by term."""
        pieces = []
        for number, part in enumerate(self._parts):
            place = int(np.searchsorted(part.block.rows, row))
            if place < len(part.block) and part.block.rows[place] == row:
                pieces += [self._explained(term, term.found[number], place) for term in self._terms]
        return " + ".join(piece for piece in pieces if piece)

    def _explained(self, term: _Term, found: _Found, place: int) -> str:
        at = int(np.searchsorted(found.places, place))
        if at == len(found.places) or found.places[at] != place:
            return ""
        one = found.only(at)
        return (
            f"{term.text} {self._contribution(term, one)[0]:.4g} (idf {term.idf:.4g}, tf {one.frequencies[0]:g}, "
            f"length {one.lengths[0]:g}/{self._average:.4g})"
        )

    def _within(self, number: int, count: int, mask: Mask | None) -> Ranking:
        block = self._parts[number].block
        scores = np.zeros(len(block))
        touched = np.zeros(len(block), np.bool_)
        for term in self._terms:
            found = term.found[number]
            scores[found.places] += self._contribution(term, found)
            touched[found.places] = True
        places = np.flatnonzero(touched if mask is None else touched & mask)
        places = places[ranking.contenders(scores[places], count)]
        return Ranking(rows=block.rows[places], ids=block.ids[places], scores=scores[places])

    def _contribution(self, term: _Term, found: _Found) -> npt.NDArray[np.float64]:
        k1, b = self._settings.k1, self._settings.b
        norm = k1 * (1 - b + b * found.lengths / self._average)
        top = found.frequencies * (k1 + 1) if self._settings.bm25 == "okapi" else found.frequencies
        return np.asarray(term.repeats * term.idf * (top / (found.frequencies + norm)))

    def _term(self, text: str, repeats: int) -> _Term:
        found = tuple(self._found(part, text.encode()) for part in self._parts)
        idf = self._idf(sum(len(one.places) for one in found))
        return _Term(text=text, repeats=repeats, idf=idf, found=found)

    def _found(self, part: Part, term: bytes) -> _Found:
        places, counts = part.block.postings.of(term)
        weight = self._settings.title_weight
        counted = _counted(part, places, counts, weight)
        if counted is not None:
            places, counts = places[counted], counts[counted]
        lengths = part.block.lengths[places]
        return _Found(
            places=places.astype(np.int64),
            frequencies=counts[:, 1] + weight * counts[:, 0],
            lengths=lengths[:, 1] + weight * lengths[:, 0],
        )

    def _idf(self, frequency: int) -> float:
        if self._settings.bm25 == "lucene":
            return math.log(1 + (self._chunks - frequency + 0.5) / (frequency + 0.5))
        idf = _okapi(self._chunks, frequency)
        return idf if idf >= 0 or not frequency else _OKAPI_FLOOR * self._average_idf()

    def _average_idf(self) -> float:
        """The mean over all terms that a live chunk has. Walks the vocabulary; needed for very frequent terms only."""
        frequencies: Counter[bytes] = Counter()
        for part in self._parts:
            lists = part.block.postings
            counted = _counted(part, lists.chunks, lists.counts, self._settings.title_weight)
            everything = np.ones(len(lists.chunks), np.bool_) if counted is None else counted
            frequencies.update(dict(zip(lists.terms, lists.frequencies(everything).tolist(), strict=True)))
        idfs = [_okapi(self._chunks, frequency) for frequency in frequencies.values() if frequency]
        return math.fsum(idfs) / len(idfs)


def _okapi(chunks: int, frequency: int) -> float:
    return math.log(chunks - frequency + 0.5) - math.log(frequency + 0.5)


def _counted(part: Part, places: npt.NDArray[Any], counts: npt.NDArray[Any], title_weight: float) -> Mask | None:
    """Which of some postings count: those of live chunks, and, where titles weigh nothing, of their text. None: all."""
    counted = None if part.count == len(part.block) else part.live[places]
    if title_weight == 0:
        in_text = counts[:, 1] > 0
        counted = in_text if counted is None else counted & in_text
    return counted
