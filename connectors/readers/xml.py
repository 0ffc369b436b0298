"""XML: articles (JATS, DocBook and the like) by sections, paragraphs, lists and tables; anything else by elements."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line, row
from ragagent.connectors.readers.xml_tree import local, own_text, parse_xml, text_of
from ragagent.settings import IngestSettings
from ragagent.types import Scalar

MEDIA_TYPE = "application/xml"
_TITLES = frozenset({"title", "article-title", "invention-title", "heading", "head", "subtitle", "title-of-invention"})
_PARAGRAPHS = frozenset(
    """
    p para simpara paragraph claim-text mixed-citation element-citation ref citation bibl term kwd-group contrib aff
    abstract-text caption fn
    """.split()  # noqa: SIM905
)
_PARTED = frozenset(
    """
    contrib ref element-citation kwd-group aff name fn caption person-group string-name list-item listitem li
    """.split()  # noqa: SIM905
)
_LISTS = frozenset({"list", "itemizedlist", "orderedlist", "ul", "ol", "simplelist"})
_ITEMS = frozenset({"list-item", "listitem", "li", "member", "item"})
_TABLES = frozenset({"table", "informaltable", "tgroup"})
_ROWS = frozenset({"tr", "row"})
_CELLS = frozenset({"td", "th", "entry"})
_CODE = frozenset({"programlisting", "screen", "code", "preformat", "literallayout"})
_QUOTES = frozenset({"disp-quote", "blockquote"})
_SKIPPED = frozenset({"annotation", "script", "style", "object-id", "journal-meta", "colspec"})
_SECTIONS = frozenset({"sec", "section", "sect1", "sect2", "sect3", "chapter", "appendix", "part", "div", "app"})


_TEX = re.compile(r"\\begin\{document\}(.*?)\\end\{document\}", re.DOTALL)
_BLOCKS = _TABLES | _LISTS | _CODE


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Titles as headings by the depth of their section; an element with text of its own as a paragraph."""
    root = parse_xml(data)
    _one_formula(root)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    walk = _Walk(builder)
    walk.run(root, 1)
    walk.flush()
    metadata: dict[str, Scalar] = {"root": local(root)}
    return builder.parsed(media_type=MEDIA_TYPE, metadata=metadata)


def _one_formula(root: Any) -> None:
    """Of a formula in TeX and in MathML keeps the TeX, which reads as text, without its preamble."""
    for node in [one for one in root.iter() if local(one) == "tex-math"]:
        match = _TEX.search(text_of(node))
        node.text = match[1].strip() if match else node.text
        siblings = node.getparent() if node.getparent() is not None else ()
        for other in [one for one in siblings if local(one) == "math"]:
            other.text = None
            for child in list(other):
                other.remove(child)


class _Walk:
    """One pass over the tree; leaves of a record (`<name>x</name>`) gather as lines of one paragraph."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._fields: list[str] = []

    def run(self, node: Any, level: int) -> None:
        tag = local(node).lower()
        if tag in _SKIPPED:
            return
        if tag in _TITLES and text_of(node).strip():
            self.flush()
            self._builder.add("heading", one_line(text_of(node, skip=_SKIPPED)), level=min(level, 6))
        elif tag in _TABLES:
            self.flush()
            self._builder.rows(_rows(node))
        elif tag in _LISTS:
            self.flush()
            self._builder.add("list", "\n".join(_items(node)), level=1)
        elif tag in _CODE and "\n" in text_of(node).strip():
            self.flush()
            self._builder.add("code", text_of(node))
        elif tag in _PARAGRAPHS or _is_mixed(node):
            self._paragraph(node, level, "quote" if tag in _QUOTES else "paragraph")
        elif len(node) == 0:
            self._field(node, tag)
        else:
            self._children(node, level + (tag in _SECTIONS))

    def flush(self) -> None:
        self._builder.add("paragraph", "\n".join(self._fields))
        self._fields = []

    def _children(self, node: Any, level: int) -> None:
        # A record, that is an element whose children are leaves, is kept together.
        if any(len(child) for child in node):
            self.flush()
        for child in node:
            self.run(child, level)
        if any(len(child) == 0 for child in node):
            self.flush()

    def _paragraph(self, node: Any, level: int, kind: Any) -> None:
        """Running text; tables, lists and titles inside it are blocks of their own behind it."""
        self.flush()
        inner = _BLOCKS if any(local(child).lower() in _BLOCKS for child in node.iter() if child is not node) else None
        self._builder.add(kind, one_line(_words(node, inner or frozenset())))
        if inner:
            for child in _outermost(node, inner):
                self.run(child, level)

    def _field(self, node: Any, tag: str) -> None:
        text = one_line(own_text(node))
        if text:
            self._fields.append(f"{tag}: {text}")


def _words(node: Any, skip: frozenset[str]) -> str:
    """The text of `node`; blanks part the elements of names and references, which have none between them."""
    if local(node).lower() not in _PARTED:
        return text_of(node, skip=skip | _SKIPPED)
    parts = [own_text(node)]
    for child in node:
        if local(child).lower() not in skip | _SKIPPED:
            parts.append(_words(child, skip))
        parts.append(child.tail or "")
    return " ".join(filter(None, parts))


def _outermost(node: Any, tags: frozenset[str]) -> Iterator[Any]:
    for child in node:
        if local(child).lower() in tags:
            yield child
        else:
            yield from _outermost(child, tags)


def _is_mixed(node: Any) -> bool:
    """Whether text and elements alternate in `node`, as in running text."""
    return len(node) > 0 and any(one and one.strip() for one in (node.text, *(child.tail for child in node)))


def _items(node: Any) -> Iterator[str]:
    ordered = local(node).lower() in {"ol", "orderedlist"} or node.get("list-type") == "order"
    number = 0
    for child in node:
        if local(child).lower() in _ITEMS:
            number += 1
            text = one_line(_words(child, frozenset()))
            if text:
                yield f"{number}. {text}" if ordered else f"- {text}"


def _rows(table: Any) -> Iterator[list[str]]:
    for line in table.iter():
        if local(line).lower() in _ROWS:
            cells = [one_line(text_of(cell, skip=_SKIPPED)) for cell in line if local(cell).lower() in _CELLS]
            if row(cells):
                yield cells


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, suffixes=(".xml", ".nxml", ".dbk")),)
