"""The page a citation is on, as a picture with the cited words marked."""

from __future__ import annotations

import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ragagent.connectors import readers
from ragagent.connectors.readers import page_view
from ragagent.errors import ReadError, UnsupportedFormat
from ragagent.settings import IngestSettings
from ragagent.types import Box, Citation, Document, root_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class PageImage:
    """A page as PNG. `boxes` are what is marked on it, in points from the lower left corner of the page as shown."""

    png: bytes
    page: int
    boxes: tuple[Box, ...]


def page_image(
    citation: Citation, document: Document, *, content: bytes | None, limits: IngestSettings, dpi: int
) -> PageImage:
    """The page that `citation` begins on. `content` is the item's bytes; None reads the local file of its uri.

    Raises ReadError when the file is gone or has changed since it was ingested, or when the citation has no place, and
    UnsupportedFormat for documents whose pages cannot be drawn. Costs a few hundredths of a second for a text page.
    """
    if citation.span is None:
        raise ReadError(f"{citation.uri}: the citation has no place in the document")
    page = document.page_at(citation.span.start) or citation.page
    if page is None:
        raise UnsupportedFormat(f"{document.uri} has no pages: {document.media_type}")
    item = _local_bytes(document.uri) if content is None else content
    inner = readers.inner_content(item, uri=document.uri, name=_name(document.uri), limits=limits)
    view = page_view.view(inner, document, page, citation.span, limits=limits, dpi=dpi)
    return PageImage(png=view.png, page=page, boxes=view.boxes)


def _local_bytes(uri: str) -> bytes:
    path = _path(uri)
    if path is None:
        raise ReadError(f"{root_uri(uri)} is no file on this machine; pass its bytes as `content`")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path} cannot be read any more: {error.strerror}; its pages cannot be shown") from error


def _path(uri: str) -> Path | None:
    parts = urllib.parse.urlsplit(root_uri(uri))
    return Path(urllib.request.url2pathname(parts.path)) if parts.scheme == "file" else None


def _name(uri: str) -> str:
    return urllib.parse.unquote(root_uri(uri).rsplit("/", 1)[-1])
