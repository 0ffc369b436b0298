"""Dense search: exact while a collection is small, by short codes and exact at the end when it is large.

The plan depends on how many chunks are live, how many of them may be found, and `count`; never on how they came there.

- Up to EXACT_CHUNKS live chunks, or EXACT_FILTERED that may be found: every vector is scored.
- Above: a scan of all 1-bit codes for the `considered` nearest by Hamming distance, of those the `rescored` best by
  4-bit code, of those the best by the stored vector in float64. A filter that lets no more than `considered` chunks
  through makes the first step needless.

Each step takes a set that is a function of the live chunks and the filter: the first two score in whole numbers, and
ties at the edge go to the smaller chunk ids. So the result is the same after any history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ragagent.index import candidates, codes, ranking, vectors, workers
from ragagent.index.block import Block, Part
from ragagent.index.candidates import Scope
from ragagent.index.loading import LOADING
from ragagent.index.ranking import Ranking
from ragagent.index.vectors import Stored
from ragagent.types import Vector

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

EXACT_CHUNKS = 20_000
"""So many live chunks are searched exactly: 15 MB of vectors of 384 components, and 0.4 ms."""
EXACT_FILTERED = 256
"""When a filter lets no more chunks through, they are searched exactly in a collection of any size: about 1.5 ms."""
_PARALLEL_CHUNKS = 131_072
"""Less is scanned sooner than a second thread is awake."""
_MOSTLY_DEAD = 4


def considered(selected: int, count: int) -> int:
    """How many of `selected` chunks the 1-bit scan hands on to find the best `count`.

    4 times the square root, and 1024 and 20 times `count` at least. Clustered vectors of 384 components, 100 questions
    to each collection, share of the exact 10 best that is among the R nearest: of 100,000 chunks R = 400, 800, 1200,
    2000 give 0.980, 0.994, 0.996, 1.0; of 1,000,000 chunks R = 800, 2000, 3000, 4000, 6000 give 0.956, 0.984, 0.993,
    0.997, 0.998. Of 1,000 random vectors, which a filter let through, R = 400 gave 0.983; more than 1,000 cost 0.1 ms.
    """
    return min(selected, max(1024, 4 * math.isqrt(selected), 20 * count))


def rescored(count: int) -> int:
    """How many chunks are scored by their stored vectors to find the best `count`.

    In the same trial the best 32 and 64 by 4-bit code held 0.998 and all of the best 10 that the first step had kept,
    the best 150 held 0.997 of the best 100.
    """
    return max(64, count + count // 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a search went: of `live` chunks `selected` passed the filter; so many were left after each step."""

    live: int
    selected: int
    considered: int
    rescored: int
    exact: bool

    def __str__(self) -> str:
        filtered = "" if self.selected == self.live else f" of {self.live:,} that pass the filter"
        if self.exact:
            return f"exact over {self.selected:,} chunks{filtered}"
        steps = [f"{self.selected:,} chunks{filtered}"]
        if self.considered < self.selected:
            steps.append(f"nearest {self.considered:,} by 1-bit codes")
        if self.rescored < self.considered:
            steps.append(f"best {self.rescored:,} by 4-bit codes")
        return ", ".join([*steps, "best by stored vectors"])


@dataclass(frozen=True, slots=True)
class Found:
    """A ranking and the plan that led to it."""

    ranking: Ranking
    plan: Plan


def plan(live: int, selected: int, count: int) -> Plan:
    """What will be done for a collection of `live` chunks of which `selected` may be found."""
    exact = live <= EXACT_CHUNKS or selected <= max(EXACT_FILTERED, rescored(count))
    first = selected if exact else min(selected, max(considered(selected, count), rescored(count)))
    second = selected if exact else min(first, rescored(count))
    return Plan(live=live, selected=selected, considered=first, rescored=second, exact=exact)


def search(parts: Sequence[Part], query: Vector, count: int, masks: Sequence[Mask | None], stored: Stored) -> Found:
    """The `count` best by inner product; `masks` say for each part what may be found, None where that is all of it.

    Scores are those of the stored vectors, summed in float64. Ties go by chunk id. All that pass the masks come back
    when they are `count` or fewer.
    """
    (found,) = search_many(parts, query.reshape(1, -1), count, masks, stored)
    return found


