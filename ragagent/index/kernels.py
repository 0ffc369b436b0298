"""The loop of `scan` over one part, compiled by numba: the same answers to the last bit, several times as fast.

Importing this module imports numba and compiles, or loads what an earlier process compiled; `acceleration` does so in
the background. What it compiles is kept beside this file, or in the user's cache folder where that cannot be written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from ragagent.index.bm25 import DELTA_L, DELTA_PLUS, FORMS
from ragagent.index.postings import BUCKET, BUCKET_BITS
from ragagent.index.scan import SLACK

_PLUS, _L, _LUCENE = FORMS.index("plus"), FORMS.index("l"), FORMS.index("lucene")
_BYTE = 255


def _compiled(signature: Any = None, **options: Any) -> Callable[[Any], Any]:
    """numba.njit, with its cache on disk where there is a place for one. No fastmath: it would change the sums."""

    def decorate(function: Any) -> Any:
        arguments = () if signature is None else (signature,)
        try:
            return numba.njit(*arguments, cache=True, error_model="numpy", **options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            return numba.njit(*arguments, error_model="numpy", **options)(function)

    return decorate


@_compiled(inline="always")
def _share(form: int, k1: float, spread: float, frequency: float) -> float:
    if form == _L:
        relative = frequency / spread + DELTA_L
        return (k1 + 1) * relative / (k1 + relative)
    if form == _LUCENE:
        return frequency / (frequency + k1 * spread)
    share = frequency * (k1 + 1) / (frequency + k1 * spread)
    if form == _PLUS:
        return share + DELTA_PLUS
    return share


@_compiled()
def _first(values: Any, low: int, high: int, wanted: int) -> int:
    """The first place from `low` on whose value is `wanted` or more; `high` where there is none."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@_compiled()
def _ahead(values: Any, low: int, high: int, wanted: int) -> int:
    """As `_first`, for what is likely to be near `low`."""
    step = 1
    while low + step < high and values[low + step] < wanted:
        low += step
        step <<= 1
    first: int = _first(values, low, min(low + step + 1, high), wanted)
    return first


@_compiled()
def _large(at: int, places: Any, numbers: Any) -> float:
    """The number that stands in the table because it does not fit a byte."""
    return float(numbers[_first(places, 0, len(places), at)])


@_compiled()
def _pushed(heap: Any, filled: int, score: float) -> int:
    """Puts a score into a heap of the highest ones, the lowest first, in place; returns how many it holds."""
    if filled < len(heap):
        at = filled
        while at > 0 and heap[(at - 1) >> 1] > score:
            heap[at] = heap[(at - 1) >> 1]
            at = (at - 1) >> 1
        heap[at] = score
        return filled + 1
    if score > heap[0]:
        at = 0
        while True:
            child = 2 * at + 1
            if child >= filled:
                break
            if child + 1 < filled and heap[child + 1] < heap[child]:
                child += 1
            if heap[child] >= score:
                break
            heap[at] = heap[child]
            at = child
        heap[at] = score
    return filled


_READ = {name: types.Array(getattr(types, name), 1, "C", readonly=True) for name in ("uint16", "uint8", "uint32")}
_LISTS = types.Tuple(
    [_READ[name] for name in ("uint16", "uint8", "uint32", "uint16", "uint32", "uint8", "uint32", "uint16")]
)
_SIGNATURE = types.Tuple([types.int64[::1], types.float64[::1], types.int64])(
    _LISTS,  # places, text, text_at, text_large, head_at, head, head_large_at, head_large
    types.int64[:, ::1],  # bounds
    types.Array(types.uint32, 2, "C", readonly=True),  # lengths
    types.Array(types.boolean, 1, "C", readonly=True),  # mask
    types.float64[::1],  # weights
    types.float64[::1],  # most
    types.int64,  # form
    types.float64[::1],  # parameters
    types.float64,  # threshold
    types.float64[::1],  # heap
    types.int64,  # filled
    types.int64,  # pilot
    types.int64,  # pilot_most
    types.float64[::1],  # scores
    types.uint8[::1],  # touched
)


