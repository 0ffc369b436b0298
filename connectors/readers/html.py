"""HTML as readable text: the main content in order, without scripts, navigation and decoration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line, row
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode
from ragagent.types import BlockKind, Scalar

MEDIA_TYPE = "text/html"
MAX_DEPTH = 500
"""Deeper tags are taken out before parsing: the parser needs quadratic time for them (100,000 deep: 24 s)."""

_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_TAGS = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b.*?(?:</\1\s*>|\Z)|<(/?)([A-Za-z][\w:-]*+)[^<>]*+>", re.S | re.I
)
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())  # noqa: SIM905
_IGNORED = frozenset(
    """
    script style noscript template head svg canvas iframe object audio video map button select datalist
    dialog input textarea link meta
    """.split()  # noqa: SIM905
)
_CHROME = frozenset({"nav", "aside"})
_BLOCKS = frozenset(
    """
    address article aside blockquote body caption center dd details div dl dt fieldset figcaption figure footer form
    h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu ol p pre section summary table tbody td tfoot th thead
    tr ul
    """.split()  # noqa: SIM905
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = frozenset({"ul", "ol", "menu", "dl"})
_MAIN = ("main", "[role=main]", "article")
_MAIN_SHARE = 0.4
_BROKEN = "br, p, div, li, dt, dd"
_MAX_SPAN = 50
_LITTLE_CHARS = 200
_ABSOLUTE = re.compile(r"(?:https?|ftp)://|mailto:", re.I)
_MAX_ADDRESSES, _MAX_ADDRESS_CHARS = 2_000, 1_000
# By their names, pages without <nav> have navigation too: DocBook's, Sphinx's and Doxygen's, blogs' and shops'.
_NAVIGATION = re.compile(r"nav(?:bar|header|footer|igation|links|path|menu)?|breadcrumbs?|pagination|pager", re.I)
_NOISE_ROLES = frozenset({"navigation", "search", "banner", "contentinfo", "menu", "menubar", "dialog"})


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The main content of the page: headings, paragraphs, lists, tables (rows as `a | b`), quotes and code."""
    from selectolax.lexbor import LexborHTMLParser

    declared = _CHARSET.search(data[:4096])
    decoded = decode(data, declared=declared[1].decode("ascii") if declared else None)
    tree = LexborHTMLParser(shallow(decoded.text))
    title = tree.css_first("head > title")
    stated = title.text() if title is not None else ""
    tree.strip_tags(["script", "style", "noscript", "template"])
    builder = _content(tree, limits)
    if limits.links == "addresses":
        builder.add("list", "\n".join(_addresses(_main(tree))), level=1)
    return builder.parsed(media_type=MEDIA_TYPE, title=stated, metadata=_metadata(tree))


def _content(tree: Any, limits: IngestSettings) -> TextBuilder:
    """The main content; where that is next to nothing, as on a page of links, navigation is the content."""
    builder = TextBuilder(max_chars=limits.max_text_chars)
    root = _main(tree)
    _Walk(builder, ignored=_IGNORED | _CHROME).run(root)
    if builder.chars < _LITTLE_CHARS:
        whole = TextBuilder(max_chars=limits.max_text_chars)
        _Walk(whole, ignored=_IGNORED).run(tree.body or root)
        if whole.chars > 3 * builder.chars:
            return whole
    return builder


def _addresses(root: Any) -> list[str]:
    """The links of the content that lead elsewhere, as `text: address`, each address once."""
    found: dict[str, str] = {}
    for link in root.css("a[href]"):
        address = (link.attributes.get("href") or "").strip()
        if _ABSOLUTE.match(address) and len(address) <= _MAX_ADDRESS_CHARS:
            found.setdefault(address, one_line(link.text()))
    return [f"- {text}: {address}" if text else f"- {address}" for address, text in found.items()][:_MAX_ADDRESSES]


def shallow(text: str) -> str:
    """`text` without the tags that would stand deeper than MAX_DEPTH; their content stays."""
    if text.count("<") <= MAX_DEPTH:
        return text
    depth = 0
    kept: list[str] = []
    last = 0
    for match in _TAGS.finditer(text):
        closing, tag = match[2], match[3]
        if tag is None or match[0].endswith("/>") or tag.lower() in _VOID:
            continue
        depth = max(0, depth - 1) if closing else depth + 1
        if depth > MAX_DEPTH or (closing and depth == MAX_DEPTH):
            kept.append(text[last : match.start()])
            last = match.end()
    return "".join([*kept, text[last:]]) if kept else text


def _metadata(tree: Any) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for key in ("author", "description"):
        node = tree.css_first(f"meta[name={key}]")
        if node is not None:
            found[key] = one_line(node.attributes.get("content") or "")[:500] or None
    html = tree.css_first("html")
    found["lang"] = one_line(html.attributes.get("lang") or "")[:20] or None if html is not None else None
    return found


def _main(tree: Any) -> Any:
    """The element that holds most of the page's text by its own word; the whole body otherwise."""
    body = tree.body
    if body is None:
        return tree.root
    whole = len(body.text())
    for selector in _MAIN:
        found = tree.css(selector)
        if len(found) == 1 and len(found[0].text()) >= _MAIN_SHARE * whole:
            return found[0]
    return body


