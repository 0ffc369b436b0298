"""Words of the index that are spelled almost as a word is that no chunk has.

The index holds stems, most of them marked with their language. A slip changes what a stemmer cuts off, so a word is not
stemmed first: the stems are held against its beginning, and one that is near gets the rest of the word as its ending.
What comes out is a word of the index if it has that stem in turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.index.block import Part
from ragagent.index.dictionary import Terms
from ragagent.index.lists import PartLists
from ragagent.text.analyser import Word
from ragagent.text.stemming import MARK, bare

LEAST_CHARS = 5
"""Among shorter stems too many are near to one another."""
MOST_CHARS = 32
_TWO_EDITS = 9  # so long a stem may differ in two places
_MOST_EDITS = 2
_LONGEST_ENDING = 6
_SHORT_ENDING = 4
_MOST_LOOKED_AT = 500_000
_MOST_NEAR = 8
_MOST_TRIED = 64
_KEY_BYTES = 8
_MARK_CHARS = len(MARK) + 2  # every language has a code of two letters

Analysed = Callable[[str], Sequence[Word]]
"""For each word of a text the terms that may stand for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Near:
    """A term of the index, how many edits it is away, and spellings: each the stem with what the word goes on with."""

    term: str
    edits: int
    spellings: tuple[str, ...]


def suggested(parts: Sequence[Part], words: Sequence[str], analysed: Analysed) -> dict[str, tuple[str, ...]]:
    """For each word that no live chunk has in any language, the words that are near to it, unless there are none.

    Each of these is one that chunks are searched by in some language. What stands for several terms at once, as an
    identifier or a run of Chinese does, has none near it.
    """
    asked = {word: found[0] for word in words if len(found := analysed(word)) == 1}
    every = list(itertools.chain.from_iterable(asked.values()))
    there = {term for term, one in zip(every, known(parts, every), strict=True) if one}
    unknown = [word for word, terms in asked.items() if there.isdisjoint(terms)]
    similar = {word: tuple(_spelled(near(parts, word), analysed)) for word in unknown}
    return {word: found for word, found in similar.items() if found}


def _spelled(found: Iterable[Near], analysed: Analysed) -> Sequence[str]:
    """Words that those terms stand for, the fewest edits first; at most 8, each once.

    A spelling that has the stem in turn, or, as one edit more, the stem alone where what it leaves out is short: a slip
    in an ending is not taken for one.
    """
    costs: dict[str, int] = {}
    for one in found:
        whole = next((text for text in one.spellings if one.term in _only(analysed(text))), None)
        stem = one.term.partition(MARK)[0]
        short = min(map(len, one.spellings)) - len(stem) <= _SHORT_ENDING
        if whole is not None:
            costs.setdefault(whole, one.edits)
        elif short and one.term in _only(analysed(stem)):
            costs.setdefault(stem, one.edits + 1)
    return sorted(costs, key=costs.__getitem__)[:_MOST_NEAR]


def _only(words: Sequence[Word]) -> Word:
    """The terms of a single word, none of several."""
    return words[0] if len(words) == 1 else ()


def known(parts: Sequence[Part], terms: Sequence[str]) -> list[bool]:
    """Whether any live chunk has each of the terms."""
    frequencies = _frequencies(parts, [term.encode() for term in terms])
    return [frequency > 0 for frequency in frequencies]


def near(parts: Sequence[Part], word: str) -> list[Near]:
    """Terms of live chunks whose stem is all but the beginning of `word`, the fewest edits first, then the most chunks.

    A stem of five to eight characters may be one edit away from that beginning, a longer one two. An edit adds, drops
    or changes a character, or swaps two neighbours; the first character stands. At most 64 come back. Takes some 5 ms
    for 100,000 terms that begin so; where there are more than 500,000 nothing is near.
    """
    wanted = bare(word.casefold())[:MOST_CHARS]
    if len(wanted) < LEAST_CHARS:
        return []
    found: dict[bytes, tuple[int, tuple[str, ...]]] = {}
    for part in parts:
        found.update(_near(part.block.postings.terms, wanted))
    terms = sorted(found)
    counted = zip(terms, _frequencies(parts, terms), strict=True)
    ordered = sorted((found[term][0], -frequency, term) for term, frequency in counted if frequency)
    return [Near(term=term.decode(), edits=edits, spellings=found[term][1]) for edits, _, term in ordered[:_MOST_TRIED]]


