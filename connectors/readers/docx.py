"""Word documents (.docx): paragraphs, headings, lists and tables in the order of the document."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line, row
from ragagent.connectors.readers.zipped import check_zip
from ragagent.settings import IngestSettings
from ragagent.types import Scalar

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_HEADING = re.compile(r"heading\s*([1-9])", re.IGNORECASE)
_LIST = re.compile(r"\blist\b", re.IGNORECASE)
# A fallback drawing repeats what its alternative says; deleted text is no longer in the document.
_SKIPPED = frozenset(
    {"{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback", f"{_W}del", f"{_W}moveFrom", f"{_W}pPr"}
    | {f"{_W}instrText", f"{_W}delText", f"{_W}rPr"}
)
_MAX_TABLE_DEPTH = 8


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The body of the document, text boxes and tables included. Raises ReadError for a damaged file."""
    import docx

    check_zip(data)
    document = docx.Document(io.BytesIO(data))
    builder = TextBuilder(max_chars=limits.max_text_chars)
    _Walk(document, builder).run()
    properties = document.core_properties
    title, metadata = properties.title or "", _metadata(properties)
    return builder.parsed(media_type=MEDIA_TYPE, title=title, metadata=metadata)


def _metadata(properties: Any) -> dict[str, Scalar]:
    return {"author": properties.author or None}


class _Walk:
    """One pass over the body's XML: python-docx's own iteration leaves out content controls and text boxes."""

    def __init__(self, document: Any, builder: TextBuilder) -> None:
        self._document = document
        self._builder = builder
        self._styles = {style.style_id: style for style in document.styles if style.name}
        self._list: list[str] = []

    def run(self) -> None:
        for element in _parts(self._document.element.body):
            if element.tag == f"{_W}tbl":
                self._flush()
                self._builder.add("table", "\n".join(_rows(element, 0)))
            else:
                self._paragraph(element)
        self._flush()

    def _paragraph(self, element: Any) -> None:
        text = paragraph_text(element)
        level = self._heading_level(element)
        if level and text.strip():
            self._flush()
            self._builder.add("heading", one_line(text), level=level)
        elif (depth := self._list_depth(element)) is not None:
            if text.strip():
                self._list.append("  " * depth + "- " + text.strip())
        else:
            self._flush()
            self._builder.add("paragraph", text)
        for box in element.iter(f"{_W}txbxContent"):
            if not any(parent.tag in _SKIPPED for parent in box.iterancestors()):
                self._boxed(box)

    def _boxed(self, box: Any) -> None:
        self._flush()
        self._builder.add("paragraph", "\n".join(filter(str.strip, map(paragraph_text, box.iter(f"{_W}p")))))

    def _flush(self) -> None:
        if self._list:
            self._builder.add("list", "\n".join(self._list), level=1)
            self._list = []

    def _style(self, element: Any) -> Any:
        return self._styles.get(element.style) if element.style else None

    def _heading_level(self, element: Any) -> int:
        style = self._style(element)
        for _ in range(8):
            if style is None:
                break
            if style.name.lower() == "title":
                return 1
            match = _HEADING.fullmatch(style.name.strip())
            if match:
                return min(int(match[1]), 6)
            style = style.base_style
        outline = element.find(f"{_W}pPr/{_W}outlineLvl")
        value = outline.get(f"{_W}val", "9") if outline is not None else "9"
        return int(value) + 1 if value.isdigit() and int(value) < 6 else 0

    def _list_depth(self, element: Any) -> int | None:
        numbering = element.find(f"{_W}pPr/{_W}numPr")
        if numbering is not None:
            level = numbering.find(f"{_W}ilvl")
            value = level.get(f"{_W}val", "0") if level is not None else "0"
            return min(int(value), 8) if value.isdigit() else 0
        style = self._style(element)
        return 0 if style is not None and _LIST.search(style.name) else None


def _parts(container: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, those inside content controls and revisions included."""
    for child in container:
        if child.tag in {f"{_W}p", f"{_W}tbl"}:
            yield child
        elif child.tag not in _SKIPPED and isinstance(child.tag, str):
            yield from _parts(child)


def paragraph_text(paragraph: Any) -> str:
    """The visible text of a paragraph; text boxes are paragraphs of their own and left out."""
    parts: list[str] = []
    stack = [iter(paragraph)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif element.tag in {f"{_W}t", f"{_M}t"}:
            parts.append(element.text or "")
        elif element.tag in {f"{_W}tab", f"{_W}ptab"}:
            parts.append("\t")
        elif element.tag in {f"{_W}br", f"{_W}cr"}:
            parts.append("\n")
        elif element.tag == f"{_W}noBreakHyphen":
            parts.append("-")
        elif element.tag not in _SKIPPED and element.tag != f"{_W}txbxContent" and isinstance(element.tag, str):
            stack.append(iter(element))
    return "".join(parts)


def _rows(table: Any, depth: int) -> Iterator[str]:
    for line in table.iter(f"{_W}tr") if depth >= _MAX_TABLE_DEPTH else _children(table, f"{_W}tr"):
        cells = [_cell(cell, depth) for cell in _children(line, f"{_W}tc")]
        text = row(cells)
        if text.strip():
            yield text


def _cell(cell: Any, depth: int) -> str:
    parts: list[str] = []
    for element in _parts(cell):
        if element.tag == f"{_W}p":
            parts.append(one_line(paragraph_text(element)))
        elif depth < _MAX_TABLE_DEPTH:
            parts.extend(_rows(element, depth + 1))
    return " ".join(part for part in parts if part)


def _children(element: Any, tag: str) -> Iterator[Any]:
    """Children of `tag`, content controls looked through."""
    for child in element:
        if child.tag == tag:
            yield child
        elif child.tag in {f"{_W}sdt", f"{_W}sdtContent"}:
            yield from _children(child, tag)
