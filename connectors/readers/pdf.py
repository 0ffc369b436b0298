"""PDF by its text layer, page by page; PDFium reads, `pdf_layout` puts the words back into lines and blocks."""

from __future__ import annotations

import ctypes
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from ragagent.connectors.readers import pdf_layout
from ragagent.connectors.readers.parsed import Parsed, TextBuilder
from ragagent.connectors.readers.pdf_layout import Word
from ragagent.errors import EmptyDocument, EncryptedDocument, ReadError, TooLarge
from ragagent.settings import IngestSettings
from ragagent.types import Scalar

MEDIA_TYPE = "application/pdf"
_LOCK = threading.Lock()
"""PDFium must not be entered by two threads."""

_PASSWORD, _SECURITY = 4, 5
_BODY_SAMPLE_PAGES = 32
_MAX_PAGE_CHARS = 400_000
_WORD = re.compile(r"\S+")
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
        return _read(data, limits)


def _read(data: bytes, limits: IngestSettings) -> Parsed:
    document = _open(data)
    try:
        count = len(document)
        if count > limits.max_pages:
            raise TooLarge(f"it has {count} pages; at most {limits.max_pages} are read (setting ingest.max_pages)")
        builder = TextBuilder(max_chars=limits.max_text_chars)
        unreadable = _add_pages(document, builder)
        title, metadata = _metadata(document)
    finally:
        document.close()
    if unreadable == count:
        raise ReadError(f"none of its {count} pages can be loaded: the file is damaged")
    metadata |= {"pages": count, "unreadable_pages": unreadable or None}
    if builder.empty:
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


def _metadata(document: Any) -> tuple[str, dict[str, Scalar]]:
    return document.get_metadata_value("Title"), {"author": document.get_metadata_value("Author") or None}


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


def _pages(document: Any) -> Iterator[tuple[int, Sequence[pdf_layout.Line] | None]]:
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
        text_page.close()
        page.close()
        yield index + 1, lines


def _words(text_page: Any, rotation: int) -> Iterator[Word]:
    """The words of a page in the order of its content stream, by the boxes of their first and last characters."""
    from pypdfium2 import raw

    handle, box = text_page.raw, raw.FS_RECTF()
    name, flags = ctypes.create_string_buffer(80), ctypes.c_int()
    text = _text(text_page)
    for match in _WORD.finditer(text):
        first, last = match.start(), match.end() - 1
        raw.FPDFText_GetLooseCharBox(handle, first, box)
        begin = _turned(box, rotation)
        raw.FPDFText_GetLooseCharBox(handle, last, box)
        end = _turned(box, rotation)
        raw.FPDFText_GetFontInfo(handle, first, name, 80, flags)
        yield Word(
            text=match.group().translate(_LIGATURES),
            left=min(begin[0], end[0]),
            right=max(begin[2], end[2]),
            bottom=begin[1],
            size=max(begin[3] - begin[1], 0.1),
            bold=_BOLD.search(name.value) is not None,
            vertical=last > first and abs(end[1] - begin[1]) > abs(end[0] - begin[0]),
        )


def _turned(box: Any, rotation: int) -> tuple[float, float, float, float]:
    """left, bottom, right, top of a box as the reader of a turned page sees it."""
    if rotation == 90:
        return box.bottom, -box.right, box.top, -box.left
    if rotation == 180:
        return -box.right, -box.top, -box.left, -box.bottom
    if rotation == 270:
        return -box.top, box.left, -box.bottom, box.right
    return box.left, box.bottom, box.right, box.top


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
