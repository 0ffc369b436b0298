"""Which chunks have the nearest codes: by the compiled loops of `hamming` once loaded, else by faiss and numpy.

Either way the same sets come out: Hamming distances and scores of codes are whole numbers, and ties at the edge go to
the smaller chunk ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index import codes, workers
from ragagent.index.block import Block
from ragagent.index.codes import QueryCode
from ragagent.index.loading import Loops

Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

_GATHERED = 0.05
"""A smaller share of a part is scanned as a copy; faiss's test of every chunk costs more then."""
_TIES = 64


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of one block that may be found: `mask` bool[n] (None: all) and how many chunks that are."""

    block: Block
    mask: Mask | None
    size: int

    def places(self) -> Places:
        """The places of those chunks, ascending."""
        return np.arange(self.size) if self.mask is None else np.flatnonzero(self.mask)


def nearest(
    scopes: Sequence[Scope], queries: Sequence[QueryCode], size: int, loops: Loops | None, *, parallel: bool
) -> list[list[Places]]:
    """For each query the places of the `size` nearest by 1-bit code in each of `scopes`, ascending."""
    if loops is not None:
        return _compiled(loops, scopes, queries, size, parallel=parallel)
    work = [(scope, query.bits) for query in queries for scope in scopes]
    scanned = workers.each(lambda one: _scan(*one, size), work, parallel=parallel)
    groups = [scanned[at : at + len(scopes)] for at in range(0, len(scanned), len(scopes))]
    return [_settled(scopes, query.bits, group, size) for query, group in zip(queries, groups, strict=True)]


def best(
    scopes: Sequence[Scope], query: QueryCode, places: Sequence[Places], size: int, loops: Loops | None
) -> list[Places]:
    """Of the chunks at `places` (ascending) in each of `scopes` the `size` best by 4-bit code, ascending."""
    if loops is None:
        keys = [-query.scores(scope.block.codes.nibbles[at]) for scope, at in zip(scopes, places, strict=True)]
        return _lowest(scopes, places, np.concatenate(keys), size)
    counts = np.array([len(scope.block) for scope in scopes], np.int64)
    low, high = query.halves()
    table = np.stack([[_address(scope.block.codes.nibbles, len(low)) for scope in scopes], counts], axis=1)
    bases = np.cumsum(counts) - counts
    together = np.concatenate([at + base for at, base in zip(places, bases, strict=True)])
    return _lowest(scopes, places, -loops.scores(table, together, low, high), size)


def _address(rows: npt.NDArray[Any], *shape: int) -> int:
    """Where `rows` of that shape each begin. The loops read what they are told to, so nothing else may be there."""
    if not rows.flags.c_contiguous or rows.shape[1:] != shape:
        raise ValueError(f"codes of shape {rows.shape}, where each should be {shape}")
    return int(rows.ctypes.data)


def _lowest(scopes: Sequence[Scope], places: Sequence[Places], keys: npt.NDArray[Any], size: int) -> list[Places]:
    """Of `places` the `size` with the lowest `keys`, by part, in their order; where keys are equal, the smallest ids.

    `keys` are those of all places, one part after another.
    """
    if len(keys) <= size:
        return list(places)
    edge = np.partition(keys, size - 1)[size - 1]
    taken = keys < edge
    room = size - int(np.count_nonzero(taken))
    cuts = np.cumsum([len(at) for at in places])[:-1]
    tied = np.flatnonzero(keys == edge)
    if len(tied) > room:
        every = zip(scopes, places, np.split(tied, np.searchsorted(tied, cuts)), [0, *cuts.tolist()], strict=True)
        ids = np.concatenate([scope.block.ids[at[tie - first]] for scope, at, tie, first in every if len(tie)])
        tied = tied[np.argsort(ids, kind="stable")[:room]]
    taken[tied] = True
    return [at[take] for at, take in zip(places, np.split(taken, cuts), strict=True)]


@dataclass(frozen=True, slots=True)
class _Scanned:
    """Places and Hamming distances; `cut` when there are more chunks than these, and the distances ascend then."""

    places: Places
    distances: npt.NDArray[np.int32]
    cut: bool


def _settled(scopes: Sequence[Scope], query: codes.Bytes, scanned: Sequence[_Scanned], size: int) -> list[Places]:
    """The `size` nearest of what the scans of the parts found, ties at the edge included whole before they are cut."""
    if any(one.cut for one in scanned):
        distances = np.concatenate([one.distances for one in scanned])
        edge = int(np.partition(distances, size - 1)[size - 1])
        # A scan that stopped at the edge may have left out some that lie there as well.
        scanned = [
            _within(scope, query, edge) if one.cut and one.distances[-1] <= edge else one
            for scope, one in zip(scopes, scanned, strict=True)
        ]
    # The scans give them by distance.
    orders = [np.argsort(one.places) for one in scanned]
    places = [one.places[order] for one, order in zip(scanned, orders, strict=True)]
    found = [one.distances[order] for one, order in zip(scanned, orders, strict=True)]
    return _lowest(scopes, places, np.concatenate(found), size)


_GROUPS = 4
"""Parts are scanned in so many groups: a call costs 30 us, and two threads should end at about the same time."""


def _compiled(
    loops: Loops, scopes: Sequence[Scope], queries: Sequence[QueryCode], size: int, *, parallel: bool
) -> list[list[Places]]:
    sources = [_Source.of(scope) for scope in scopes]
    groups = _grouped([len(source.words) for source in sources], _GROUPS if parallel else 1)
    width = queries[0].bits.shape[1] // 8
    tables = [np.array([sources[number].row(width) for number in group], np.int64) for group in groups]
    work = []
    for query in queries:
        # The tallies of scans of the query that are not under way: what some parts have shows what others need not
        # look for. Which tally a scan gets changes only how much comes back that is not needed.
        known: list[npt.NDArray[np.int64]] = []
        work += [(query.bits.view(np.uint64)[0], table, known) for table in tables]

    def scan(one: tuple[Any, Any, list[npt.NDArray[np.int64]]]) -> tuple[Places, npt.NDArray[np.int32]]:
        words, table, known = one
        try:
            tally = known.pop()
        except IndexError:
            tally = np.zeros(64 * len(words) + 2, np.int64)
            tally[-1] = 64 * len(words)
        places, distances = loops.nearest(words, table, size, tally)
        known.append(tally)
        return places, distances

    scanned = workers.each(scan, work, parallel=parallel)
    return [
        _gathered(scopes, sources, groups, scanned[at : at + len(groups)], size)
        for at in range(0, len(scanned), len(groups))
    ]


@dataclass(frozen=True, slots=True)
class _Source:
    """What of a part is scanned: codes uint64[n, w], a mask over them or None, and the places of the codes, or None
    where they are those of the part."""

    words: npt.NDArray[np.uint64]
    mask: Mask | None
    places: Places | None

    @classmethod
    def of(cls, scope: Scope) -> _Source:
        words = scope.block.codes.bits.view(np.uint64)
        if scope.mask is not None and scope.size < _GATHERED * len(words):
            places = scope.places()
            return cls(words[places], None, places)
        return cls(words, scope.mask, None)

    def row(self, width: int) -> tuple[int, int, int]:
        """Addresses and number, of codes of so many words; they are good as long as this is held."""
        if self.mask is not None and len(self.mask) != len(self.words):
            raise ValueError(f"a mask of {len(self.mask)} over {len(self.words)} codes")
        return _address(self.words, width), 0 if self.mask is None else _address(self.mask), len(self.words)


def _grouped(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Numbers of parts in groups of about the same size together."""
    groups: list[list[int]] = [[] for _ in range(min(most, len(sizes)))]
    totals = [0] * len(groups)
    for number in sorted(range(len(sizes)), key=lambda one: -sizes[one]):
        least = totals.index(min(totals))
        groups[least].append(number)
        totals[least] += sizes[number]
    return groups


