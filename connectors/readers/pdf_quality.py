"""Is the text layer of a page fit to be read? The rule that sends a page up the ladder.

Each test names one way in which text layers are broken. A page that fails one is extracted in another way, and what
fails the fewest is kept, so that a test which is wrong about a page costs time and not text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragagent.connectors.readers.pdf_line import Word

_FEW_LETTERS = 25
_FEW_BESIDE_A_PICTURE = 200
_PICTURE_SHARE = 0.5
_LEAST_FOR_STATISTICS = 100
_UNMAPPED = re.compile("[\ufffd\ue000-\uf8ff\x00-\x08]")
_MOJIBAKE = re.compile("Ã[\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ]|â€|Â[\xa0-\xbf]")
_RUN = re.compile(r"[A-Za-z]{31,}")
_LATIN = re.compile(r"[A-Za-z]")
_VOWEL = re.compile(r"[AEIOUYaeiouy]")

ALMOST_NO_TEXT, UNMAPPED, MOJIBAKE = "almost no text", "glyphs without characters", "characters of a wrong encoding"
MISSING_SPACES, BROKEN_WORDS, NO_WORDS = "missing spaces", "broken words", "letters that make no words"
GLUED_COLUMNS = "glued columns"


def problem(words: Sequence[Word], *, picture_share: float = 0.0) -> str:
    """What is wrong with the words of a page, or "".

    `picture_share` is the share of the page that pictures cover. In this order:
    - almost no text: fewer than 25 letters and figures, or 200 on a page that pictures cover by half;
    - glyphs without characters: more than 10 % of the characters are U+FFFD, private or controls;
    - characters of a wrong encoding: more than 3 % belong to UTF-8 that was read as Latin-1;
    - missing spaces: more than 20 % of the Latin letters stand in runs of over 30 letters;
    - broken words: more than 40 % of at least 50 Latin words are single letters;
    - letters that make no words: fewer than 15 % of at least 100 Latin letters are vowels.
    """
    text = "".join(word.text for word in words)
    telling = sum(map(str.isalnum, text))
    if telling < _FEW_LETTERS or (telling < _FEW_BESIDE_A_PICTURE and picture_share > _PICTURE_SHARE):
        return ALMOST_NO_TEXT
    if len(_UNMAPPED.findall(text)) > 0.1 * len(text):
        return UNMAPPED
    if 2 * len(_MOJIBAKE.findall(text)) > 0.03 * len(text):
        return MOJIBAKE
    return _latin_problem(words, text)


def _latin_problem(words: Sequence[Word], text: str) -> str:
    letters = len(_LATIN.findall(text))
    if letters < _LEAST_FOR_STATISTICS or letters < 0.5 * len(text):
        return ""
    if sum(len(run) for word in words for run in _RUN.findall(word.text)) > 0.2 * letters:
        return MISSING_SPACES
    latin = [word.text for word in words if _LATIN.match(word.text)]
    if len(latin) >= 50 and sum(len(word) == 1 for word in latin) > 0.4 * len(latin):
        return BROKEN_WORDS
    return NO_WORDS if len(_VOWEL.findall(text)) < 0.15 * letters else ""
