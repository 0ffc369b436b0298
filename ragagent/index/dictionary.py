"""Sorted terms over flat arrays: a mapped file is a dictionary without being read, and dictionaries unite in numpy."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
import numpy.typing as npt

_WORD = 8
"""Bytes of a term that are compared at once."""


class Terms(Sequence[bytes]):
    """Distinct terms in UTF-8, ascending: `blob` uint8[m] holds them end to end, `offsets` uint32[t + 1]
    where each begins (int64 where they are longer than four bytes can say).

    `keys` uint64[t] are their first eight bytes as numbers of the same order. A search over them touches 20 places of
    one array in place of 20 terms of two, and leaves the few terms that begin alike.
    """

    __slots__ = ("blob", "keys", "offsets")

    def __init__(self, blob: npt.NDArray[np.uint8], offsets: npt.NDArray[Any], keys: npt.NDArray[np.uint64]) -> None:
        self.blob = blob
        self.offsets = offsets
        self.keys = keys

    @classmethod
    def of(cls, terms: Sequence[bytes]) -> tuple[Terms, npt.NDArray[np.int64]]:
        """The dictionary of `terms`, which may come in any order and repeat, and the place of each in it, int64[n]."""
        offsets = np.zeros(len(terms) + 1, np.int64)
        np.cumsum([len(term) for term in terms], out=offsets[1:])
        return _united(np.frombuffer(b"".join(terms), np.uint8), offsets)

    @classmethod
    def united(cls, dictionaries: Sequence[Terms]) -> tuple[Terms, list[npt.NDArray[np.int64]]]:
        """One dictionary of all terms, and for each of `dictionaries` the places of its terms in it.

        About 0.3 s a million terms, nearly all of it with the interpreter's lock released.
        """
        blob = np.concatenate([np.zeros(0, np.uint8), *(one.blob for one in dictionaries)])
        lengths = [np.diff(one.offsets).astype(np.int64) for one in dictionaries]
        offsets = np.zeros(sum(map(len, lengths)) + 1, np.int64)
        np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]), out=offsets[1:])
        terms, places = _united(blob, offsets)
        return terms, np.split(places, np.cumsum([len(one) for one in lengths])[:-1]) if lengths else []

    def kept(self, which: npt.NDArray[np.bool_]) -> Terms:
        """The dictionary of those terms alone."""
        return _picked(self.blob, self.offsets, np.flatnonzero(which))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.blob[self.offsets[index] : self.offsets[index + 1]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        whole, offsets = self.blob.tobytes(), self.offsets.tolist()
        return (whole[begin:end] for begin, end in pairwise(offsets))

    def find(self, term: bytes) -> int | None:
        """The place of `term`, or None."""
        return self.find_all([term])[0]

    def find_all(self, terms: Sequence[bytes]) -> list[int | None]:
        """The place of each of `terms`, in any order, or None. Takes about 1 us a term."""
        words = b"".join(term[:_WORD].ljust(_WORD, b"\0") for term in terms)
        keys = np.frombuffer(words, ">u8").astype(np.uint64)
        lows, highs = self.keys.searchsorted(keys).tolist(), self.keys.searchsorted(keys, "right").tolist()
        return [self._within(term, low, high) for term, low, high in zip(terms, lows, highs, strict=True)]

    def _within(self, term: bytes, low: int, high: int) -> int | None:
        if low == high:
            return None
        place = bisect.bisect_left(self, term, low, high) if high - low > 1 else low
        return place if place < high and self[place] == term else None


def _united(blob: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> tuple[Terms, npt.NDArray[np.int64]]:
    order, fresh = _sorted(blob, offsets)
    places = np.empty(len(order), np.int64)
    places[order] = np.cumsum(fresh) - 1
    return _picked(blob, offsets, order[fresh]), places


def _sorted(
    blob: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The ascending order of terms, int64[n], and for each in that order whether it differs from the one before.

    Eight bytes at a time, and after the first eight only among terms that are alike so far. Sorted runs, such as
    dictionaries laid end to end, are found and merged by numpy's stable sort.
    """
    lengths = np.diff(offsets)
    words = _words(blob, offsets, np.arange(len(lengths)), 0)
    order = np.argsort(words, kind="stable")
    fresh = _changes(words[order])
    for start in range(_WORD, int(lengths.max(initial=0)), _WORD):
        open_ = _open(fresh, lengths[order] > start)
        _refine(order, fresh, open_, _words(blob, offsets, order[open_], start))
    # Of two terms whose bytes are alike the shorter one ends in what was taken for padding.
    differ = _changes(lengths[order]) & ~fresh
    if differ.any():
        open_ = _open(fresh, differ)
        _refine(order, fresh, open_, lengths[order[open_]])
    return order, fresh


def _refine(
    order: npt.NDArray[np.int64],
    fresh: npt.NDArray[np.bool_],
    open_: npt.NDArray[np.int64],
    keys: npt.NDArray[Any],
) -> None:
    """Sorts the entries at the places `open_` (ascending) by `keys` within their groups, and splits these, in place."""
    if not len(open_):
        return
    groups = np.cumsum(fresh)[open_]
    arrangement = np.lexsort((keys, groups))
    order[open_] = order[open_][arrangement]
    fresh[open_] |= _changes(keys[arrangement]) & ~_changes(groups)


def _open(fresh: npt.NDArray[np.bool_], which: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Places of the entries of those groups that have more than one entry, at least one of them among `which`."""
    groups = np.cumsum(fresh) - 1
    wanted = np.zeros(len(fresh), np.bool_)
    wanted[groups[which]] = True
    follows = ~fresh
    return np.flatnonzero(wanted[groups] & (follows | np.append(follows[1:], False)))


def _changes(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    changes = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes


def _words(
    blob: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], which: npt.NDArray[np.int64], start: int
) -> npt.NDArray[np.uint64]:
    """Eight bytes of each of those terms from `start` on, as numbers that compare as the bytes do."""
    begins, ends = offsets[which] + start, offsets[which + 1]
    words = np.zeros(len(which), np.uint64)
    for byte in range(_WORD):
        inside = np.flatnonzero(begins + byte < ends)
        words[inside] |= blob[begins[inside] + byte].astype(np.uint64) << np.uint64(8 * (_WORD - 1 - byte))
    return words


def _picked(blob: npt.NDArray[np.uint8], offsets: npt.NDArray[Any], which: npt.NDArray[np.int64]) -> Terms:
    """The dictionary of the terms `which`, in that order."""
    begins = offsets[which].astype(np.int64)
    lengths = offsets[which + 1] - begins
    ends = np.cumsum(lengths)
    moved = np.zeros(len(which) + 1, np.int64)
    moved[1:] = ends
    taken = np.arange(int(moved[-1])) + np.repeat(begins - moved[:-1], lengths)
    picked = blob[taken]
    keys = _words(picked, moved, np.arange(len(which)), 0)
    return Terms(picked, moved.astype(np.uint32) if len(picked) < 1 << 32 else moved, keys)
