"""Which documents of a knowledge base are copies or versions of one another, and which lines stand in many of them.

A document becomes a MinHash signature; signatures that agree in one of their bands are compared, and those that agree
in enough places are one cluster. Memory: about 1 KB for each document and 8 bytes for each line, whatever their size.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ragagent.text import shingles
from ragagent.types import Cluster, Document, Duplicates, Line, digest

LEAST_LIKENESS = 0.8
"""Documents are versions of one another from this share of shingles on that stand in both, of those in either."""

BOILERPLATE_DOCUMENTS = 20
MOST_LINES = 100
MOST_GATHERED = 10_000
_MOST_LINES_KEPT = 5_000
_LINE_CHARS = 8
_BANDS, _ROWS = 32, 4  # documents alike to 0.8 have no band in common once in 10**7, to 0.4 every other time
_PLACES = _BANDS * _ROWS
_PIECE = 512

Signature = npt.NDArray[np.uint32]
_RANDOM = np.random.default_rng(20240501)
_FACTORS = _RANDOM.integers(1, 2**63, _PLACES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFTS = _RANDOM.integers(0, 2**63, _PLACES, dtype=np.uint64)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a document."""

    id: str
    uri: str
    words: str
    signature: Signature
    lines: npt.NDArray[np.uint64]


def find(documents: Callable[[], Iterable[Document]]) -> Duplicates:
    """The duplicates among what `documents` gives; it is called twice, the second time for the texts of lines.

    A function of the documents alone, not of their order. Two versions whose likeness is close to the limit may fall
    on either side of it: the estimate is off by more than 0.035 in one case of three.
    """
    return _found([_looked_at(document) for document in documents()], lambda _: documents())


class Gathered:
    """Looks at documents as they go by, for the report of what brings them in; beyond `MOST_GATHERED` at none."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def add(self, document: Document) -> None:
        """Looks at a document, in the place of an earlier version of it."""
        if len(self._seen) < MOST_GATHERED or document.id in self._seen:
            one = _looked_at(document)
            self._seen[document.id] = replace(one, lines=one.lines[:_MOST_LINES_KEPT])

    def found(self, document: Callable[[str], Document | None]) -> Duplicates:
        """The duplicates among what was looked at; `document` gives one by its id, for the texts of lines."""

        def holding(common: Mapping[int, int]) -> Iterator[Document]:
            left = set(common)
            for one in self._seen.values():
                if not left.isdisjoint(one.lines.tolist()) and (text := document(one.id)) is not None:
                    left.difference_update(one.lines.tolist())
                    yield text

        return _found(self._seen.values(), holding)


def _found(looked_at: Iterable[_Seen], holding: Callable[[Mapping[int, int]], Iterable[Document]]) -> Duplicates:
    seen = sorted(looked_at, key=lambda one: one.uri)
    clusters = _clusters(seen)
    common = _common_lines(seen, clusters)
    return Duplicates(
        documents=len(seen),
        clusters=tuple(_cluster([seen[number] for number in members]) for members in _largest_first(clusters)),
        boilerplate=_with_texts(common, holding(common)) if common else (),
    )


def signature(hashes: npt.NDArray[np.uint64]) -> Signature:
    """The least of so many mixings of the hashes, uint32[128]: two sets agree in as many places as they are alike."""
    least = np.full(_PLACES, np.iinfo(np.uint32).max, np.uint32)
    for begin in range(0, len(hashes), _PIECE):
        mixed = hashes[begin : begin + _PIECE] * _FACTORS[:, None] + _SHIFTS[:, None]
        np.minimum(least, (mixed.min(axis=1) >> np.uint64(32)).astype(np.uint32), out=least)
    return least


def likeness(one: Signature, other: Signature) -> float:
    """The share of shingles that two texts have in common, of those that either has, as estimated."""
    return float(np.mean(one == other))


def _looked_at(document: Document) -> _Seen:
    words = shingles.words(document.text)
    lines = np.array([int(digest(line)[:16], 16) for line in _lines(document.text)], np.uint64)
    return _Seen(document.id, document.uri, digest(" ".join(words)), signature(shingles.hashed(words)), lines)


def _lines(text: str) -> dict[str, str]:
    """The lines of `text` that are long enough to be told again, by what is compared of them."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return {line.casefold(): line for line in lines if len(line) >= _LINE_CHARS}


def _clusters(seen: Sequence[_Seen]) -> list[list[int]]:
    """The documents by number in clusters, singles included, each in ascending order."""
    leader = list(range(len(seen)))

    def first(number: int) -> int:
        while leader[number] != number:
            leader[number] = number = leader[leader[number]]
        return number

    for one, other in _pairs(seen):
        low, high = sorted((first(one), first(other)))
        if low != high and _alike(seen[one], seen[other]):
            leader[high] = low
    found: dict[int, list[int]] = defaultdict(list)
    for number in range(len(seen)):
        found[first(number)].append(number)
    return list(found.values())


def _pairs(seen: Sequence[_Seen]) -> Iterator[tuple[int, int]]:
    """Documents that agree in a band, each with those of the same signature's first one: not all with all."""
    for band in range(_BANDS):
        buckets: dict[bytes, dict[str, int]] = defaultdict(dict)
        for number, one in enumerate(seen):
            bucket = buckets[one.signature[band * _ROWS : (band + 1) * _ROWS].tobytes()]
            if one.words in bucket:
                yield bucket[one.words], number
                continue
            for other in bucket.values():
                yield other, number
            bucket[one.words] = number


def _alike(one: _Seen, other: _Seen) -> bool:
    return one.words == other.words or likeness(one.signature, other.signature) >= LEAST_LIKENESS


def _largest_first(clusters: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    return sorted((one for one in clusters if len(one) > 1), key=lambda one: (-len(one), one[0]))


def _cluster(members: Sequence[_Seen]) -> Cluster:
    return Cluster(
        members=tuple(one.uri for one in members),
        exact=len({one.words for one in members}) == 1,
        likeness=round(min(likeness(members[0].signature, one.signature) for one in members), 3),
    )


def _common_lines(seen: Sequence[_Seen], clusters: Sequence[Sequence[int]]) -> Mapping[int, int]:
    """How many documents have a line, by its hash, where they are many; a cluster of copies counts once."""
    by_cluster = [np.unique(np.concatenate([seen[number].lines for number in members])) for members in clusters]
    if not by_cluster:
        return {}
    hashes, counts = np.unique(np.concatenate(by_cluster), return_counts=True)
    many = counts >= BOILERPLATE_DOCUMENTS
    return dict(zip(hashes[many].tolist(), counts[many].tolist(), strict=True))


def _with_texts(common: Mapping[int, int], documents: Iterable[Document]) -> tuple[Line, ...]:
    texts: dict[int, str] = {}
    for document in documents:
        for key, line in _lines(document.text).items():
            number = int(digest(key)[:16], 16)
            if number in common:
                texts.setdefault(number, line)
        if len(texts) == len(common):
            break
    ordered = sorted(texts, key=lambda number: (-common[number], texts[number]))[:MOST_LINES]
    return tuple(Line(text=texts[number], documents=common[number]) for number in ordered)
