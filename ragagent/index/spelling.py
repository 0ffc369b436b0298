"""Terms of the index that are spelled almost as a term is that no chunk has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index.block import Part
from ragagent.index.dictionary import Terms
from ragagent.index.lists import PartLists
from ragagent.text.analyser import Word

LEAST_CHARS = 5
"""Among shorter terms too many are near to one another."""
MOST_CHARS = 32
_TWO_EDITS = 9  # so long a term may differ in two places
_MOST_LOOKED_AT = 500_000
_MOST_NEAR = 8


def suggested(
    parts: Sequence[Part], words: Sequence[str], analysed: Callable[[str], Sequence[Word]]
) -> dict[str, tuple[str, ...]]:
    """For each word that no live chunk has in any language, the terms that are near to it, unless there are none.

    Only terms that are not marked with a language are near to anything, so words of English, and of what has no
    stemmer. A word that stands for several terms at once, as an identifier does, has none near it.
    """
    asked = {word: found[0] for word in words if len(found := analysed(word)) == 1 and allowed(found[0][0])}
    every = list(chain.from_iterable(asked.values()))
    there = {term for term, one in zip(every, known(parts, every), strict=True) if one}
    unknown = [word for word, terms in asked.items() if there.isdisjoint(terms)]
    similar = {word: [term for term, _, _ in near(parts, asked[word][0])] for word in unknown}
    # What is searched for is analysed once more, and has to come out as it is.
    kept = {word: tuple(one for one in found if _only(analysed(one)) == one) for word, found in similar.items()}
    return {word: found for word, found in kept.items() if found}


def _only(words: Sequence[Word]) -> str:
    """The first term of a single word, "" of several."""
    return words[0][0] if len(words) == 1 else ""


def allowed(term: str) -> int:
    """How many edits away another spelling of `term` may be; 0 for what is not a word, or too short or too long."""
    if not term.isalpha() or not LEAST_CHARS <= len(term) <= MOST_CHARS:
        return 0
    return 2 if len(term) >= _TWO_EDITS else 1


def known(parts: Sequence[Part], terms: Sequence[str]) -> list[bool]:
    """Whether any live chunk has each of the terms."""
    frequencies = _frequencies(parts, [term.encode() for term in terms])
    return [frequency > 0 for frequency in frequencies]


def near(parts: Sequence[Part], term: str) -> list[tuple[str, int, int]]:
    """(term, edits, live chunks) of the terms that begin as `term` does and are within the edits it is `allowed`.

    The fewest edits first, then the most chunks, at most 8. An edit adds, drops or changes a byte of UTF-8, or swaps
    two neighbours; the first byte stands. Takes about 2 ms for 100,000 terms of that beginning; where there are more
    than 500,000 nothing is near.
    """
    most = allowed(term)
    if not most:
        return []
    wanted = term.encode()
    found: dict[bytes, int] = {}
    for part in parts:
        found.update(_near(part.block.postings.terms, wanted, most))
    words = sorted(found)
    counted = zip(words, _frequencies(parts, words), strict=True)
    ordered = sorted((found[word], -frequency, word) for word, frequency in counted if frequency)
    return [(word.decode(), edits, -frequency) for edits, frequency, word in ordered[:_MOST_NEAR]]


def _frequencies(parts: Sequence[Part], terms: Sequence[bytes]) -> list[int]:
    lists = [PartLists.of(part, terms) for part in parts] if terms else []
    return [sum(one.frequency(at, head=True) for one in lists) for at in range(len(terms))]


def _near(terms: Terms, wanted: bytes, most: int) -> dict[bytes, int]:
    first = np.uint64(wanted[0]) << np.uint64(56)
    begin = int(terms.keys.searchsorted(first))
    end = int(terms.keys.searchsorted(first | np.uint64((1 << 56) - 1), "right"))
    if end - begin > _MOST_LOOKED_AT:
        return {}
    offsets = terms.offsets[begin : end + 1].astype(np.int64)
    lengths = np.diff(offsets)
    chosen = np.flatnonzero(np.abs(lengths - len(wanted)) <= most)
    letters = _letters(terms.blob, offsets[chosen], lengths[chosen], len(wanted) + most)
    edits = distances(letters, lengths[chosen], wanted, most)
    close = np.flatnonzero(edits <= most)
    return {terms[begin + int(chosen[at])]: int(edits[at]) for at in close}


def _letters(
    blob: npt.NDArray[np.uint8], begins: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], width: int
) -> npt.NDArray[np.uint8]:
    """uint8[n, width]: the bytes of each term, zeros after its end."""
    places = begins[:, np.newaxis] + np.arange(width)
    inside = np.arange(width) < lengths[:, np.newaxis]
    letters: npt.NDArray[np.uint8] = np.where(inside, blob[np.minimum(places, len(blob) - 1)], 0).astype(np.uint8)
    return letters


def distances(
    letters: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64], wanted: bytes, most: int
) -> npt.NDArray[Any]:
    """int8[n]: the edits between each row of `letters` and `wanted`, `most` + 1 for more (optimal string alignment).

    Only cells within `most` of the diagonal are worked out, each for all rows at once.
    """
    rows, far = len(letters), most + 1
    table: dict[tuple[int, int], npt.NDArray[Any]] = {}
    none = np.full(rows, far, np.int8)
    for i in range(len(wanted) + 1):
        for j in range(max(0, i - most), min(letters.shape[1], i + most) + 1):
            if not i or not j:
                table[i, j] = np.full(rows, min(i + j, far), np.int8)
                continue
            same = letters[:, j - 1] == wanted[i - 1]
            best = table.get((i - 1, j - 1), none) + ~same
            best = np.minimum(best, table.get((i - 1, j), none) + 1)
            best = np.minimum(best, table.get((i, j - 1), none) + 1)
            if i > 1 and j > 1 and wanted[i - 1] != wanted[i - 2]:
                swapped = (letters[:, j - 2] == wanted[i - 1]) & (letters[:, j - 1] == wanted[i - 2])
                best = np.where(swapped, np.minimum(best, table.get((i - 2, j - 2), none) + 1), best)
            table[i, j] = np.minimum(best, far).astype(np.int8)
    found = none.copy()
    for j in range(max(0, len(wanted) - most), min(letters.shape[1], len(wanted) + most) + 1):
        ends = lengths == j
        found[ends] = table[len(wanted), j][ends]
    return found
