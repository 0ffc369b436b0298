"""What a module of this package says about the formats it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ragagent.connectors.readers.parsed import Parsed
from ragagent.settings import IngestSettings


class Reader(Protocol):
    """Takes one file's bytes to its text; raises ReadError or a kind of it."""

    def __call__(self, data: bytes, *, name: str, limits: IngestSettings) -> Parsed: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A media type, who reads it, and how it is known.

    `magic` are first bytes. `zipped` are beginnings of names in the directory of a ZIP container, those of one tuple
    all together; `ole` are names in that of an OLE container. `suffixes` are ends of file names with their point, in
    lower case; they decide where the bytes do not.
    """

    media_type: str
    read: Reader
    suffixes: tuple[str, ...] = ()
    magic: tuple[bytes, ...] = ()
    zipped: tuple[tuple[str, ...], ...] = ()
    ole: tuple[str, ...] = ()