def _gathered(
    scopes: Sequence[Scope],
    sources: Sequence[_Source],
    groups: Sequence[Sequence[int]],
    scanned: Sequence[tuple[Places, npt.NDArray[np.int32]]],
    size: int,
) -> list[Places]:
    """What the scans of groups of parts found, by part, cut to the `size` nearest of all."""
    order = [number for group in groups for number in group]
    places: list[Places] = []
    for group, (found, _) in zip(groups, scanned, strict=True):
        counts = np.array([len(sources[number].words) for number in group])
        bases = np.cumsum(counts) - counts
        pieces = np.split(found, np.searchsorted(found, bases[1:]))
        for number, piece, base in zip(group, pieces, bases, strict=True):
            kept = sources[number].places
            places.append(piece - base if kept is None else kept[piece - base])
    distances = np.concatenate([distances for _, distances in scanned])
    nearest_of = _lowest([scopes[number] for number in order], places, distances, size)
    by_number = dict(zip(order, nearest_of, strict=True))
    return [by_number[number] for number in range(len(scopes))]


def _scan(scope: Scope, query: codes.Bytes, size: int) -> _Scanned:
    """The `size` nearest and some more, so that ties at the end are seldom cut."""
    bits, mask, places = scope.block.codes.bits, scope.mask, None
    if mask is not None and scope.size < _GATHERED * len(bits):
        places = np.flatnonzero(mask)
        bits, mask = bits[places], None
    fetch = min(scope.size, size + size // 4 + _TIES)
    distances, found = _hamming(query, bits, fetch, mask)
    return _Scanned(found if places is None else places[found], distances, cut=fetch < scope.size)


def _within(scope: Scope, query: codes.Bytes, edge: int) -> _Scanned:
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