class _Walk:
    """One pass over the tree without recursion; inline text gathers until a block begins or ends."""

    def __init__(self, builder: TextBuilder, *, ignored: frozenset[str]) -> None:
        self._builder = builder
        self._ignored = ignored
        self._inline: list[str] = []
        self._items: list[str] = []
        self._counters: list[int | None] = []
        self._marker = ""
        self._quotes = 0

    def run(self, root: Any) -> None:
        node, end = root.child, root.mem_id
        while node is not None:
            below = node.child if self._enter(node) else None
            while below is None:
                self._leave(node.tag)
                below = node.next
                if below is None:
                    node = node.parent
                    if node is None or node.mem_id == end:
                        break
            node = below
        self._flush()
        self._end_list()

    def _enter(self, node: Any) -> bool:
        """Takes in what `node` says itself; whether its children are to be walked."""
        tag = node.tag
        if node.is_text_node:
            self._inline.append(node.text_content or "")
        elif tag in self._ignored or not node.is_element_node or self._is_noise(node):
            return False
        elif tag == "br":
            self._inline.append("\0")
        elif tag == "img":
            self._inline.append(f" {node.attributes.get('alt') or ''} ")
        elif tag == "pre":
            self._block("code", node.text())
            return False
        elif tag == "table" and _is_data(node):
            self._block("table", "\n".join(_rows(node)))
            return False
        elif tag in _BLOCKS:
            self._open(tag)
        return True

    def _is_noise(self, node: Any) -> bool:
        attributes = node.attributes
        if not attributes:
            return False
        chrome = "nav" in self._ignored and (attributes.get("role") in _NOISE_ROLES or _is_navigation(attributes))
        return chrome or "hidden" in attributes or attributes.get("aria-hidden") == "true"

    def _open(self, tag: str) -> None:
        self._flush()
        if tag in _LISTS:
            self._counters.append(1 if tag == "ol" else None)
        elif tag in {"li", "dt"}:
            self._item()
        elif tag == "blockquote":
            self._quotes += 1

    def _leave(self, tag: str) -> None:
        if tag not in _BLOCKS:
            return
        self._flush(level=_HEADINGS.get(tag, 0))
        if tag in _LISTS and self._counters:
            self._counters.pop()
            if not self._counters:
                self._end_list()
        elif tag == "blockquote":
            self._quotes -= 1

    def _item(self) -> None:
        number = self._counters[-1] if self._counters else None
        self._marker = "- " if number is None else f"{number}. "
        if number is not None:
            self._counters[-1] = number + 1

    def _block(self, kind: BlockKind, text: str) -> None:
        """A table or code; inside a list it becomes lines of the item."""
        self._flush()
        if self._counters:
            self._add_lines(text.strip("\n").split("\n"))
        else:
            self._builder.add(kind, text)

    def _flush(self, *, level: int = 0) -> None:
        text, self._inline = "".join(self._inline), []
        lines = [line for line in map(one_line, text.split("\0")) if line]
        if not lines:
            return
        if self._counters:
            self._add_lines(lines)
        elif level:
            self._builder.add("heading", " ".join(lines), level=level)
        else:
            self._builder.add("quote" if self._quotes else "paragraph", "\n".join(lines))

    def _add_lines(self, lines: list[str]) -> None:
        indent = "  " * min(len(self._counters) - 1, 20)
        for line in lines:
            self._items.append(indent + (self._marker or "  ") + line)
            self._marker = ""

    def _end_list(self) -> None:
        if self._items:
            self._builder.add("list", "\n".join(self._items), level=1)
            self._items = []


def _is_navigation(attributes: Mapping[str, str | None]) -> bool:
    named = f"{attributes.get('class') or ''} {attributes.get('id') or ''}".split()
    return any(map(_NAVIGATION.fullmatch, named))


def _is_data(table: Any) -> bool:
    """Whether a table holds data; one that only arranges the page is walked like any other block."""
    return table.css_first("td table, th table, td h1, td h2, td h3, td p + p, td pre") is None


def _rows(table: Any) -> Iterator[str]:
    """The rows as text. A cell over several rows or columns is said in each, unless it is alone in its row."""
    caption = table.css_first("caption")
    if caption is not None:
        yield one_line(caption.text(separator=" "))
    hanging: dict[int, tuple[str, int]] = {}
    for line in table.css("tr"):
        cells: list[str] = []
        for cell in line.css("td, th"):
            _hang(cells, hanging)
            text = one_line(cell.text(separator=" " if cell.css_first(_BROKEN) is not None else ""))
            across = _times(cell, "colspan") if cell.next is not None or cells else 1
            down = _times(cell, "rowspan")
            for _ in range(across):
                if down > 1:
                    hanging[len(cells)] = (text, down - 1)
                cells.append(text)
        _hang(cells, hanging)
        if any(cells):
            yield row(cells)


def _hang(cells: list[str], hanging: dict[int, tuple[str, int]]) -> None:
    """Adds the cells that reach down into this row at the next column."""
    while len(cells) in hanging:
        text, left = hanging.pop(len(cells))
        if left > 1:
            hanging[len(cells)] = (text, left - 1)
        cells.append(text)


def _times(cell: Any, attribute: str) -> int:
    stated = cell.attributes.get(attribute) or "1"
    return min(max(int(stated), 1), _MAX_SPAN) if stated.isascii() and stated.isdigit() and len(stated) < 6 else 1


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, suffixes=(".html", ".htm", ".xhtml")),)
