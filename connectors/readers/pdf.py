"""PDF by its text layer, page by page; PDFium reads, `pdf_layout` puts the words back into lines and blocks."""

from __future__ import annotations

import ctypes
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any

from ragagent.connectors.readers import pdf_layout
from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line, readable
from ragagent.connectors.readers.pdf_layout import Line, Word
from ragagent.errors import EmptyDocument, EncryptedDocument, ReadError, TooLarge
from ragagent.settings import IngestSettings
from ragagent.types import Scalar

MEDIA_TYPE = "application/pdf"
_LOCK = threading.Lock()
"""PDFium must not be entered by two threads."""

_PASSWORD, _SECURITY = 4, 5
_BODY_SAMPLE_PAGES = 32
_MAX_PAGE_CHARS = 2_000_000
_WORD = re.compile(r"\S+")
_TELLING = re.compile(r"[^\W\d_]{3}")
_NO_TITLE = re.compile(
    r"^(?:untitled|scan|document|download|file|img|image|output|print)\W*\d*\W*$|^microsoft \w+ - |\.\w{2,4}$", re.I
)
_BOLD = re.compile(rb"bold|black|heavy|semibold|demi", re.IGNORECASE)
# fmt: off
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st",
                            "\x02": pdf_layout.HYPHEN})
# fmt: on
_UNSEEN = dict.fromkeys([*range(0x02), *range(0x03, 0x09), *range(0x0E, 0x20), 0xFFFF], " ")


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The text layer with a page block for each page that has text.

    Raises EncryptedDocument, EmptyDocument when no page has text, TooLarge, and ReadError for a damaged file.
    """
    with _LOCK:
        return _read(data, name, limits)


def _read(data: bytes, name: str, limits: IngestSettings) -> Parsed:
    document = _open(data)
    try:
        count = len(document)
        if count > limits.max_pages:
            raise TooLarge(f"it has {count} pages; at most {limits.max_pages} are read (setting ingest.max_pages)")
        builder = TextBuilder(max_chars=limits.max_text_chars)
        unreadable = _add_pages(document, builder)
        title, author = _title(document, name), document.get_metadata_value("Author")
    finally:
        document.close()
    if unreadable == count:
        raise ReadError(f"none of its {count} pages can be loaded: the file is damaged")
    metadata: dict[str, Scalar] = {"author": author, "pages": count, "unreadable_pages": unreadable or None}
    if not builder.chars:
        raise EmptyDocument(f"it has {count} page(s) but no text: images of text need OCR first")
    return builder.parsed(media_type=MEDIA_TYPE, title=title, metadata=metadata)


def _open(data: bytes) -> Any:
    import pypdfium2

    try:
        return pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", 0) in {_PASSWORD, _SECURITY}:
            raise EncryptedDocument("it is encrypted and wants a password") from error
        raise ReadError(f"the PDF is damaged or cut off: {error}") from error


def _title(document: Any, name: str) -> str:
    """The stated title where it is one; the file's name where it says something; else the first heading decides."""
    stated = one_line(document.get_metadata_value("Title"))
    if _TELLING.search(stated) and not _NO_TITLE.search(stated):
        return stated
    # Headings of a PDF are guesses: "UNITED STATES" at the top of a filing says less than the name of the file.
    stem = PurePath(name).stem
    return readable(name) if _TELLING.search(stem) and not _NO_TITLE.search(stem) else ""


def _add_pages(document: Any, builder: TextBuilder) -> int:
    """Adds every page; returns how many could not be loaded."""
    pages = _pages(document)
    # The size of running text is taken from the first pages, so that a long file need not be held in memory.
    first = list(itertools.islice(pages, _BODY_SAMPLE_PAGES))
    body = pdf_layout.body_size(lines for _, lines in first if lines)
    unreadable = 0
    for number, lines in itertools.chain(first, pages):
        if lines is None:
            unreadable += 1
            continue
        with builder.page(number):
            for part in pdf_layout.parts(lines, body):
                builder.add(part.kind, part.text, level=part.level)
    return unreadable


def _pages(document: Any) -> Iterator[tuple[int, Sequence[Line] | None]]:
    """The number and the lines of each page; None for a page that PDFium cannot load."""
    import pypdfium2

    for index in range(len(document)):
        try:
            page = document[index]
            text_page = page.get_textpage()
        except pypdfium2.PdfiumError:
            yield index + 1, None
            continue
        lines = pdf_layout.lines(_words(text_page, page.get_rotation()))
        _mark_bold(text_page, lines)
        text_page.close()
        page.close()
        yield index + 1, lines


def _words(text_page: Any, rotation: int) -> Iterator[Word]:
    """The words of a page in the order of its content stream, by the boxes of their first and last characters."""
    from pypdfium2 import raw

    handle, box, get_box = text_page.raw, raw.FS_RECTF(), raw.FPDFText_GetLooseCharBox
    pointer = ctypes.byref(box)
    for match in _WORD.finditer(_text(text_page)):
        first, last = match.start(), match.end() - 1
        get_box(handle, first, pointer)
        left, bottom, right, top = begin = _turned(box, rotation)
        if last > first:
            get_box(handle, last, pointer)
            end = _turned(box, rotation)
            left, right = min(left, end[0]), max(right, end[2])
            vertical = abs(end[1] - begin[1]) > abs(end[0] - begin[0])
        else:
            vertical = False
        text = match.group()
        text = text if text.isascii() else text.translate(_LIGATURES)
        yield Word(text, left, right, bottom, max(top - bottom, 0.1), vertical, first, last)


def _mark_bold(text_page: Any, lines: Sequence[Line]) -> None:
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


def _turned(box: Any, rotation: int) -> tuple[float, float, float, float]:
    """left, bottom, right, top of a box as the reader of a turned page sees it."""
    if rotation == 0:
        return box.left, box.bottom, box.right, box.top
    if rotation == 90:
        return box.bottom, -box.right, box.top, -box.left
    if rotation == 180:
        return -box.right, -box.top, -box.left, -box.bottom
    return -box.top, box.left, -box.bottom, box.right


def _text(text_page: Any) -> str:
    """The characters of a page so that an offset is PDFium's character index."""
    from pypdfium2 import raw

    count = text_page.count_chars()
    if count > _MAX_PAGE_CHARS:
        raise TooLarge(f"one page has {count} characters; at most {_MAX_PAGE_CHARS} are read")
    text: str = text_page.get_text_range() if count > 0 else ""
    if len(text) != count:
        # Characters without a Unicode value are left out of the text, and those beyond U+FFFF count twice.
        codes = (raw.FPDFText_GetUnicode(text_page.raw, index) for index in range(count))
        text = "".join(chr(code) if code < 0x110000 else " " for code in codes)
    return text.translate(_UNSEEN)


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, suffixes=(".pdf",)),)
