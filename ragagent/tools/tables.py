"""Tables as a small model can read them: each cell with the name of its column beside it.

Asked for a figure out of `Linden Room | 60 | 34.00 | 20.00` under a row of names, a 1.5B model takes any of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from ragagent.text import unicode

_MIN_ROWS = 2


def labelled(text: str) -> str:
    """`text` with the rows of its tables written as `first cell: column cell, column cell, ...`.

    A table is two or more lines of cells parted by |, the first of them without figures. All else stays as it is, but
    for hidden characters, in whose place a mark stands.
    """
    lines = unicode.shown(text).split("\n")
    groups = itertools.groupby(lines, key=lambda line: line.count("|") > 0)
    return "\n".join("\n".join(_rows(list(group)) if is_table else group) for is_table, group in groups)


def _rows(lines: Sequence[str]) -> Sequence[str]:
    names, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    whole = len(lines) >= _MIN_ROWS and len(names) > 1 and all(1 < len(row) <= len(names) for row in rows)
    if not whole or any(re.search(r"\d", name) for name in names):
        return lines
    return [_row(names, row) for row in rows if not _is_rule(row)]


def _row(names: Sequence[str], row: Sequence[str]) -> str:
    cells = ", ".join(f"{name} {cell}".strip() for name, cell in zip(names[1:], row[1:], strict=False) if cell)
    return f"{row[0]}: {cells}"


def _is_rule(row: Sequence[str]) -> bool:
    """Whether it is the line under the names of a Markdown table."""
    return all(re.fullmatch(r":?-+:?", cell) for cell in row)
