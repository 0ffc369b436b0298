"""Hits that differ from one another: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ragagent.types import Hit, Stage, Vector

STAGE = "diversity"


def diverse(hits: Sequence[Hit], vectors: Vector, count: int, diversity: float) -> list[Hit]:
    """`count` of `hits`, which come best first, each next one the best by relevance less likeness to those before.

    (1 - diversity) x relevance - diversity x the greatest cosine with a hit taken before; relevance is the score from
    0 (the least) to 1. `vectors` float32[n, d], normalised, are those of `hits`, whose scores stay. With diversity 0
    the order stays; of equals the one before goes first.
    """
    if not hits:
        return []
    scores = np.array([hit.score for hit in hits], np.float64)
    spread = float(np.ptp(scores))
    relevance = (scores - scores.min()) / spread if spread > 0 else np.ones(len(hits))
    likeness = np.zeros(len(hits))
    left, taken = list(range(len(hits))), list[Hit]()
    while left and len(taken) < count:
        sums = (1 - diversity) * relevance[left] - diversity * likeness[left]
        at = left.pop(int(np.argmax(sums)))
        detail = f"{1 - diversity:.2f} x relevance {relevance[at]:.2f} - {diversity:.2f} x likeness {likeness[at]:.2f}"
        stage = Stage(name=STAGE, rank=len(taken) + 1, score=float(sums.max()), detail=detail)
        taken.append(replace(hits[at], rank=len(taken) + 1, stages=(*hits[at].stages, stage)))
        likeness = np.maximum(likeness, np.asarray(vectors @ vectors[at], np.float64))
    return taken
