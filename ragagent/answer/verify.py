"""Deterministic checks of a claim against the words it cites: numbers, names and negation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ragagent.retrieve import compress
from ragagent.text import period, unicode
from ragagent.types import Citation, Claim

_NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f]\d+)*")
_NAME = re.compile(r"[^\W\d_][^\W_]*(?:[-'’.&][^\W_]+)*")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|nicht|kein\w*|nie|niemand|nichts|ohne)\b|n['’]t\b",
    re.IGNORECASE,
)
_SMALL = frozenset(
    "a an and as at but by for from he i in it no of on or she that the there these they this to we yes you".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What of a text can be checked without understanding it. Numbers are in one form, names as they stand."""

    numbers: frozenset[str]
    names: frozenset[str]

    def __len__(self) -> int:
        return len(self.numbers) + len(self.names)

    def __sub__(self, other: Facts) -> Facts:
        return Facts(numbers=self.numbers - other.numbers, names=self.names - other.names)


def facts(text: str) -> Facts:
    """The numbers of `text` and its words with a capital letter, small words at the start of a sentence left out."""
    numbers = frozenset(_number(match) for match in _NUMBER.findall(text))
    names = frozenset(word for word in _NAME.findall(text) if word != word.lower() and word.lower() not in _SMALL)
    return Facts(numbers=numbers, names=names)


def missing(wanted: Facts, text: str) -> Facts:
    """The part of `wanted` that does not stand in `text`."""
    known = set(compress.terms(text))
    return Facts(
        numbers=wanted.numbers - {_number(match) for match in _NUMBER.findall(text)},
        names=frozenset(name for name in wanted.names if not known.intersection(compress.terms(name))),
    )


def checked(text: str, found: Sequence[Citation], question: str, known: str = "", column: str = "") -> Claim:
    """The claim `text` with its verified citations and the verdict of the checks against them; others are dropped.

    `known` is text from elsewhere (a tool's result) that may carry numbers and names as well; `column` is the name of
    the column that the cited cell of a table stands in.
    """
    verified = tuple(citation for citation in found if citation.verified)
    if not verified and not known:
        return Claim(text=text, problems=("no quote for it stands in the documents",))
    support = "\n".join([*(unicode.shown(citation.quote) for citation in verified), known])
    lacking = problems(text, support, question)
    other = period.conflict(question, support) or period.other_column(question, column)
    lacking += (other,) if other else ()
    return Claim(text=text, citations=verified, supported=not lacking, problems=lacking)


def citations(claims: Sequence[Claim]) -> tuple[Citation, ...]:
    """The citations of some claims, each once, in order."""
    return tuple(dict.fromkeys(citation for claim in claims for citation in claim.citations))


def problems(claim: str, support: str, question: str) -> tuple[str, ...]:
    """What of `claim` stands neither in `support` (the cited text) nor in `question`; empty when all of it does.

    A claim that is itself part of the support has no problems. Otherwise its numbers (grouping marks ignored) and
    names have to stand there, and it may not deny what neither of them denies.
    """
    if _plain(claim) in _plain(support):
        return ()
    known = f"{support}\n{question}"
    lacking = missing(facts(claim), known)
    found = [f"the number {number} is not in the cited text" for number in sorted(lacking.numbers)]
    found += [f"the name {name!r} is not in the cited text" for name in sorted(lacking.names)]
    if _NEGATION.search(claim) and not _NEGATION.search(known):
        found.append("it denies something that the cited text does not deny")
    return tuple(found)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _number(text: str) -> str:
    """A number in one form: 1,234.50 and 1.234,50 and 1234.50 are equal, and so are 3,5 and 3.5, 1,234 and 1234."""
    text = unicodedata.normalize("NFKC", text).replace(" ", ",")
    groups = re.split(r"[.,]", text)
    marks = set(text) & {".", ","}
    fraction = groups.pop() if len(marks) == 2 or (len(groups) == 2 and len(groups[1]) != 3) else ""
    grouped = len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])
    return ("" if grouped else ".").join(groups) + (f".{fraction}" if fraction else "")