@_compiled(_SIGNATURE, nogil=True)
def search(
    lists: Any,
    bounds: Any,
    lengths: Any,
    mask: Any,
    weights: Any,
    most: Any,
    form: int,
    parameters: Any,
    threshold: float,
    heap: Any,
    filled: int,
    pilot: int,
    pilot_most: int,
    scores: Any,
    touched: Any,
) -> tuple[Any, Any, int]:
    """The chunks of one part that may be among the best: their places, their scores, and how full `heap` is now.

    `lists` are the arrays of the part's postings; `bounds` int64[t, buckets + 1] where the buckets of each term begin;
    `mask` bool[n], or empty for all; `most` what a chunk can get for each term, or zeros
    where that is not known. `parameters` are k1, b, title weight
    and average length. `heap` holds the highest scores so far, `filled` of them; it is changed in place. With `pilot`
    0 or more, only the first `pilot_most` chunks of that term are looked at. `scores` float64[BUCKET] and `touched`
    uint8[BUCKET] are room to work in; `touched` is all zeros, before and after.
    """
    places, text, text_at, text_large, head_at, head, head_large_at, head_large = lists
    k1, b, title_weight, average = parameters
    terms, buckets = bounds.shape[0], bounds.shape[1] - 1
    order = np.argsort(most)
    prunable = most[order[0]] > 0
    words = touched.view(np.uint64)
    heads = np.empty((terms, 2), np.int64)
    for term in range(terms):
        heads[term, 0] = _first(head_at, 0, len(head_at), bounds[term, 0])
        heads[term, 1] = _first(head_at, heads[term, 0], len(head_at), bounds[term, buckets])
    walked = np.empty(terms, np.bool_)
    looked = np.empty(terms, np.int64)
    cursors = np.empty(terms, np.int64)
    frequencies = np.empty(terms, np.float64)
    found_places, found_scores = np.empty(1024, np.int64), np.empty(1024, np.float64)
    found = 0
    seen = 0
    for bucket in range(buckets):
        base = bucket << BUCKET_BITS
        if prunable and filled == len(heap) and heap[0] > threshold:
            threshold = heap[0]
        # Which lists to walk: those without which the others come to less than the threshold.
        looks, total = 0, 0.0
        walked[:] = True
        if pilot >= 0:
            walked[:] = False
            walked[pilot] = True
        elif prunable:
            for at in range(terms):
                term = order[at]
                if total + most[term] >= threshold * SLACK:
                    break
                total += most[term]
                walked[term] = False
        alone = -1
        walks = 0
        for at in range(terms - 1, -1, -1):
            term = order[at]
            if not walked[term]:
                looked[looks] = term
                looks += 1
            elif bounds[term, bucket] < bounds[term, bucket + 1]:
                walks += 1
                alone = term
        if walks == 0:
            continue
        total = 0.0
        for at in range(looks):
            total += most[looked[at]]
        for term in range(terms):
            cursors[term] = bounds[term, bucket]
        size = min(BUCKET, len(lengths) - base)
        if walks > 1:
            for term in range(terms):
                if not walked[term]:
                    continue
                headed, last = heads[term, 0], heads[term, 1]
                weight = weights[term]
                for at in range(bounds[term, bucket], bounds[term, bucket + 1]):
                    place = places[at]
                    frequency = float(text[at])
                    if frequency == _BYTE:
                        frequency = _large(at, text_at, text_large)
                    if headed < last:
                        while headed < last and head_at[headed] < at:
                            headed += 1
                        if headed < last and head_at[headed] == at:
                            extra = float(head[headed])
                            if extra == _BYTE:
                                extra = _large(headed, head_large_at, head_large)
                            frequency += title_weight * extra
                    if frequency == 0:
                        continue
                    row = base + place
                    length = lengths[row, 1] + title_weight * lengths[row, 0]
                    share = weight * _share(form, k1, 1 - b + b * length / average, frequency)
                    if touched[place]:
                        scores[place] += share
                    else:
                        touched[place] = 1
                        scores[place] = share
            begin, end = 0, size
        else:
            begin, end = bounds[alone, bucket], bounds[alone, bucket + 1]
        at = begin
        while at < end:
            known = 0.0
            if walks > 1:
                # Eight chunks without a term of the question are passed over at once.
                if not touched[at]:
                    at += 8 if at & 7 == 0 and words[at >> 3] == 0 else 1
                    continue
                place = at
                touched[at] = 0
                known = scores[at]
                row = base + place
                at += 1
                if len(mask) and not mask[row]:
                    continue
                if known + total < threshold * SLACK:
                    continue
                length = lengths[row, 1] + title_weight * lengths[row, 0]
                spread = 1 - b + b * length / average
            else:
                if pilot >= 0:
                    seen += 1
                    if seen > pilot_most:
                        break
                posting = at
                place = np.int64(places[at])
                row = base + place
                at += 1
                if len(mask) and not mask[row]:
                    continue
                frequency = float(text[posting])
                if frequency == _BYTE:
                    frequency = _large(posting, text_at, text_large)
                if heads[alone, 0] < heads[alone, 1]:
                    headed = _first(head_at, heads[alone, 0], heads[alone, 1], posting)
                    if headed < heads[alone, 1] and head_at[headed] == posting:
                        extra = float(head[headed])
                        if extra == _BYTE:
                            extra = _large(headed, head_large_at, head_large)
                        frequency += title_weight * extra
                if frequency == 0:
                    continue
                length = lengths[row, 1] + title_weight * lengths[row, 0]
                spread = 1 - b + b * length / average
                known = weights[alone] * _share(form, k1, spread, frequency)
                if known + total < threshold * SLACK:
                    continue
                frequencies[alone] = frequency
            if looks:
                left = total
                hopeless = False
                for number in range(looks):
                    if known + left < threshold * SLACK:
                        hopeless = True
                        break
                    term = looked[number]
                    left -= most[term]
                    last = bounds[term, bucket + 1]
                    cursor = _ahead(places, cursors[term], last, place)
                    cursors[term] = cursor
                    frequencies[term] = 0.0
                    if cursor < last and places[cursor] == place:
                        frequency = float(text[cursor])
                        if frequency == _BYTE:
                            frequency = _large(cursor, text_at, text_large)
                        if heads[term, 0] < heads[term, 1]:
                            headed = _first(head_at, heads[term, 0], heads[term, 1], cursor)
                            if headed < heads[term, 1] and head_at[headed] == cursor:
                                extra = float(head[headed])
                                if extra == _BYTE:
                                    extra = _large(headed, head_large_at, head_large)
                                frequency += title_weight * extra
                        frequencies[term] = frequency
                        if frequency > 0:
                            known += weights[term] * _share(form, k1, spread, frequency)
                    # Bounds are subtracted here, so they are a rounding off.
                    left = max(left, 0.0)
                if hopeless or known < threshold * SLACK:
                    continue
                # The score that counts is the sum in the order of the terms.
                known = 0.0
                for term in range(terms):
                    frequency = 0.0
                    if not walked[term] or walks == 1:
                        if not walked[term] or term == alone:
                            frequency = frequencies[term]
                    else:
                        last = bounds[term, bucket + 1]
                        cursor = _ahead(places, cursors[term], last, place)
                        cursors[term] = cursor
                        if cursor < last and places[cursor] == place:
                            frequency = float(text[cursor])
                            if frequency == _BYTE:
                                frequency = _large(cursor, text_at, text_large)
                            if heads[term, 0] < heads[term, 1]:
                                headed = _first(head_at, heads[term, 0], heads[term, 1], cursor)
                                if headed < heads[term, 1] and head_at[headed] == cursor:
                                    extra = float(head[headed])
                                    if extra == _BYTE:
                                        extra = _large(headed, head_large_at, head_large)
                                    frequency += title_weight * extra
                    if frequency > 0:
                        known += weights[term] * _share(form, k1, spread, frequency)
            if known < threshold:
                continue
            if found == len(found_places):
                kept = 0
                for number in range(found):
                    if found_scores[number] >= threshold:
                        found_places[kept], found_scores[kept] = found_places[number], found_scores[number]
                        kept += 1
                found = kept
                if 2 * found > len(found_places):
                    more_places, more_scores = np.empty(4 * found, np.int64), np.empty(4 * found, np.float64)
                    more_places[:found], more_scores[:found] = found_places[:found], found_scores[:found]
                    found_places, found_scores = more_places, more_scores
            found_places[found], found_scores[found] = row, known
            found += 1
            filled = _pushed(heap, filled, known)
            if prunable and filled == len(heap) and heap[0] > threshold:
                threshold = heap[0]
        if pilot >= 0 and seen > pilot_most:
            break
    return found_places[:found], found_scores[:found], filled
