"""Rows of a table that was read from passages: every cell has to be said of the subject of its row.

That each cell stands somewhere in the passages is not enough: "Linden | 220" has both its cells in "Linden has 60 seats
and Hall has 220". So a cell counts only where its own sentence, or its own row of a table, speaks of the row's subject.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ragagent.answer import figures, quote, verify
from ragagent.answer.quote import Documents, Place
from ragagent.retrieve import compress, pack
from ragagent.text import columns, tables
from ragagent.types import Claim, Evidence, Passage, Scalar

EMPTY = "-"
"""The cell of what is not said."""
_MOST_BETWEEN = 12
_LABEL_AND_VALUE = 2
# A sentence of several subjects in one list and of their values in another says nothing of one of them by itself.
_LISTED = re.compile(
    r"\b(?:respectively|jeweils|beziehungsweise|bzw|respectivement|respectivamente|rispettivamente)\b", re.IGNORECASE
)
# Another name right after one of these begins to speak of something else.
_TURN = re.compile(
    r"(?:[,;:]|\b(?:and|while|whereas|but|und|während|aber|et|mais|tandis que|y|pero|mientras|e|ma|mentre))\s+"
    r"(?:(?:the|a|an|der|die|das|le|la|les|el|los|las|il|lo|gli)\s+)?(?P<name>[^\W\d_]\w*)",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r"(?:it|he|she|they|this|its|his|her|their|er|sie|es|ihr|sein|ihre|seine|il|elle|ils|elles|ella)\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row as it may be shown: the claim with its cells, those that are not said of its subject being EMPTY."""

    cells: tuple[str, ...]
    claim: Claim


def checked(
    names: Sequence[str], rows: Sequence[Sequence[str]], evidence: Evidence, question: str, document: Documents
) -> list[Row]:
    """Each row, with its citations and the verdict; the first cell of a row is its subject, `names` are of the columns.

    A row is supported when one passage names its subject and says at least one other cell of it (`said`).
    """
    subjects = tuple(dict.fromkeys(row[0] for row in rows if row and row[0] != EMPTY))
    found = []
    for row in rows:
        others = list(_pairs(row, names))
        claims = said(row[0], others, subjects, evidence, question, document)
        found.append(_row(row, claims))
    return found


def said(
    subject: str,
    others: Sequence[tuple[Scalar, str]],
    subjects: Sequence[str],
    evidence: Evidence,
    question: str,
    document: Documents,
) -> list[Claim | None]:
    """What one passage says of `subject`: for each value, with the name of its column, a claim that cites it, or None.

    Of several passages the one that says most. It counts what a sentence or a table row says that names the subject,
    a sentence that goes on from such a one with a pronoun, or one below the subject as title or heading that names no
    other. In a sentence that names several of `subjects` a value is said of the one that it stands next to.
    """
    best: list[Claim | None] = [None] * len(others)
    for passage in evidence.passages:
        about = list(_about(subject, subjects, passage))
        found = [_said(value, name, subject, subjects, about, question, document) for value, name in others]
        if sum(one is not None for one in found) > sum(one is not None for one in best):
            best = found
    return best


def _row(row: Sequence[str], claims: Sequence[Claim | None]) -> Row:
    if not any(claims):
        return Row(cells=(row[0],), claim=Claim(text=_line(row), problems=(f"no passage says it of {row[0]!r}",)))
    cells = [row[0], *(cell if one is not None else EMPTY for cell, one in zip(row[1:], claims, strict=True))]
    lost = [cell for cell, kept in zip(row[1:], cells[1:], strict=True) if kept != cell]
    cited = dict.fromkeys(citation for one in claims if one is not None for citation in one.citations)
    problems = tuple(f"{cell!r} is not said of {row[0]!r}" for cell in lost)
    claim = Claim(text=_line(cells), citations=tuple(cited), supported=True, problems=problems)
    return Row(cells=tuple(cells), claim=claim)


