"""From words with places to lines, from lines to paragraphs, headings, lists and table rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ragagent.connectors.readers.parsed import row
from ragagent.types import BlockKind


class Word(NamedTuple):
    """A word and its place; y grows upwards, `size` is the height of its line box, in points."""

    text: str
    left: float
    right: float
    bottom: float
    size: float
    bold: bool
    vertical: bool


@dataclass(slots=True)
class Cell:
    """A piece of a line that a wide gap parts from the next one."""

    text: str
    left: float
    right: float


@dataclass(slots=True)
class Line:
    """Words on one baseline, as one cell or several."""

    cells: list[Cell]
    bottom: float
    size: float
    bold: bool
    vertical: bool

    @property
    def left(self) -> float:
        return self.cells[0].left

    @property
    def right(self) -> float:
        return self.cells[-1].right

    @property
    def text(self) -> str:
        return self.cells[0].text if len(self.cells) == 1 else _row(self.cells)


class Part(NamedTuple):
    """A block of a page."""

    kind: BlockKind
    text: str
    level: int = 0


HYPHEN = "\ufffe"
"""PDFium's mark for a hyphen at the end of a line, where the word goes on in the next one."""

# A gap of this many line heights parts two cells; word spaces are 0.2 to 0.5, in justified lines up to 1.
_CELL_GAP = 1.25
_SHORT_CELL = 40
_LOOK_BACK = 8
_MAX_HEADING = 120
_MARKER = r"[•▪◦‣●○■□➢✓–—*·\-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)]"
_BULLET = re.compile(rf"(?:{_MARKER})(?:\s|$)")
_ONLY_MARKER = re.compile(rf"(?:{_MARKER})$")
_OPENING_CELL = re.compile(r"[$€£¥]?\s*\(?[$€£¥]?$")
_CLOSING_CELL = re.compile(r"[%)]+$")
_RIGHT_TO_LEFT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_NUMBER = re.compile(r"[\d(]")


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
    current: Line | None = None
    for word in words:
        if current is not None and _continues(current, word):
            cell = current.cells[0]
            gap = word.left - cell.right
            cell.text += word.text if -0.5 < gap < 0.02 * word.size and word.text in {",", "."} else f" {word.text}"
            cell.right = max(cell.right, word.right)
            cell.left = min(cell.left, word.left)
            current.bold = current.bold and word.bold
            continue
        if current is not None:
            yield current
        current = Line([Cell(word.text, word.left, word.right)], word.bottom, word.size, word.bold, word.vertical)
    if current is not None:
        yield current


def _continues(line: Line, word: Word) -> bool:
    if line.vertical or word.vertical:
        return line.vertical and word.vertical
    if not _level(line, word.bottom, word.size):
        return False
    if _RIGHT_TO_LEFT.search(word.text):
        return True
    gap = word.left - line.right
    return -0.6 * word.size < gap < _CELL_GAP * max(line.size, word.size)


def _level(line: Line, bottom: float, size: float) -> bool:
    """Whether something stands on the line; a raised or lowered small character does."""
    if abs(line.bottom - bottom) < 0.2 * max(line.size, size):
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
    line.bold = line.bold and run.bold


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
    right = _right_margin(page)
    group: list[Line] = []
    for line in page:
        if group and not _belongs(group, line, body, right):
            yield from _part(group, body)
            group = []
        group.append(line)
    if group:
        yield from _part(group, body)


def _right_margin(page: Sequence[Line]) -> float:
    edges = sorted(line.right for line in page)
    return edges[len(edges) * 9 // 10] if edges else 0.0


def _is_row(line: Line) -> bool:
    return " | " in line.text


def _belongs(group: Sequence[Line], line: Line, body: float, right: float) -> bool:
    """Whether `line` goes on with the block that `group` is so far."""
    last = group[-1]
    drop = last.bottom - line.bottom
    if line.vertical or last.vertical or drop < 0 or drop > 2.2 * max(line.size, last.size):
        return False
    if _is_row(line) or _is_row(last):
        return _same_table(group, line, drop)
    if _heading_level(last, body) != _heading_level(line, body) or abs(last.size - line.size) > 0.15 * line.size:
        return False
    if _BULLET.match(line.text) or drop > 1.55 * line.size:
        return False
    return _goes_on(last, line, right)


def _same_table(group: Sequence[Line], line: Line, drop: float) -> bool:
    if _is_row(line) and _is_row(group[-1]):
        return True
    # A label without figures ("Net sales:") or a wrapped label stands between rows of the same table.
    if _is_row(line):
        return len(group) > 1 and any(_is_row(other) for other in group) and drop < 1.8 * line.size
    return len(line.text) < 90 and drop < 1.6 * line.size and not line.text.endswith((".", ";"))


def _goes_on(last: Line, line: Line, right: float) -> bool:
    """Whether a line of prose continues the one above."""
    if line.left > last.right or line.right < last.left:
        return False
    if last.text.endswith((HYPHEN, ",", "-")) or line.text[:1].islower():
        return True
    width = max(right - last.left, 1.0)
    first_word = len(line.text.split(" ", 1)[0]) * 0.5 * line.size
    full = last.right + first_word >= min(right, last.left + width) - 0.02 * width or last.right >= line.right - 1
    indented = line.left - last.left > 0.9 * line.size and not _BULLET.match(last.text)
    return not (indented or not full)


def _heading_level(line: Line, body: float) -> int:
    """1 to 4 for a line that looks like a heading by its size or weight, 0 for others."""
    text = line.text
    if _is_row(line) or line.vertical or len(text) > _MAX_HEADING or not any(map(str.isalpha, text)):
        return 0
    ratio = line.size / body if body else 1.0
    if ratio >= 1.15:
        return 1 if ratio >= 1.6 else 2 if ratio >= 1.3 else 3
    return 4 if line.bold and ratio > 0.9 and not text.endswith((".", ",", ";")) else 0


def _part(group: Sequence[Line], body: float) -> Iterator[Part]:
    if any(map(_is_row, group)):
        yield from _table(group)
        return
    text = _flowing(group)
    level = _heading_level(group[0], body)
    if level and len(group) <= 3 and len(text) <= 2 * _MAX_HEADING:
        yield Part("heading", text, level)
    else:
        yield Part("list" if _BULLET.match(text) else "paragraph", text)


def _table(group: Sequence[Line]) -> Iterator[Part]:
    texts = [line.text.replace(HYPHEN, "-") for line in group]
    rows = sum(map(_is_row, group))
    yield Part("table" if rows > 1 else "paragraph", "\n".join(texts))


def _flowing(group: Sequence[Line]) -> str:
    """The lines as one, words that were parted at a line's end put together."""
    text = ""
    for line in group:
        if text.endswith(HYPHEN):
            text = text[:-1] + line.text
        else:
            text = f"{text} {line.text}" if text else line.text
    return text.replace(HYPHEN, "-")
