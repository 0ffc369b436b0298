"""The sparse search by the compiled loop of `kernels`, once that is loaded; by `scan` until then, and without numba."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index import bm25, ranking, scan
from ragagent.index.bm25 import Formula
from ragagent.index.lists import PartLists
from ragagent.index.loading import LOADING
from ragagent.index.postings import BUCKET
from ragagent.index.ranking import Ranking
from ragagent.index.scan import Mask, Question

_PILOT = 2048

Kernel = Callable[..., tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], int]]
Search = Callable[[Question, Sequence[PartLists], Sequence[Mask | None]], Ranking]
"""A way of searching."""


class _Room(threading.local):
    """A thread's room to work in."""

    def __init__(self) -> None:
        self.sums = np.zeros(BUCKET, np.float32)
        self.touched = np.zeros(BUCKET, np.uint16)


_ROOM = _Room()
_ALL = np.zeros(0, np.bool_)


def best(question: Question, lists: Sequence[PartLists], masks: Sequence[Mask | None]) -> Ranking:
    """As `scan.best`, to the last bit, by the fastest way that is ready."""
    loops = LOADING.loops
    return scan.best(question, lists, masks) if loops is None else compiled(loops.search, question, lists, masks)


def compiled(kernel: Kernel, question: Question, lists: Sequence[PartLists], masks: Sequence[Mask | None]) -> Ranking:
    """As `scan.best`, by the compiled loop."""
    if not question.prunable:
        return scan.best(question, lists, masks)
    found, searches = [], []
    for one, mask in zip(lists, masks, strict=True):
        if mask is not None and scan.few(one, mask):
            places, scores = scan.exact(question, one, np.flatnonzero(mask))
            found.append(scan.ranked(one, places, scores, question.count))
        elif any(one.sizes):
            searches.append(_Search(kernel, question, one, mask))
    threshold = _threshold(question, searches)
    heap, filled = np.empty(question.count), 0
    for search in searches:
        places, scores, filled = search.run(threshold, heap, filled)
        if filled == question.count:
            threshold = max(threshold, float(heap[0]))
        found.append(scan.ranked(search.lists, places, scores, question.count))
    return ranking.best(found, question.count)


def _threshold(question: Question, searches: Sequence[_Search]) -> float:
    """A score that `count` chunks are known to have at least: some that have the rarest term of enough."""
    sizes = np.zeros(len(question.weights), np.int64)
    for search in searches:
        sizes += search.lists.sizes
    enough = np.flatnonzero(sizes >= 2 * question.count)
    if not len(enough) or sizes.sum() < _PILOT:
        return -np.inf
    rarest = int(max(enough, key=lambda term: question.weights[term]))
    heap, filled, left = np.empty(question.count), 0, _PILOT
    for search in searches:
        at = np.flatnonzero(search.terms == rarest)
        if len(at) and left > 0:
            filled = search.run(-np.inf, heap, filled, pilot=int(at[0]), most=left)[2]
            left -= search.lists.sizes[rarest]
    return float(heap[0]) if filled == question.count else -np.inf


class _Search:
    """What the compiled loop is given for one part."""

    def __init__(self, kernel: Kernel, question: Question, lists: PartLists, mask: Mask | None) -> None:
        postings = lists.part.block.postings
        self.lists = lists
        self.terms = np.flatnonzero(lists.sizes)
        self._question = question
        self._kernel = kernel
        self._mask = _ALL if mask is None else mask
        self._bounds = np.ascontiguousarray(lists.bounds[self.terms])
        self._weights = question.weights[self.terms]
        self._most = question.bounds[self.terms]
        text, head = postings.text, postings.head
        self._arrays = (
            *(postings.places, text.small, text.at, text.large),
            *(postings.head_at, head.small, head.at, head.large),
        )

    def run(
        self, threshold: float, heap: npt.NDArray[np.float64], filled: int, *, pilot: int = -1, most: int = 0
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], int]:
        """Calls the loop."""
        formula = self._question.formula
        parameters = np.array([formula.k1, formula.b, formula.title_weight, formula.average], np.float64)
        lengths = self.lists.part.block.lengths
        return self._kernel(
            *(self._arrays, self._bounds, lengths, _classes(lengths, formula), self._mask, self._weights, self._most),
            *(_table(formula), bm25.FORMS.index(formula.form), parameters, threshold, heap, filled, pilot, most),
            *(_ROOM.sums, _ROOM.touched),
        )


_TIMES = 16
_SHORTEST = np.concatenate([np.arange(100.0), np.geomspace(100, 2e6, 156)])
"""The least length of each of 256 classes of lengths: one by one at first, then 7 % apart."""


@functools.lru_cache(maxsize=8)
def _table(formula: Formula) -> npt.NDArray[np.float32]:
    return formula.most_shares(_TIMES, _SHORTEST)


_CLASSES: dict[tuple[int, float], tuple[weakref.ref[Any], npt.NDArray[np.uint8]]] = {}


def _classes(lengths: npt.NDArray[np.uint32], formula: Formula) -> npt.NDArray[np.uint8]:
    """The class of each chunk's length; kept as long as `lengths` is. About 15 ms a million, the first time."""
    key = id(lengths), formula.title_weight
    known = _CLASSES.get(key)
    if known is None or known[0]() is not lengths:
        made = (np.searchsorted(_SHORTEST, formula.weighted(lengths), side="right") - 1).astype(np.uint8)
        known = _CLASSES[key] = weakref.ref(lengths, lambda _: _CLASSES.pop(key, None)), made
    return known[1]
