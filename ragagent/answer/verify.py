"""Deterministic checks of a claim against the words it cites: numbers, dates, units, names and negation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ragagent.answer import figures
from ragagent.retrieve import compress
from ragagent.text import period, unicode
from ragagent.types import Citation, Claim

_NAME = re.compile(r"[^\W\d_][^\W_]*(?:[-'’.&][^\W_]+)*")
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|nicht|kein\w*|nie|niemand|nichts|ohne"
    r"|ne|pas|jamais|aucune?|sans|nunca|ning[uú]n\w*|nadie|nessun\w*|senza|não)\b|\bn['’]|n['’]t\b",
    re.IGNORECASE,
)
# What one of these denies: the words up to the next mark, unless it denies a bound, or another word takes it up again.
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|nicht|nie|niemals)\b|n['’]t\b)"
    r"(?!\s+(?:only|just|until|till|before|after|later|earlier|more|less|fewer|than|as|nur|erst|vor|mehr|weniger|so)\b)"
    r"\s+(?P<denied>[^.,;:!?()\n]*?)(?=\s+(?:but|sondern|until|till|unless|without)\b|[.,;:!?()\n]|$)",
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
    numbers = frozenset(figures.normal(match) for match in figures.NUMBER.findall(text))
    names = frozenset(word for word in _NAME.findall(text) if word != word.lower() and word.lower() not in _SMALL)
    return Facts(numbers=numbers, names=names)


def missing(wanted: Facts, text: str) -> Facts:
    """The part of `wanted` that does not stand in `text`."""
    known = set(compress.terms(text))
    return Facts(
        numbers=wanted.numbers - {figures.normal(match) for match in figures.NUMBER.findall(text)},
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

    A claim that is itself part of the support has no problems, unless it is what the support denies. Otherwise its
    numbers (grouping marks ignored), its dates (however written), its units and its names have to stand there; it may
    not deny what neither of them denies, nor say what the support denies.
    """
    denied = () if _NEGATION.search(claim) or _NEGATION.search(question) else _denied(claim, support)
    if _plain(claim) in _plain(support):
        return denied
    known = f"{support}\n{question}"
    dated = _readings(known)
    judged = figures.dates(claim) if dated else []
    found = [
        f"the date {claim[one.start : one.end]} is not in the cited text" for one in judged if not one.is_in(dated)
    ]
    rest = _without(judged, claim)
    wanted, there = figures.quantities(rest), figures.quantities(known)
    lacking = missing(facts(rest), known)
    same = {one.number for one in wanted if _same_amount(one, there)}
    found += [
        f"the number {number} is not in the cited text" for number in sorted(lacking.numbers - same - _parts(dated))
    ]
    found += [f"{one} is not what the cited text has" for one in _other_units(rest, wanted, there)]
    found += [f"the name {name!r} is not in the cited text" for name in sorted(lacking.names)]
    if _NEGATION.search(claim) and not _NEGATION.search(known):
        found.append("it denies something that the cited text does not deny")
    return (*found, *denied)


def is_figure(text: str) -> bool:
    """Whether `text` is a number or a date, with a unit or without, and nothing else."""
    spans = [(one.start, one.end) for one in figures.dates(text)]
    spans += [(one.start, one.end) for one in figures.quantities(text)]
    return (0, len(text.strip())) in spans and text == text.strip()


def denies(text: str) -> bool:
    """Whether a text denies something."""
    return _NEGATION.search(text) is not None


def _denied(claim: str, support: str) -> tuple[str, ...]:
    """What is wrong when the claim says words that the support has only behind a "not"."""
    said = set(compress.terms(claim))
    for match in _DENIED.finditer(support):
        words = set(compress.question_terms(match["denied"]))
        if words and words <= said:
            return ("it says what the cited text denies",)
    return ()


def _without(dates: Sequence[figures.Date], text: str) -> str:
    """The text with a space in the place of each of its `dates`, which are in order."""
    for one in reversed(dates):
        text = f"{text[: one.start]} {text[one.end :]}"
    return text


def _readings(text: str) -> frozenset[figures.Reading]:
    return frozenset(reading for one in figures.dates(text) for reading in one.readings)


def _parts(dates: frozenset[figures.Reading]) -> set[str]:
    """The years and days of dates, which may stand in a text in another form."""
    return {str(part) for year, _, day in dates for part in (year, day)}


def _same_amount(one: figures.Quantity, others: Sequence[figures.Quantity]) -> bool:
    return any(other.kind == one.kind and other.value == one.value for other in others)


def _other_units(text: str, wanted: Sequence[figures.Quantity], there: Sequence[figures.Quantity]) -> list[str]:
    """The quantities of a claim whose number `there` has, but only with another unit or another word for thousands."""
    found = []
    for one in wanted:
        alike = [other for other in there if other.number == one.number]
        if alike and not _same_amount(one, there) and not any(_may_be_same(one, other) for other in alike):
            found.append(text[one.start : one.end].strip())
    return found


def _may_be_same(one: figures.Quantity, other: figures.Quantity) -> bool:
    """Whether two with the same number may be equal because one of them leaves out its unit or its scale."""
    if one.scale and other.scale and one.scale != other.scale:
        return False
    return not (one.kind and other.kind) or (one.kind == other.kind and one.scale != other.scale)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
