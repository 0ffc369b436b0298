"""What the card of a model (README.md in its folder) says of it."""

from __future__ import annotations

import re
from pathlib import Path

_MOST_CHARS = 64 * 1024
_HEAD = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_LANGUAGES = re.compile(r"^languages?:[ \t]*(.*(?:\n[ \t]*-.*)*)", re.MULTILINE)
_CODE = re.compile(r"[a-z]{2,3}(?![a-z])")


def card_languages(folder: Path) -> frozenset[str]:
    """The language codes at the head of the card; empty where it names none, or one of them is no code."""
    try:
        with (folder / "README.md").open(encoding="utf-8", errors="replace") as card:
            head = _HEAD.match(card.read(_MOST_CHARS))
    except OSError:
        return frozenset()
    stated = _LANGUAGES.search(head[1]) if head else None
    words = re.findall(r"[^\s,\[\]'\"-]+", stated[1]) if stated else []
    return frozenset(words) if all(map(_CODE.fullmatch, words)) else frozenset()
