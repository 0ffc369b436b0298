"""OpenDocument texts, presentations and spreadsheets (.odt, .odp, .ods)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.opendocument_lists import Lists, read_styles
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line
from ragagent.connectors.readers.spreadsheet import add_sheet, value_text
from ragagent.connectors.readers.xml_tree import local, own_text, parse_xml
from ragagent.connectors.readers.zipped import check_zip, read_entry
from ragagent.errors import EncryptedDocument, ReadError, TooLarge
from ragagent.settings import IngestSettings
from ragagent.types import BlockKind, Scalar

MEDIA_TYPES = tuple(
    f"application/vnd.oasis.opendocument.{kind}{form}"
    for kind in ("text", "presentation", "spreadsheet", "graphics")
    for form in ("", "-template")
)
_NS = "urn:oasis:names:tc:opendocument:xmlns:"
_TEXT, _TABLE, _OFFICE = f"{{{_NS}text:1.0}}", f"{{{_NS}table:1.0}}", f"{{{_NS}office:1.0}}"
_PRESENTATION, _SVG = f"{{{_NS}presentation:1.0}}", f"{{{_NS}svg-compatible:1.0}}"
# Deleted text, comments, and what is said again elsewhere.
_SKIPPED = frozenset({"tracked-changes", "annotation", "forms", "sequence-decls", "event-listeners", "scripts"})
_INLINE_BLOCKS = frozenset({"note", "frame", "custom-shape", "text-box", "annotation", "table"})
_FURNITURE = frozenset({"date-time", "footer", "header", "page-number"})
MAX_CELLS = 5_000_000
"""Cells of one table, repeated ones counted as often as they are repeated."""

_MAX_REPEATS = 1_000


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Headings, paragraphs, lists, tables and notes; a page for each slide; a heading for each sheet."""
    names = check_zip(data)
    manifest = read_entry(data, "META-INF/manifest.xml") if "META-INF/manifest.xml" in names else b""
    if b"encryption-data" in manifest:
        raise EncryptedDocument("the document is encrypted and wants a password")
    root = parse_xml(read_entry(data, "content.xml"))
    body = root.find(f"{_OFFICE}body")
    if body is None or not len(body):
        raise ReadError("the document has no body")
    builder = TextBuilder(max_chars=limits.max_text_chars)
    content = body[0]
    if local(content) == "spreadsheet":
        for table in content.iter(f"{_TABLE}table"):
            add_sheet(builder, table.get(f"{_TABLE}name") or "", _table(table, _value))
    else:
        shared = [parse_xml(read_entry(data, "styles.xml"))] if "styles.xml" in names else []
        _Walk(builder, limits, Lists(read_styles(*shared, root))).run(content)
    title, metadata = _metadata(data) if "meta.xml" in names else ("", {})
    kind = f"application/vnd.oasis.opendocument.{local(content)}"
    return builder.parsed(media_type=kind if kind in MEDIA_TYPES else MEDIA_TYPES[0], title=title, metadata=metadata)


def _metadata(data: bytes) -> tuple[str, dict[str, Scalar]]:
    found = {local(node): one_line(own_text(node)) for node in parse_xml(read_entry(data, "meta.xml")).iter()}
    author = found.get("creator") or found.get("initial-creator")
    return found.get("title", ""), {"author": author, "language": found.get("language")}


