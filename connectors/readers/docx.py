"""Word documents (.docx): paragraphs, headings, lists and tables in the order of the document."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from ragagent.connectors.readers.docx_math import tex
from ragagent.connectors.readers.docx_numbering import read_numbering
from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line, row
from ragagent.connectors.readers.zipped import check_zip
from ragagent.settings import IngestSettings

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_HEADING = re.compile(r"heading\s*([1-9])", re.IGNORECASE)
_LIST = re.compile(r"\blist\b", re.IGNORECASE)
# A fallback drawing repeats what its alternative says; deleted text is no longer in the document.
_SKIPPED = frozenset(
    {"{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"}
    | {f"{_W}{tag}" for tag in ("del", "moveFrom", "pPr", "rPr", "instrText", "delText", "txbxContent")}
)
_LITERAL = {f"{_W}tab": "\t", f"{_W}ptab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_FORMULAS = frozenset({f"{_M}oMath", f"{_M}oMathPara"})
_W14 = "{http://schemas.microsoft.com/office/word/2010/wordml}"
_PICTURE = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}docPr"
_OFF = frozenset({"0", "false", "off"})
_MAX_TABLE_DEPTH = 8


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The body with its tables, text boxes and the numbers of its clauses, then the footnotes."""
    import docx

    check_zip(data)
    document = docx.Document(io.BytesIO(data))
    builder = TextBuilder(max_chars=limits.max_text_chars)
    _Walk(document, builder).run()
    for note in _notes(document):
        builder.add("paragraph", note)
    properties = document.core_properties
    return builder.parsed(media_type=MEDIA_TYPE, title=properties.title or "", metadata={"author": properties.author})


class _Walk:
    """One pass over the body's XML: python-docx's own iteration leaves out content controls and text boxes."""

    def __init__(self, document: Any, builder: TextBuilder) -> None:
        self._body = document.element.body
        self._builder = builder
        self._styles = {style.style_id: style for style in document.styles if style.name}
        self._numbering = read_numbering(document)
        self._list: list[str] = []

    def run(self) -> None:
        for element in _parts(self._body):
            if element.tag == f"{_W}tbl":
                self._flush()
                self._builder.add("table", "\n".join(self._rows(element, 0)))
            else:
                self._paragraph(element)
        self._flush()

    def _paragraph(self, element: Any) -> None:
        text = paragraph_text(element).strip()
        if text:
            self._add(element, text)
        for box in element.iter(f"{_W}txbxContent"):
            if not any(parent.tag in _SKIPPED for parent in box.iterancestors()):
                self._flush()
                lines = map(paragraph_text, box.iter(f"{_W}p"))
                self._builder.add("paragraph", "\n".join(filter(str.strip, lines)))

    def _add(self, element: Any, text: str) -> None:
        style = self._style(element)
        level = _heading_level(element, style)
        place = _list_place(element, style)
        label = self._numbering.label(*place) if place else None
        if level:
            self._flush()
            self._builder.add("heading", one_line(f"{label or ''} {text}"), level=level)
        elif place is not None or (style is not None and _LIST.search(style.name)):
            self._list.append("  " * (place[1] if place else 0) + f"{label or '-'} {text}")
        else:
            self._flush()
            self._builder.add("paragraph", text)

    def _rows(self, table: Any, depth: int) -> Iterator[str]:
        for line in _children(table, f"{_W}tr"):
            text = row([self._cell(cell, depth) for cell in _children(line, f"{_W}tc")])
            if text.strip():
                yield text

    def _cell(self, cell: Any, depth: int) -> str:
        parts: list[str] = []
        for element in _parts(cell):
            if element.tag == f"{_W}p":
                parts.append(self._line(element))
            elif depth < _MAX_TABLE_DEPTH:
                parts.extend(self._rows(element, depth + 1))
            else:
                parts.extend(one_line(paragraph_text(inner)) for inner in element.iter(f"{_W}p"))
        said = [part for part in parts if part]
        return said[0].removeprefix("- ") if len(said) == 1 else " ".join(said)

    def _line(self, element: Any) -> str:
        """A paragraph of a cell, behind its number or a dash where it is an item of a list."""
        text = one_line(paragraph_text(element))
        place = _list_place(element, self._style(element)) if text else None
        if place is None:
            return text
        return f"{self._numbering.label(*place) or '-'} {text}"

    def _flush(self) -> None:
        if self._list:
            self._builder.add("list", "\n".join(self._list), level=1)
            self._list = []

    def _style(self, element: Any) -> Any:
        return self._styles.get(element.style) if element.style else None


