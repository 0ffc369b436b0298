"""The two loops of dense search over codes, compiled by numba: the same sets and scores as numpy and faiss give.

Importing this module imports numba and compiles, or loads what an earlier process compiled; `loading` does so in the
background. A scan of a million codes of 512 bits takes the time that reading 64 MB of memory does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types

from ragagent.index.compiling import array, at_address, compiled, differing, prefetch

_ROWS = 256
"""So many distances are worked out before any is looked at: a loop of nothing else, and they stay in the cache."""
_LINE = 64
_AHEAD = 16
"""Codes far apart are asked for so many ahead: 0.2 ms for 4,000 of them among a million, in the place of 0.8."""

_differing_8, _differing_4, _differing_1 = differing(8), differing(4), differing(1)
_words_at, _bytes_at = at_address(types.uint64), at_address(types.uint8)


@compiled()
def _distances(codes: Any, begin: int, end: int, query: Any, distances: Any) -> int:
    """Puts the distances of the codes from `begin` to `end` into `distances`, and returns the least of them."""
    words = codes.shape[1]
    for at in range(end - begin):
        total, word = 0, 0
        while word + 8 <= words:
            total += _differing_8(codes, begin + at, word, query)
            word += 8
        while word + 4 <= words:
            total += _differing_4(codes, begin + at, word, query)
            word += 4
        while word < words:
            total += _differing_1(codes, begin + at, word, query)
            word += 1
        distances[at] = total
    least = distances[0]
    for at in range(end - begin):
        least = min(least, distances[at])
    return int(least)


@compiled()
def _kept(places: Any, distances: Any, found: int, bound: int) -> int:
    """Moves what is no farther than `bound` to the front, in its order; returns how many that are."""
    kept = 0
    for at in range(found):
        if distances[at] <= bound:
            places[kept], distances[kept] = places[at], distances[at]
            kept += 1
    return kept


@compiled()
def _appended(
    query: Any, codes: Any, mask: Any, base: int, size: int, tally: Any, places: Any, distances: Any, found: int
) -> tuple[Any, Any, int]:
    """Puts what can be among the nearest behind what was found in other parts; `base` is the place of the first."""
    block = np.empty(_ROWS, np.uint16)
    some = len(mask) > 0
    last = len(tally) - 1
    bound, known = tally[last], 0
    for distance in range(bound + 1):
        known += tally[distance]
    for begin in range(0, len(codes), _ROWS):
        end = min(begin + _ROWS, len(codes))
        if _distances(codes, begin, end, query, block) > bound:
            continue
        for at in range(end - begin):
            distance = int(block[at])
            if distance > bound or (some and mask[begin + at] == 0):
                continue
            if found == len(places):
                found = _kept(places, distances, found, bound)
                if 2 * found > len(places):
                    more_places, more_distances = np.empty(4 * found, np.int64), np.empty(4 * found, np.int32)
                    more_places[:found], more_distances[:found] = places[:found], distances[:found]
                    places, distances = more_places, more_distances
            places[found], distances[found] = base + begin + at, distance
            found += 1
            tally[distance] += 1
            known += 1
            while known - tally[bound] >= size:
                known -= tally[bound]
                tally[bound] = 0
                bound -= 1
    tally[last] = bound
    return places, distances, found


@compiled(
    types.Tuple([types.int64[::1], types.int32[::1]])(
        array("uint64"),  # query
        types.int64[:, ::1],  # parts
        types.int64,  # size
        types.int64[::1],  # tally
    ),
    nogil=True,
)
def nearest(query: Any, parts: Any, size: int, tally: Any) -> tuple[Any, Any]:
    """Places, ascending, and distances of the `size` nearest codes of all parts, of all that are as near as the last
    of them, and of no others; of all codes where they are fewer. Places are counted on from part to part.

    `query` uint64[w]; `parts` int64[p, 3]: of each part the address of its codes, uint64[n, w], that of its mask,
    bool[n], or 0 for all of it, and n. `tally` int64[64 * w + 2] says what was found before in other parts: how many
    at each distance, of those that are no farther than the last number in it. It is brought up to date, so that what
    cannot be among the nearest of all parts that it was shown is left out.
    """
    words = len(query)
    places, distances = np.empty(4 * size + 1024, np.int64), np.empty(4 * size + 1024, np.int32)
    found, base = 0, 0
    nothing = np.zeros(0, np.uint8)
    for part in range(len(parts)):
        count = parts[part, 2]
        codes = carray(_words_at(parts[part, 0]), (count, words))
        if parts[part, 1] == 0:
            mask = nothing
        else:
            mask = carray(_bytes_at(parts[part, 1]), count)
        places, distances, found = _appended(query, codes, mask, base, size, tally, places, distances, found)
        base += count
    found = _kept(places, distances, found, tally[len(tally) - 1])
    return places[:found].copy(), distances[:found].copy()


@compiled()
def _scored(nibbles: Any, places: Any, base: int, low: Any, high: Any, found: Any) -> None:
    count, width = len(places), nibbles.shape[1]
    for at in range(count):
        if at + _AHEAD < count:
            for column in range(0, width, _LINE):
                prefetch(nibbles, places[at + _AHEAD] - base, column)
        place = np.uint64(places[at] - base)
        total = np.int32(0)
        # Every step cut to 32 bits: numba would go on in 64, which is half as fast.
        for column in range(np.uint64(width)):
            byte = np.int32(nibbles[place, column])
            total = np.int32(total + np.int32(np.int32(byte & 15) * low[column]))
            total = np.int32(total + np.int32(np.int32(byte >> 4) * high[column]))
        found[at] = total


@compiled(
    types.int32[::1](types.int64[:, ::1], array("int64"), array("int32"), array("int32")),
    nogil=True,
)
def scores(parts: Any, places: Any, low: Any, high: Any) -> Any:
    """int32[m]: the sums of the weights times the components of the 4-bit codes at `places`, ascending.

    `parts` int64[p, 2]: of each part the address of its codes, uint8[n, w], and n; places are counted on from part to
    part. `low` int32[w] are the weights of the lower halves of the bytes, `high` of the upper ones. No sum may pass
    2**31.
    """
    width = len(low)
    found = np.empty(len(places), np.int32)
    at, base = 0, 0
    for part in range(len(parts)):
        count = parts[part, 1]
        nibbles = carray(_bytes_at(parts[part, 0]), (count, width))
        end = at + np.searchsorted(places[at:], base + count)
        _scored(nibbles, places[at:end], base, low, high, found[at:end])
        at = end
        base += count
    return found
