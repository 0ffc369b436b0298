"""From words with places to lines of a page, and the cells of a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ragagent.connectors.readers.parsed import row


class Word(NamedTuple):
    """A word and its place; y grows upwards, `size` is the height of its line box, in points.

    `first` and `last` are the indices of its characters on the page.
    """

    text: str
    left: float
    right: float
    bottom: float
    size: float
    vertical: bool
    first: int
    last: int


@dataclass(slots=True)
class Cell:
    """A piece of a line that a wide gap parts from the next one."""

    text: str
    left: float
    right: float
    words: list[Word] = field(default_factory=list)


@dataclass(slots=True)
class Line:
    """Words on one baseline, as one cell or several."""

    cells: list[Cell]
    bottom: float
    size: float
    vertical: bool
    first: int
    last: int
    bold: bool = False

    @property
    def left(self) -> float:
        return self.cells[0].left

    @property
    def right(self) -> float:
        return self.cells[-1].right

    @property
    def text(self) -> str:
        return self.cells[0].text if len(self.cells) == 1 else _row(self.cells)

    @property
    def is_row(self) -> bool:
        return len(self.cells) > 1 and " | " in self.text


HYPHEN = "\ufffe"
"""PDFium's mark for a hyphen at the end of a line, where the word goes on in the next one."""

# A gap of this many line heights parts two cells; word spaces are 0.2 to 0.5, in justified lines up to 1.
_CELL_GAP = 1.25
# Figures are often set a little lower than their label; the next line is at least 0.9 away.
_SAME_LINE = 0.35
_SHORT_CELL = 40
_CURRENCIES = frozenset("$€£¥")
_ENDS_FIGURE = frozenset("0123456789)—–-%")
_LOOK_BACK = 8
MARKER = r"[•▪◦‣●○■□➢✓–—*·\-]|\(?(?:\d{1,2}|[a-zA-Z]|[ivxIVX]{1,5})[.)]"
_ONLY_MARKER = re.compile(rf"(?:{MARKER})$")
_OPENING_CELL = re.compile(r"[$€£¥]?\s*\(?[$€£¥]?$")
_CLOSING_CELL = re.compile(r"[%)]+$")
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_NUMBER = re.compile(r"[\d(—–]")


def lines(words: Iterable[Word]) -> list[Line]:
    """The lines of a page in the order of its content stream.

    A word goes on the current line when it stands on its baseline; a short cell also joins a line shortly before, as
    in tables that are drawn cell by cell. Columns of prose stay apart, because their lines are long.
    """
    found: list[Line] = []
    for run in _runs(words):
        target = _target(found, run)
        if target is None:
            found.append(run)
        else:
            _join(target, run)
    return found


def _runs(words: Iterable[Word]) -> Iterator[Line]:
    """Neighbours in the stream that stand on one baseline, left to right, without a wide gap."""
    line: Line | None = None
    texts: list[str] = []
    for word in words:
        if line is not None and _continues(line, word, texts[-1]):
            texts.append(word.text)
            cell = line.cells[0]
            cell.words.append(word)
            cell.left, cell.right = min(cell.left, word.left), max(cell.right, word.right)
            line.last = word.last
            continue
        if line is not None:
            line.cells[0].text = " ".join(texts)
            yield line
        texts = [word.text]
        line = Line(
            [Cell("", word.left, word.right, [word])], word.bottom, word.size, word.vertical, word.first, word.last
        )
    if line is not None:
        line.cells[0].text = " ".join(texts)
        yield line


def _continues(line: Line, word: Word, before: str) -> bool:
    if line.vertical or word.vertical:
        return line.vertical and word.vertical
    gap = word.left - line.cells[0].right
    if not -0.6 * word.size < gap < _CELL_GAP * word.size and not _RIGHT_TO_LEFT.search(word.text):
        return False
    if word.text in _CURRENCIES and before[-1] in _ENDS_FIGURE and gap > 0.6 * word.size:
        return False
    return abs(line.bottom - word.bottom) < 0.2 * word.size or _level(line, word.bottom, word.size)


def _level(line: Line, bottom: float, size: float) -> bool:
    """Whether something stands on the line; a raised or lowered small character does."""
    if abs(line.bottom - bottom) < _SAME_LINE * max(line.size, size):
        return True
    middle, low, high = bottom + size / 2, line.bottom, line.bottom + line.size
    return size < 0.85 * line.size and low < middle < high


def _target(found: Sequence[Line], run: Line) -> Line | None:
    """The line that `run` belongs to."""
    if run.vertical:
        return None
    for distance, line in enumerate(reversed(found[-_LOOK_BACK:])):
        if line.vertical or not _level(line, run.bottom, run.size):
            continue
        if any(run.left < cell.right - 0.5 and cell.left < run.right - 0.5 for cell in line.cells):
            continue
        if distance == 0 or (len(run.cells[0].text) <= _SHORT_CELL and len(line.cells[-1].text) <= _SHORT_CELL):
            return line
    return None


def _join(line: Line, run: Line) -> None:
    line.cells.extend(run.cells)
    line.cells.sort(key=lambda cell: cell.left)
    line.size = max(line.size, run.size)


def merged(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a row; a currency sign goes with the figure after it, a percent sign with the one before."""
    found: list[Cell] = []
    for cell in cells:
        text = cell.text.replace(HYPHEN, "-")
        last = found[-1] if found else None
        opened = last and _OPENING_CELL.fullmatch(last.text) and _NUMBER.match(text)
        if last and (opened or _CLOSING_CELL.fullmatch(text)):
            found[-1] = _put_together(last, cell, last.text + text)
        elif last and len(found) == 1 and _ONLY_MARKER.match(last.text):
            found[-1] = _put_together(last, cell, f"{last.text} {text}")
        else:
            text = re.sub(r"([$€£¥]) (?=[\d(])", r"\1", text)
            found.append(Cell(text, cell.left, cell.right, cell.words))
    return found


def _put_together(first: Cell, second: Cell, text: str) -> Cell:
    return Cell(text, first.left, max(first.right, second.right), [*first.words, *second.words])


def _row(cells: Sequence[Cell]) -> str:
    return row([cell.text for cell in merged(cells)])