def search_many(
    parts: Sequence[Part], queries: Vector, count: int, masks: Sequence[Mask | None], stored: Stored
) -> list[Found]:
    """What `search` gives for each of `queries`, float32[q, d], under the same masks."""
    scopes = [_scope(part.block, mask) for part, mask in zip(parts, masks, strict=True)]
    kept = [number for number, scope in enumerate(scopes) if scope.size]
    scopes = [scopes[number] for number in kept]
    chosen = plan(sum(part.count for part in parts), sum(scope.size for scope in scopes), count)
    if not chosen.selected:
        return [Found(ranking.EMPTY, chosen) for _ in queries]
    if chosen.live <= EXACT_CHUNKS:
        lives = [parts[number].live for number in kept]
        return [Found(_exact(scopes, lives, query, count, stored), chosen) for query in queries]
    return [Found(one, chosen) for one in _by_codes(scopes, queries, count, chosen, stored)]


def scores(
    parts: Sequence[Part], query: Vector, rows: npt.NDArray[np.int64], stored: Stored
) -> npt.NDArray[np.float64]:
    """float64[n]: the same scores of the live chunks at those rows; 2 us each."""
    embeddings = np.zeros(len(rows), np.int64)
    for part in parts:
        places, inside = part.block.find(rows)
        embeddings[inside] = part.block.embeddings[places]
    return vectors.scores(stored.read(embeddings), query)


def _scope(block: Block, mask: Mask | None) -> Scope:
    return Scope(block, mask, len(block) if mask is None else int(np.count_nonzero(mask)))


def _exact(scopes: Sequence[Scope], lives: Sequence[Mask], query: Vector, count: int, stored: Stored) -> Ranking:
    found = []
    for scope, live in zip(scopes, lives, strict=True):
        if len(scope.block) > _MOSTLY_DEAD * EXACT_CHUNKS:
            # Until it is written anew it is not worth holding in memory.
            found.append(_by_vectors([scope], query, [scope.places()], count, stored))
            continue
        held = scope.block.vectors.of(stored, scope.block.embeddings, live)
        places = held.nearest(query, count, scope.mask)
        found.append(_ranked(scope.block, places, vectors.scores(held.half[places], query), count))
    return ranking.best(found, count)


def _by_codes(scopes: Sequence[Scope], queries: Vector, count: int, chosen: Plan, stored: Stored) -> list[Ranking]:
    loops = LOADING.loops
    coded = [codes.of_query(query) for query in queries]
    busy = sum(scope.size for scope in scopes) * len(queries) > _PARALLEL_CHUNKS
    if chosen.considered < chosen.selected:
        places = candidates.nearest(scopes, coded, chosen.considered, loops, parallel=busy)
    else:
        places = [[scope.places() for scope in scopes]] * len(coded)
    if chosen.rescored < chosen.considered:
        places = workers.each(
            lambda one: candidates.best(scopes, *one, chosen.rescored, loops),
            list(zip(coded, places, strict=True)),
            parallel=busy,
        )
    return [_by_vectors(scopes, query, at, count, stored) for query, at in zip(queries, places, strict=True)]


def _by_vectors(
    scopes: Sequence[Scope], query: Vector, places: Sequence[Places], count: int, stored: Stored
) -> Ranking:
    half = stored.read(np.concatenate([one.block.embeddings[at] for one, at in zip(scopes, places, strict=True)]))
    scores = np.split(vectors.scores(half, query), np.cumsum([len(at) for at in places])[:-1])
    return ranking.best(
        [_ranked(scope.block, at, score, count) for scope, at, score in zip(scopes, places, scores, strict=True)],
        count,
    )


def _ranked(block: Block, places: Places, scores: npt.NDArray[np.float64], count: int) -> Ranking:
    best = ranking.contenders(scores, count)
    places = places[best]
    return Ranking(rows=block.rows[places], ids=block.ids[places], scores=scores[best])
