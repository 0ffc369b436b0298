"""Filters that a question states: of which dates, file types, folders and authors the documents are to be.

Read only where the question speaks of documents ("reports from 2023", "in the PDF files"), not where it speaks of the
world ("what happened in 2023"): a filter that nobody meant hides the answer. Whoever asks sees each of them and can
take it away by its name.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

from ragagent.where import And, Eq, Expression, Or, Prefix, Range

_KINDS = {
    "pdf": r"pdfs?",
    "spreadsheet": r"spreadsheets?|excel",
    "slides": r"slides?|slide decks?|presentations?|powerpoints?",
    "word": r"word",
    "mail": r"e-?mails?|mails?",
    "html": r"web ?pages?",
    "md": r"markdown",
    "notebook": r"notebooks?",
    "image": r"images?|photos?|pictures?|scans?",
}
_PAPERS = r"(?:documents?|docs|files?|reports?|papers?|notes|letters?|memos?|minutes|articles?|contracts?|invoices?"
_PAPERS += r"|" + "|".join(_KINDS.values()) + r")"
_KIND = "|".join(f"(?P<{kind}>{words})" for kind, words in _KINDS.items())
_TYPE = re.compile(
    rf"\b(?:in|from|of|among|only|search|all|do|does)\s+(?:the\s+|my\s+|our\s+|all\s+)*(?:{_KIND})"
    r"(?:\s+(?:files?|documents?|messages?))?\b(?!\s+of\b)",
    re.IGNORECASE,
)
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_TIME = rf"(?:(?:(\d{{1,2}})\.?\s+)?({'|'.join(_MONTHS)})\s+)?((?:19|20)\d\d)|((?:19|20)\d\d-\d\d(?:-\d\d)?)"
_DATED = re.compile(
    rf"\b{_PAPERS}\s+(?:(?:written|dated|published|sent|created|modified|made)\s+)?"
    rf"(?P<how>from|in|of|since|after|before|until|between|dated|on)\s+(?:{_TIME})"
    rf"(?:\s+(?:and|to|until)\s+(?:{_TIME}))?(?![\w-])",
    re.IGNORECASE,
)
_FOLDER = re.compile(
    r"\b(?:in|from|under)\s+(?:the\s+)?(?:folder|directory)\s+"
    r"(?:[\"“'](?P<quoted>[^\"”']{1,200})[\"”']|(?P<plain>[\w./-]{1,200}))",
    re.IGNORECASE,
)
_AUTHOR = re.compile(
    rf"\b{_PAPERS}\s+(?:(?:written|sent|authored|signed)\s+)?by\s+(?P<name>[^\W\d_a-z][\w'’.-]*(?:\s+[^\W\d_a-z][\w'’.-]*){{0,3}})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A filter, the words of the question that it was read from, and the name by which it can be taken away."""

    name: str
    words: str
    where: Expression


def read(question: str, without: Container[str] = ()) -> list[Read]:
    """The filters that `question` states, but for those of the names `without`: type, date, folder, author.

    English. At most one of each.
    """
    readers: dict[str, Callable[[str], Iterator[tuple[str, Expression]]]] = {
        "type": _types,
        "date": _dates,
        "folder": _folders,
        "author": _authors,
    }
    found = []
    for name, reader in readers.items():
        first = None if name in without else next(reader(question), None)
        if first is not None:
            found.append(Read(name=name, words=first[0], where=first[1]))
    return found


def _types(question: str) -> Iterator[tuple[str, Expression]]:
    for match in _TYPE.finditer(question):
        yield match.group(), Eq("type", str(match.lastgroup))


def _dates(question: str) -> Iterator[tuple[str, Expression]]:
    for match in _DATED.finditer(question):
        first, second = _time(*match.groups()[1:5]), _time(*match.groups()[5:9])
        where = _range(match["how"].lower(), first, second)
        if where is not None:
            yield match.group(), where


def _time(day: str | None, month: str | None, year: str | None, iso: str | None) -> tuple[str, str] | None:
    """The first day that a time takes in and the first one after it, as ISO text; None for no time."""
    parts = [int(part) for part in iso.split("-")] if iso else [int(year)] if year else []
    if year and month:
        parts += [_MONTHS.index(month.lower()) + 1] + ([int(day)] if day else [])
    try:
        begin = datetime.date(*[*parts, 1, 1][:3]) if parts else None
    except ValueError:
        return None
    if begin is None or begin.year > 9998:
        return None
    if len(parts) == 3:
        end = begin + datetime.timedelta(days=1)
    elif len(parts) == 2:
        end = datetime.date(begin.year + begin.month // 12, begin.month % 12 + 1, 1)
    else:
        end = datetime.date(begin.year + 1, 1, 1)
    return begin.isoformat()[: 4 + 3 * (len(parts) - 1)], end.isoformat()


def _range(how: str, first: tuple[str, str] | None, second: tuple[str, str] | None) -> Expression | None:
    """Days from the beginning of a time to the end of it or of a second one; text that begins so lies within."""
    if first is None:
        return None
    match how:
        case "since":
            return Range("date", ge=first[0])
        case "after":
            return Range("date", ge=first[1])
        case "before":
            return Range("date", lt=first[0])
        case "until":
            return Range("date", lt=first[1])
        case "between" if second is None:
            return None
    return Range("date", ge=first[0], lt=(second or first)[1])


def _folders(question: str) -> Iterator[tuple[str, Expression]]:
    for match in _FOLDER.finditer(question):
        folder = (match["quoted"] or match["plain"] or "").strip().strip("/.") or None
        if folder is not None:
            parts = [one for one in folder.split("/") if one]
            yield match.group(), And(tuple(Eq("folder", one) for one in parts))


def _authors(question: str) -> Iterator[tuple[str, Expression]]:
    for match in _AUTHOR.finditer(question):
        name = match["name"].rstrip(".")
        yield match.group(), Or((Eq("author", name), Prefix("from", name)))
