"""Rows of a page to a table: columns by the places of its figures, header rows merged into one.

A figure belongs to the column it stands in, so a missing one leaves an empty cell. A heading that spans columns is
said for each of them: `Three Months Ended` over `June 25, 2022` and `June 26, 2021` becomes two cells that can be
read alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean

from ragagent.connectors.readers.parsed import row
from ragagent.connectors.readers.pdf_line import HYPHEN, Cell, Line, merged

_FIGURE = re.compile(r"[-–—(+$€£¥\s]*\d[\d,.]*\s*[%)]*|[-–—]+|[$€£¥]\s*[-–—]+")
_YEAR = re.compile(r"\(?(?:1[89]|20)\d\d\)?")
_DATE = re.compile(r"(?:1[89]|20)\d\d|\b[1-3]?\d(?:st|nd|rd|th)?\b(?=,|$)|\bQ[1-4]\b|\(\d\)")
_MAX_HEADER_LINES = 6
_MAX_HEADER_CHARS = 60
_GOES_ON = re.compile(r"[a-z$(\d]")


@dataclass(frozen=True, slots=True)
class Column:
    """The stripe of a page that the figures of a column stand in."""

    left: float
    right: float

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row as text, and the cells it was made from in the order of its letters."""

    text: str
    cells: Sequence[Cell]


def table(group: Sequence[Line]) -> list[TableRow] | None:
    """The rows of a table, the first one its header where it has one; None where its columns cannot be told."""
    lines = [merged(line.cells) for line in group]
    columns = columns_of(lines)
    placed = [_placed(cells, columns) for cells in lines] if columns else [None]
    if not columns or any(one is None for one in placed):
        return None
    rows = [one for one in placed if one is not None]
    top = _header_lines(rows)
    header = [_header(rows[:top], columns)] if top else []
    return [*header, *_body(rows[top:])]


def columns_of(lines: Sequence[Sequence[Cell]]) -> list[Column]:
    """The columns of the figures, left to right: stripes in which they stand over one another."""
    figures = sorted((cell.left, cell.right) for cells in lines for cell in cells[1:] if _FIGURE.fullmatch(cell.text))
    found: list[Column] = []
    for left, right in figures:
        if found and left < found[-1].right:
            found[-1] = Column(found[-1].left, max(found[-1].right, right))
        else:
            found.append(Column(left, right))
    return found


def is_header_line(line: Line, columns: Sequence[Column]) -> bool:
    """Whether a line with one cell above a table is a heading of its columns, by where it stands."""
    text, cell = line.cells[0].text, line.cells[0]
    if len(text) > _MAX_HEADER_CHARS or text.endswith((".", ":", ";")) or not columns:
        return False
    return cell.left > columns[0].left - 0.5 * _pitch(columns) and _spanned(cell, columns, None, None) is not None


def _placed(cells: Sequence[Cell], columns: Sequence[Column]) -> dict[int, Cell] | None:
    """The cells of a row by their column, 0 for the label; None where two are in one place."""
    found: dict[int, Cell] = {}
    edges = [(one.right + other.left) / 2 for one, other in pairwise(columns)]
    for cell in cells:
        middle = (cell.left + cell.right) / 2
        label = middle < columns[0].left and cell.left < columns[0].left - 0.5 * _pitch(columns)
        place = 0 if label else 1 + sum(middle > edge for edge in edges)
        if place in found:
            return None
        found[place] = cell
    return found


def _header_lines(rows: Sequence[dict[int, Cell]]) -> int:
    """How many lines at the top name the columns: no figures but years and days, and no label that rows go on from."""
    for index, cells in enumerate(rows[: _MAX_HEADER_LINES + 1]):
        values = [cell.text for place, cell in cells.items() if place]
        label = cells[0].text if 0 in cells else ""
        if not all(_names(value) for value in values) or (label and not values and not label.startswith("(")):
            return index
    return 0


def _names(text: str) -> bool:
    return bool(_YEAR.fullmatch(text)) or not (_FIGURE.fullmatch(text) or re.search(r"\d", _DATE.sub("", text)))


def _header(rows: Sequence[dict[int, Cell]], columns: Sequence[Column]) -> TableRow:
    """The header lines as one row."""
    names: list[list[Cell]] = [[] for _ in range(len(columns) + 1)]
    for placed in rows:
        above = [cell for place, cell in placed.items() if place]
        if 0 in placed:
            names[0].append(placed[0])
        for index, cell in enumerate(above):
            before = above[index - 1] if index else None
            after = above[index + 1] if index + 1 < len(above) else None
            first, last = _spanned(cell, columns, before, after) or _nearest(cell, columns)
            if cell.text.startswith("(") and last - first + 1 == len(columns):
                names[0].append(cell)  # "(In millions)" is said of the table
                continue
            for place in range(first, last + 1):
                names[place + 1].append(cell)
    return _row(names)


def _spanned(cell: Cell, columns: Sequence[Column], before: Cell | None, after: Cell | None) -> tuple[int, int] | None:
    """The first and the last column below a heading: the widest run that it stands in the middle of."""
    middle = (cell.left + cell.right) / 2
    low = (before.right + cell.left) / 2 if before else float("-inf")
    high = (cell.right + after.left) / 2 if after else float("inf")
    within = [place for place, column in enumerate(columns) if low < column.middle < high]
    runs = [(first, last) for first in within for last in within if last >= first]
    slack = 0.35 * _pitch(columns)
    fitting = [run for run in runs if abs(mean(one.middle for one in columns[run[0] : run[1] + 1]) - middle) <= slack]
    return max(fitting, key=lambda run: run[1] - run[0], default=None)


def _nearest(cell: Cell, columns: Sequence[Column]) -> tuple[int, int]:
    middle = (cell.left + cell.right) / 2
    place = min(range(len(columns)), key=lambda index: abs(columns[index].middle - middle))
    return place, place


def _pitch(columns: Sequence[Column]) -> float:
    """The mean distance of two columns."""
    if len(columns) < 2:
        return columns[0].right - columns[0].left + 20
    return (columns[-1].middle - columns[0].middle) / (len(columns) - 1)


def _body(rows: Sequence[dict[int, Cell]]) -> Iterator[TableRow]:
    """The rows below the header; a label of two lines has its figures on the second one, and is put together."""
    waiting: list[Cell] = []
    for cells in rows:
        label = cells.get(0)
        if waiting and not (label and len(cells) > 1 and _GOES_ON.match(label.text)):
            yield _row([waiting])
            waiting = []
        if label is not None and len(cells) == 1 and not label.text.endswith(":"):
            waiting = [*waiting, label]
            continue
        last = max(cells)
        yield _row(
            [
                [*waiting, *([label] if label else [])],
                *([cells[one]] if one in cells else [] for one in range(1, last + 1)),
            ]
        )
        waiting = []
    if waiting:
        yield _row([waiting])


def _row(cells: Sequence[Sequence[Cell]]) -> TableRow:
    texts = [_joined([cell.text for cell in parts]) for parts in cells]
    return TableRow(row(texts), [cell for parts in cells for cell in parts])


def _joined(texts: Sequence[str]) -> str:
    return " ".join(texts).replace(f"{HYPHEN} ", "").replace(HYPHEN, "-")
