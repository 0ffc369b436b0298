"""The second rung of a page: columns put in reading order.

Columns are found by the recursive X-Y cut (Nagy and Seth, 1984): a region is cut along its widest empty stripe, upright
ones only between columns of prose, so that tables stay whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from ragagent.connectors.readers.pdf_line import Line, Word

_COLUMN_GAP = 0.8
_PROSE_CHARS = 18
_LEAST_LINES = 4
_LEAST_GLUED = 5
_MAX_DEPTH = 12


def glued(lines: Sequence[Line], words: Sequence[Word]) -> bool:
    """Whether lines of the text layer run across the gutter between two columns of prose."""
    flat = [word for word in words if not word.vertical]
    gutter = _gutter(flat, median(word.size for word in flat)) if flat else None
    if gutter is None:
        return False
    across = sum(any(cell.left < gutter - 20 and cell.right > gutter + 20 for cell in line.cells) for line in lines)
    return across >= max(_LEAST_GLUED, 0.2 * len(lines))


def reordered(words: Sequence[Word]) -> list[list[Word]]:
    """The words region by region in reading order: columns left to right, within them lines from top to bottom."""
    flat = [word for word in words if not word.vertical]
    upright = [word for word in words if word.vertical]
    regions = list(_cut(flat, median(word.size for word in flat), 0)) if flat else []
    return [*regions, *([upright] if upright else [])]


def _cut(words: list[Word], size: float, depth: int) -> Iterator[list[Word]]:
    gutter = _gutter(words, size) if depth < _MAX_DEPTH else None
    if gutter is not None:
        yield from _cut([word for word in words if word.left < gutter], size, depth + 1)
        yield from _cut([word for word in words if word.left >= gutter], size, depth + 1)
        return
    level = _level(words, size) if depth < _MAX_DEPTH else None
    if level is not None:
        yield from _cut([word for word in words if word.bottom >= level], size, depth + 1)
        yield from _cut([word for word in words if word.bottom < level], size, depth + 1)
        return
    yield _by_lines(words, size)


def _by_lines(words: Sequence[Word], size: float) -> list[Word]:
    """From top to bottom, words on about one height from left to right."""
    found: list[list[Word]] = []
    for word in sorted(words, key=lambda one: -one.bottom):
        if found and abs(found[-1][0].bottom - word.bottom) < 0.4 * size:
            found[-1].append(word)
        else:
            found.append([word])
    return [word for line in found for word in sorted(line, key=lambda one: one.left)]


def _gutter(words: Sequence[Word], size: float) -> float | None:
    """The middle of the widest stripe without words that parts two columns of prose, or None."""
    best: tuple[float, float] | None = None
    edge: float | None = None
    for word in sorted(words, key=lambda one: one.left):
        if edge is not None and word.left - edge >= _COLUMN_GAP * size and (best is None or word.left - edge > best[0]):
            middle = (edge + word.left) / 2
            if all(_is_prose(side, size) for side in _sides(words, middle)):
                best = (word.left - edge, middle)
        edge = word.right if edge is None else max(edge, word.right)
    return best[1] if best else None


def _sides(words: Sequence[Word], middle: float) -> tuple[list[Word], list[Word]]:
    return [word for word in words if word.left < middle], [word for word in words if word.left >= middle]


def _is_prose(words: Sequence[Word], size: float) -> bool:
    """Whether these words are lines of running text: several, long ones."""
    lengths: list[int] = []
    height: float | None = None
    for word in _by_lines(words, size):
        if height is None or abs(height - word.bottom) >= 0.4 * size:
            lengths.append(0)
            height = word.bottom
        lengths[-1] += len(word.text) + 1
    return len(lengths) >= _LEAST_LINES and median(lengths) >= _PROSE_CHARS


def _level(words: Sequence[Word], size: float) -> float | None:
    """The middle of a level stripe below which two columns begin, or above which they end; None without columns."""
    ordered = sorted(words, key=lambda one: -one.bottom)
    edge: float | None = None
    gaps: list[tuple[float, float]] = []
    for word in ordered:
        top = word.bottom + word.size
        if edge is not None and edge - top > 0.15 * size:
            gaps.append((edge - top, (edge + top) / 2))
        edge = word.bottom if edge is None else min(edge, word.bottom)
    for _, level in sorted(gaps, reverse=True)[:8]:
        above = [word for word in words if word.bottom >= level]
        below = [word for word in words if word.bottom < level]
        if _gutter(below, size) is not None or _gutter(above, size) is not None:
            return level
    return None
