"""Bytes to documents, one format a module.

A reader is a function `read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed`. To add one: a module here,
a line in `READERS`, and, where the bytes show the format, a line in `detect`. Another distribution adds one by an
entry point in the group `ragagent.readers` whose name is the media type.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Protocol

from ragagent.connectors.readers import (
    asciidoc,
    delimited,
    docx,
    epub,
    html,
    latex,
    mail,
    markdown,
    notebook,
    opendocument,
    outlook,
    pdf,
    plain,
    pptx,
    rst,
    rtf,
    source,
    spreadsheet,
    structured,
    subtitles,
    xml,
)
from ragagent.connectors.readers.detect import PLAIN, media_type
from ragagent.connectors.readers.parsed import Parsed, readable
from ragagent.errors import EmptyDocument, ReadError, TooLarge, UnsupportedFormat
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings
from ragagent.types import Document, Failure, Metadata

FINGERPRINT = "readers-2"
"""Changes when the same bytes may give another text."""

ENTRY_POINTS = "ragagent.readers"


class Reader(Protocol):
    """Takes one file's bytes to its text; raises ReadError or a kind of it."""

    def __call__(self, data: bytes, *, name: str, limits: IngestSettings) -> Parsed: ...


READERS: Mapping[str, Reader] = {
    PLAIN: plain.read,
    markdown.MEDIA_TYPE: markdown.read,
    html.MEDIA_TYPE: html.read,
    pdf.MEDIA_TYPE: pdf.read,
    docx.MEDIA_TYPE: docx.read,
    pptx.MEDIA_TYPE: pptx.read,
    spreadsheet.MEDIA_TYPE: spreadsheet.read,
    spreadsheet.XLS_MEDIA_TYPE: spreadsheet.read,
    mail.MEDIA_TYPE: mail.read,
    mail.MBOX_MEDIA_TYPE: mail.read_mbox,
    outlook.MEDIA_TYPE: outlook.read,
    delimited.MEDIA_TYPE: delimited.read,
    delimited.TSV_MEDIA_TYPE: delimited.read,
    structured.MEDIA_TYPE: structured.read,
    structured.LINES_MEDIA_TYPE: structured.read_lines,
    xml.MEDIA_TYPE: xml.read,
    epub.MEDIA_TYPE: epub.read,
    notebook.MEDIA_TYPE: notebook.read,
    subtitles.MEDIA_TYPE: subtitles.read,
    subtitles.SRT_MEDIA_TYPE: subtitles.read,
    rtf.MEDIA_TYPE: rtf.read,
    rst.MEDIA_TYPE: rst.read,
    latex.MEDIA_TYPE: latex.read,
    asciidoc.MEDIA_TYPE: asciidoc.read,
    **dict.fromkeys(opendocument.MEDIA_TYPES, opendocument.read),
    **dict.fromkeys(source.MEDIA_TYPES.values(), source.read),
}
_FORMATS = (
    "text, Markdown, HTML, PDF, Word, Excel, PowerPoint and OpenDocument files, e-mail, EPUB, RTF, CSV, JSON, XML, "
    "notebooks, subtitles, reStructuredText, AsciiDoc, LaTeX and source code"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What became of one item: its document, the documents inside it, and what was left out of them.

    `children` have uris made by `ragagent.types.inner_uri`; `failures` name parts that could not be read, by such
    uris; `notes` say in words what was done in an unusual way, or left out.
    """

    document: Document
    children: tuple[Document, ...] = ()
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()


def read(fetched: Fetched, *, settings: IngestSettings) -> Reading:
    """The documents in what a connector fetched. Raises ReadError or a kind of it, whatever the bytes are."""
    document = read_document(
        fetched.content, uri=fetched.uri, name=fetched.name, settings=settings, metadata=fetched.metadata
    )
    return Reading(document=replace(document, title=fetched.title or document.title, acl=fetched.acl, revision=""))


def read_document(
    source: bytes | Path,
    *,
    uri: str = "",
    name: str = "",
    settings: IngestSettings | None = None,
    metadata: Metadata | None = None,
) -> Document:
    """The document in `source`, by the reader of its format; `uri` and `name` default to those of a path.

    The title is the format's own, else the first heading, else made from the name. Metadata: file_name, media_type,
    size, what the format knows (pages, author, ...), and `metadata` over these. Raises ReadError or a kind of it,
    whatever the bytes are.
    """
    limits = settings or IngestSettings()
    if isinstance(source, Path):
        uri = uri or source.absolute().as_uri()
        name = name or source.name
        source = _bytes_of(source, limits)
    parsed = parse(source, name=name, limits=limits)
    shown = os.fsencode(name).decode("utf-8", "replace")
    own: dict[str, object] = {"file_name": shown, "media_type": parsed.media_type, "size": len(source)}
    return Document(
        text=parsed.text,
        uri=uri,
        title=parsed.title or readable(shown),
        blocks=parsed.blocks,
        media_type=parsed.media_type,
        metadata={**own, **parsed.metadata, **(metadata or {})},  # type: ignore[dict-item]
    )


def parse(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The text and blocks of `data` by the reader of its media type. Raises ReadError or a kind of it."""
    if not data.strip(b"\0 \t\r\n\f\v"):
        raise EmptyDocument("the file is empty" if not data else "the file holds nothing but blanks")
    if len(data) > limits.max_file_bytes:
        raise TooLarge(f"{len(data)} bytes; at most {limits.max_file_bytes} are read (setting ingest.max_file_bytes)")
    kind = media_type(data, name)
    reader = READERS.get(kind) or _plugged_in().get(kind)
    if reader is None:
        raise UnsupportedFormat(f"{kind} files are not read yet; {_FORMATS} are")
    try:
        return reader(data, name=name, limits=limits)
    except ReadError:
        raise
    except Exception as error:  # hostile bytes make a parser raise anything; the run must go on
        reason = " ".join(str(error).split())[:200]
        raise ReadError(f"damaged, or beyond the {kind} reader: {type(error).__name__}: {reason}") from error


@cache
def _plugged_in() -> Mapping[str, Reader]:
    """Readers of other distributions by media type; loaded when a file first needs one."""
    return {entry.name: entry.load() for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _bytes_of(path: Path, limits: IngestSettings) -> bytes:
    try:
        size = path.stat().st_size
        if size > limits.max_file_bytes:
            raise TooLarge(f"{size} bytes; at most {limits.max_file_bytes} are read (setting ingest.max_file_bytes)")
        return path.read_bytes()
    except OSError as error:
        raise ReadError(f"cannot be read: {error.strerror or error}") from error