def _frequencies(parts: Sequence[Part], terms: Sequence[bytes]) -> list[int]:
    lists = [PartLists.of(part, terms) for part in parts] if terms else []
    return [sum(one.frequency(at, head=True) for one in lists) for at in range(len(terms))]


def _near(terms: Terms, wanted: str) -> dict[bytes, tuple[int, tuple[str, ...]]]:
    """The terms that are near to the beginning of `wanted`: edits, and spellings, those of the fewest edits and of the
    shortest ending first."""
    begin, end = _beginning_with(terms, wanted[0])
    if not 0 < end - begin <= _MOST_LOOKED_AT:
        return {}
    characters, offsets = _characters(terms, begin, end)
    lengths = _stem_lengths(characters, offsets)
    chosen = np.flatnonzero(
        (lengths >= max(LEAST_CHARS, len(wanted) - _LONGEST_ENDING)) & (lengths <= len(wanted) + _MOST_EDITS)
    )
    lengths = lengths[chosen]
    letters = _letters(characters, offsets[chosen], lengths, len(wanted) + _MOST_EDITS)
    # The beginning of the word may be as much shorter or longer than the stem as edits add and drop.
    edits = distances(letters, lengths, [ord(one) for one in wanted], _MOST_EDITS)
    allowed = np.where(lengths >= _TWO_EDITS, _MOST_EDITS, 1)
    close = np.flatnonzero(edits.min(axis=1, initial=_MOST_EDITS + 1) <= allowed)
    found = {}
    for at in close.tolist():
        stem = "".join(map(chr, letters[at, : lengths[at]].tolist()))
        cuts = sorted((int(one), -cut) for cut, one in enumerate(edits[at]) if one <= allowed[at])
        ends = (int(lengths[at]) - cut - _MOST_EDITS for _, cut in cuts)
        spellings = dict.fromkeys(stem + wanted[place:] for place in ends)
        found[terms[begin + int(chosen[at])]] = (cuts[0][0], tuple(spellings))
    return found


def _beginning_with(terms: Terms, character: str) -> tuple[int, int]:
    """The range of the terms that begin with a character."""
    first = character.encode()
    low, high = (int.from_bytes(first.ljust(_KEY_BYTES, filler), "big") for filler in (b"\0", b"\xff"))
    return int(terms.keys.searchsorted(np.uint64(low))), int(terms.keys.searchsorted(np.uint64(high), "right"))


def _characters(terms: Terms, begin: int, end: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The characters of a range of terms end to end as numbers, and int64[n + 1] where each begins."""
    offsets = terms.offsets[begin : end + 1].astype(np.int64)
    encoded = terms.blob[offsets[0] : offsets[-1]]
    offsets -= offsets[0]
    if encoded.max(initial=0) < 128:
        return encoded, offsets
    decoded = np.frombuffer(encoded.tobytes().decode().encode("utf-32-le"), np.uint32)
    # Every byte of UTF-8 but those that continue a character begins one.
    begun = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum((encoded & 0xC0) != 0x80, out=begun[1:])
    return decoded, begun[offsets]


def _stem_lengths(characters: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How long the stem of each term is, without the mark of its language."""
    ends, lengths = offsets[1:], np.diff(offsets)
    marked = (lengths > _MARK_CHARS) & (characters[np.maximum(ends - _MARK_CHARS, 0)] == ord(MARK))
    found: npt.NDArray[np.int64] = lengths - np.where(marked, _MARK_CHARS, 0)
    return found


def _letters(
    characters: npt.NDArray[Any], begins: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], width: int
) -> npt.NDArray[np.uint32]:
    """uint32[n, width]: the characters of each stem, zeros after its end."""
    places = begins[:, np.newaxis] + np.arange(width)
    inside = np.arange(width) < lengths[:, np.newaxis]
    letters: npt.NDArray[np.uint32] = np.where(inside, characters[np.minimum(places, len(characters) - 1)], 0).astype(
        np.uint32
    )
    return letters


def distances(
    letters: npt.NDArray[Any], lengths: npt.NDArray[np.int64], wanted: Sequence[int], most: int
) -> npt.NDArray[Any]:
    """int8[n, 2 * most + 1]: the edits between each row of `letters` and beginnings of `wanted` (string alignment).

    The columns are beginnings from `most` characters shorter than the row to `most` longer; `most` + 1 stands for more
    edits, and for a beginning that there is not. Only cells within `most` of the diagonal are worked out, each for all
    rows at once.
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
    found = np.full((rows, 2 * most + 1), far, np.int8)
    for (i, j), edits in table.items():
        ends = lengths == j
        found[ends, i - j + most] = edits[ends]
    return found