class _Walk:
    """One pass over the body in its order; notes and frames follow the paragraph that they are anchored in."""

    def __init__(self, builder: TextBuilder, limits: IngestSettings, lists: Lists) -> None:
        self._builder = builder
        self._lists = lists
        self._limits = limits
        self._pages = 0

    def run(self, node: Any) -> None:
        for child in node:
            tag = local(child)
            if tag in _SKIPPED or child.get(f"{_PRESENTATION}class") in _FURNITURE:
                continue
            if tag in {"h", "p"}:
                self._paragraph(child)
            elif tag == "list":
                self._list(child)
            elif tag == "table":
                self._builder.rows(_table(child, self._cell))
            elif tag == "page":
                self._page(child)
            elif tag == "notes":
                self._notes(child)
            elif tag in {"title", "desc"}:
                self._builder.add("paragraph", _all_text(child))
            else:
                self.run(child)

    def _page(self, page: Any) -> None:
        self._pages += 1
        if self._pages > self._limits.max_pages:
            raise TooLarge(f"it has more than {self._limits.max_pages} slides (setting ingest.max_pages)")
        with self._builder.page(self._pages):
            titles = [frame for frame in page if frame.get(f"{_PRESENTATION}class") == "title"]
            for frame in titles:
                self._builder.add("heading", one_line(_all_text(frame)), level=1)
                page.remove(frame)
            self.run(page)

    def _notes(self, node: Any) -> None:
        frames = [one for one in node if one.get(f"{_PRESENTATION}class") == "notes"]
        text = "\n".join(filter(str.strip, map(_all_text, frames)))
        self._builder.add("paragraph", f"Notes: {text.strip()}" if text.strip() else "")

    def _paragraph(self, node: Any) -> None:
        text = _line(node)
        title = (node.get(f"{_TEXT}style-name") or "").lower() == "title"
        level = _count(node.get(f"{_TEXT}outline-level")) if local(node) == "h" else int(title)
        kind: BlockKind = "heading" if level else "paragraph"
        self._builder.add(kind, one_line(text) if level else text, level=min(level, 6))
        for inner in _anchored(node):
            if local(inner) == "note":
                self._builder.add("paragraph", one_line(_all_text(inner)))
            elif local(inner) not in _SKIPPED:
                self.run([inner])

    def _list(self, node: Any) -> None:
        headings = list(node.iter(f"{_TEXT}h"))
        if headings:
            # Numbered headings stand inside lists.
            for item in node:
                self.run(item)
        else:
            self._builder.add("list", "\n".join(self._items(node)), level=1)

    def _items(self, node: Any) -> Iterator[str]:
        for depth, mark, held in self._lists.items(node):
            for text in filter(None, (one_line(_all_text(part)) for part in held)):
                yield "  " * depth + (f"{mark} " if mark else "  ") + text
                mark = ""

    def _cell(self, cell: Any) -> str:
        """What stands in a cell, on one line, lists with their marks."""
        parts: list[str] = []
        for part in cell:
            if local(part) == "list":
                parts.extend(map(str.strip, self._items(part)))
            elif local(part) not in _SKIPPED:
                parts.append(_all_text(part))
        said = [part for part in parts if part]
        # Presentations make every cell a list of one item.
        return one_line(said[0].removeprefix("- ") if len(said) == 1 else " ".join(said))


def _line(node: Any) -> str:
    """The text of a paragraph without what is anchored in it."""
    parts = [own_text(node)]
    for child in node:
        tag = local(child)
        if tag == "s":
            parts.append(" " * min(_count(child.get(f"{_TEXT}c")), 100))
        elif tag in {"tab", "line-break"}:
            parts.append("\t" if tag == "tab" else "\n")
        elif tag not in _INLINE_BLOCKS | _SKIPPED:
            parts.append(_line(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _anchored(node: Any) -> Iterator[Any]:
    for child in node:
        if local(child) in _INLINE_BLOCKS:
            yield child
        else:
            yield from _anchored(child)


def _all_text(node: Any) -> str:
    """The text of every paragraph inside, and what describes pictures, one a line."""
    found = list(node.iter(f"{_TEXT}p", f"{_TEXT}h", f"{_SVG}title", f"{_SVG}desc"))
    return "\n".join(filter(None, map(_line, found))) if found else own_text(node)


def _table(table: Any, say: Callable[[Any], str]) -> Iterator[list[str]]:
    """The cells of each row, said once each; repeated ones come as often as they stand there, up to a bound."""
    held = 0
    for line in _rows(table):
        cells: list[str] = []
        for cell in line:
            if local(cell) in {"table-cell", "covered-table-cell"}:
                cells.extend([say(cell)] * min(_count(cell.get(f"{_TABLE}number-columns-repeated")), _MAX_REPEATS))
        while cells and not cells[-1]:
            cells.pop()
        times = _count(line.get(f"{_TABLE}number-rows-repeated")) if cells else 1
        for _ in range(min(times, _MAX_REPEATS)):
            held += len(cells)
            if held > MAX_CELLS:
                raise TooLarge(f"a table has more than {MAX_CELLS} cells")
            yield cells


def _rows(table: Any) -> Iterator[Any]:
    for child in table:
        if local(child) == "table-row":
            yield child
        elif local(child) in {"table-header-rows", "table-row-group", "table-rows"}:
            yield from _rows(child)


def _shown(cell: Any) -> str:
    return one_line(_all_text(cell))


def _value(cell: Any) -> str:
    kind = cell.get(f"{_OFFICE}value-type")
    if kind == "float":
        try:
            return value_text(float(cell.get(f"{_OFFICE}value") or ""))
        except ValueError:
            return _shown(cell)
    if kind == "date":
        return one_line((cell.get(f"{_OFFICE}date-value") or "").removesuffix("T00:00:00").replace("T", " "))
    return _shown(cell) if len(cell) else ""


def _count(text: str | None) -> int:
    """A positive whole number of an attribute; 1 for anything else."""
    return max(1, int(text)) if text and text.isascii() and text.isdigit() and len(text) < 10 else 1


FORMATS = tuple(Format(media_type=kind, read=read) for kind in MEDIA_TYPES)
