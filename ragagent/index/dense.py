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
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index import codes, ranking, vectors, workers
from ragagent.index.block import Block, Part
from ragagent.index.codes import QueryCode
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
_GATHERED = 0.05
"""A smaller share of a part is scanned as a copy; faiss's test of every chunk costs more then."""
_TIES = 64
_MOSTLY_DEAD = 4


def considered(selected: int, count: int) -> int:
    """How many of `selected` chunks the 1-bit scan hands on to find the best `count`.

    4 times the square root, and 400 and 20 times `count` at least. Clustered vectors of 384 components, 100 questions
    to each collection, share of the exact 10 best that is among the R nearest: of 100,000 chunks R = 400, 800, 1200,
    2000 give 0.980, 0.994, 0.996, 1.0; of 1,000,000 chunks R = 800, 2000, 3000, 4000, 6000 give 0.956, 0.984, 0.993,
    0.997, 0.998.
    """
    return min(selected, max(400, 4 * math.isqrt(selected), 20 * count))


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


@dataclass(frozen=True, slots=True)
class _Scope:
    """The part of one block that may be found: `mask` bool[n] (None: all) and how many chunks that are."""

    block: Block
    mask: Mask | None
    size: int

    def places(self) -> Places:
        return np.arange(self.size) if self.mask is None else np.flatnonzero(self.mask)


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


def _scope(block: Block, mask: Mask | None) -> _Scope:
    return _Scope(block, mask, len(block) if mask is None else int(np.count_nonzero(mask)))


def _exact(scopes: Sequence[_Scope], lives: Sequence[Mask], query: Vector, count: int, stored: Stored) -> Ranking:
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


def _by_codes(scopes: Sequence[_Scope], queries: Vector, count: int, chosen: Plan, stored: Stored) -> list[Ranking]:
    coded = [codes.of_query(query) for query in queries]
    busy = sum(scope.size for scope in scopes) * len(queries) > _PARALLEL_CHUNKS
    if chosen.considered < chosen.selected:
        work = [(scope, code.bits) for code in coded for scope in scopes]
        scanned = workers.each(lambda one: _scan(*one, chosen.considered), work, parallel=busy)
        groups = [scanned[at : at + len(scopes)] for at in range(0, len(scanned), len(scopes))]
    else:
        groups = [[_everything(scope) for scope in scopes]] * len(coded)
    best = workers.each(lambda one: _best(scopes, *one, chosen), list(zip(coded, groups, strict=True)), parallel=busy)
    return [_by_vectors(scopes, query, places, count, stored) for query, places in zip(queries, best, strict=True)]


def _best(scopes: Sequence[_Scope], code: QueryCode, scanned: Sequence[_Scanned], chosen: Plan) -> list[Places]:
    """The places in each part whose stored vectors are to be scored."""
    places = [one.places for one in scanned]
    if chosen.considered < chosen.selected:
        places = _settled(scopes, code.bits, scanned, chosen.considered)
    if chosen.rescored == chosen.considered:
        return places
    scores = [-code.scores(scope.block.codes.nibbles[at]) for scope, at in zip(scopes, places, strict=True)]
    return _lowest(scopes, places, scores, chosen.rescored)


def _by_vectors(
    scopes: Sequence[_Scope], query: Vector, places: Sequence[Places], count: int, stored: Stored
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


def _lowest(
    scopes: Sequence[_Scope], places: Sequence[Places], keys: Sequence[npt.NDArray[Any]], size: int
) -> list[Places]:
    """Of `places` the `size` with the lowest `keys`, by part; where keys are equal, the smallest chunk ids."""
    every = np.concatenate(keys)
    if len(every) <= size:
        return list(places)
    edge = np.partition(every, size - 1)[size - 1]
    room = size - int(np.count_nonzero(every < edge))
    tied = [at[key == edge] for at, key in zip(places, keys, strict=True)]
    ids = np.concatenate([scope.block.ids[at] for scope, at in zip(scopes, tied, strict=True)])
    # Within a part by place, as the caller has them.
    taken = np.zeros(len(ids), np.bool_)
    taken[np.argsort(ids, kind="stable")[:room]] = True
    chosen = np.split(taken, np.cumsum([len(at) for at in tied])[:-1])
    return [
        np.concatenate([at[key < edge], tie[take]])
        for at, key, tie, take in zip(places, keys, tied, chosen, strict=True)
    ]


def _settled(scopes: Sequence[_Scope], query: codes.Bytes, scanned: Sequence[_Scanned], size: int) -> list[Places]:
    """The `size` nearest of what the scans of the parts found, ties at the edge included whole before they are cut."""
    distances = np.concatenate([one.distances for one in scanned])
    edge = int(np.partition(distances, size - 1)[size - 1])
    # A scan that stopped at the edge may have left out some that lie there as well.
    full = [
        _within(scope, query, edge) if one.cut and one.distances[-1] <= edge else one
        for scope, one in zip(scopes, scanned, strict=True)
    ]
    return _lowest(scopes, [one.places for one in full], [one.distances for one in full], size)


@dataclass(frozen=True, slots=True)
class _Scanned:
    """Places and Hamming distances in ascending order of distance; `cut` when there are more chunks than these."""

    places: Places
    distances: npt.NDArray[np.int32]
    cut: bool


def _everything(scope: _Scope) -> _Scanned:
    return _Scanned(scope.places(), np.zeros(scope.size, np.int32), cut=False)


def _scan(scope: _Scope, query: codes.Bytes, size: int) -> _Scanned:
    """The `size` nearest and some more, so that ties at the end are seldom cut."""
    bits, mask, places = scope.block.codes.bits, scope.mask, None
    if mask is not None and scope.size < _GATHERED * len(bits):
        places = np.flatnonzero(mask)
        bits, mask = bits[places], None
    fetch = min(scope.size, size + size // 4 + _TIES)
    distances, found = _hamming(query, bits, fetch, mask)
    return _Scanned(found if places is None else places[found], distances, cut=fetch < scope.size)


def _within(scope: _Scope, query: codes.Bytes, edge: int) -> _Scanned:
    """Everything that is no farther than `edge`."""
    faiss = _faiss()
    bits = scope.block.codes.bits
    distances = np.empty(len(bits), np.int32)
    faiss.hammings(faiss.swig_ptr(query), faiss.swig_ptr(bits), 1, len(bits), bits.shape[1], faiss.swig_ptr(distances))
    near = distances <= edge
    places = np.flatnonzero(near if scope.mask is None else near & scope.mask)
    return _Scanned(places, distances[places], cut=False)


def _hamming(
    query: codes.Bytes, bits: codes.Bytes, size: int, mask: Mask | None
) -> tuple[npt.NDArray[np.int32], Places]:
    """Distances and places of the `size` nearest codes under `mask`, by counting: its time hardly grows with `size`.

    faiss gives up the interpreter's lock meanwhile.
    """
    faiss = _faiss()
    faiss.omp_set_num_threads(1)
    distances, places = np.empty(size, np.int32), np.empty(size, np.int64)
    selected = None
    if mask is not None:
        packed = np.packbits(mask, bitorder="little")
        selected = faiss.IDSelectorBitmap(len(mask), faiss.swig_ptr(packed))
    data = [faiss.swig_ptr(array) for array in (query, bits, distances, places)]
    faiss.hammings_knn_mc(data[0], data[1], 1, len(bits), size, bits.shape[1], data[2], data[3], selected)
    return distances, places


def _faiss() -> Any:
    import faiss

    return faiss
