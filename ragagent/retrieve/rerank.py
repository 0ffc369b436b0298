"""The best candidates judged once more, within a time budget, and their places blended from both orders.

A reranker judges in blocks from the best candidate down. A block is begun only when its cost, foretold from the blocks
before, fits into the time that is left; so the budget is kept up to what a block's cost is misjudged by. What is
not reached keeps its order below what is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ragagent.errors import ModelError
from ragagent.protocols import Reranker
from ragagent.retrieve import singled
from ragagent.retrieve.pace import Pace
from ragagent.types import Hit, Stage

STAGE = "rerank"
_SHARES = ((3, 1.0), (10, 0.82))
_SHARE_BELOW = 0.67
_AIM = 0.95
"""Of the budget: what is begun is to end by then, so that a little bad luck does not go over it."""
_OVERHEAD_CHARS = 100
"""What a passage costs beside its characters, in characters."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many candidates may be judged, for how long, and what the judgement counts at the top (0 to 1)."""

    depth: int
    seconds: float
    share: float


def reranked(
    query: str, hits: Sequence[Hit], reranker: Reranker, budget: Budget, pace: Pace, clock: Clock = time.perf_counter
) -> list[Hit]:
    """`hits`, which come best first, in the order of fused and new scores together; each says how in its stages.

    Both scores are taken in standard deviations above the least that was judged, and added: the new one counts
    `budget.share` and the fused one the rest, among the first three fused places; down to the tenth the new one counts
    0.82 of that and below 0.67, for further down fewer are relevant, and what a reranker finds good there is more often
    its mistake. So a reranker that finds all alike, or agrees, changes no place. What the words of the question single
    out stays before the rest. `score` is the sum in the unit of the fused scores, and at least that of the next one.
    Where nothing is judged, nothing changes place.
    """
    begin = clock()
    scores = _judged(query, hits[: budget.depth], reranker, pace, begin + _AIM * budget.seconds, clock)
    blends = _blended([hit.score for hit in hits[: len(scores)]], scores, budget.share)
    first = singled.leading(hits)
    order = sorted(range(len(scores)), key=lambda at: (at >= first, -blends[at].sum, at))
    shown = singled.not_below([blends[at].score for at in order])
    places = _places(scores)
    judged = [
        replace(
            hits[at],
            rank=rank,
            score=shown[rank - 1],
            stages=(*hits[at].stages, _stage(reranker, places[at], scores[at], blends[at])),
        )
        for rank, at in enumerate(order, 1)
    ]
    left = enumerate(hits[len(scores) :], len(scores) + 1)
    return judged + [_left(hit, reranker, budget, rank) for rank, hit in left]


def _judged(
    query: str, hits: Sequence[Hit], reranker: Reranker, pace: Pace, deadline: float, clock: Clock
) -> list[float]:
    """The scores of as many of the first hits as the time allows."""
    works = [_OVERHEAD_CHARS + len(query) + len(hit.text) for hit in hits]
    scores: list[float] = []
    while len(scores) < len(hits):
        begin = clock()
        count = pace.block(works[len(scores) :], deadline - begin)
        if not count:
            if not scores:
                pace.refused()
            break
        block = hits[len(scores) : len(scores) + count]
        found = [float(score) for score in reranker.scores(query, block)]
        if len(found) != len(block) or not np.isfinite(found).all():
            raise ModelError(f"the reranker {reranker.name} gave {found!r:.200} for {len(block)} passages")
        pace.done(sum(works[len(scores) : len(scores) + count]), clock() - begin)
        scores += found
    return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blend:
    """How a sum came about: a weight and a score in standard deviations above the least, of each side."""

    fused: tuple[float, float]
    judged: tuple[float, float]
    score: float

    @property
    def sum(self) -> float:
        return self.fused[0] * self.fused[1] + self.judged[0] * self.judged[1]

    def arithmetic(self) -> str:
        """The sum, for people."""
        return (
            f"{self.fused[0]:.2f} x fused {self.fused[1]:.2f} + {self.judged[0]:.2f} x judged {self.judged[1]:.2f} "
            f"= {self.sum:.2f} standard deviations above the least"
        )


def _blended(fused: Sequence[float], scores: Sequence[float], share: float) -> list[_Blend]:
    above, deviation = _above_least(fused)
    new, _ = _above_least(scores)
    found = []
    for place, (old, judged) in enumerate(zip(above, new, strict=True), 1):
        blend = _Blend(fused=(max(0.0, 1 - share), old), judged=(_share(place, share), judged), score=0.0)
        found.append(replace(blend, score=min(fused) + deviation * blend.sum))
    return found


def _above_least(scores: Sequence[float]) -> tuple[list[float], float]:
    """The scores in standard deviations above the least of them, and that deviation; zeros where all are equal."""
    data = np.asarray(scores, np.float64)
    deviation = float(data.std()) if len(data) else 0.0
    # What equal numbers differ by is rounding.
    if not deviation or deviation <= 1e-12 * float(np.abs(data).max()):
        return [0.0] * len(data), 0.0
    return ((data - data.min()) / deviation).tolist(), deviation


def _share(place: int, share: float) -> float:
    """What the new score counts at a fused place; all of it everywhere when it alone counts."""
    if share >= 1:
        return 1.0
    return share * next((factor for last, factor in _SHARES if place <= last), _SHARE_BELOW)


def _places(scores: Sequence[float]) -> list[int]:
    """The rank of each by its score, from 1; of equals the one before goes first."""
    order = sorted(range(len(scores)), key=lambda at: (-scores[at], at))
    places = [0] * len(scores)
    for place, at in enumerate(order, 1):
        places[at] = place
    return places


def _stage(reranker: Reranker, place: int, score: float, blend: _Blend) -> Stage:
    return Stage(name=STAGE, rank=place, score=score, detail=f"{reranker.name}; {blend.arithmetic()}")


def _left(hit: Hit, reranker: Reranker, budget: Budget, rank: int) -> Hit:
    """A hit that keeps its place, and why."""
    why = f"below the {budget.depth} that are judged" if rank > budget.depth else f"not within {budget.seconds:g} s"
    stage = Stage(name=STAGE, rank=None, score=None, detail=f"{reranker.name}; {why}")
    return replace(hit, rank=rank, stages=(*hit.stages, stage))
