"""Pages, Keynote and Numbers files since 2013: the texts of their archives (.iwa).

An archive is Snappy blocks without checksums around protocol buffers; the messages that hold running text and the
strings of table cells are found by their type numbers, and everything else is passed over.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, one_line
from ragagent.connectors.readers.xml_tree import local, parse_xml, text_of
from ragagent.connectors.readers.zipped import check_zip, read_entries
from ragagent.errors import EmptyDocument, EncryptedDocument, ReadError, TooLarge
from ragagent.settings import IngestSettings

MEDIA_TYPE = "application/vnd.apple.iwork"
MEDIA_TYPE_2009 = "application/x-iwork-2009"
_HISTORY_2009 = "buildVersionHistory.plist"
_PARTS_2009 = ("index.xml", "index.apxl")
_STORAGE, _CELLS = frozenset({2001, 2005}), frozenset({6005})
_BODY = 0
_SKIPPED_KINDS = frozenset({1, 2})
_MAX_UNPACKED = 128 * 1024 * 1024
_OBJECT = "\ufffc"


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """Running text first, then text boxes, then the words of table cells; figures of tables are not read."""
    names = check_zip(data)
    if ".iwpv2" in names or ".iwph" in names:
        raise EncryptedDocument("it is protected by a password")
    builder = TextBuilder(max_chars=limits.max_text_chars)
    texts, cells = list[tuple[int, str]](), list[str]()
    order = sorted(
        (one for one in names if one.endswith(".iwa")), key=lambda one: (not one.endswith("Document.iwa"), one)
    )
    for _, content in read_entries(data, order):
        for kind, message in _messages(_unpacked(content)):
            if kind in _STORAGE:
                texts.append(_storage(message))
            elif kind in _CELLS:
                cells.extend(_cell_texts(message))
    for _, text in sorted((one for one in texts if one[0] not in _SKIPPED_KINDS), key=lambda one: one[0] != _BODY):
        for line in text.replace(_OBJECT, "").replace("\u2029", "\n").split("\n"):
            builder.add("paragraph", line.replace("\u2028", "\n"))
    builder.add("paragraph", "\n".join(dict.fromkeys(cells)))
    if not builder.chars:
        raise EmptyDocument("there is no text in it")
    return builder.parsed(media_type=MEDIA_TYPE)


def read_2009(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The paragraphs of a file of iWork '09, which is XML."""
    names = check_zip(data)
    part = next(one for one in _PARTS_2009 if one in names)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if archive.getinfo(part).compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise EncryptedDocument("it is protected by a password")
    builder = TextBuilder(max_chars=limits.max_text_chars)
    for element in parse_xml(next(content for _, content in read_entries(data, [part]))).iter():
        if local(element) == "p":
            builder.add("paragraph", one_line(text_of(element)))
    return builder.parsed(media_type=MEDIA_TYPE_2009)


def _unpacked(content: bytes) -> bytes:
    """The blocks of an archive put together."""
    parts: list[bytes] = []
    at = total = 0
    while at + 4 <= len(content):
        if content[at] != 0:
            raise ReadError("an archive in it is damaged: a block begins with an unknown mark")
        length = int.from_bytes(content[at + 1 : at + 4], "little")
        parts.append(_snappy(content[at + 4 : at + 4 + length]))
        total += len(parts[-1])
        if total > _MAX_UNPACKED:
            raise TooLarge(f"an archive in it unpacks to more than {_MAX_UNPACKED} bytes")
        at += 4 + length
    return b"".join(parts)


def _snappy(block: bytes) -> bytes:
    """A raw Snappy block, by the format description of its authors."""
    size, at = _number(block, 0)
    if size > _MAX_UNPACKED:
        raise TooLarge(f"a block in it unpacks to more than {_MAX_UNPACKED} bytes")
    out = bytearray()
    while at < len(block) and len(out) < size:
        tag = block[at]
        at += 1
        if tag & 3 == 0:
            length = tag >> 2
            if length >= 60:
                more = length - 59
                length = int.from_bytes(block[at : at + more], "little")
                at += more
            out += block[at : at + length + 1]
            at += length + 1
            continue
        if tag & 3 == 1:
            length, offset = 4 + (tag >> 2 & 7), (tag >> 5) << 8 | int.from_bytes(block[at : at + 1], "little")
            at += 1
        else:
            more = 2 if tag & 3 == 2 else 4
            length, offset = 1 + (tag >> 2), int.from_bytes(block[at : at + more], "little")
            at += more
        if not 0 < offset <= len(out):
            raise ReadError("an archive in it is damaged: it repeats what it has not said")
        for _ in range(length):
            out.append(out[-offset])
    return bytes(out[:size])


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of seven bits, and where it ends."""
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ReadError("an archive in it is damaged or cut off")


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(number, content) of the fields of a protocol buffer."""
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        if key & 7 == 0:
            value, at = _number(message, at)
            yield key >> 3, value
        elif key & 7 == 2:
            length, at = _number(message, at)
            yield key >> 3, message[at : at + length]
            at += length
        elif key & 7 in {1, 5}:
            at += 8 if key & 7 == 1 else 4
        else:
            raise ReadError("an archive in it is damaged: a field of an unknown kind")


def _messages(archive: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, content) of the messages in an archive."""
    at = 0
    while at < len(archive):
        length, at = _number(archive, at)
        head = _fields(archive[at : at + length])
        infos = [content for number, content in head if number == 2 and isinstance(content, bytes)]
        at += length
        for info in infos:
            said = (
                {number: value for number, value in _fields(info) if isinstance(value, int)}
                if isinstance(info, bytes)
                else {}
            )
            size = said.get(3, 0)
            yield said.get(1, 0), archive[at : at + size]
            at += size


def _storage(message: bytes) -> tuple[int, str]:
    """The kind of a storage (0 is the body) and its text."""
    kind, texts = _BODY, list[str]()
    for number, value in _fields(message):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number == 3 and isinstance(value, bytes):
            texts.append(value.decode("utf-8", "replace"))
    return kind, "".join(texts)


def _cell_texts(message: bytes) -> Iterator[str]:
    for number, entry in _fields(message):
        if number == 3 and isinstance(entry, bytes):
            for inner, value in _fields(entry):
                if inner == 3 and isinstance(value, bytes):
                    yield value.decode("utf-8", "replace")


FORMATS = (
    Format(media_type=MEDIA_TYPE, read=read, zipped=(("Index/Document.iwa",), ("Index/Metadata.iwa",))),
    Format(media_type=MEDIA_TYPE_2009, read=read_2009, zipped=tuple((_HISTORY_2009, one) for one in _PARTS_2009)),
)
