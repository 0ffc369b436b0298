"""The tables of ingested spreadsheets and CSV files, with names and types for their columns.

A reader keeps a table as a block of lines, a line a row (`ragagent.connectors.readers.parsed.row`); here the rows are
cut into cells again, each with its place in the text, so that a row can be cited.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, TypeAlias
from urllib.parse import unquote

from ragagent.connectors.readers.parsed import cells_of
from ragagent.text.tables import is_figure
from ragagent.types import Document, Span

Type: TypeAlias = Literal["INTEGER", "REAL", "TEXT"]
Value: TypeAlias = int | float | str | None

ENDINGS = (".csv", ".tsv", ".tab", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
"""What the addresses of documents with tables end in."""
MAX_COLUMNS = 200
_MAX_NAME_CHARS = 40
_MAX_TITLE_ROWS = 5
_NONE = frozenset({"", "-", "–", "—", "n/a", "N/A", "NA", "null", "NULL"})
_WORDS = re.compile(r"[^\W_]+")
_ENGLISH = re.compile(r"[-−+]?[$€£¥]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d{1,2})?\s?[%$€£¥]?")
_CONTINENTAL = re.compile(r"[-−+]?[$€£¥]?(?:\d{1,3}(?:\.\d{3})+|\d+),\d+\s?[%$€£¥]?")
_NEGATIVE = re.compile(r"\((.+)\)")
_SIGNS = str.maketrans({"−": "-", **dict.fromkeys("$€£¥% +", "")})
# A number with a zero before it is a name: of a place, of an account, of an article.
_ZERO_FIRST = re.compile(r"0\d+")
_LARGEST = 2**63
# The words that SQLite takes for no name without quotation marks.
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """add all alter and as autoincrement between case check collate commit constraint create default
        deferrable delete distinct drop else escape except exists foreign from group having in index
        insert intersect into is isnull join limit not nothing notnull null on or order primary
        references returning select set table then to transaction union unique update using values
        when where""",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column by a name that SQL takes without quotes, its heading as it stands, and its type."""

    name: str
    heading: str
    type: Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The values of a row, one for each column, and where the row stands in the text of its document."""

    values: tuple[Value, ...]
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of a document. `name` is of letters, digits and underscores, and one of its own among all tables."""

    name: str
    document: Document
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def has_tables(uri: str) -> bool:
    """Whether the document of that address is a spreadsheet or a file of separated values."""
    return uri.partition("?")[0].partition("#")[0].lower().endswith(ENDINGS) or uri.lower().endswith(ENDINGS)


def tables_of(documents: Iterable[Document]) -> Iterator[Table]:
    """The tables of `documents`, in order. A table of one column without a heading, or without rows, is none."""
    taken: set[str] = set()
    for document in documents:
        stem = _identifier(PurePosixPath(unquote(document.uri).rpartition("/")[2]).stem or document.title, "table")
        sheet = ""
        for block in document.blocks:
            if block.kind == "heading":
                sheet = block.span.of(document.text)
            elif block.kind == "table":
                found = _table(document, block.span)
                if found is not None:
                    name = _unique(_identifier(f"{stem} {sheet}", stem), taken)
                    yield Table(name=name, document=document, columns=found[0], rows=found[1])


def _table(document: Document, span: Span) -> tuple[tuple[Column, ...], tuple[Row, ...]] | None:
    lines = list(_lines(document.text, span))
    grid = [cells_of(place.of(document.text)) for place in lines]
    width = min(MAX_COLUMNS, max(map(len, grid), default=0))
    headings, first = _headings(grid, width)
    body = [cells[:width] + [""] * (width - len(cells)) for cells in grid[first:]]
    if not body or (width == 1 and not first):
        return None
    names: set[str] = set()
    columns, values = [], []
    for place, heading in enumerate(headings):
        type_, column = _typed([cells[place] for cells in body])
        name = _unique(_identifier(heading, f"column_{place + 1}"), names)
        columns.append(Column(name=name, heading=heading, type=type_))
        values.append(column)
    rows = zip(zip(*values, strict=True), lines[first:], strict=True)
    return tuple(columns), tuple(Row(values=one, span=place) for one, place in rows)


def _lines(text: str, span: Span) -> Iterator[Span]:
    start = span.start
    for line in span.of(text).split("\n"):
        if line.strip():
            yield Span(start, start + len(line))
        start += len(line) + 1


def _headings(grid: Sequence[Sequence[str]], width: int) -> tuple[list[str], int]:
    """The headings of the columns, empty where there is none, and the number of the first row of values.

    Titles above a table fill one cell. The row of headings has no figures but years; where a heading stands over
    several columns, the next row tells these apart.
    """
    first = 0
    while width > 1 and first < min(_MAX_TITLE_ROWS, len(grid) - 1) and sum(map(bool, grid[first])) == 1:
        first += 1
    if len(grid) - first < 2 or not _names(grid[first]):
        return [""] * width, first
    headings = _filled(grid[first], width)
    named = [one for one in headings if one]
    if len(set(named)) < len(named) and len(grid) - first > 2 and _names(grid[first + 1]):
        first += 1
        below = _filled(grid[first], width)
        headings = [" ".join(dict.fromkeys(filter(None, pair))) for pair in zip(headings, below, strict=True)]
    return headings, first + 1


def _names(cells: Sequence[str]) -> bool:
    return any(any(one.isalpha() for one in cell) for cell in cells) and not any(map(is_figure, cells))


def _filled(cells: Sequence[str], width: int) -> list[str]:
    return [*cells[:width], *[""] * (width - len(cells))]


def _typed(cells: Sequence[str]) -> tuple[Type, list[Value]]:
    """The type of a column, and its values: numbers where all that is filled reads as one, in one way of writing."""
    filled = [cell for cell in cells if cell not in _NONE]
    for pattern, convert in ((_ENGLISH, _english), (_CONTINENTAL, _continental)):
        if filled and all(_is_number(cell, pattern) for cell in filled):
            numbers = [None if cell in _NONE else convert(cell) for cell in cells]
            whole = all(isinstance(one, int) for one in numbers if one is not None)
            return ("INTEGER", list(numbers)) if whole else ("REAL", [None if n is None else float(n) for n in numbers])
    return "TEXT", [cell or None for cell in cells]


def _is_number(cell: str, pattern: re.Pattern[str]) -> bool:
    inner = _NEGATIVE.fullmatch(cell)
    bare = inner[1] if inner else cell
    if not pattern.fullmatch(bare) or _ZERO_FIRST.fullmatch(bare):
        return False
    # Longer ones are names too, and no double holds them.
    return len(re.sub(r"\D", "", bare)) <= 18


def _english(cell: str) -> int | float:
    inner = _NEGATIVE.fullmatch(cell)
    digits = (inner[1] if inner else cell).translate(_SIGNS).replace(",", "")
    value = int(digits) if digits.lstrip("-").isdigit() and abs(int(digits)) < _LARGEST else float(digits)
    return -value if inner else value


def _continental(cell: str) -> int | float:
    return _english(cell.replace(".", "").replace(",", "."))


def _identifier(text: str, otherwise: str) -> str:
    """`text` as a name for SQL: its words in small letters, with underscores between."""
    name = "_".join(_WORDS.findall(text.lower()))[:_MAX_NAME_CHARS].strip("_")
    if not name:
        return otherwise
    return f"_{name}" if name[0].isdigit() else f"{name}_" if name in _RESERVED else name


def _unique(name: str, taken: set[str]) -> str:
    chosen, number = name, 2
    while chosen in taken:
        chosen, number = f"{name}_{number}", number + 1
    taken.add(chosen)
    return chosen
