"""Bytes to documents, one format a module.

A reader is a function `read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed`. To add one: a module here
whose `FORMATS` say what it reads and how that is known, and its name in `registry`. Another distribution adds such a
module by an entry point in the group `ragagent.readers`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ragagent.connectors.readers.detect import media_type
from ragagent.connectors.readers.format import Format, Reader
from ragagent.connectors.readers.inside import Inside, content_of
from ragagent.connectors.readers.ocr import one_budget
from ragagent.connectors.readers.parsed import Member, Parsed, readable
from ragagent.connectors.readers.registry import ENTRY_POINTS, READERS, reader_of
from ragagent.errors import EmptyDocument, ReadError, TooLarge, UnsupportedFormat
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings
from ragagent.text import hidden, language
from ragagent.types import Document, Failure, Metadata

__all__ = [
    "ENTRY_POINTS",
    "FINGERPRINT",
    "READERS",
    "Format",
    "Member",
    "Parsed",
    "Reader",
    "Reading",
    "inner_content",
    "parse",
    "read",
    "read_document",
]

FINGERPRINT = "readers-10"
"""Changes when the same bytes may give another text."""

_FORMATS = (
    "text, Markdown, HTML, PDF, Word, Excel, PowerPoint and OpenDocument files, e-mail, EPUB, RTF, CSV, JSON, XML, "
    "notebooks, subtitles, reStructuredText, AsciiDoc, LaTeX, source code, pictures of text and ZIP and TAR archives"
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
    """The documents in what a connector fetched. Raises ReadError or a kind of it, whatever the bytes are.

    What is inside (attachments, members of archives, messages of mailboxes) comes as children, which inherit the
    metadata and the readers (`acl`) of the item; a part that cannot be read is a failure and stops nothing.
    """
    with one_budget(settings):
        return _read(fetched, settings)


def _read(fetched: Fetched, settings: IngestSettings) -> Reading:
    content = _bytes_of(fetched.content, settings) if isinstance(fetched.content, Path) else fetched.content
    parsed = parse(content, name=fetched.name, limits=settings, stated=fetched.media_type)
    document = _document(parsed, content, uri=fetched.uri, name=fetched.name, metadata=fetched.metadata)
    document = replace(document, title=fetched.title or document.title, acl=fetched.acl, revision="")

    def read_inner(member: Member, inner: bytes, uri: str, parent: Document) -> tuple[Document, Parsed]:
        name = PurePosixPath(member.path.replace("\\", "/")).name or member.path
        parsed = parse(inner, name=name, limits=settings, stated=member.media_type)
        within: Metadata = {**fetched.metadata, **member.metadata, "inside": parent.title}
        child = _document(parsed, inner, uri=uri, name=name, metadata=within)
        return replace(child, acl=fetched.acl, revision=""), parsed

    inside = Inside(settings, read_inner)
    inside.gather(document, parsed)
    return Reading(
        document=document,
        children=tuple(inside.documents),
        failures=tuple(inside.failures),
        notes=(*parsed.notes, *_unseen(document), *inside.notes),
    )


def _unseen(document: Document) -> tuple[str, ...]:
    number = document.metadata.get("hidden_characters")
    return (f"{number} hidden characters in it, such as bidirectional controls, change what is read",) if number else ()


def inner_content(content: bytes, *, uri: str, name: str, limits: IngestSettings) -> bytes:
    """The bytes of the document of `uri`, inside an item of that name and content. Raises ReadError if it is gone."""

    def opened(data: bytes, name: str) -> Parsed:
        return parse(data, name=name, limits=limits, stated="message/rfc822" if name.startswith("message-") else "")

    return content_of(uri, content, opened, name)


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
    size, what the format knows (pages, author, ...), and `metadata` over these. What is inside it is left out: `read`
    has that. Raises ReadError or a kind of it, whatever the bytes are.
    """
    limits = settings or IngestSettings()
    if isinstance(source, Path):
        uri = uri or source.absolute().as_uri()
        name = name or source.name
        source = _bytes_of(source, limits)
    return _document(parse(source, name=name, limits=limits), source, uri=uri, name=name, metadata=metadata or {})


def _document(parsed: Parsed, data: bytes, *, uri: str, name: str, metadata: Metadata) -> Document:
    shown = os.fsencode(name).decode("utf-8", "replace")
    own: dict[str, object] = {"file_name": shown, "media_type": parsed.media_type, "size": len(data)}
    if unseen := hidden.count(parsed.text):
        own["hidden_characters"] = unseen
    if languages := language.of_blocks(parsed.text, parsed.blocks):
        own["language"] = languages[0]
        if len(languages) > 1:
            own["languages"] = list(languages)
    return Document(
        text=parsed.text,
        uri=uri,
        title=parsed.title or readable(shown),
        blocks=parsed.blocks,
        media_type=parsed.media_type,
        metadata={**own, **parsed.metadata, **metadata},  # type: ignore[dict-item]
    )


def parse(data: bytes, *, name: str, limits: IngestSettings, stated: str = "") -> Parsed:
    """The text and blocks of `data` by the reader of its media type. Raises ReadError or a kind of it."""
    if not data.strip(b"\0 \t\r\n\f\v"):
        raise EmptyDocument("the file is empty" if not data else "the file holds nothing but blanks")
    if len(data) > limits.max_file_bytes:
        raise TooLarge(f"{len(data)} bytes; at most {limits.max_file_bytes} are read (setting ingest.max_file_bytes)")
    kind = media_type(data, name, stated)
    reader = reader_of(kind)
    if reader is None:
        raise UnsupportedFormat(f"{kind} files are not read yet; {_FORMATS} are")
    try:
        return reader(data, name=name, limits=limits)
    except ReadError:
        raise
    except Exception as error:  # hostile bytes make a parser raise anything; the run must go on
        reason = " ".join(str(error).split())[:200]
        raise ReadError(f"damaged, or beyond the {kind} reader: {type(error).__name__}: {reason}") from error


def _bytes_of(path: Path, limits: IngestSettings) -> bytes:
    try:
        size = path.stat().st_size
        if size > limits.max_file_bytes:
            raise TooLarge(f"{size} bytes; at most {limits.max_file_bytes} are read (setting ingest.max_file_bytes)")
        return path.read_bytes()
    except OSError as error:
        raise ReadError(f"cannot be read: {error.strerror or error}") from error
