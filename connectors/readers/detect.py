"""The media type of a file: by its first bytes, by the directory of a container, and only then by its name."""

from __future__ import annotations

import re
from pathlib import PurePath

from ragagent.connectors.readers import archive, html, opendocument, pdf, plain, xml
from ragagent.connectors.readers.registry import FORMATS, SUFFIXES, plugged_in
from ragagent.connectors.readers.zipped import entry_names, first_entry
from ragagent.errors import EncryptedDocument

# What has no reader is known too, so that it is called by its name.
_UNREAD: tuple[tuple[bytes, str], ...] = (
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\x7fELF", "application/x-executable"),
    (b"MZ\x90\0", "application/x-executable"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"\xca\xfe\xba\xbe", "application/java-vm"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/x-matroska"),
    (b"%!PS-Adobe", "application/postscript"),
    (b"GGUF", "application/x-gguf"),
)
_MAGIC = (*((magic, one.media_type) for one in FORMATS for magic in one.magic), *_UNREAD)
_ZIPPED = tuple((parts, one.media_type) for one in FORMATS for parts in one.zipped)
_STATED = frozenset(one.media_type for one in FORMATS if not (one.magic or one.zipped or one.ole))
_STATED -= {plain.MEDIA_TYPE, pdf.MEDIA_TYPE, archive.MEDIA_TYPE, archive.TAR_MEDIA_TYPE, *opendocument.MEDIA_TYPES}
_OLE_NAMES = tuple((name, one.media_type) for one in FORMATS for name in one.ole)
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_HTML = re.compile(
    rb"(?:\s|\xef\xbb\xbf|<\?xml[^>]*>|<!--(?:(?!-->).)*+-->)*+<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
# A declaration, or a drawing without one.
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*+(?:<\?xml\s|<svg\s[^<>]*\bxmlns=)")


def media_type(data: bytes, name: str, stated: str = "") -> str:
    """The media type of `data`: by its bytes, else what its source has `stated`, else by its name, else plain text.

    A stated type counts only where bytes cannot tell: spreadsheet programs call CSV an Excel file, and servers call
    everything plain text.

    Raises ReadError for a damaged ZIP container and EncryptedDocument for an encrypted Office file.
    """
    head = data[:4096]
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if head.startswith(_ZIP):
        return _zip_type(data)
    if head.startswith(_OLE):
        return _ole_type(data)
    if b"%PDF-" in head[:1024]:
        return pdf.MEDIA_TYPE
    if head[257:262] == b"ustar":
        return archive.TAR_MEDIA_TYPE
    if head[:4] == b"RIFF" and len(head) >= 12:
        return _RIFF.get(head[8:12], "application/x-riff")
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if foreign := next((one for one in plugged_in() if one.magic and head.startswith(one.magic)), None):
        return foreign.media_type
    return _text_type(head, PurePath(name).suffix.lower(), stated.partition(";")[0].strip().lower())


def _text_type(head: bytes, suffix: str, stated: str) -> str:
    if _HTML.match(head) and suffix not in {".md", ".markdown"}:
        return html.MEDIA_TYPE
    if stated in _STATED:
        return stated
    if suffix in SUFFIXES:
        return SUFFIXES[suffix]
    if foreign := next((one for one in plugged_in() if suffix in one.suffixes), None):
        return foreign.media_type
    return xml.MEDIA_TYPE if _XML.match(head) else plain.MEDIA_TYPE


def _zip_type(data: bytes) -> str:
    names = entry_names(data)
    for parts, found in _ZIPPED:
        if all(any(name.startswith(part) for name in names) for part in parts):
            return found
    if names and names[0] == "mimetype":
        return first_entry(data).decode("ascii", "replace").strip()[:100] or archive.MEDIA_TYPE
    return archive.MEDIA_TYPE


def _ole_type(data: bytes) -> str:
    """The kind of an OLE container, by the names in its directory, which are UTF-16."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise EncryptedDocument("it is an encrypted Office file and wants a password")
    for stream, found in _OLE_NAMES:
        if stream.encode("utf-16-le") in data:
            return found
    return "application/x-ole-storage"
