"""Words of a question that no document has, and the words nearest to them that some have."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ragagent.protocols import Tokenizer

_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0dff"
_WORD = re.compile(rf"[^\W\d_](?:[^\W\d_]|[{_MARKS}])*")
_LEAST_CHARS, _MOST_CHARS = 5, 32
_NO_WORD = "qxzvkjw"
MOST_WORDS = 32
"""So many words of a question are looked up; a whole document given as a question has no slips worth mending."""

Similar = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]
"""For the words that the index does not have at all, words that it has, the nearest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """A question with terms added for the words that are unknown; `added` has these by the word."""

    text: str
    added: Mapping[str, str]


def words_of(tokenizer: Tokenizer) -> Callable[[str], bool]:
    """Whether a word is spelled right, as far as the tokenizer of an embedder knows it: as a token of its own.

    No word counts as known to a tokenizer that takes every run of letters for a token.
    """
    if len(tokenizer.offsets(_NO_WORD)) == 1:
        return lambda word: False
    return lambda word: len(tokenizer.offsets(word)) == 1


def mended(question: str, similar: Similar, is_word: Callable[[str], bool] = lambda word: False) -> Mended:
    """`question`, followed by the nearest known term for each of its words that no document has and that `is_word`
    does not know either.

    Nothing is taken away: a word that is right and merely new costs one term beside it. Words with digits, and those
    shorter than five letters, are left alone, for they are as likely codes and names.
    """
    written = (match.group() for match in _WORD.finditer(question))
    found = dict.fromkeys(word for word in written if _LEAST_CHARS <= len(word) <= _MOST_CHARS)
    words = [word for word in list(found)[:MOST_WORDS] if not is_word(word)]
    near = similar(words) if words else {}
    added = {word: near[word][0] for word in words if near.get(word)}
    return Mended(text=" ".join([question, *dict.fromkeys(added.values())]), added=added)
