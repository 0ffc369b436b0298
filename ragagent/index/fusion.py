"""Reciprocal rank fusion: 1 / (k + rank) from each search, summed (Cormack, Clarke and Buettcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragagent.index import ranking
from ragagent.index.ranking import Ranking


def fused(rankings: Sequence[Ranking], k: int, count: int) -> Ranking:
    """The `count` best by the sum of reciprocal ranks; a chunk that a search did not find gets nothing from it."""
    found = [one for one in rankings if len(one)]
    if not found:
        return ranking.EMPTY
    rows, first, places = np.unique(np.concatenate([one.rows for one in found]), return_index=True, return_inverse=True)
    shares = np.concatenate([1.0 / (k + np.arange(1, len(one) + 1)) for one in found])
    ids = np.concatenate([one.ids for one in found])[first]
    # bincount adds in the order of the searches, so equal ranks give equal sums.
    scores = np.bincount(places, weights=shares, minlength=len(rows)).astype(np.float64)
    return ranking.best([Ranking(rows=rows, ids=ids, scores=scores)], count)


def arithmetic(ranks: Sequence[int | None], k: int) -> str:
    """How the sum came about, for people."""
    return " + ".join(f"1/({k}+{rank})" for rank in ranks if rank is not None)