def _pairs(row: Sequence[str], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The cells after the subject with the names of their columns."""
    for at, cell in enumerate(row[1:], start=1):
        yield cell, names[at] if at < len(names) else ""


def _line(cells: Sequence[str]) -> str:
    return " | ".join(cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """A unit that speaks of a subject; `first` is the one before it that names the subject for it."""

    unit: Place
    first: Place | None = None


def _about(subject: str, subjects: Sequence[str], passage: Passage) -> Iterator[_About]:
    """The units of a passage that speak of `subject`."""
    titled = any(_spots(subject, line) for line in (passage.title, *passage.headings))
    before: _About | None = None
    for unit in units(passage):
        named = {spot.subject for spot in _mentions({subject, *subjects}, label(unit.text) or unit.text)}
        if subject in named:
            # In a sentence of several, "it" may be any of them.
            yield _About(unit=unit)
            before = _About(unit=unit) if len(named) == 1 else None
        elif before is not None and not named and _GOES_ON.match(unit.text) and _follows(before.unit, unit):
            before = _About(unit=unit, first=before.first or before.unit)
            yield before
        else:
            before = None
            if titled and not named and len(_cells(unit.text)) <= _LABEL_AND_VALUE:
                yield _About(unit=unit)


def _said(
    cell: Scalar,
    name: str,
    subject: str,
    subjects: Sequence[str],
    about: Sequence[_About],
    question: str,
    document: Documents,
) -> Claim | None:
    """The cell as a claim of its own with what it cites, where one of the units says it of the subject."""
    if cell == EMPTY:
        return None
    for one in about:
        for start, end in spots(cell, one.unit.text):
            if not _owns(subject, subjects, one.unit.text, start):
                continue
            place = Place(passage=one.unit.passage, start=one.unit.start + start, end=one.unit.start + end)
            column = columns.name_at(place.passage.text, place.start, place.end)
            if _misplaced(name, column, one.unit):
                continue
            cited = [
                quote.citation(quote.widened(unit), document) for unit in (one.first, one.unit) if unit is not None
            ]
            claim = verify.checked(place.text, cited, question, column=column)
            if claim.supported and len(claim.citations) == len(cited):
                return claim
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """A place at which a sentence names a subject."""

    start: int
    end: int
    subject: str


def _owns(subject: str, subjects: Sequence[str], text: str, at: int) -> bool:
    """Whether what stands at `at` of a sentence is said of `subject` rather than of another one that it names."""
    if "|" in text:
        return True
    named = _mentions({subject, *subjects}, text)
    groups = _groups(named, text)
    if not any(spot.subject == subject for spot in named):
        return True
    if len({spot.subject for spot in named}) > 1 and _LISTED.search(text):
        return False
    before = [group for group in groups if group[0].start <= at]
    after = [group for group in groups if group[0].start > at]
    # Where the sentence begins with what is said ("60 seats in Linden and 220 in Hall"), the subject comes after it.
    turned = len(groups) > 1 and re.search(r"\d", text[: groups[0][0].start]) is not None
    if before and not turned:
        mine = any(spot.subject == subject for spot in before[-1])
        return mine and not _turns(text, max(spot.end for spot in before[-1]), at, subject)
    return any(spot.subject == subject for spot in (after[0] if after else before[-1]))


def _groups(named: Sequence[_Spot], text: str) -> list[list[_Spot]]:
    """The places of subjects in order, those that are only listed together ("Linden and Hall") as one."""
    groups: list[list[_Spot]] = []
    for spot in named:
        between = text[groups[-1][-1].end : spot.start] if groups else ""
        if groups and len(between) <= _MOST_BETWEEN and not re.search(r"\d", between):
            groups[-1].append(spot)
        else:
            groups.append([spot])
    return groups


def _turns(text: str, start: int, end: int, subject: str) -> bool:
    """Whether a sentence begins to speak of another name between two places."""
    for match in _TURN.finditer(text, start, end):
        if match["name"][0].isupper() and match["name"].casefold() not in subject.casefold():
            return True
    return False


def _misplaced(name: str, column: str, unit: Place) -> bool:
    """Whether a cell of a source's table stands under another column than the one whose name fits `name` best."""
    if not column or not name:
        return False
    wanted = set(compress.terms(name))
    fit = len(wanted.intersection(compress.terms(column)))
    text, at, others = unit.passage.text, unit.start, []
    for cell in unit.text.split("|"):
        start = at + len(cell) - len(cell.lstrip())
        others.append(columns.name_at(text, start, start + len(cell.strip())))
        at += len(cell) + 1
    return any(len(wanted.intersection(compress.terms(other))) > fit for other in others if other)


def _cells(text: str) -> list[str]:
    return tables.cells(text) if "|" in text else [text]


def _mentions(subjects: Iterable[str], text: str) -> list[_Spot]:
    """Where a text names some of `subjects`, in order; of names that begin alike the longest."""
    found = [_Spot(start=start, end=end, subject=one) for one in subjects for start, end in _spots(one, text)]
    found.sort(key=lambda spot: (spot.start, -spot.end))
    kept: list[_Spot] = []
    for spot in found:
        if not kept or spot.start >= kept[-1].end:
            kept.append(spot)
    return kept


def _follows(first: Place, second: Place) -> bool:
    """Whether two units stand side by side in the document."""
    return pack.locate(first.passage, first.start, second.end) is not None and not (
        first.passage.text[first.end : second.start].strip()
    )


def units(passage: Passage) -> list[Place]:
    """The sentences and table rows of a passage, without the lines that only name the columns of a table."""
    return [unit for unit, head in _told(passage) if not head]


def headers(passage: Passage) -> list[str]:
    """The lines of a passage that name the columns of a table."""
    return [unit.text for unit, head in _told(passage) if head]


def _told(passage: Passage) -> list[tuple[Place, bool]]:
    """The units of a passage, each with whether it names the columns of the rows after it."""
    found = quote.units(passage)
    rowed = [bool(columns.rows_at(passage.text, unit.start, unit.end)) for unit in found]
    after = [*rowed[1:], False]
    return [
        (unit, "|" in unit.text and not row and next_is_row)
        for unit, row, next_is_row in zip(found, rowed, after, strict=True)
    ]


def label(text: str) -> str:
    """The first cell of a row of a table; "" for what is none."""
    cells = _cells(text)
    return cells[0] if len(cells) > 1 else ""


def spots(value: Scalar, text: str) -> list[tuple[int, int]]:
    """Where `text` has a value: words as they are whatever their capitals, numbers and dates however written."""
    if value is None or isinstance(value, bool):
        return []
    if isinstance(value, str):
        return _spots(value, text) or _dated(value, text)
    wanted = Decimal(str(value))
    found = figures.quantities(text)
    return [(one.start, one.end) for one in found if wanted in {Decimal(one.number).scaleb(n) for n in (0, one.scale)}]


def _dated(value: str, text: str) -> list[tuple[int, int]]:
    """Where a date that `value` is stands in `text`; nowhere where it is more or something else."""
    found = figures.dates(value)
    if len(found) != 1 or (found[0].start, found[0].end) != (0, len(value)):
        return []
    return [(one.start, one.end) for one in figures.dates(text) if one.readings & found[0].readings]


def _spots(run: str, text: str) -> list[tuple[int, int]]:
    """Where `run` stands in `text` in whole words, whatever its capitals."""
    wanted, folded = run.strip().casefold(), text.casefold()
    if not wanted or len(folded) != len(text):
        wanted, folded = run.strip(), text
    if not wanted:
        return []
    borders = {0}
    for chunk in quote.chunks(text):
        borders.add(max(borders) + len(chunk))
    found, at = [], folded.find(wanted)
    while at >= 0:
        if at in borders and at + len(wanted) in borders:
            found.append((at, at + len(wanted)))
        at = folded.find(wanted, at + 1)
    return found
