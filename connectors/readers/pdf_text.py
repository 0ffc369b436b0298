"""The words of one page of a PDF with their places, from PDFium's text layer."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from typing import Any

from ragagent.connectors.readers import pdf_layout, pdf_line
from ragagent.connectors.readers.pdf_line import Line, Word
from ragagent.errors import TooLarge

_MAX_PAGE_CHARS = 2_000_000
_WORD_GAP = 0.22
"""Characters further apart than this share of their height belong to two words."""

# A hyphen at the end of a line ends a word here, also where PDFium puts the next line right behind it.
_WORD = re.compile("[^\\s\x02\ufffe]+[\x02\ufffe]?")
_BOLD = re.compile(rb"bold|black|heavy|semibold|demi", re.IGNORECASE)
# fmt: off
LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st",
                            "\x02": pdf_line.HYPHEN})
# fmt: on
_UNSEEN = dict.fromkeys([*range(0x02), *range(0x03, 0x09), *range(0x0E, 0x20), 0xFFFF], " ")


def words(text_page: Any, rotation: int) -> Iterator[Word]:
    """The words of a page in the order of its content stream, by the boxes of their first and last characters."""
    from pypdfium2 import raw

    handle, box, get_box = text_page.raw, raw.FS_RECTF(), raw.FPDFText_GetLooseCharBox
    pointer = ctypes.byref(box)
    for match in _WORD.finditer(text(text_page)):
        first, last = match.start(), match.end() - 1
        get_box(handle, first, pointer)
        left, bottom, right, top = begin = turned(box, rotation)
        if last > first:
            get_box(handle, last, pointer)
            end = turned(box, rotation)
            left, right = min(left, end[0]), max(right, end[2])
            vertical = abs(end[1] - begin[1]) > abs(end[0] - begin[0])
        else:
            vertical = False
        word = match.group()
        word = word if word.isascii() else word.translate(LIGATURES)
        yield Word(word, left, right, bottom, max(top - bottom, 0.1), vertical, first, last)


def respaced(text_page: Any, rotation: int) -> list[Word]:
    """The words of a page by the gaps between characters, whatever spaces the file has."""
    from pypdfium2 import raw

    box, found = raw.FS_RECTF(), list[Word]()
    run: list[tuple[str, float, float, float, float]] = []
    for index, char in enumerate(text(text_page)):
        if char.isspace():
            continue
        raw.FPDFText_GetLooseCharBox(text_page.raw, index, ctypes.byref(box))
        left, bottom, right, top = turned(box, rotation)
        if run and not _touches(run[-1], left, bottom, top):
            found.append(_word(run, len(found)))
            run = []
        run.append((char.translate(LIGATURES), left, bottom, right, top))
    return [*found, _word(run, len(found))] if run else found


def _touches(last: tuple[str, float, float, float, float], left: float, bottom: float, top: float) -> bool:
    size = max(top - bottom, last[4] - last[2], 0.1)
    return abs(bottom - last[2]) < 0.5 * size and -0.5 * size < left - last[3] < _WORD_GAP * size


def _word(run: Sequence[tuple[str, float, float, float, float]], place: int) -> Word:
    left, right = min(one[1] for one in run), max(one[3] for one in run)
    bottom, top = min(one[2] for one in run), max(one[4] for one in run)
    return Word("".join(one[0] for one in run), left, right, bottom, max(top - bottom, 0.1), False, place, place)


def mark_bold(text_page: Any, lines: Sequence[Line]) -> None:
    """Marks the lines that could be headings and begin and end in a bold font."""
    from pypdfium2 import raw

    name, flags = ctypes.create_string_buffer(80), ctypes.c_int()
    for line in lines:
        if len(line.cells) == 1 and len(line.cells[0].text) <= pdf_layout.MAX_HEADING:
            bold = True
            for index in (line.first, line.last):
                raw.FPDFText_GetFontInfo(text_page.raw, index, name, 80, flags)
                bold = bold and _BOLD.search(name.value) is not None
            line.bold = bold


def turned(box: Any, rotation: int) -> tuple[float, float, float, float]:
    """left, bottom, right, top of a box as the reader of a turned page sees it."""
    if rotation == 0:
        return box.left, box.bottom, box.right, box.top
    if rotation == 90:
        return box.bottom, -box.right, box.top, -box.left
    if rotation == 180:
        return -box.right, -box.top, -box.left, -box.bottom
    return -box.top, box.left, -box.bottom, box.right


def text(text_page: Any) -> str:
    """The characters of a page so that an offset is PDFium's character index."""
    from pypdfium2 import raw

    count = text_page.count_chars()
    if count > _MAX_PAGE_CHARS:
        raise TooLarge(f"one page has {count} characters; at most {_MAX_PAGE_CHARS} are read")
    found: str = text_page.get_text_range() if count > 0 else ""
    if len(found) != count:
        # Characters without a Unicode value are left out of the text, and those beyond U+FFFF count twice.
        codes = (raw.FPDFText_GetUnicode(text_page.raw, index) for index in range(count))
        found = "".join(chr(code) if code < 0x110000 else " " for code in codes)
    return found.translate(_UNSEEN)
