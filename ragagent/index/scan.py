"""The best chunks by BM25 without scoring them all, in numpy: MaxScore pruning that never changes what is found.

As soon as `count` chunks of some score are known, a chunk that has only terms whose greatest shares together come to
less cannot be among the best (Turtle and Flood, "Query evaluation: strategies and optimizations", 1995). So the lists
of such terms, which are the long ones, are not walked; they are looked into for the chunks of the other lists. What a
chunk scores in the end is always the same sum in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragagent.index import ranking
from ragagent.index.bm25 import Floats, Formula
from ragagent.index.lists import PartLists
from ragagent.index.postings import Places
from ragagent.index.ranking import Ranking

Mask = npt.NDArray[np.bool_]

SLACK = 1 - 1e-9
"""Bounds are sums in another order than scores, so they may fall short of them by a rounding."""

_PILOT = 2048
_WORTH = 20_000
"""Fewer postings are scored faster than they are pruned."""
FEW = 16
"""Chunks are looked up one by one where the lists have so many times as many postings."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is scored: the formula and the weight of each term (its idf, as often as it is asked for).

    The terms are in sorted order, so that sums of floats come out the same whatever the order of the question.
    """

    formula: Formula
    weights: Floats
    count: int

    @property
    def bounds(self) -> Floats:
        """The most that a chunk can get for each term."""
        return self.weights * self.formula.most

    @property
    def prunable(self) -> bool:
        """Whether a chunk gets no less from having more terms, and no more than the bounds."""
        return bool(self.weights.min(initial=1.0) > 0) and math.isfinite(self.formula.most)


def best(question: Question, lists: Sequence[PartLists], masks: Sequence[Mask | None]) -> Ranking:
    """The best chunks within `masks` (one for each part; None: all of it) that have a term of the question."""
    threshold = _threshold(question, lists, masks)
    found: list[Ranking] = []
    for one, mask in zip(lists, masks, strict=True):
        places, scores = _within(question, one, mask, threshold)
        if not len(places):
            continue
        found.append(ranked(one, places, scores, question.count))
        if question.prunable:
            threshold = max(threshold, _lowest(np.concatenate([one.scores for one in found]), question.count))
    return ranking.best(found, question.count)


def ranked(lists: PartLists, places: Places, scores: Floats, count: int) -> Ranking:
    """The `count` best of those chunks of a part, and what equals the last of them; unordered."""
    top = ranking.contenders(scores, count)
    block = lists.part.block
    return Ranking(rows=block.rows[places[top]], ids=block.ids[places[top]], scores=scores[top])


def few(lists: PartLists, mask: Mask) -> bool:
    """Whether a mask leaves so few chunks that each is better looked up by itself."""
    return int(np.count_nonzero(mask)) * FEW < sum(lists.sizes)


def _threshold(question: Question, lists: Sequence[PartLists], masks: Sequence[Mask | None]) -> float:
    """A score that `count` chunks are known to have at least: those that look best by the rarest term of enough."""
    sizes = [sum(one.sizes[term] for one in lists) for term in range(len(question.weights))]
    enough = [term for term, size in enumerate(sizes) if size >= 2 * question.count]
    if not enough or not question.prunable or sum(sizes) < _WORTH:
        return -np.inf
    rarest = max(enough, key=lambda term: (question.bounds[term], term))
    scores, left = [np.zeros(0)], _PILOT
    for one, mask in zip(lists, masks, strict=True):
        if left > 0 and one.sizes[rarest]:
            places, shares = one.contributions(rarest, question.formula, float(question.weights[rarest]), left)
            if mask is not None:
                inside = mask[places]
                places, shares = places[inside], shares[inside]
            places = np.sort(places[ranking.contenders(shares, 2 * question.count)[: 4 * question.count]])
            scores.append(exact(question, one, places)[1])
            left -= one.sizes[rarest]
    return _lowest(np.concatenate(scores), question.count)


def _lowest(scores: Floats, count: int) -> float:
    """The `count`-th highest score; minus infinity where there are fewer."""
    if len(scores) < count:
        return -np.inf
    return float(np.partition(scores, len(scores) - count)[len(scores) - count])


def _within(question: Question, lists: PartLists, mask: Mask | None, threshold: float) -> tuple[Places, Floats]:
    """The chunks of one part that score `threshold` or more, perhaps some others, and their scores."""
    terms = [term for term, number in enumerate(lists.numbers) if number is not None]
    walked, looked = _split(question, terms, threshold)
    if not walked:
        return np.zeros(0, np.int64), np.zeros(0)
    if mask is not None and few(lists, mask):
        return exact(question, lists, np.flatnonzero(mask))
    places, scores = _walked(question, lists, walked)
    if mask is not None:
        inside = mask[places]
        places, scores = places[inside], scores[inside]
    if not looked:
        return places, scores
    for at, term in enumerate(looked):
        left = float(question.bounds[looked[at:]].sum())
        promising = scores + left >= threshold * SLACK
        places, scores = places[promising], scores[promising]
        has, frequencies = lists.found(term, places, question.formula)
        scores[has] += _shares(question, lists, term, places[has], frequencies[has])
    return exact(question, lists, places[scores >= threshold * SLACK])


def _split(question: Question, terms: Sequence[int], threshold: float) -> tuple[list[int], list[int]]:
    """The terms whose lists have to be walked, in sorted order, and those to look into, the most promising first."""
    bounds = question.bounds
    walked, looked, total = sorted(terms, key=lambda term: (bounds[term], term)), [], 0.0
    while walked and total + bounds[walked[0]] < threshold * SLACK:
        total += float(bounds[walked[0]])
        looked.append(walked.pop(0))
    return sorted(walked), looked[::-1]


def _walked(question: Question, lists: PartLists, terms: Sequence[int]) -> tuple[Places, Floats]:
    """The chunks that have one of `terms`, ascending, and what they get for these."""
    found = [lists.contributions(term, question.formula, float(question.weights[term])) for term in terms]
    if len(found) == 1:
        return found[0]
    size = len(lists.part.block)
    scores, touched = np.zeros(size), np.zeros(size, np.bool_)
    for places, shares in found:
        scores[places] += shares
        touched[places] = True
    places = np.flatnonzero(touched)
    return places, scores[places]


def exact(question: Question, lists: PartLists, places: Places) -> tuple[Places, Floats]:
    """Those of `places` (ascending) whose chunk has a term of the question, and their scores."""
    scores, touched = np.zeros(len(places)), np.zeros(len(places), np.bool_)
    for term, number in enumerate(lists.numbers):
        if number is not None and len(places):
            has, frequencies = lists.found(term, places, question.formula)
            scores[has] += _shares(question, lists, term, places[has], frequencies[has])
            touched |= has
    return places[touched], scores[touched]


def _shares(question: Question, lists: PartLists, term: int, places: Places, frequencies: Floats) -> Floats:
    shares = question.formula.shares(frequencies, lists.part.block.lengths[places])
    return np.asarray(float(question.weights[term]) * shares)
