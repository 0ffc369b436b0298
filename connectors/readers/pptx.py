"""Presentations (.pptx): a page for each slide, its title as a heading, its shapes in reading order."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from zipfile import BadZipFile

from ragagent.connectors.readers.docx_numbering import figured
from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line
from ragagent.connectors.readers.spreadsheet import value_text
from ragagent.connectors.readers.zipped import check_zip
from ragagent.errors import ReadError, TooLarge
from ragagent.settings import IngestSettings

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
_MAX_GROUPS = 12
_MAX_POINTS = 10_000
_MAX_SERIES = 200
_MAX_SPAN = 50
_FIGURES = {"alpha": "Letter", "roman": "Roman"}
_SAME_LINE_EMU = 150_000
"""Shapes whose tops differ by less, a sixth of an inch, stand side by side and are read from left to right."""


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Titles, text, lists, tables, the figures of charts, what pictures are described by, and the speaker's notes."""
    import pptx
    from pptx.exc import PythonPptxError

    check_zip(data)
    try:
        deck = pptx.Presentation(io.BytesIO(data))
        slides = list(deck.slides)
    except (PythonPptxError, SyntaxError, BadZipFile, KeyError, ValueError, AttributeError) as error:
        raise ReadError(f"the presentation is damaged: {error}") from error
    if len(slides) > limits.max_pages:
        raise TooLarge(f"{len(slides)} slides; at most {limits.max_pages} are read (setting ingest.max_pages)")
    builder = TextBuilder(max_chars=limits.max_text_chars)
    for number, slide in enumerate(slides, start=1):
        with builder.page(number):
            _slide(slide, builder)
    properties = deck.core_properties
    metadata = {"author": properties.author, "pages": len(slides)}
    return builder.parsed(media_type=MEDIA_TYPE, title=properties.title or "", metadata=metadata)


def _slide(slide: Any, builder: TextBuilder) -> None:
    title = slide.shapes.title
    if title is not None:
        builder.add("heading", one_line(title.text_frame.text), level=1)
    for shape in _shapes(slide.shapes, 0):
        if title is None or shape.shape_id != title.shape_id:
            _shape(shape, builder)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text
        if notes.strip():
            builder.add("paragraph", f"Notes: {notes.strip()}")


def _shapes(shapes: Iterable[Any], depth: int) -> Iterator[Any]:
    """The shapes in reading order, line by line; the content of a group stays together."""
    for shape in sorted(shapes, key=_position):
        if hasattr(shape, "shapes") and depth < _MAX_GROUPS:
            yield from _shapes(shape.shapes, depth + 1)
        else:
            yield shape


def _position(shape: Any) -> tuple[int, int]:
    try:
        return int(shape.top or 0) // _SAME_LINE_EMU, int(shape.left or 0)
    except (ValueError, TypeError, AttributeError):
        return 0, 0


def _shape(shape: Any, builder: TextBuilder) -> None:
    if getattr(shape, "has_table", False) and shape.has_table:
        builder.rows(_table(shape.table))
    elif getattr(shape, "has_chart", False) and shape.has_chart:
        _chart(shape, builder)
    elif getattr(shape, "has_text_frame", False) and shape.has_text_frame:
        _text(shape, builder)
    elif described := _description(shape):
        builder.add("paragraph", described)
    elif shape.element.tag.endswith("}graphicFrame"):
        # Diagrams keep their text in a part of their own; what the frame itself says is all there is to read here.
        builder.add("paragraph", " ".join(node.text or "" for node in shape.element.iter(f"{_A}t")))


def _text(shape: Any, builder: TextBuilder) -> None:
    """The paragraphs of a text frame; those that the layout or the paragraph itself marks with bullets as one list."""
    bulleted = _is_body(shape)
    numbers = _Numbers()
    lines: list[str] = []
    for paragraph in shape.text_frame.paragraphs:
        text = _paragraph_text(paragraph).strip()
        if not text:
            continue
        mark = numbers.mark(paragraph) or _mark(paragraph, bulleted)
        if mark:
            lines.append("  " * min(paragraph.level, 8) + f"{mark} {one_line(text)}")
        else:
            builder.add("list", "\n".join(lines), level=1)
            lines = []
            builder.add("paragraph", text)
    builder.add("list", "\n".join(lines), level=1)


def _paragraph_text(paragraph: Any) -> str:
    parts: list[str] = []
    for node in paragraph._p.iter(f"{_A}t", f"{_A}br", f"{_A}tab"):
        parts.append((node.text or "") if node.tag == f"{_A}t" else "\n" if node.tag == f"{_A}br" else "\t")
    return "".join(parts)


