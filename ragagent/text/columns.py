"""Tables as a small model can read them: each cell with the name of its column beside it.

Asked for a figure out of `Linden Room | 60 | 34.00 | 20.00` under a row of names, a 1.5B model takes any of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ragagent.text import period, tables, unicode

_MIN_ROWS = 2
_MOST_BETWEEN, _MOST_CHARS = 3, 60
_ABOVE_CHARS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The names of the columns, that of the row labels first, and all lines, the first of which has them."""

    names: tuple[str, ...]
    lines: tuple[str, ...]
    bounded: bool
    """Whether each line begins and ends with a |, as in Markdown."""

    def cells(self, line: str) -> list[str]:
        """The cells of a line; none for one without any, such as the label of a group of rows."""
        return _cells(line, bounded=self.bounded) if "|" in line else []


def labelled(text: str, asked: str = "") -> str:
    """`text` with the rows of its tables written as `first cell: column cell, column cell, ...`.

    A table is two or more lines of cells parted by |, the first of which names the columns. Columns about another
    period than `asked` are left out. All else stays as it is, but for hidden characters, in whose place a mark stands.
    """
    parts = _parts(unicode.shown(text).split("\n"))
    return "\n".join("\n".join(_shown(part, asked) if isinstance(part, _Table) else part) for part in parts)


def name_at(text: str, start: int, end: int) -> str:
    """The name of the column of the cell that holds `text[start:end]`; "" where it is in no single named one."""
    at = 0
    for part in _parts(text.split("\n")):
        for line in part.lines if isinstance(part, _Table) else part:
            if at <= start and end <= at + len(line):
                return _name(part, line, start - at, end - at) if isinstance(part, _Table) else ""
            at += len(line) + 1
    return ""


def rows_at(text: str, start: int, end: int) -> str:
    """The rows of tables that `text[start:end]` touches, as `labelled` writes them; "" where it touches no row.

    Before the first one comes what stands above its table, at most `_ABOVE_CHARS` of it: it often says the unit.
    """
    at, above = 0, 0
    found: list[str] = []
    for part in _parts(text.split("\n")):
        above = above if found else at
        for line in part.lines if isinstance(part, _Table) else part:
            touched = at < end and start < at + len(line)
            if touched and isinstance(part, _Table) and line != part.lines[0] and part.cells(line):
                found.append(_row(part.names, part.cells(line), set()))
            at += len(line) + 1
    return "\n".join([text[max(0, above - _ABOVE_CHARS) : above].strip(), *found]).strip() if found else ""


def _name(table: _Table, line: str, start: int, end: int) -> str:
    if "|" in line[start:end] or not table.cells(line) or line == table.lines[0]:
        return ""
    column = line[:start].count("|") - (1 if table.bounded else 0)
    return table.names[column] if 0 < column < len(table.names) else ""


def _parts(lines: Sequence[str]) -> Iterator[_Table | Sequence[str]]:
    """The lines in order, those of tables apart from the others."""
    at = 0
    while at < len(lines):
        end = at
        while end < len(lines) and _goes_on(lines, at, end):
            end += 1
        table = _table(lines[at:end])
        end = max(end, at + 1)
        yield table or lines[at:end]
        at = end


def _goes_on(lines: Sequence[str], begin: int, at: int) -> bool:
    """Whether a table that begins at one line goes on at another.

    It does at cells, but for the names of the columns of another table, and at the label of a group before cells.
    Reports head the parts of a table whose columns are periods with lines of their own: those belong to it too.
    """
    if "|" in lines[at]:
        return at == begin or not _names_periods(lines[at])
    below = next((place for place in range(at + 1, min(at + _MOST_BETWEEN + 1, len(lines))) if "|" in lines[place]), 0)
    if at == begin or not below or _names_periods(lines[below]):
        return False
    if below == at + 1 and lines[at].rstrip().endswith(":"):
        return True
    heads = all(len(line) <= _MOST_CHARS and not line.rstrip().endswith(".") for line in lines[at:below])
    return heads and _names_periods(lines[begin])


def _names_periods(line: str) -> bool:
    """Whether a line names columns that are periods: dates in its cells, and no figures."""
    return period.named(line) and not any(tables.is_figure(cell) for cell in tables.cells(line) if cell)


def _table(lines: Sequence[str]) -> _Table | None:
    rows = [line for line in lines if "|" in line]
    if len(rows) < _MIN_ROWS:
        return None
    bounded = all(line.strip().startswith("|") for line in rows)
    names, *others = [_cells(line, bounded=bounded) for line in rows]
    fits = len(names) > 1 and all(1 < len(row) <= len(names) for row in others)
    if not fits or not _names(names, others):
        return None
    return _Table(names=tuple(names), lines=tuple(lines), bounded=bounded)


def _names(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line of a table names its columns: with words alone, or with dates above rows with labels."""
    if not any(re.search(r"\d", name) for name in names):
        return True
    worded = all(not name or re.search(r"[^\W\d_]", name) for name in names)
    labels = all(_is_rule(row) or re.search(r"[^\W\d_]", row[0]) for row in rows)
    return worded and labels and not any(tables.is_figure(name) for name in names if name)


def _cells(line: str, *, bounded: bool) -> list[str]:
    line = line.strip()
    return [cell.strip() for cell in (line.strip("|") if bounded else line).split("|")]


def _shown(table: _Table, asked: str) -> Iterator[str]:
    others = {name for name in table.names[1:] if period.other_column(asked, name)}
    left_out = others if len(others) < len(set(table.names[1:])) else set()
    for line in table.lines[1:]:
        cells = table.cells(line)
        if not cells:
            yield line
        elif not _is_rule(cells):
            yield _row(table.names, cells, left_out)


def _row(names: Sequence[str], row: Sequence[str], left_out: set[str]) -> str:
    pairs = zip(names[1:], row[1:], strict=False)
    return f"{row[0]}: {', '.join(_cell(name, cell) for name, cell in pairs if cell and name not in left_out)}"


def _cell(name: str, cell: str) -> str:
    """A name that ends in a figure, as dates do, is told apart from the figure of the cell."""
    return f"{name}{' =' if name[-1:].isdigit() else ''} {cell}".strip()


def _is_rule(row: Sequence[str]) -> bool:
    """Whether it is the line under the names of a Markdown table."""
    return all(re.fullmatch(r":?-+:?", cell) for cell in row)
