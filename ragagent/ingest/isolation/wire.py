"""The messages between an ingest and a reading process: a JSON header and a body of bytes, preceded by their lengths.

To the process goes one request for each file: what was fetched, with its bytes as the body unless it is a local file.
Back come `ready` once, and for each file either `failed`, or `read` and then its documents, each with its text as the
body: those inside it first, its own last, so that whoever writes them down in this order never has the item without
what is inside it. JSON and no pickle: what a hostile file has made of its reader cannot reach further through it.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragagent import errors
from ragagent.connectors.readers import Reading
from ragagent.errors import ReadError
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings
from ragagent.types import Block, Document, Failure, Span, digest, inner_uri

LENGTHS = struct.Struct("<IQ")
Header = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a file held: the ids of the documents inside it, the parts that were not read, and what there is to say."""

    inside: frozenset[str]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def packed(header: Mapping[str, Any], body: bytes = b"") -> tuple[bytes, bytes]:
    """What is written for a message: its lengths and header, and its body."""
    data = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return LENGTHS.pack(len(data), len(body)) + data, body


def unpacked(data: bytes | bytearray) -> Header:
    """The header of a message. Raises ValueError for what is none."""
    try:
        header = json.loads(str(data, "utf-8", "surrogatepass"))
    except RecursionError as error:
        raise ValueError("a message is not nested so deep") from error
    if not isinstance(header, dict) or not isinstance(header.get("op"), str):
        raise ValueError("a message is a JSON object with an op")
    return header


def request(fetched: Fetched, settings: IngestSettings) -> tuple[bytes, bytes]:
    """The message that asks for a file to be read."""
    of_file = isinstance(fetched.content, Path)
    header = {
        "op": "read",
        "path": str(fetched.content) if of_file else None,
        "settings": dataclasses.asdict(settings),
        "metadata": dict(fetched.metadata),
        **{name: getattr(fetched, name) for name in ("uri", "name", "media_type", "title", "acl")},
    }
    return packed(header, b"" if isinstance(fetched.content, Path) else fetched.content)


def asked(header: Header, body: bytes) -> tuple[Fetched, IngestSettings]:
    """What a request asks for."""
    fetched = Fetched(
        uri=header["uri"],
        name=header["name"],
        content=body if header["path"] is None else Path(header["path"]),
        media_type=header["media_type"],
        title=header["title"],
        metadata=header["metadata"],
        acl=tuple(header["acl"]),
    )
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in header["settings"].items()
    }
    return fetched, IngestSettings(**settings)


def answer(reading: Reading) -> Iterator[tuple[bytes, bytes]]:
    """The messages that bring what a file held."""
    yield packed(
        {
            "op": "read",
            "inside": [one.id for one in reading.children],
            "failures": [dataclasses.asdict(one) for one in reading.failures],
            "notes": reading.notes,
        }
    )
    for document in (*reading.children, reading.document):
        yield packed(_fields(document), document.text.encode("utf-8", "surrogatepass"))


def failed(error: Exception) -> tuple[bytes, bytes]:
    """The message that says why a file was not read."""
    return packed({"op": "failed", "kind": type(error).__name__, "reason": str(error)})


def error_of(header: Header) -> ReadError:
    """The error that `failed` was made of, or a ReadError where it is of no kind that is known here."""
    kind = getattr(errors, header["kind"], None)
    is_known = isinstance(kind, type) and issubclass(kind, ReadError)
    return kind(header["reason"]) if is_known else ReadError(header["reason"])  # type: ignore[misc]


def found(header: Header) -> Found:
    """What a file held. Raises KeyError, TypeError or ValueError where the message does not say it."""
    return Found(
        inside=frozenset(header["inside"]),
        failures=tuple(Failure(**one) for one in header["failures"]),
        notes=tuple(map(str, header["notes"])),
    )


def document(header: Header, text: bytes | bytearray, *, of: Fetched) -> Document:
    """The document of a message.

    Raises KeyError, TypeError or ValueError where the message is none, or is not about what was asked: a file cannot
    bring in a document in the place of another's, or for other readers.
    """
    made = Document(
        text=str(text, "utf-8", "surrogatepass"),
        blocks=tuple(
            Block(kind=kind, span=Span(start, end), level=level, number=number)
            for kind, start, end, level, number in header["blocks"]
        ),
        acl=tuple(header["acl"]),
        **{name: header[name] for name in _PLAIN},
    )
    is_inside = made.uri.startswith(inner_uri(of.uri, ""))
    if not (made.uri == of.uri or is_inside) or made.id != digest(made.uri) or made.acl != tuple(of.acl):
        raise ValueError(f"a document {made.uri!r} for readers {made.acl!r}, in {of.uri!r}")
    return made


_PLAIN = ("id", "uri", "title", "media_type", "revision", "metadata")


def _fields(document: Document) -> Header:
    plain = {name: getattr(document, name) for name in _PLAIN}
    blocks = [(one.kind, *one.span, one.level, one.number) for one in document.blocks]
    return {"op": "document", **plain, "metadata": dict(document.metadata), "acl": document.acl, "blocks": blocks}
