"""Words that a question puts between quotation marks: they are to stand in a passage as they stand there."""

from __future__ import annotations

import re

_MARKS = re.compile(
    '"([^"]+)"|\u201c([^\u201d]+)\u201d|\u201e([^\u201c\u201d]+)[\u201c\u201d]|\u00ab([^\u00bb]+)\u00bb'
)
_WORDS = re.compile(r"\w+")
_MOST_PHRASES = 8
_LEAST_CHARS = 2


def phrases(query: str) -> tuple[str, ...]:
    """What stands between quotation marks, in the form of `plain`; at most eight of them."""
    quoted = (plain("".join(match.groups(""))) for match in _MARKS.finditer(query))
    return tuple(one for one in quoted if len(one) > _LEAST_CHARS)[:_MOST_PHRASES]


def plain(text: str) -> str:
    """The words of `text`, case-folded, with one space around each: what is within it stands there word for word."""
    return f" {' '.join(_WORDS.findall(text.casefold()))} "
