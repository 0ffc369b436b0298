"""Tables as text, a line a row: cells, and how many lines at the top name the columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

MAX_HEADER_LINES = 4
MAX_CAPTION_CHARS = 200

_CELL = re.compile(r"\s*\|\s*|\t")
_FIGURE = re.compile(r"[-–—(+]*\s*[$€£¥]?\s*\(?\d[\d,.]*\s*[%)]*|[-–—]")
_YEAR = re.compile(r"(?:1[89]|20)\d\d")
_NAMED = re.compile(
    r"\W{0,3}(?:table|tab\.|figure|fig\.|exhibit|tabelle|abbildung|tableau|tabla|表|图|図)\W{0,2}\d", re.I
)


def cells(line: str) -> list[str]:
    """The cells of a row, without outer white space."""
    return [cell.strip() for cell in _CELL.split(line.strip().strip("|"))]


def header_lines(lines: Sequence[str]) -> int:
    """How many lines stand above the first row of figures or group of rows; at most four, one where there is none."""
    for index, line in enumerate(lines[: MAX_HEADER_LINES + 1]):
        label, *rest = cells(line)
        group = label.endswith(":") and not any(rest)
        if group or (any(c.isalpha() for c in label) and any(is_figure(cell) for cell in rest)):
            return index
    return max(0, min(1, len(lines) - 1))


def is_caption(text: str) -> bool:
    """Whether a paragraph says of itself that it is the caption of a table or figure: "Table 3: ..."."""
    return len(text) <= 2 * MAX_CAPTION_CHARS and _NAMED.match(text) is not None


def is_figure(cell: str) -> bool:
    """Whether a cell is a figure, or the dash that stands for none; a year is none, for it may name a column."""
    return bool(_FIGURE.fullmatch(cell)) and not _YEAR.fullmatch(cell)
