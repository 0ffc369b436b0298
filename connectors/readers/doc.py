"""Word 97 to 2003 documents (.doc): the text by their piece table, as [MS-DOC] describes it.

No well-kept permissive library reads them, and LibreOffice is a large program to need for it; the piece table is a
small and documented part of the format.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import groupby

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.ole import container
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line
from ragagent.errors import EncryptedDocument, ReadError
from ragagent.settings import IngestSettings
from ragagent.types import Scalar

MEDIA_TYPE = "application/msword"
_MAGIC, _MAGIC_95 = 0xA5EC, 0xA5DC
_ENCRYPTED, _WHICH_TABLE = 0x0100, 0x0200
_LENGTHS_AT, _PIECES_AT = 0x4C, 0x01A2
_COMPRESSED = 0x40000000
_FIELD = re.compile("\x13[^\x13\x14\x15]*\x14|\x13[^\x13\x14\x15]*(?=\x15)")
_UNSEEN = str.maketrans({"\x01": "", "\x02": "", "\x05": "", "\x08": "", "\x0b": "\n", "\x1e": "-", "\x1f": ""})
_CELL, _PARAGRAPH = "\x07", "\r"
_BULLET = re.compile(r"[•·▪–-]\s")


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Paragraphs and table rows of the body, then the footnotes, endnotes and text boxes."""
    document, table, title, author = _streams(data)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    for part in _parts(document, table, limits):
        _add(builder, part)
    metadata: dict[str, Scalar] = {"author": author}
    return builder.parsed(media_type=MEDIA_TYPE, title=title, metadata=metadata)


def _streams(data: bytes) -> tuple[bytes, bytes, str, str]:
    with container(data) as opened:
        document = opened.stream("WordDocument")
        flags = int.from_bytes(document[0x0A:0x0C], "little")
        if flags & _ENCRYPTED:
            raise EncryptedDocument("the document is encrypted and wants a password")
        wanted = "1Table" if flags & _WHICH_TABLE else "0Table"
        table = opened.stream(wanted) if opened.has(wanted) else b""
        return document, table, opened.said("title"), opened.said("author")


def _parts(document: bytes, table: bytes, limits: IngestSettings) -> Iterator[str]:
    """The body and what belongs to it, each as raw text; headers, footers and comments are left out."""
    try:
        magic = struct.unpack_from("<H", document)[0]
        if magic == _MAGIC_95:
            begin, end = struct.unpack_from("<II", document, 0x18)
            yield document[begin:end].decode("cp1252", "replace")
            return
        if magic != _MAGIC:
            raise ReadError("the stream WordDocument holds no Word document")
        body, notes, headers, macros, comments, endnotes, boxes, _ = struct.unpack_from("<8I", document, _LENGTHS_AT)
        text = "".join(_pieces(document, table, limits.max_text_chars))
    except (struct.error, IndexError) as error:
        raise ReadError(f"the document is damaged or cut off: {error}") from error
    yield text[:body]
    yield text[body : body + notes]
    at = body + notes + headers + macros + comments
    yield text[at : at + endnotes + boxes]


def _pieces(document: bytes, table: bytes, most: int) -> Iterator[str]:
    """The text of each piece: a run of 8-bit or of UTF-16 characters somewhere in the document."""
    begin, length = struct.unpack_from("<II", document, _PIECES_AT)
    entries = table[begin : begin + length]
    at = 0
    while entries[at : at + 1] == b"\x01":
        at += 3 + struct.unpack_from("<H", entries, at + 1)[0]
    if entries[at : at + 1] != b"\x02":
        raise ReadError("the document is damaged: its piece table is missing")
    size = struct.unpack_from("<I", entries, at + 1)[0]
    count = min((size - 4) // 12, (len(entries) - at - 9) // 12)
    ends = struct.unpack_from(f"<{count + 1}I", entries, at + 5)
    for number in range(count):
        place = struct.unpack_from("<I", entries, at + 5 + 4 * (count + 1) + 8 * number + 2)[0]
        chars = ends[number + 1] - ends[number]
        if not 0 <= chars <= most:
            raise ReadError("the document is damaged: a piece of it ends before it begins, or is too long")
        if place & _COMPRESSED:
            start = (place & ~_COMPRESSED) // 2
            yield document[start : start + chars].decode("cp1252", "replace")
        else:
            yield document[place : place + 2 * chars].decode("utf-16-le", "replace")


def _add(builder: TextBuilder, text: str) -> None:
    """Paragraphs end with a return, cells with a mark of their own, and rows with one more of these."""
    text = _without_fields(text).translate(_UNSEEN).replace("\x0c", _PARAGRAPH)
    rows: list[list[str]] = []
    for piece in text.split(_PARAGRAPH):
        *cells, rest = piece.split(_CELL)
        for ends, group in groupby(cells, key=lambda cell: not cell.strip()):
            if not ends:
                rows.append([one_line(cell) for cell in group])
        if rest.strip() and rows:
            builder.rows(rows)
            rows = []
        builder.add("list" if _BULLET.match(rest.strip()) else "paragraph", rest)
    if rows:
        builder.rows(rows)


def _without_fields(text: str) -> str:
    """Fields as what they show: their instructions are left out, from the innermost outwards."""
    for _ in range(8):
        shorter = _FIELD.sub("", text)
        if shorter == text:
            break
        text = shorter
    return text.replace("\x13", "").replace("\x14", "").replace("\x15", "")


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, ole=("WordDocument",)),)
