"""A question as it is searched for: with the other name of what it speaks of."""

from __future__ import annotations

import re

_QUARTERS = ("first", "second", "third", "fourth")
_WORDED = re.compile(rf"\b({'|'.join(_QUARTERS)})\s+(?:fiscal\s+)?quarter\b", re.IGNORECASE)
_NUMBERED = re.compile(r"\bQ([1-4])\b")


def searched(question: str) -> str:
    """`question` with the other name of each quarter in it: reports say Q2 where people say second quarter.

    It is for searching and ranking; what the model reads and what is checked stays the question as it was asked.
    """
    numbers = [f"Q{_QUARTERS.index(word.lower()) + 1}" for word in _WORDED.findall(question)]
    words = [f"{_QUARTERS[int(number) - 1]} quarter" for number in _NUMBERED.findall(question)]
    known = question.lower()
    return " ".join([question, *(name for name in dict.fromkeys([*numbers, *words]) if name.lower() not in known)])
