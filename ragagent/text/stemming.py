"""Stems of words by language.

A word of a text whose language is known is indexed by its stem in that language, marked with it: `kirch|de`. A word of
a question is asked for by its stems in every language of its script, for a question is too short to be sure of its
own. So what is asked finds what is written whatever language either was taken for, and no language's stems are taken
for another's. English, and whatever has no stemmer, goes unmarked.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

from ragagent.text.language import SCRIPTS

MARK = "|"
"""Stands before the language; no word holds it."""

_NAMES: Mapping[str, Mapping[str, str]] = {
    "latin": {
        "ca": "catalan",
        "cs": "czech",
        "da": "danish",
        "de": "german",
        "es": "spanish",
        "fi": "finnish",
        "fr": "french",
        "hu": "hungarian",
        "id": "indonesian",
        "it": "italian",
        "nl": "dutch",
        "no": "norwegian",
        "pl": "polish",
        "pt": "portuguese",
        "ro": "romanian",
        "sv": "swedish",
        "tr": "turkish",
        "vi": "",
    },
    "cyrillic": {"ru": "russian"},
    "arabic": {"ar": "arabic", "fa": "persian"},
    "devanagari": {"hi": "hindi", "ne": "nepali"},
    "el": {"el": "greek"},
    "hy": {"hy": "armenian"},
    "ta": {"ta": "tamil"},
}
"""Snowball's stemmers; Vietnamese has none and nothing to cut off, but words that differ in their accents alone."""

_MARKS = {"latin": "'\u0300-\u036f", "cyrillic": "\u0300-\u036f", "el": "\u0300-\u036f"}
"""What a word may hold beside the letters of its script."""
_SCRIPTS = re.compile("|".join(f"(?P<{name}>[{SCRIPTS[name]}{_MARKS.get(name, '')}]+)" for name in _NAMES))
_ACCENTS_TELL = frozenset({"vi"})


def script(word: str) -> str:
    """The script of a word all of whose characters are of one that has stemmers; "" for any other."""
    if word.isascii():
        return "latin" if word.replace("'", "").isalpha() else ""
    found = _SCRIPTS.fullmatch(word)
    return (found.lastgroup or "") if found else ""


def languages(script: str) -> Iterable[str]:
    """The languages of a script whose stems are marked."""
    return _NAMES.get(script, {})


class Stemmers:
    """The stemmers, each made when first used. Safe to use from several threads."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}
        # A stemmer keeps state between calls and is not safe to share.
        self._lock = threading.Lock()

    def english(self, word: str) -> str:
        """The stem of a word of ASCII letters, case-folded."""
        return self._stem("english", word)

    def marked(self, word: str, language: str, most: int) -> str:
        """The stem of a word of that language, marked with it, `most` characters of it at most.

        "" where the word is of another script than the language, which has a stemmer, or none.
        """
        name = _NAMES.get(script(word), {}).get(language)
        if name is None:
            return ""
        folded = unicodedata.normalize("NFC", word[:most].casefold())
        if name:
            folded = self._stem(name, folded)
        if language not in _ACCENTS_TELL:
            folded = bare(folded)
        return f"{folded[: most - len(MARK) - len(language)]}{MARK}{language}" if folded else ""

    def _stem(self, name: str, word: str) -> str:
        with self._lock:
            if name not in self._made:
                import Stemmer

                self._made[name] = Stemmer.Stemmer(name, 0)
            return str(self._made[name].stemWord(word))


def bare(folded: str) -> str:
    """Latin letters without their accents; other scripts with their marks."""
    if folded.isascii():
        return folded
    decomposed = unicodedata.normalize("NFD", folded)
    if any("\u024f" < character < "\u0300" or "\u036f" < character < "\u1e00" for character in decomposed):
        return folded
    stripped = "".join(character for character in decomposed if not unicodedata.combining(character))
    return unicodedata.normalize("NFC", stripped)
