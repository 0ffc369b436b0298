"""How long the period is that a text speaks of: reports give a figure for the quarter and one since the year began."""

from __future__ import annotations

import re

_MONTHS = {"three": 3, "six": 6, "nine": 9, "twelve": 12}
_NUMBERED = re.compile(
    r"\b(three|six|nine|twelve|3|6|9|12)[\s-]+months?\s+(?:period\s+)?end(?:ed|ing)\b", re.IGNORECASE
)
_QUARTER = re.compile(
    r"\bquarter(?:ly\s+period)?\s+end(?:ed|ing)\b|\b(?:first|second|third|fourth)\s+(?:fiscal\s+)?quarter\b",
    re.IGNORECASE,
)
_YEAR = re.compile(r"\b(?:fiscal\s+|financial\s+)?year\s+end(?:ed|ing)\b", re.I)

OTHER = "the cited text is about"


def months(text: str) -> frozenset[int]:
    """The lengths in months of the periods that `text` names, such as 9 for "the nine months ended July 1"."""
    found = {_MONTHS.get(match.lower()) or int(match) for match in _NUMBERED.findall(text)}
    found |= {3} if _QUARTER.search(text) else set()
    return frozenset(found | ({12} if _YEAR.search(text) else set()))


def conflict(question: str, support: str) -> str:
    """What is wrong when `support` speaks of periods of other lengths than `question` asks for; "" where it does not.

    Only where both name one: a row of a table or a sentence without a period may be about any.
    """
    asked, said = months(question), months(support)
    if not asked or not said or asked & said:
        return ""
    return f"{OTHER} {_named(said)}, the question about {_named(asked)}"


def _named(lengths: frozenset[int]) -> str:
    return " and ".join(f"{length} months" for length in sorted(lengths))
