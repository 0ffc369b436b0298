"""PowerPoint 97 to 2003 presentations (.ppt): the text of their slides, as [MS-PPT] describes it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.ole import container
from ragagent.connectors.readers.parsed import Parsed, TextBuilder
from ragagent.errors import EncryptedDocument, ReadError
from ragagent.settings import IngestSettings

MEDIA_TYPE = "application/vnd.ms-powerpoint"
_STREAM = "PowerPoint Document"
_DOCUMENT, _SLIDE, _NOTES = 1000, 1006, 1008
_SLIDE_LIST, _SLIDE_ENTRY, _TEXT_HEAD, _WIDE, _NARROW = 4080, 1011, 3999, 4000, 4008
_DIRECTORY, _ENCRYPTION = 6002, 12052
_TITLES = frozenset({0, 6})
_MAX_DEPTH = 12
_MAX_RECORDS = 500_000


class _Record(NamedTuple):
    kind: int
    instance: int
    is_container: bool
    begin: int
    end: int


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """A page for each slide: its title, its outline, then the text of its other shapes and its notes."""
    stream = _stream(data)
    builder = TextBuilder(max_chars=limits.max_text_chars)
    places: dict[int, int] = {}
    lists: dict[int, list[tuple[int, list[tuple[int, str]]]]] = {}
    try:
        for record in _records(stream, 0, len(stream), containers=frozenset({_DOCUMENT, _SLIDE_LIST})):
            if record.kind == _ENCRYPTION:
                raise EncryptedDocument("the presentation is encrypted and wants a password")
            if record.kind == _DIRECTORY:
                places.update(_directory(stream[record.begin : record.end]))
            elif record.kind == _SLIDE_LIST:
                lists[record.instance] = list(_outline(stream, record))
        slides = lists.get(0, [])
        for number, (reference, outline) in enumerate(slides, start=1):
            with builder.page(number):
                _add(builder, outline, list(_shapes(stream, places.get(reference, -1))))
    except (struct.error, IndexError) as error:
        raise ReadError(f"the presentation is damaged or cut off: {error}") from error
    return builder.parsed(media_type=MEDIA_TYPE, metadata={"pages": len(slides)})


def _stream(data: bytes) -> bytes:
    with container(data) as opened:
        if opened.has("EncryptedSummary"):
            raise EncryptedDocument("the presentation is encrypted and wants a password")
        return opened.stream(_STREAM)


def _records(stream: bytes, begin: int, end: int, *, containers: frozenset[int] | None = None) -> Iterator[_Record]:
    """Records from `begin` to `end`, those inside containers after these; None goes into all of them."""
    stack = [(begin, end, 0)]
    seen = 0
    while stack:
        at, stop, depth = stack.pop()
        while at + 8 <= stop:
            version, kind, length = struct.unpack_from("<HHI", stream, at)
            record = _Record(kind, version >> 4, version & 0xF == 0xF, at + 8, min(at + 8 + length, stop))
            seen += 1
            if seen > _MAX_RECORDS:
                return
            yield record
            at = record.end
            if record.is_container and depth < _MAX_DEPTH and (containers is None or kind in containers):
                stack.append((at, stop, depth))
                at, stop, depth = record.begin, record.end, depth + 1


def _directory(content: bytes) -> dict[int, int]:
    """Where the objects of these numbers begin."""
    found: dict[int, int] = {}
    at = 0
    while at + 4 <= len(content):
        entry = struct.unpack_from("<I", content, at)[0]
        first, count = entry & 0xFFFFF, min(entry >> 20, (len(content) - at - 4) // 4)
        for place in range(count):
            found[first + place] = struct.unpack_from("<I", content, at + 4 + 4 * place)[0]
        at += 4 + 4 * max(count, 1)
    return found


def _outline(stream: bytes, record: _Record) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """(number of the slide's object, its texts with their kinds) for each slide of a list."""
    current: tuple[int, list[tuple[int, str]]] | None = None
    kind = 1
    for one in _records(stream, record.begin, record.end):
        if one.kind == _SLIDE_ENTRY:
            if current is not None:
                yield current
            current = (struct.unpack_from("<I", stream, one.begin)[0], [])
        elif one.kind == _TEXT_HEAD:
            kind = struct.unpack_from("<I", stream, one.begin)[0]
        elif one.kind in {_WIDE, _NARROW} and current is not None:
            current[1].append((kind, _text(stream, one)))
    if current is not None:
        yield current


def _shapes(stream: bytes, place: int) -> Iterator[str]:
    """The texts of the shapes of a slide that do not stand in the outline."""
    if not 0 <= place <= len(stream) - 8:
        return
    kind, length = struct.unpack_from("<HI", stream, place + 2)
    if kind in {_SLIDE, _NOTES}:
        for one in _records(stream, place + 8, min(len(stream), place + 8 + length)):
            if one.kind in {_WIDE, _NARROW}:
                yield _text(stream, one)


def _text(stream: bytes, record: _Record) -> str:
    content = stream[record.begin : record.end]
    return content.decode("utf-16-le" if record.kind == _WIDE else "latin-1", "replace")


def _add(builder: TextBuilder, outline: list[tuple[int, str]], shapes: list[str]) -> None:
    for kind, text in outline:
        if kind in _TITLES:
            builder.add("heading", text.replace("\r", " ").replace("\x0b", " "), level=2)
        else:
            _paragraphs(builder, text)
    said = {text for _, text in outline}
    for text in shapes:
        if text not in said and text.strip("*\r\n "):
            _paragraphs(builder, text)


def _paragraphs(builder: TextBuilder, text: str) -> None:
    for line in text.split("\r"):
        builder.add("paragraph", line.replace("\x0b", "\n"))


FORMATS = (Format(media_type=MEDIA_TYPE, read=read, ole=("PowerPoint Document",)),)
