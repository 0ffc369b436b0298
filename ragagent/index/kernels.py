"""The loop of `scan` over one part, compiled by numba: the same answers to the last bit, several times as fast.

Importing this module imports numba and compiles, or loads what an earlier process compiled; `loading` does so in
the background. What it compiles is kept beside this file, or in the user's cache folder where that cannot be written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from ragagent.index.bm25 import DELTA_L, DELTA_PLUS, FORMS
from ragagent.index.compiling import array, compiled
from ragagent.index.postings import BUCKET_BITS

_PLUS, _L, _LUCENE = FORMS.index("plus"), FORMS.index("l"), FORMS.index("lucene")
_BYTE = 255


@compiled(inline="always")
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


@compiled()
def _first(values: Any, low: int, high: int, wanted: int) -> int:
    """The first place from `low` on whose value is `wanted` or more; `high` where there is none."""
    while low < high:
        middle = (low + high) >> 1
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@compiled()
def _large(at: int, places: Any, numbers: Any) -> float:
    """The number that stands in the table because it does not fit a byte."""
    return float(numbers[_first(places, 0, len(places), at)])


@compiled()
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


_LISTS = types.Tuple(
    [array(name) for name in ("uint16", "uint8", "uint32", "uint16", "uint32", "uint8", "uint32", "uint16")]
)
_SIGNATURE = types.Tuple([types.int64[::1], types.float64[::1], types.int64])(
    _LISTS,  # places, text, text_at, text_large, head_at, head, head_large_at, head_large
    types.int64[:, ::1],  # bounds
    array("uint32", 2),  # lengths
    array("uint8"),  # classes
    array("boolean"),  # mask
    types.float64[::1],  # weights
    types.float64[::1],  # most
    array("float32", 2),  # table
    types.int64,  # form
    types.float64[::1],  # parameters
    types.float64,  # threshold
    types.float64[::1],  # heap
    types.int64,  # filled
    types.int64,  # pilot
    types.int64,  # pilot_most
    types.float32[::1],  # sums
    types.uint16[::1],  # touched
)


@compiled(_SIGNATURE, nogil=True)
def search(
    lists: Any,
    bounds: Any,
    lengths: Any,
    classes: Any,
    mask: Any,
    weights: Any,
    most: Any,
    table: Any,
    form: int,
    parameters: Any,
    threshold: float,
    heap: Any,
    filled: int,
    pilot: int,
    pilot_most: int,
    sums: Any,
    touched: Any,
) -> tuple[Any, Any, int]:
    """The chunks of one part that may be among the best: their places, their scores, and how full `heap` is now.

    `lists` are the arrays of the part's postings; `bounds` int64[t, buckets + 1] where the buckets of each term begin;
    `classes` uint8[n] the class of each chunk's length; `mask` bool[n], or empty for all; `weights` float64[t], all
    above 0; `most` what a chunk can get for each term; `table` float32[f, 256] what share it can get at most, by
    frequency and class. `parameters` are k1, b, title weight and average length. `heap` holds the highest scores so
    far, `filled` of them; it is changed in place. With `pilot` 0 or more, only the first `pilot_most` chunks of that
    term are looked at. `sums` float32[BUCKET] and `touched` uint16[BUCKET] are room to work in; `sums` is all zeros,
    before and after.

    Lists are walked with the bounds of the table alone: what a posting costs is memory that is not at hand, and a class
    is an eighth of a length and a sum half of a score. The few chunks whose bounds reach the threshold are scored.
    """
    places, text, text_at, text_large, head_at, head, head_large_at, head_large = lists
    k1, b, title_weight, average = parameters
    terms, buckets = bounds.shape[0], bounds.shape[1] - 1
    order = np.argsort(most)
    # Sums of as many float32 as there are terms.
    slack = 1 - 1e-6 - 2.4e-7 * terms
    highest = table.shape[0] - 1
    heads = np.empty((terms, 2), np.int64)
    for term in range(terms):
        heads[term, 0] = _first(head_at, 0, len(head_at), bounds[term, 0])
        heads[term, 1] = _first(head_at, heads[term, 0], len(head_at), bounds[term, buckets])
    walked = np.empty(terms, np.bool_)
    looked = np.empty(terms, np.int64)
    postings = np.empty(terms, np.int64)
    found_places, found_scores = np.empty(1024, np.int64), np.empty(1024, np.float64)
    found = 0
    seen = 0
    for bucket in range(buckets):
        base = bucket << BUCKET_BITS
        if filled == len(heap) and heap[0] > threshold:
            threshold = heap[0]
        limit = threshold * slack
        # Which lists to walk: those without which the others come to less than the threshold.
        total = 0.0
        if pilot >= 0:
            walked[:] = False
            walked[pilot] = True
        else:
            walked[:] = True
            for at in range(terms):
                if total + most[order[at]] >= limit:
                    break
                total += most[order[at]]
                walked[order[at]] = False
        looks, walks, alone, total = 0, 0, -1, 0.0
        for at in range(terms - 1, -1, -1):
            term = order[at]
            if bounds[term, bucket] == bounds[term, bucket + 1]:
                walked[term] = False
            elif walked[term]:
                walks += 1
                alone = term
            else:
                looked[looks] = term
                looks += 1
                total += most[term]
        if walks == 0:
            continue
        begin, end = bounds[alone, bucket], bounds[alone, bucket + 1]
        if pilot >= 0:
            end = min(end, begin + pilot_most - seen)
            seen += end - begin
        count = 0
        for term in range(terms):
            if not walked[term]:
                continue
            weight = np.float32(weights[term])
            headed, last = heads[term, 0], heads[term, 1]
            if walks > 1:
                begin, end = bounds[term, bucket], bounds[term, bucket + 1]
            headed = _first(head_at, headed, last, begin)
            for at in range(begin, end):
                place = places[at]
                times = np.int64(text[at])
                if headed < last and head_at[headed] <= at:
                    extra = float(head[headed])
                    if extra == _BYTE:
                        extra = _large(headed, head_large_at, head_large)
                    times = np.int64(np.ceil(min(times + title_weight * extra, 255.0)))
                    headed += 1
                if times == 0:
                    continue
                bound = weight * table[min(times, highest), classes[base + place]]
                known = sums[place]
                if known == 0:
                    touched[count] = place
                    count += 1
                sums[place] = known + bound
        for number in range(count):
            place = np.int64(touched[number])
            hopeful = float(sums[place])
            sums[place] = 0
            row = base + place
            if hopeful + total < limit or (len(mask) and not mask[row]):
                continue
            postings[:] = -1
            left = total
            for at in range(looks):
                if hopeful + left < limit:
                    break
                term = looked[at]
                left -= most[term]
                posting = _first(places, bounds[term, bucket], bounds[term, bucket + 1], place)
                if posting < bounds[term, bucket + 1] and places[posting] == place:
                    postings[term] = posting
                    # As `table` says, for what is in the text alone.
                    times = np.int64(text[posting])
                    if heads[term, 0] == heads[term, 1]:
                        hopeful += weights[term] * table[min(times, highest), classes[row]]
                    else:
                        hopeful += most[term]
            if hopeful + max(left, 0.0) < limit:
                continue
            # The score that counts: the sum in the order of the terms.
            spread = 1 - b + b * (lengths[row, 1] + title_weight * lengths[row, 0]) / average
            score = 0.0
            for term in range(terms):
                posting = postings[term]
                if walked[term]:
                    posting = _first(places, bounds[term, bucket], bounds[term, bucket + 1], place)
                    if posting == bounds[term, bucket + 1] or places[posting] != place:
                        posting = -1
                if posting < 0:
                    continue
                frequency = float(text[posting])
                if frequency == _BYTE:
                    frequency = _large(posting, text_at, text_large)
                headed = _first(head_at, heads[term, 0], heads[term, 1], posting)
                if headed < heads[term, 1] and head_at[headed] == posting:
                    extra = float(head[headed])
                    if extra == _BYTE:
                        extra = _large(headed, head_large_at, head_large)
                    frequency += title_weight * extra
                if frequency > 0:
                    score += weights[term] * _share(form, k1, spread, frequency)
            if score < threshold:
                continue
            if found == len(found_places):
                kept = 0
                for at in range(found):
                    if found_scores[at] >= threshold:
                        found_places[kept], found_scores[kept] = found_places[at], found_scores[at]
                        kept += 1
                found = kept
                if 2 * found > len(found_places):
                    more_places, more_scores = np.empty(4 * found, np.int64), np.empty(4 * found, np.float64)
                    more_places[:found], more_scores[:found] = found_places[:found], found_scores[:found]
                    found_places, found_scores = more_places, more_scores
            found_places[found], found_scores[found] = row, score
            found += 1
            filled = _pushed(heap, filled, score)
            if filled == len(heap) and heap[0] > threshold:
                threshold = heap[0]
                limit = threshold * slack
        if pilot >= 0 and seen >= pilot_most:
            break
    return found_places[:found], found_scores[:found], filled
