"""PDF page by page: each as far up the ladder as it needs, then `pdf_layout` makes blocks of its lines."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath
from typing import Any, NoReturn

from ragagent.connectors.readers import ocr, pdf_ladder, pdf_layout
from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line, readable
from ragagent.connectors.readers.pdf_ladder import PageText, Record
from ragagent.connectors.readers.pdf_line import Line
from ragagent.errors import EmptyDocument, EncryptedDocument, OcrNeeded, ReadError, TooLarge
from ragagent.settings import IngestSettings
from ragagent.types import Scalar, digest

MEDIA_TYPE = "application/pdf"
_LOCK = threading.Lock()
"""PDFium must not be entered by two threads."""

_PASSWORD, _SECURITY = 4, 5
_BODY_SAMPLE_PAGES = 32
_TELLING = re.compile(r"[^\W\d_]{3}")
_NO_TITLE = re.compile(
    r"^(?:untitled|scan|document|download|file|img|image|output|print)\W*\d*\W*$|^microsoft \w+ - |\.\w{2,4}$", re.I
)


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The text with a page block for each page that has some; notes say which pages were more work, and why.

    Raises EncryptedDocument, EmptyDocument when no page has text, OcrNeeded when it all stands on
    pictures, TooLarge, and ReadError for a damaged file.
    """
    with _LOCK:
        return _read(data, name, limits)


def _read(data: bytes, name: str, limits: IngestSettings) -> Parsed:
    document = _open(data)
    record = Record()
    try:
        count = len(document)
        if count > limits.max_pages:
            raise TooLarge(f"it has {count} pages; at most {limits.max_pages} are read (setting ingest.max_pages)")
        builder = TextBuilder(max_chars=limits.max_text_chars)
        unreadable = _add_pages(document, builder, record, limits)
        title, author = _title(document, name), document.get_metadata_value("Author")
    finally:
        document.close()
    if unreadable == count:
        raise ReadError(f"none of its {count} pages can be loaded: the file is damaged")
    if not builder.chars:
        _refuse(count, record)
    metadata: dict[str, Scalar] = {"author": author, "pages": count, "unreadable_pages": unreadable or None}
    metadata |= {**record.metadata(), "content_digest": digest(data)}
    return builder.parsed(media_type=MEDIA_TYPE, title=title, metadata=metadata, notes=record.notes())


def _refuse(count: int, record: Record) -> NoReturn:
    if record.left_out:
        raise OcrNeeded(f"it has {count} page(s), all pictures of text: {next(iter(record.left_out))}")
    raise EmptyDocument(f"it has {count} page(s) but no text")


def page_lines(data: bytes, number: int, limits: IngestSettings) -> tuple[Sequence[Line], float, str]:
    """The lines of one page as `read` has them, the size of running text, and the rung. Raises ReadError."""
    with _LOCK:
        document = _open(data)
        try:
            pages = _pages(document, limits)
            first = list(itertools.islice(pages, _BODY_SAMPLE_PAGES))
            body = pdf_layout.body_size(page.lines for page in first if page is not None)
            page = first[number - 1] if number <= len(first) else next(_pages(document, limits, number - 1))
        except (IndexError, StopIteration):
            page = None
        finally:
            document.close()
    if page is None:
        raise ReadError(f"page {number} cannot be loaded")
    return page.lines, body, page.rung


def page_count(data: bytes) -> int:
    """How many pages a PDF has. Raises ReadError."""
    with _LOCK:
        document = _open(data)
        try:
            return len(document)
        finally:
            document.close()


@contextmanager
def loaded_page(data: bytes, number: int) -> Iterator[Any]:
    """A page of PDFium's, for as long as the block lasts; no other thread gets in meanwhile."""
    with _LOCK:
        document = _open(data)
        try:
            yield document[number - 1]
        finally:
            document.close()


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


def _add_pages(document: Any, builder: TextBuilder, record: Record, limits: IngestSettings) -> int:
    """Adds every page; returns how many could not be loaded."""
    pages = _pages(document, limits)
    # The size of running text is taken from the first pages, so that a long file need not be held in memory.
    first = list(itertools.islice(pages, _BODY_SAMPLE_PAGES))
    body = pdf_layout.body_size(page.lines for page in first if page is not None)
    unreadable = 0
    for page in itertools.chain(first, pages):
        if page is None:
            unreadable += 1
            continue
        record.add(page)
        with builder.page(page.number):
            for part in pdf_layout.parts(page.lines, body):
                builder.add(part.kind, part.text, level=part.level)
    return unreadable


def _pages(document: Any, limits: IngestSettings, begin: int = 0) -> Iterator[PageText | None]:
    """The text of each page; None for a page that PDFium cannot load."""
    import pypdfium2

    budget = ocr.budget(limits)
    for index in range(begin, len(document)):
        page = None
        try:
            page = document[index]
            yield pdf_ladder.read_page(page, index + 1, budget=budget, dpi=limits.ocr_dpi)
        except pypdfium2.PdfiumError:
            yield None
        finally:
            if page is not None:
                page.close()


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, suffixes=(".pdf",)),)
