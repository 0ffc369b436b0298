"""Books (.epub): the chapters in the order of the spine, each through the HTML reader."""

from __future__ import annotations

import contextlib
import posixpath
import urllib.parse
from collections.abc import Iterator
from typing import Any

from ragagent.connectors.readers import html
from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line
from ragagent.connectors.readers.xml_tree import local, parse_xml, text_of
from ragagent.connectors.readers.zipped import check_zip, read_entries, read_entry
from ragagent.errors import EmptyDocument, EncryptedDocument, ReadError
from ragagent.settings import IngestSettings
from ragagent.types import Scalar

MEDIA_TYPE = "application/epub+zip"
CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_PAGES = frozenset({"application/xhtml+xml", "text/html", "application/x-dtbook+xml"})
_FONT_METHODS = frozenset({"http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC"})


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Every chapter of the spine that has text; the list of contents is left out."""
    names = frozenset(check_zip(data))
    if _ENCRYPTION in names and _is_locked(parse_xml(read_entry(data, _ENCRYPTION))):
        raise EncryptedDocument("the book is locked by digital rights management")
    place = _package_place(parse_xml(read_entry(data, CONTAINER)))
    package = parse_xml(read_entry(data, place))
    builder = TextBuilder(max_chars=limits.max_text_chars)
    chapters = [chapter for chapter in _spine(package, posixpath.dirname(place)) if chapter in names]
    for _, content in read_entries(data, chapters):
        with contextlib.suppress(EmptyDocument):
            builder.extend(html.read(content, name=name, limits=limits))
    said = _said(package)
    metadata: dict[str, Scalar] = {"author": said.get("creator"), "language": said.get("language")}
    metadata |= {"publisher": said.get("publisher"), "date": said.get("date"), "chapters": len(chapters)}
    return builder.parsed(media_type=MEDIA_TYPE, title=said.get("title", ""), metadata=metadata)


def _is_locked(root: Any) -> bool:
    """Whether more than fonts is encrypted."""
    methods = {node.get("Algorithm") for node in root.iter() if local(node) == "EncryptionMethod"}
    return bool(methods - _FONT_METHODS)


def _package_place(root: Any) -> str:
    found = next((node.get("full-path") for node in root.iter() if local(node) == "rootfile"), None)
    if not found:
        raise ReadError("the book names no package")
    return str(found)


def _spine(package: Any, folder: str) -> Iterator[str]:
    """The entries of the chapters in reading order, each once."""
    items = {node.get("id"): node for node in package.iter() if local(node) == "item"}
    seen: set[str] = set()
    for reference in package.iter():
        item = items.get(reference.get("idref")) if local(reference) == "itemref" else None
        if item is None or item.get("media-type") not in _PAGES or "nav" in (item.get("properties") or "").split():
            continue
        # A path that leads out of the container names no entry of it.
        place = posixpath.normpath(posixpath.join(folder, urllib.parse.unquote(item.get("href") or "")))
        if place not in seen:
            seen.add(place)
            yield place


def _said(package: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in package.iter():
        if isinstance(node.tag, str) and "purl.org/dc" in node.tag:
            found.setdefault(local(node), one_line(text_of(node)))
    return found


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, zipped=((CONTAINER,),)),)
