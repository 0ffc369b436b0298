"""Words of a question that no document has, and the words nearest to them that some have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W\d_]{5,32}")
MOST_WORDS = 32
"""So many words of a question are looked up; a whole document given as a question has no slips worth mending."""

Similar = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]
"""For the words that the index does not have at all, terms that it has, the nearest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """A question with terms added for the words that are unknown; `added` has these by the word."""

    text: str
    added: Mapping[str, str]


def mended(question: str, similar: Similar) -> Mended:
    """`question`, followed by the nearest known term for each of its words that no document has.

    Nothing is taken away: a word that is right and merely new costs one term beside it. Words with digits, and those
    shorter than five letters, are left alone, for they are as likely codes and names.
    """
    words = list(dict.fromkeys(match.group() for match in _WORD.finditer(question)))[:MOST_WORDS]
    found = similar(words) if words else {}
    added = {word: found[word][0] for word in words if found.get(word)}
    return Mended(text=" ".join([question, *dict.fromkeys(added.values())]), added=added)
