"""XML as a tree without the dangers of XML: no entities that grow, nothing fetched, depth and size bounded."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from typing import Any

from ragagent.errors import ReadError

_MAX_ENTITY_CHARS = 2


def parse_xml(data: bytes) -> Any:
    """The root element. Raises ReadError for what is not well-formed, or deeper than 256 elements.

    Entities stay unresolved nodes: `text_of` reads those that name a character and leaves the others out.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ReadError(f"the XML is damaged, or nested too deep: {error}") from error


def local(node: Any) -> str:
    """The name of an element without its namespace; empty for an entity."""
    tag = node.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def own_text(node: Any) -> str:
    """What stands between the start of `node` and its first child; the character that an entity names."""
    if isinstance(node.tag, str):
        return node.text or ""
    text = unescape(node.text or "")
    return text if len(text) <= _MAX_ENTITY_CHARS else ""


def text_of(node: Any, *, skip: frozenset[str] = frozenset()) -> str:
    """All text inside `node` in order, without that of elements named in `skip`."""
    return "".join(_pieces(node, skip))


def _pieces(node: Any, skip: frozenset[str]) -> Iterator[str]:
    # The parser bounds the depth, and with it this recursion.
    yield own_text(node)
    for child in node:
        if local(child) not in skip:
            yield from _pieces(child, skip)
        yield child.tail or ""
