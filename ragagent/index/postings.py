"""Inverted lists in three bytes a posting: for each term the chunks that have it and how often, by field.

Places of chunks are kept within buckets of 65,536, so that one takes two bytes; a frequency takes one byte, and the
few that do not fit stand in a table beside. Fields are 0, the title and the headings, and 1, the text. A list holds
every chunk that has the term in either field; how often it is in the title and the headings is kept only where it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index.dictionary import Terms

MOST = 65_535
"""Frequencies are kept up to this number; no passage says a word more often."""
BUCKET_BITS = 16
BUCKET = 1 << BUCKET_BITS
"""Chunks in a bucket."""

_BYTE = 255
_SLICE = 1 << 20
"""Postings that a merge holds in memory at once, unpacked."""

Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frequencies:
    """Numbers up to 65,535 in a byte each: `small` uint8[n], where 255 and more say 255.

    `at` (ascending) are the places of those, `large` uint16[o] the numbers themselves.
    """

    small: npt.NDArray[np.uint8]
    at: npt.NDArray[Any]
    large: npt.NDArray[np.uint16]

    @classmethod
    def of(cls, numbers: npt.NDArray[np.uint16]) -> Frequencies:
        """`numbers`, packed."""
        at = np.flatnonzero(numbers >= _BYTE)
        return cls(small=np.minimum(numbers, _BYTE).astype(np.uint8), at=_narrow(at, len(numbers)), large=numbers[at])

    def between(self, begin: int, end: int) -> npt.NDArray[np.uint16]:
        """The numbers at those places."""
        numbers = self.small[begin:end].astype(np.uint16)
        low, high = _span(self.at, begin, end)
        if high > low:
            numbers[self.at[low:high].astype(np.int64) - begin] = self.large[low:high]
        return numbers

    def taken(self, places: Places) -> npt.NDArray[np.uint16]:
        """The numbers at `places`."""
        numbers = self.small[places].astype(np.uint16)
        full = np.flatnonzero(numbers == _BYTE)
        if len(full):
            numbers[full] = self.large[self.at.searchsorted(places[full].astype(self.at.dtype))]
        return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Postings:
    """The postings of term t in bucket b are those from `starts[t * buckets + b]` on, up to the next start.

    `places` uint16[p] are ascending within a bucket, `text` has the frequency of each posting in the text. `head_at`
    (ascending) are the postings whose term is in the title or the headings too, `head` how often.
    """

    terms: Terms
    starts: npt.NDArray[Any]
    places: npt.NDArray[np.uint16]
    text: Frequencies
    head_at: npt.NDArray[Any]
    head: Frequencies

    @property
    def buckets(self) -> int:
        """How many buckets each list has."""
        terms = self.terms.offsets.size - 1
        return (self.starts.size - 1) // terms if terms else 1

    def range(self, term: int) -> tuple[int, int]:
        """The first posting of that term, and the first of the next."""
        buckets = self.buckets
        return int(self.starts[term * buckets]), int(self.starts[(term + 1) * buckets])

    def bounds(self, term: int) -> list[int]:
        """Where the buckets of that term begin, and where the last one ends."""
        buckets = self.buckets
        bounds: list[int] = self.starts[term * buckets : (term + 1) * buckets + 1].tolist()
        return bounds

    def all_bounds(self, terms: Sequence[int]) -> Places:
        """int64[t, buckets + 1]: the bounds of each of those terms; for -1 those of an empty list."""
        places = np.array(terms, np.int64)[:, None] * self.buckets + np.arange(self.buckets + 1)
        bounds: Places = self.starts[np.maximum(places, 0)].astype(np.int64)
        if -1 in terms:
            bounds[places[:, 0] < 0] = 0
        return bounds

    def chunks(self, term: int, most: int | None = None) -> Places:
        """The places, ascending, of the chunks that have that term; with `most`, so many of them at most."""
        bounds = self.bounds(term)
        return self._unpacked(bounds if most is None else [min(one, bounds[0] + most) for one in bounds])

    def find(self, term: int, places: Places) -> Places:
        """For each of `places` (ascending) its posting of that term, or -1."""
        found = np.full(len(places), -1, np.int64)
        bounds = self.bounds(term)
        cuts = places.searchsorted(np.arange(1, len(bounds), dtype=np.int64) << BUCKET_BITS).tolist()
        for (begin, end), (low, high) in zip(pairwise(bounds), pairwise([0, *cuts]), strict=True):
            if begin < end and low < high:
                found[low:high] = _found(self.places, begin, end, places[low:high].astype(np.uint16))
        return found

    def counts(self, begin: int, end: int) -> tuple[npt.NDArray[np.uint16], Places, npt.NDArray[np.uint16]]:
        """The frequencies of the postings from `begin` to `end`: in the text; where in the head; how often there."""
        low, high = _span(self.head_at, begin, end)
        return (
            self.text.between(begin, end),
            self.head_at[low:high].astype(np.int64) - begin,
            self.head.between(low, high),
        )

    def counts_at(self, postings: Places) -> tuple[npt.NDArray[np.uint16], Places, npt.NDArray[np.uint16]]:
        """As `counts`, of those postings."""
        at = self.head_at.searchsorted(postings.astype(self.head_at.dtype))
        inside = np.flatnonzero(at < len(self.head_at))
        inside = inside[self.head_at[at[inside]] == postings[inside]]
        return self.text.taken(postings), inside, self.head.taken(at[inside])

    def headed(self, begin: int, end: int) -> Places:
        """Those of the postings from `begin` to `end` whose term is in the title or the headings alone."""
        low, high = _span(self.head_at, begin, end)
        at = self.head_at[low:high].astype(np.int64)
        alone: Places = at[self.text.small[at] == 0]
        return alone

    def of(self, term: bytes) -> tuple[Places, npt.NDArray[np.uint16]]:
        """The chunks that have `term` and its counts in each, uint16[n, 2]."""
        number = self.terms.find(term)
        if number is None:
            return np.zeros(0, np.int64), np.zeros((0, 2), np.uint16)
        text, inside, head = self.counts(*self.range(number))
        counts = np.zeros((len(text), 2), np.uint16)
        counts[:, 1] = text
        counts[inside, 0] = head
        return self.chunks(number), counts

    def frequencies(self, keep: npt.NDArray[np.bool_], *, head: bool) -> Places:
        """int64[t]: how many of the kept chunks have each term; without `head`, in their text. Reads every list."""
        found = np.zeros(len(self.terms), np.int64)
        for low, high in _term_slices(self):
            numbers, chunks, first = _unpacked(self, low, high)
            counted = keep[chunks]
            if not head:
                counted[self.headed(first, first + len(chunks)) - first] = False
            found[low:high] = np.bincount(numbers[counted], minlength=high - low)
        return found

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All there is, under names; `from_arrays` makes the same of it again."""
        return {
            "terms": self.terms.blob,
            "term_offsets": self.terms.offsets,
            "term_keys": self.terms.keys,
            "starts": self.starts,
            "places": self.places,
            "text": self.text.small,
            "text_at": self.text.at,
            "text_large": self.text.large,
            "head_at": self.head_at,
            "head": self.head.small,
            "head_large_at": self.head.at,
            "head_large": self.head.large,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Postings:
        """The postings over those arrays, which may be mapped. Raises KeyError when one is missing."""
        return cls(
            terms=Terms(arrays["terms"], arrays["term_offsets"], arrays["term_keys"]),
            starts=arrays["starts"],
            places=arrays["places"],
            text=Frequencies(small=arrays["text"], at=arrays["text_at"], large=arrays["text_large"]),
            head_at=arrays["head_at"],
            head=Frequencies(small=arrays["head"], at=arrays["head_large_at"], large=arrays["head_large"]),
        )

    def _unpacked(self, bounds: Sequence[int]) -> Places:
        places = self.places[bounds[0] : bounds[-1]].astype(np.int64)
        for bucket, (begin, end) in enumerate(pairwise(bounds)):
            if bucket:
                places[begin - bounds[0] : end - bounds[0]] += bucket << BUCKET_BITS
        return places


def build(chunks: Iterable[tuple[Sequence[str], npt.NDArray[np.uint16]]]) -> Postings:
    """The postings of chunks in order, each given by its distinct terms and their counts (uint16[n, 2])."""
    vocabulary: defaultdict[str, int] = defaultdict()
    vocabulary.default_factory = vocabulary.__len__
    numbers: list[npt.NDArray[np.int32]] = [np.zeros(0, np.int32)]
    counts: list[npt.NDArray[np.uint16]] = [np.zeros((0, 2), np.uint16)]
    for words, frequencies in chunks:
        numbers.append(np.fromiter(map(vocabulary.__getitem__, words), np.int32, len(words)))
        counts.append(frequencies)
    sizes = [len(one) for one in numbers[1:]]
    terms, rank = Terms.of([term.encode() for term in vocabulary])
    return assembled(
        terms=terms,
        numbers=rank[np.concatenate(numbers)],
        chunks=np.repeat(np.arange(len(sizes), dtype=np.int64), sizes),
        counts=np.concatenate(counts),
        size=len(sizes),
    )


def assembled(*, terms: Terms, numbers: Places, chunks: Places, counts: npt.NDArray[np.uint16], size: int) -> Postings:
    """Postings of `size` chunks, from the term (its place in `terms`), chunk and counts (uint16[p, 2]) of each.

    They come in ascending order of chunk, and every term has at least one.
    """
    order = _order(numbers, len(terms))
    numbers, chunks, counts = numbers[order], chunks[order], counts[order]
    headed = np.flatnonzero(counts[:, 0])
    return Postings(
        terms=terms,
        starts=_starts(np.bincount(_keys(numbers, chunks, _buckets(size)), minlength=len(terms) * _buckets(size))),
        places=chunks.astype(np.uint16),
        text=Frequencies.of(counts[:, 1]),
        head_at=_narrow(headed, len(counts)),
        head=Frequencies.of(counts[headed, 0]),
    )


def merge(parts: Sequence[tuple[Postings, npt.NDArray[np.bool_]]]) -> Postings:
    """The postings of the kept chunks of `parts`, renumbered in order; terms that no chunk has any more are gone.

    A part's lists are in order already, so each posting's place in the merged list is known without sorting: about
    0.1 s a million postings. Memory: the outcome, and some 100 MB.
    """
    terms, ranks = Terms.united([postings.terms for postings, _ in parts])
    size = sum(int(np.count_nonzero(keep)) for _, keep in parts)
    tally = np.zeros(len(terms) * _buckets(size), np.int64)
    for piece in _pieces(parts, ranks, size):
        tally[piece.first : piece.first + len(piece.runs)] += piece.runs
    used = tally.reshape(-1, _buckets(size)).sum(axis=1) > 0
    starts = _starts(tally)
    merged = _Merged(cursors=starts[:-1].astype(np.int64), size=int(starts[-1]))
    for piece in _pieces(parts, ranks, size):
        merged.take(piece)
    return merged.postings(terms if used.all() else terms.kept(used), _without(starts, used))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """Kept postings of a few terms of one part, in order.

    `postings` are their places in the part, `chunks` the new places of their chunks; `runs` are how many of them go
    into each list and bucket from the list `first` on.
    """

    part: Postings
    postings: Places
    chunks: Places
    first: int
    runs: Places


def _pieces(
    parts: Sequence[tuple[Postings, npt.NDArray[np.bool_]]], ranks: Sequence[Places], size: int
) -> Iterator[_Piece]:
    base = 0
    for (postings, keep), rank in zip(parts, ranks, strict=True):
        renumbered = np.cumsum(keep) - 1 + base
        base += int(np.count_nonzero(keep))
        for low, high in _term_slices(postings):
            piece = _piece(postings, keep, renumbered, (low, rank[low:high]), _buckets(size))
            if piece is not None:
                yield piece


def _term_slices(postings: Postings) -> Iterator[tuple[int, int]]:
    """Runs of terms that have about a million postings together; at least one term each."""
    firsts = postings.starts[:: postings.buckets]
    low = 0
    while low < len(postings.terms):
        high = int(firsts.searchsorted(firsts.dtype.type(min(int(firsts[low]) + _SLICE, int(firsts[-1])))))
        high = min(max(high, low + 1), len(postings.terms))
        yield low, high
        low = high


def _piece(
    postings: Postings,
    keep: npt.NDArray[np.bool_],
    renumbered: Places,
    terms: tuple[int, Places],
    buckets: int,
) -> _Piece | None:
    low, rank = terms
    numbers, chunks, begin = _unpacked(postings, low, low + len(rank))
    kept = np.flatnonzero(keep[chunks])
    if not len(kept):
        return None
    chunks = renumbered[chunks[kept]]
    keys = _keys(rank[numbers[kept]], chunks, buckets)
    first = int(keys[0])
    return _Piece(part=postings, postings=kept + begin, chunks=chunks, first=first, runs=np.bincount(keys - first))


def _unpacked(postings: Postings, low: int, high: int) -> tuple[Places, Places, int]:
    """Of the lists from `low` to `high`: for each posting the list (from 0) and the chunk; and the first posting."""
    many = postings.buckets
    starts = postings.starts[low * many : high * many + 1].astype(np.int64)
    sizes = np.diff(starts)
    chunks = postings.places[starts[0] : starts[-1]].astype(np.int64)
    if many > 1:
        chunks += np.repeat(np.tile(np.arange(many, dtype=np.int64) << BUCKET_BITS, high - low), sizes)
    return np.repeat(np.arange(high - low), sizes.reshape(-1, many).sum(axis=1)), chunks, int(starts[0])


class _Merged:
    """Merged lists as they fill; `cursors` int64 is where the next posting of each list and bucket goes."""

    def __init__(self, *, cursors: Places, size: int) -> None:
        self._cursors = cursors
        self._size = size
        self._places = np.empty(size, np.uint16)
        self._text = np.empty(size, np.uint8)
        self._text_large: list[tuple[Places, npt.NDArray[np.uint16]]] = []
        self._head: list[tuple[Places, npt.NDArray[np.uint16]]] = []

    def take(self, piece: _Piece) -> None:
        """Puts the piece's postings behind what its lists have so far."""
        runs = piece.runs
        cursors = self._cursors[piece.first : piece.first + len(runs)]
        targets = np.arange(len(piece.postings)) + np.repeat(cursors - (np.cumsum(runs) - runs), runs)
        cursors += runs
        text, inside, head = piece.part.counts_at(piece.postings)
        self._places[targets] = piece.chunks.astype(np.uint16)
        self._text[targets] = np.minimum(text, _BYTE)
        large = np.flatnonzero(text >= _BYTE)
        self._text_large.append((targets[large], text[large]))
        self._head.append((targets[inside], head))

    def postings(self, terms: Terms, starts: Places) -> Postings:
        """The lists, once all is taken."""
        at, large = _collected(self._text_large)
        head_at, head = _collected(self._head)
        return Postings(
            terms=terms,
            starts=_narrow(starts, self._size + 1),
            places=self._places,
            text=Frequencies(small=self._text, at=_narrow(at, self._size), large=large),
            head_at=_narrow(head_at, self._size),
            head=Frequencies.of(head),
        )


def _collected(
    pieces: Sequence[tuple[Places, npt.NDArray[np.uint16]]],
) -> tuple[Places, npt.NDArray[np.uint16]]:
    at = np.concatenate([np.zeros(0, np.int64), *(one for one, _ in pieces)])
    numbers = np.concatenate([np.zeros(0, np.uint16), *(one for _, one in pieces)])
    order = np.argsort(at, kind="stable")
    return at[order], numbers[order]


def _without(starts: npt.NDArray[Any], used: npt.NDArray[np.bool_]) -> Places:
    """The starts of the used terms alone; the others have no postings, so nothing moves."""
    table = starts[:-1].reshape(len(used), -1)[used] if len(used) else starts[:0]
    return np.append(table.ravel(), starts[-1]).astype(np.int64)


def _buckets(size: int) -> int:
    return max(-(-size // BUCKET), 1)


def _keys(numbers: Places, chunks: Places, buckets: int) -> Places:
    """The list and bucket that each posting belongs to, as one number."""
    return numbers if buckets == 1 else numbers * buckets + (chunks >> BUCKET_BITS)


def _starts(sizes: Places) -> npt.NDArray[Any]:
    starts = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=starts[1:])
    return _narrow(starts, int(starts[-1]) + 1)


def _order(numbers: Places, count: int) -> Places:
    """The stable ascending order of numbers below `count`: 16 bits at a time, which numpy sorts by counting."""
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    if count <= BUCKET:
        return order
    high = numbers[order] >> BUCKET_BITS
    return order[np.argsort(high.astype(np.uint16), kind="stable")]


def _narrow(places: npt.NDArray[Any], below: int) -> npt.NDArray[Any]:
    """The same numbers, all below `below`, in four bytes each where that is enough."""
    return places.astype(np.uint32 if below < 1 << 32 else np.int64)


def _span(at: npt.NDArray[Any], begin: int, end: int) -> tuple[int, int]:
    """Where in `at` the numbers from `begin` to `end` lie."""
    # Of its own type: numpy would otherwise convert all of `at` first.
    low, high = at.searchsorted(np.array([begin, end], np.int64).astype(at.dtype)).tolist()
    return low, high


def _found(places: npt.NDArray[np.uint16], begin: int, end: int, wanted: npt.NDArray[np.uint16]) -> Places:
    """Where in `places[begin:end]` each of `wanted` is, or -1."""
    bucket = places[begin:end]
    at = bucket.searchsorted(wanted)
    at[at == len(bucket)] = 0
    return np.where(bucket[at] == wanted, at + begin, -1)