def _lineage(style: Any) -> Iterator[Any]:
    """A style and those it is based on; bounded, because a damaged file may have a loop."""
    for _ in range(8):
        if style is None:
            return
        yield style
        style = style.base_style


def _heading_level(element: Any, style: Any) -> int:
    for one in _lineage(style):
        name = (one.name or "").strip()
        if name.lower() == "title":
            return 1
        if match := _HEADING.fullmatch(name):
            return min(int(match[1]), 6)
    outline = element.find(f"{_W}pPr/{_W}outlineLvl")
    value = outline.get(f"{_W}val", "9") if outline is not None else "9"
    return int(value) + 1 if value in set("012345") else 0


def _list_place(element: Any, style: Any) -> tuple[str, int] | None:
    """The list and the level of a numbered or bulleted paragraph, its own or its style's."""
    sources = [element, *(one.element for one in _lineage(style))]
    for source in sources:
        numbering = source.find(f"{_W}pPr/{_W}numPr")
        if numbering is None:
            continue
        number, level = numbering.find(f"{_W}numId"), numbering.find(f"{_W}ilvl")
        number_id = number.get(f"{_W}val", "0") if number is not None else "0"
        depth = level.get(f"{_W}val", "0") if level is not None else "0"
        # List 0 takes the numbering of the style away.
        return None if number_id == "0" else (number_id, int(depth) if depth in set("012345678") else 0)
    return None


def _parts(container: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, those inside content controls and revisions included."""
    for child in container:
        if child.tag in {f"{_W}p", f"{_W}tbl"}:
            yield child
        elif child.tag not in _SKIPPED and isinstance(child.tag, str):
            yield from _parts(child)


def paragraph_text(paragraph: Any) -> str:
    """The visible text of a paragraph, with what describes its pictures; text boxes are paragraphs of their own."""
    parts: list[str] = []
    stack = [iter(paragraph)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif element.tag == f"{_W}t":
            parts.append(element.text or "")
        elif element.tag in _LITERAL:
            parts.append(_LITERAL[element.tag])
        elif element.tag in _FORMULAS:
            parts.append(tex(element))
        elif element.tag == _PICTURE:
            parts.append(_described(element))
        elif (box := _checkbox(element)) is not None:
            parts.append(box)
        elif element.tag not in _SKIPPED and isinstance(element.tag, str):
            stack.append(iter(element))
    return "".join(parts)


def _described(picture: Any) -> str:
    text = one_line(picture.get("descr") or "")
    return f" {text} " if text else ""


def _checkbox(element: Any) -> str | None:
    """A box to be ticked, as `[x]` or `[ ]`; None for anything else."""
    if element.tag == f"{_W}sdt" and (box := element.find(f"{_W}sdtPr/{_W14}checkbox")) is not None:
        state = box.find(f"{_W14}checked")
        return "[ ]" if state is None or state.get(f"{_W14}val", "0") in _OFF else "[x]"
    if element.tag == f"{_W}fldChar" and (box := element.find(f"{_W}ffData/{_W}checkBox")) is not None:
        states = (box.find(f"{_W}checked"), box.find(f"{_W}default"))
        state = next((one for one in states if one is not None), None)
        return "[ ]" if state is None or state.get(f"{_W}val", "1") in _OFF else "[x]"
    return None


def _children(element: Any, tag: str) -> Iterator[Any]:
    """Children of `tag`, content controls looked through."""
    for child in element:
        if child.tag == tag:
            yield child
        elif child.tag in {f"{_W}sdt", f"{_W}sdtContent"}:
            yield from _children(child, tag)


def _notes(document: Any) -> Iterator[str]:
    """The footnotes and endnotes, each as a paragraph."""
    from docx.oxml import parse_xml

    for relation in document.part.rels.values():
        if relation.is_external or not relation.reltype.endswith(("/footnotes", "/endnotes")):
            continue
        for note in parse_xml(relation.target_part.blob):
            if note.get(f"{_W}type") is None:
                yield " ".join(filter(None, (one_line(paragraph_text(one)) for one in note.iter(f"{_W}p"))))


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, suffixes=(".docx",), zipped=(("[Content_Types].xml", "word/"),)),)
