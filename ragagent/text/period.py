"""The period that a text speaks of: reports give figures for the quarter and since the year began, for two years."""

from __future__ import annotations

import re

_MONTHS = {"three": 3, "six": 6, "nine": 9, "twelve": 12}
_NUMBERED = re.compile(
    r"\b(three|six|nine|twelve|3|6|9|12)[\s-]+months?\s+(?:period\s+)?end(?:ed|ing)\b", re.IGNORECASE
)
_QUARTER = re.compile(
    r"\bquarter(?:ly\s+period)?\s+end(?:ed|ing)\b|\b(?:first|second|third|fourth)\s+(?:fiscal\s+)?quarter\b|\bQ[1-4]\b",
    re.IGNORECASE,
)
_YEAR = re.compile(r"\b(?:fiscal\s+|financial\s+)?year\s+end(?:ed|ing)\b", re.I)

_MONTH = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905
_NAME_OF_MONTH = rf"({'|'.join(_MONTH)})[a-z]*\.?"
_DATE = re.compile(
    rf"\b{_NAME_OF_MONTH}\s+(\d{{1,2}}),?\s+(\d{{4}})\b|\b(\d{{1,2}})\.?\s+{_NAME_OF_MONTH}\s+(\d{{4}})\b",
    re.IGNORECASE,
)

OTHER = "the cited text is about"


def months(text: str) -> frozenset[int]:
    """The lengths in months of the periods that `text` names, such as 9 for "the nine months ended July 1"."""
    found = {_MONTHS.get(match.lower()) or int(match) for match in _NUMBERED.findall(text)}
    found |= {3} if _QUARTER.search(text) else set()
    return frozenset(found | ({12} if _YEAR.search(text) else set()))


def named(text: str) -> bool:
    """Whether `text` names a period or a date."""
    return bool(months(text) or dates(text))


def conflict(question: str, support: str) -> str:
    """What is wrong when `support` speaks of periods of other lengths than `question` asks for; "" where it does not.

    Only where both name one: a row of a table or a sentence without a period may be about any.
    """
    asked, said = months(question), months(support)
    if not asked or not said or asked & said:
        return ""
    return f"{OTHER} {_named(said)}, the question about {_named(asked)}"


def dates(text: str) -> frozenset[tuple[int, int, int]]:
    """The dates (year, month, day) that stand in `text` in English, such as July 1, 2023 or 1 July 2023."""
    found = set()
    for match in _DATE.finditer(text):
        month, day, year = (match[1], match[2], match[3]) if match[1] else (match[5], match[4], match[6])
        found.add((int(year), _MONTH.index(month.lower()) + 1, int(day)))
    return frozenset(found)


def other_column(asked: str, name: str) -> str:
    """What is wrong with a figure of the column `name` for a question that asks of another date or length of time."""
    wanted, there = dates(asked), dates(name)
    if wanted and there and not wanted & there:
        return f"{OTHER} the column {name!r}"
    return conflict(asked, name)


def _named(lengths: frozenset[int]) -> str:
    return " and ".join(f"{length} months" for length in sorted(lengths))
