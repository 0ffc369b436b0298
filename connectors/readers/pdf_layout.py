"""From words with places to lines, from lines to paragraphs, headings, lists and table rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ragagent.connectors.readers.parsed import row
from ragagent.types import BlockKind


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


class Part(NamedTuple):
    """A block of a page; its letters are those of the words of its `cells`, in this order."""

    kind: BlockKind
    text: str
    level: int = 0
    cells: Sequence[Cell] = ()


HYPHEN = "\ufffe"
"""PDFium's mark for a hyphen at the end of a line, where the word goes on in the next one."""

# A gap of this many line heights parts two cells; word spaces are 0.2 to 0.5, in justified lines up to 1.
_CELL_GAP = 1.25
# Figures are often set a little lower than their label; the next line is at least 0.9 away.
_SAME_LINE = 0.35
_SHORT_CELL = 40
_PROSE_COLUMN = 30
_CURRENCIES = frozenset("$€£¥")
_ENDS_FIGURE = frozenset("0123456789)—–-%")
_LOOK_BACK = 8
MAX_HEADING = 120
_MARKER = r"[•▪◦‣●○■□➢✓–—*·\-]|\(?(?:\d{1,2}|[a-zA-Z]|[ivxIVX]{1,5})[.)]"
_BULLET = re.compile(rf"(?:{_MARKER})(?:\s|$)")
_ONLY_MARKER = re.compile(rf"(?:{_MARKER})$")
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


def _row(cells: Sequence[Cell]) -> str:
    """The cells as `a | b`; a currency sign goes with the figure after it, a percent sign with the one before."""
    texts: list[str] = []
    for cell in cells:
        text = cell.text.replace(HYPHEN, "-")
        opened = texts and _OPENING_CELL.fullmatch(texts[-1]) and _NUMBER.match(text)
        if opened or (texts and _CLOSING_CELL.fullmatch(text)):
            texts[-1] += text
        elif len(texts) == 1 and _ONLY_MARKER.match(texts[0]):
            texts[0] += " " + text
        else:
            texts.append(re.sub(r"([$€£¥]) (?=[\d(])", r"\1", text))
    return row(texts)


def body_size(pages: Iterable[Sequence[Line]]) -> float:
    """The line height that most characters have; 0 when there are none."""
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page:
            sizes[round(line.size * 2) / 2] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def parts(page: Sequence[Line], body: float) -> Iterator[Part]:
    """The blocks of a page. `body` is the line height of running text (`body_size`)."""
    margin = _right_margin(page)
    start = 0
    while start < len(page):
        if page[start].is_row:
            end = _table_end(page, start, body)
            yield from _table(page[start:end])
        else:
            end = start + 1
            while end < len(page) and _belongs(page[end - 1], page[end], body, margin):
                end += 1
            yield _prose(page[start:end], body)
        start = end


def _right_margin(page: Sequence[Line]) -> float:
    edges = sorted(line.right for line in page)
    return edges[len(edges) * 9 // 10] if edges else 0.0


def _table_end(page: Sequence[Line], start: int, body: float) -> int:
    """Where the table ends that begins with the row at `start`: after its last row.

    A label without figures, of one line or two, may stand between rows.
    """
    end = start + 1
    for index in range(start + 1, len(page)):
        line, above = page[index], page[index - 1]
        drop = above.bottom - line.bottom
        if line.vertical or drop <= 0 or drop > 3 * max(line.size, above.size):
            break
        if line.is_row:
            end = index + 1
        elif index - end >= 2 or line.text.endswith((".", ";")) or _is_title(line, drop, body):
            break
    return end


def _is_title(line: Line, drop: float, body: float) -> bool:
    """Whether a line in a table stands off like a heading of what comes after it."""
    return drop > 1.8 * line.size and _heading_level(line, body) > 0


def _belongs(last: Line, line: Line, body: float, margin: float) -> bool:
    """Whether `line` goes on with the prose that `last` is the latest line of."""
    drop = last.bottom - line.bottom
    if line.is_row or line.vertical or last.vertical or drop < 0 or drop > 1.55 * line.size:
        return False
    if _heading_level(last, body) != _heading_level(line, body) or abs(last.size - line.size) > 0.15 * line.size:
        return False
    return not _BULLET.match(line.text) and _goes_on(last, line, margin)


def _goes_on(last: Line, line: Line, margin: float) -> bool:
    """Whether a line continues the one above: that one is full, or its sentence is not over."""
    if line.left > last.right or line.right < last.left:
        return False
    if last.text.endswith((HYPHEN, ",", "-")) or line.text[:1].islower():
        return True
    first_word = len(line.text.split(" ", 1)[0]) * 0.5 * line.size
    full = last.right + first_word >= margin - 0.02 * (margin - last.left) or last.right >= line.right - 1
    indented = line.left - last.left > 0.9 * line.size and not _BULLET.match(last.text)
    return full and not indented


def _heading_level(line: Line, body: float) -> int:
    """1 to 4 for a line that looks like a heading by its size or weight, 0 for others."""
    text = line.text
    if line.is_row or line.vertical or len(text) > MAX_HEADING or not any(map(str.isalpha, text)):
        return 0
    ratio = line.size / body if body else 1.0
    if ratio >= 1.15:
        return 1 if ratio >= 1.6 else 2 if ratio >= 1.3 else 3
    return 4 if line.bold and ratio > 0.9 and not text.endswith((".", ",", ";")) else 0


def _prose(group: Sequence[Line], body: float) -> Part:
    text = _flowing([line.text for line in group])
    level = _heading_level(group[0], body)
    cells = _cells(group)
    if level and len(group) <= 3 and len(text) <= 2 * MAX_HEADING:
        return Part("heading", text, level, cells)
    return Part("list" if _BULLET.match(text) else "paragraph", text, 0, cells)


def _cells(group: Iterable[Line]) -> list[Cell]:
    return [cell for line in group for cell in line.cells]


def _flowing(texts: Sequence[str]) -> str:
    """The lines as one, words that were parted at a line's end put together."""
    return " ".join(texts).replace(f"{HYPHEN} ", "").replace(HYPHEN, "-")


def _table(group: Sequence[Line]) -> Iterator[Part]:
    if _is_columns(group):
        for side in (0, 1):
            cells = [line.cells[side] for line in group if side < len(line.cells)]
            yield Part("paragraph", _flowing([cell.text for cell in cells]), 0, cells)
        return
    texts: list[str] = []
    label = False
    for line in group:
        # A label of two lines has its figures on the second one.
        if label and line.is_row and line.text[:1].islower():
            texts[-1] = _flowing([texts[-1], line.text])
        else:
            texts.append(line.text.replace(HYPHEN, "-"))
        label = not line.is_row
    yield Part("table" if len(texts) > 1 else "paragraph", "\n".join(texts), 0, _cells(group))


def _is_columns(group: Sequence[Line]) -> bool:
    """Whether the rows are two columns of prose that the file draws line by line across."""
    if len(group) < 5 or sum(len(line.cells) == 2 for line in group) < 0.8 * len(group):
        return False
    pairs = [line.cells for line in group if len(line.cells) == 2]
    return all(sorted(len(cells[side].text) for cells in pairs)[len(pairs) // 2] >= _PROSE_COLUMN for side in (0, 1))
