"""From the lines of a page to paragraphs, headings, lists and tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ragagent.connectors.readers import pdf_table
from ragagent.connectors.readers.pdf_line import HYPHEN, MARKER, Cell, Line, merged
from ragagent.types import BlockKind


class Part(NamedTuple):
    """A block of a page; its letters are those of the words of its `cells`, in this order."""

    kind: BlockKind
    text: str
    level: int = 0
    cells: Sequence[Cell] = ()


_PROSE_COLUMN = 30
MAX_HEADING = 120
_MAX_LINES_ABOVE = 3
_BULLET = re.compile(rf"(?:{MARKER})(?:\s|$)")


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
        first_row = _first_row(page, start, body)
        if first_row is not None:
            end = _table_end(page, first_row, body)
            yield from _table(page[start:end])
        else:
            end = start + 1
            while end < len(page) and _belongs(page[end - 1], page[end], body, margin):
                if _first_row(page, end, body) is not None:
                    break
                end += 1
            yield _prose(page[start:end], body)
        start = end


def _first_row(page: Sequence[Line], start: int, body: float) -> int | None:
    """The first row of the table that begins at `start`, with lines above it that head its columns, or None."""
    row = start
    while row < len(page) and row - start <= _MAX_LINES_ABOVE and not page[row].is_row:
        below = page[row].bottom - page[row + 1].bottom if row + 1 < len(page) else 0.0
        if page[row].vertical or not 0 < below < 2.5 * page[row].size:
            return None
        row += 1
    if row >= len(page) or not page[row].is_row or row == start:
        return start if row == start and row < len(page) and page[row].is_row else None
    group = page[row : _table_end(page, row, body)]
    columns = pdf_table.columns_of([merged(line.cells) for line in group])
    return row if all(pdf_table.is_header_line(line, columns) for line in page[start:row]) else None


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
        elif index - end >= 3 or line.text.endswith((".", ";")) or _is_title(line, drop, body):
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
    rows = pdf_table.table(group)
    if rows is not None and len(rows) > 1:
        yield Part("table", "\n".join(one.text for one in rows), 0, [cell for one in rows for cell in one.cells])
        return
    yield _plain_table(group)


def _plain_table(group: Sequence[Line]) -> Part:
    """The rows as they stand, of a table whose columns cannot be told."""
    texts: list[str] = []
    label = False
    for line in group:
        # A label of two lines has its figures on the second one.
        if label and line.is_row and line.text[:1].islower():
            texts[-1] = _flowing([texts[-1], line.text])
        else:
            texts.append(line.text.replace(HYPHEN, "-"))
        label = not line.is_row
    return Part("table" if len(texts) > 1 else "paragraph", "\n".join(texts), 0, _cells(group))


def _is_columns(group: Sequence[Line]) -> bool:
    """Whether the rows are two columns of prose that the file draws line by line across."""
    if len(group) < 5 or sum(len(line.cells) == 2 for line in group) < 0.8 * len(group):
        return False
    pairs = [line.cells for line in group if len(line.cells) == 2]
    return all(sorted(len(cells[side].text) for cells in pairs)[len(pairs) // 2] >= _PROSE_COLUMN for side in (0, 1))
