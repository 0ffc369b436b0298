"""The media type of a file: by its first bytes, by the directory of a ZIP container, and only then by its name."""

from __future__ import annotations

import re
from pathlib import PurePath

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
    outlook,
    pdf,
    pptx,
    rst,
    rtf,
    source,
    spreadsheet,
    structured,
    subtitles,
    xml,
)
from ragagent.connectors.readers.zipped import check_zip, first_entry
from ragagent.errors import EncryptedDocument

PLAIN = "text/plain"

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"{\\rtf", rtf.MEDIA_TYPE),
    (b"WEBVTT", subtitles.MEDIA_TYPE),
    (b"\xef\xbb\xbfWEBVTT", subtitles.MEDIA_TYPE),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
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
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_OOXML = {"word/": docx.MEDIA_TYPE}
_OOXML |= {"ppt/": pptx.MEDIA_TYPE}
_OOXML |= {"xl/workbook.bin": "application/vnd.ms-excel.sheet.binary.macroenabled.12", "xl/": spreadsheet.MEDIA_TYPE}
_OLE_STREAMS = (
    ("WordDocument", "application/msword"),
    ("Workbook", spreadsheet.XLS_MEDIA_TYPE),
    ("Book", spreadsheet.XLS_MEDIA_TYPE),
    ("PowerPoint Document", "application/vnd.ms-powerpoint"),
    ("__substg1.0_", outlook.MEDIA_TYPE),
)
_NAMES = {
    ".md": markdown.MEDIA_TYPE,
    ".markdown": markdown.MEDIA_TYPE,
    ".mkd": markdown.MEDIA_TYPE,
    ".mdown": markdown.MEDIA_TYPE,
    ".html": html.MEDIA_TYPE,
    ".htm": html.MEDIA_TYPE,
    ".xhtml": html.MEDIA_TYPE,
    ".eml": mail.MEDIA_TYPE,
    ".mht": "multipart/related",
    ".mhtml": "multipart/related",
    ".mbox": mail.MBOX_MEDIA_TYPE,
    ".csv": delimited.MEDIA_TYPE,
    ".tsv": delimited.TSV_MEDIA_TYPE,
    ".tab": delimited.TSV_MEDIA_TYPE,
    ".json": structured.MEDIA_TYPE,
    ".jsonl": structured.LINES_MEDIA_TYPE,
    ".ndjson": structured.LINES_MEDIA_TYPE,
    ".xml": xml.MEDIA_TYPE,
    ".nxml": xml.MEDIA_TYPE,
    ".dbk": xml.MEDIA_TYPE,
    ".ipynb": notebook.MEDIA_TYPE,
    ".srt": subtitles.SRT_MEDIA_TYPE,
    ".vtt": subtitles.MEDIA_TYPE,
    ".rst": rst.MEDIA_TYPE,
    ".rest": rst.MEDIA_TYPE,
    ".tex": latex.MEDIA_TYPE,
    ".latex": latex.MEDIA_TYPE,
    ".adoc": asciidoc.MEDIA_TYPE,
    ".asciidoc": asciidoc.MEDIA_TYPE,
    ".asc": asciidoc.MEDIA_TYPE,
    **source.MEDIA_TYPES,
}
_HTML = re.compile(
    rb"(?:\s|\xef\xbb\xbf|<\?xml[^>]*>|<!--(?:(?!-->).)*+-->)*+<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*+<\?xml\s")


def media_type(data: bytes, name: str) -> str:
    """The media type of `data`; what is neither known by its bytes nor by its name is taken for plain text.

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
    if head[:4] == b"RIFF" and len(head) >= 12:
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(head[8:12], "application/x-riff")
    if head[4:8] == b"ftyp":
        return "video/mp4"
    suffix = PurePath(name).suffix.lower()
    if _HTML.match(head) and suffix not in {".md", ".markdown"}:
        return html.MEDIA_TYPE
    if suffix in _NAMES:
        return _NAMES[suffix]
    return xml.MEDIA_TYPE if _XML.match(head) else PLAIN


def _zip_type(data: bytes) -> str:
    names = check_zip(data)
    for prefix, found in _OOXML.items():
        if "[Content_Types].xml" in names and any(name.startswith(prefix) for name in names):
            return found
    if epub.CONTAINER in names:
        return epub.MEDIA_TYPE
    if names and names[0] == "mimetype":
        return first_entry(data).decode("ascii", "replace").strip()[:100] or "application/zip"
    return "application/zip"


def _ole_type(data: bytes) -> str:
    """The kind of an OLE container, by the names in its directory, which are UTF-16."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise EncryptedDocument("it is an encrypted Office file and wants a password")
    for stream, found in _OLE_STREAMS:
        if stream.encode("utf-16-le") in data:
            return found
    return "application/x-ole-storage"
