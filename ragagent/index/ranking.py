"""The best of many scores: highest first, equal scores by chunk id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Chunks best first: `rows` int64[n], their `ids` bytes[n] and `scores` float64[n]."""

    rows: npt.NDArray[np.int64]
    ids: npt.NDArray[np.bytes_]
    scores: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)


EMPTY = Ranking(rows=np.zeros(0, np.int64), ids=np.zeros(0, np.bytes_), scores=np.zeros(0))


def contenders(scores: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
    """Places of the `count` highest scores and of all that equal the lowest of them, in no order."""
    if len(scores) <= count:
        return np.arange(len(scores))
    lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
    return np.flatnonzero(scores >= lowest)


def best(found: Sequence[Ranking], count: int) -> Ranking:
    """The `count` best of several unordered results."""
    if not found:
        return EMPTY
    rows = np.concatenate([part.rows for part in found])
    ids = np.concatenate([part.ids for part in found])
    scores = np.concatenate([part.scores for part in found])
    order = np.lexsort((ids, -scores))[:count]
    return Ranking(rows=rows[order], ids=ids[order], scores=scores[order])
