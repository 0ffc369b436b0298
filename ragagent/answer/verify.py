"""Deterministic checks of a claim against the words it cites: numbers, names and negation."""

from __future__ import annotations

import re
import unicodedata

from ragagent.retrieve import compress

_NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f]\d+)*")
_NAME = re.compile(r"\b[^\W\d_a-z][^\W_]*(?:[-'’.][^\W_]+)*")
_NEGATION = re.compile(r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot)\b|n['’]t\b", re.IGNORECASE)
_COMMON = frozenset(
    "the a an it they he she this that these those in on at by for from to of and or but yes no as i we you".split()  # noqa: SIM905
)


def problems(claim: str, support: str, question: str) -> tuple[str, ...]:
    """What of `claim` stands neither in `support` (the cited text) nor in `question`; empty when all of it does.

    Checked are numbers (thousands separators ignored), names (words with a capital that do not begin the claim) and
    whether the claim denies what the support does not.
    """
    found = [f"number {number} is not in the cited text" for number in _missing_numbers(claim, f"{support} {question}")]
    found += [f"name {name!r} is not in the cited text" for name in _missing_names(claim, f"{support} {question}")]
    if _NEGATION.search(claim) and not _NEGATION.search(f"{support} {question}"):
        found.append("it denies something that the cited text does not deny")
    return tuple(found)


def _missing_numbers(claim: str, text: str) -> list[str]:
    known = {_number(match) for match in _NUMBER.findall(text)}
    return [number for number in dict.fromkeys(_NUMBER.findall(claim)) if _number(number) not in known]


def _number(text: str) -> str:
    """A number in one form: grouping marks removed, so that 1,234 and 1234 are equal; 3,5 and 3.5 as well."""
    groups = re.split(r"[.,\u00a0\u202f]", unicodedata.normalize("NFKC", text))
    if len(groups) > 1 and all(len(group) == 3 for group in groups[1:]):
        return "".join(groups)
    return ".".join(groups)


def _missing_names(claim: str, text: str) -> list[str]:
    known = set(compress.terms(text))
    first = claim.split(maxsplit=1)[:1]
    found = []
    for name in dict.fromkeys(_NAME.findall(claim)):
        begins = first and name in first[0] and name.lower() in _COMMON
        if not begins and name.lower() not in _COMMON and not known.intersection(compress.terms(name)):
            found.append(name)
    return found
