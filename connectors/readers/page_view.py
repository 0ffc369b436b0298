"""The picture of a page, with boxes over the words that a span of its text was made from.

Nothing is stored for it at ingest: the page is read again in the same way, so that the places of its words are those of
the text that was indexed, also where words were put together or columns in order. The text of a block and the words it
was made from have the same letters in the same order, and that is how one is found from the other.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ragagent.connectors.readers import image, ocr, pdf, pdf_layout, pdf_page, picture
from ragagent.connectors.readers.pdf_line import Line, Word
from ragagent.errors import ReadError, UnsupportedFormat
from ragagent.settings import IngestSettings
from ragagent.types import Box, Document, Span, digest

CONTENT_DIGEST = "content_digest"
"""Metadata of documents with pages: the digest of the file's bytes when it was read."""

_MARK = (255, 214, 0)
_MAX_VIEW_PIXELS = 12_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PageView:
    """A page as PNG, and the boxes drawn on it, in points from the lower left corner of the page as it is shown."""

    png: bytes
    boxes: tuple[Box, ...]


def view(content: bytes, document: Document, page: int, span: Span, *, limits: IngestSettings, dpi: int) -> PageView:
    """The page of `document`, made from `content`, with boxes over the words of `span` that stand on it.

    Raises ReadError when the content is no longer the one that was read, and UnsupportedFormat for documents whose
    pages cannot be drawn.
    """
    stored = document.metadata.get(CONTENT_DIGEST)
    if not stored:
        raise UnsupportedFormat(f"{document.uri}: the pages of {document.media_type} files cannot be drawn")
    if stored != digest(content):
        raise ReadError(f"{document.uri} has changed since it was ingested; ingest it again to see its pages")
    text, start = _page_text(document, page)
    letters = (_letters(text[: max(0, span.start - start)]), _letters(text[: max(0, span.end - start)]))
    if document.media_type == pdf.MEDIA_TYPE:
        return _pdf_view(content, page, letters, limits, dpi)
    return _image_view(content, page, letters, limits)


def _page_text(document: Document, page: int) -> tuple[str, int]:
    for block in document.blocks:
        if block.kind == "page" and block.number == page:
            return block.span.of(document.text), block.span.start
    raise ReadError(f"{document.uri} has no text on a page {page}")


def _pdf_view(content: bytes, number: int, letters: tuple[int, int], limits: IngestSettings, dpi: int) -> PageView:
    lines, body, rung = pdf.page_lines(content, number, limits)
    words = _span_words(lines, body, letters)
    with pdf.loaded_page(content, number) as page:
        width, height = page.get_size()
        scale = min(dpi / 72, (_MAX_VIEW_PIXELS / max(1.0, width * height)) ** 0.5)
        shown = pdf_page.in_colour(page, scale)
        place = (lambda box: box) if rung == "ocr" else (lambda box: pdf_page.as_shown(page, box))
        boxes = tuple(place(box) for box in _line_boxes(words, number))
    return PageView(png=_drawn(shown, boxes, scale), boxes=boxes)


def _image_view(content: bytes, number: int, letters: tuple[int, int], limits: IngestSettings) -> PageView:
    """The picture as OCR saw it, upright and level."""
    with image.opened(content) as opened:
        page, dpi = image.frame_image(opened, number - 1)
    found, _ = ocr.budget(limits).recognise(page, dpi=dpi)
    lines = picture.ocr_lines(found, dpi=dpi, height=page.height)
    words = _span_words(lines, pdf_layout.body_size([lines]), letters)
    boxes = tuple(_line_boxes(words, number))
    return PageView(png=_drawn(page.convert("RGB"), boxes, dpi / 72), boxes=boxes)


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _span_words(lines: Sequence[Line], body: float, letters: tuple[int, int]) -> list[Word]:
    """The words that hold the letters from the first number to the second, counted from the start of the page."""
    at = 0
    found: list[Word] = []
    for part in pdf_layout.parts(lines, body):
        for cell in part.cells:
            for word in cell.words:
                end = at + _letters(word.text)
                if at < letters[1] and end > letters[0]:
                    found.append(word)
                at = end
    return found


def _line_boxes(words: Sequence[Word], page: int) -> Iterator[Box]:
    """One box for each run of neighbours on a line."""
    run: list[Word] = []
    for word in words:
        if run and not _neighbours(run[-1], word):
            yield _around(run, page)
            run = []
        run.append(word)
    if run:
        yield _around(run, page)


def _neighbours(last: Word, word: Word) -> bool:
    same_line = abs(last.bottom - word.bottom) < 0.5 * max(last.size, word.size)
    return same_line and -word.size < word.left - last.right < 1.5 * word.size


def _around(run: Sequence[Word], page: int) -> Box:
    return Box(
        page=page,
        left=min(word.left for word in run),
        bottom=min(word.bottom for word in run),
        right=max(word.right for word in run),
        top=max(word.bottom + word.size for word in run),
    )


def _drawn(shown: Any, boxes: Sequence[Box], scale: float) -> bytes:
    """The picture as PNG, the boxes over it as a marker pen would leave them."""
    from PIL import Image, ImageChops, ImageDraw

    marks = Image.new("RGB", shown.size, "white")
    pen = ImageDraw.Draw(marks)
    for box in boxes:
        top, bottom = shown.height - box.top * scale, shown.height - box.bottom * scale
        pen.rectangle((box.left * scale - 1, min(top, bottom) - 1, box.right * scale + 1, max(top, bottom) + 1), _MARK)
    target = io.BytesIO()
    ImageChops.multiply(shown.convert("RGB"), marks).save(target, "PNG")
    return target.getvalue()
