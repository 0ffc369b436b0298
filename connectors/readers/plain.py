"""Any decodable text: prose by its empty lines, tables by their rows, source code as it stands."""

from __future__ import annotations

import re
from pathlib import PurePath

from ragagent.connectors.readers.format import Format
from ragagent.connectors.readers.parsed import Parsed, TextBuilder, clean
from ragagent.settings import IngestSettings
from ragagent.text.decode import decode
from ragagent.types import BlockKind, Scalar

MEDIA_TYPE = "text/plain"
_EMPTY_LINE = re.compile(r"\n\s*\n")
_PROSE = frozenset(
    {"", ".txt", ".text", ".log", ".rst", ".org", ".adoc", ".asciidoc", ".tex", ".srt", ".vtt", ".eml", ".me", ".1st"}
)
_TABLES = frozenset({".csv", ".tsv"})
_MEDIA_TYPES = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".xml": "application/xml",
    ".rst": "text/x-rst",
    ".tex": "text/x-tex",
    ".vtt": "text/vtt",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}


def read(data: bytes, *, name: str, limits: IngestSettings) -> Parsed:
    """The text of `data`, one block for each part between empty lines: a paragraph, or code by the file's name."""
    decoded = decode(data)
    suffix = PurePath(name).suffix.lower()
    builder = TextBuilder(max_chars=limits.max_text_chars)
    kind = _kind(suffix)
    for part in _EMPTY_LINE.split(clean(decoded.text)):
        builder.add(kind, part)
    metadata: dict[str, Scalar] = {"encoding": decoded.encoding if decoded.encoding != "utf-8" else None}
    if decoded.replaced:
        metadata["undecodable"] = decoded.replaced
    return builder.parsed(media_type=_MEDIA_TYPES.get(suffix, MEDIA_TYPE), metadata=metadata)


def _kind(suffix: str) -> BlockKind:
    if suffix in _TABLES:
        return "table"
    return "paragraph" if suffix in _PROSE else "code"


FORMATS = (Format(media_type=MEDIA_TYPE, read=read),)
