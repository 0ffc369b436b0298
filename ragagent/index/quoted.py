"""What a question wants to see in a passage as it stands: words between quotation marks, and identifiers."""

from __future__ import annotations

import re

_MARKS = re.compile(
    '"([^"]+)"|\u201c([^\u201d]+)\u201d|\u201e([^\u201c\u201d]+)[\u201c\u201d]|\u00ab([^\u00bb]+)\u00bb'
)
_WORDS = re.compile(r"\w+")
_TOKENS = re.compile(r"(?<!\w)\w[\w.\-/+#:]*\w(?!\w)")
_DIGIT, _OTHER = re.compile(r"\d"), re.compile(r"[^\W\d]|[-_./]")
_MOST_PHRASES = 8
_LEAST_CHARS = 2
_LEAST_IDENTIFIER = 4


def phrases(query: str) -> tuple[str, ...]:
    """What stands between quotation marks, in the form of `plain`; at most eight of them."""
    quoted = (plain("".join(match.groups(""))) for match in _MARKS.finditer(query))
    return tuple(one for one in quoted if len(one) > _LEAST_CHARS)[:_MOST_PHRASES]


def identifiers(query: str) -> tuple[str, ...]:
    """Part numbers, error codes, file names and the like, as they are written: digits with letters or joiners."""
    found = (token for token in _TOKENS.findall(query) if len(token) >= _LEAST_IDENTIFIER)
    return tuple(token for token in found if _DIGIT.search(token) and _OTHER.search(token))[:_MOST_PHRASES]


def plain(text: str) -> str:
    """The words of `text`, case-folded, with one space around each: what is within it stands there word for word."""
    return f" {' '.join(_WORDS.findall(text.casefold()))} "