class _Numbers:
    """The numbers of the numbered paragraphs of one frame, counted as they come."""

    def __init__(self) -> None:
        # For each level the kind of number, and the last one.
        self._last: dict[int, tuple[str, int]] = {}

    def mark(self, paragraph: Any) -> str:
        """What stands before a paragraph; empty for one without a number, which ends the numbers of its level."""
        numbered = paragraph._p.find(f"{_A}pPr/{_A}buAutoNum")
        level = int(paragraph.level)
        self._last = {at: one for at, one in self._last.items() if at <= level - (numbered is None)}
        if numbered is None:
            return ""
        kind, begin = numbered.get("type", ""), numbered.get("startAt", "1")
        known, count = self._last.get(level, ("", 0))
        first = int(begin) if begin.isascii() and begin.isdigit() and len(begin) < 6 else 1
        count = count + 1 if known == kind else first
        self._last[level] = kind, count
        form = _FIGURES.get(kind[:5])
        figure = figured(f"{'upper' if 'Uc' in kind else 'lower'}{form}" if form else "decimal", count)
        return f"({figure})" if kind.endswith("ParenBoth") else figure + (")" if kind.endswith("ParenR") else ".")


def _mark(paragraph: Any, bulleted: bool) -> str:
    properties = paragraph._p.find(f"{_A}pPr")
    if properties is not None:
        if properties.find(f"{_A}buNone") is not None:
            return ""
        if any(properties.find(f"{_A}{tag}") is not None for tag in ("buChar", "buAutoNum", "buBlip")):
            return "-"
    return "-" if bulleted or paragraph.level else ""


def _is_body(shape: Any) -> bool:
    """Whether the shape is the body of its slide, whose paragraphs are bullets unless they say otherwise."""
    from pptx.enum.shapes import PP_PLACEHOLDER

    if not shape.is_placeholder:
        return False
    kind = shape.placeholder_format.type
    several = sum(bool(paragraph.text.strip()) for paragraph in shape.text_frame.paragraphs) > 1
    return several and kind in {PP_PLACEHOLDER.BODY, PP_PLACEHOLDER.OBJECT}


def _table(table: Any) -> Iterator[list[str]]:
    """The rows as text; a merged cell is said in each of the places it covers."""
    covered: dict[tuple[int, int], str] = {}
    for down, line in enumerate(table.rows):
        cells: list[str] = []
        for across, cell in enumerate(line.cells):
            text = covered.get((down, across)) or one_line(cell.text_frame.text)
            if cell.is_merge_origin:
                height, width = min(cell.span_height, _MAX_SPAN), min(cell.span_width, _MAX_SPAN)
                places = ((down + y, across + x) for y in range(height) for x in range(width))
                covered.update(dict.fromkeys(places, text))
            cells.append(text)
        yield cells


def _chart(shape: Any, builder: TextBuilder) -> None:
    """The title of a chart and its figures: a row for each category, a column for each series.

    From the XML, because python-pptx knows no three-dimensional plots.
    """
    root = shape.chart.part._element
    title = next(root.iter(f"{_C}title"), None)
    if title is not None:
        builder.add("paragraph", one_line(" ".join(node.text or "" for node in title.iter(f"{_A}t", f"{_C}v"))))
    header, labels = [""], dict[int, str]()
    columns: list[dict[int, str]] = []
    for series in islice(root.iter(f"{_C}ser"), _MAX_SERIES):
        header.append(" ".join(_points(series, "tx").values()))
        labels = _points(series, "cat") or _points(series, "xVal") or labels
        columns.append(_points(series, "val") or _points(series, "yVal"))
    places = sorted({*labels, *(place for column in columns for place in column)})
    rows = [[labels.get(place, str(place + 1)), *(column.get(place, "") for column in columns)] for place in places]
    builder.rows([header, *rows])


def _points(series: Any, tag: str) -> dict[int, str]:
    """The cached points of one part of a series, by their place."""
    found: dict[int, str] = {}
    part = series.find(f"{_C}{tag}")
    for point in islice(part.iter(f"{_C}pt"), _MAX_POINTS) if part is not None else ():
        place, value = point.get("idx", ""), one_line(point.findtext(f"{_C}v") or "")
        if place.isascii() and place.isdigit() and len(place) < 7:
            # Only the first level of nested categories.
            found.setdefault(int(place), _number(value) if tag in {"val", "yVal"} else value)
    return found


def _number(text: str) -> str:
    try:
        return value_text(float(text))
    except ValueError:
        return text


def _description(shape: Any) -> str:
    """The text that describes a picture to those who cannot see it."""
    properties = next(iter(shape.element.xpath(".//p:cNvPr")), None)
    return one_line(properties.get("descr") or "") if properties is not None else ""


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, zipped=(("[Content_Types].xml", "ppt/"),)),)
