"""Bounds on a ZIP container, checked from its directory before anything is unpacked."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator

from ragagent.errors import EncryptedDocument, ReadError, TooLarge

MAX_UNPACKED_BYTES = 512 * 1024 * 1024
MAX_RATIO = 200
MAX_ENTRIES = 20_000
_RATIO_FREE_BYTES = 16 * 1024 * 1024
_MAX_XML_BYTES = 128 * 1024 * 1024


def check_zip(data: bytes) -> tuple[str, ...]:
    """The names in the container. Raises ReadError for a damaged one, TooLarge for one that unpacks to too much.

    zipfile never unpacks an entry beyond the size its directory states, so the stated sizes are a true bound.
    """
    entries = _entries(data)
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES:
        raise TooLarge(f"the container has {len(entries)} entries; at most {MAX_ENTRIES} are read")
    if unpacked > MAX_UNPACKED_BYTES:
        raise TooLarge(f"the container unpacks to {unpacked} bytes; at most {MAX_UNPACKED_BYTES} are read")
    if unpacked > _RATIO_FREE_BYTES and unpacked > MAX_RATIO * len(data):
        raise TooLarge(f"the container unpacks to {unpacked} bytes from {len(data)}, like a zip bomb")
    for entry in entries:
        if entry.filename.endswith((".xml", ".rels")) and entry.file_size > _MAX_XML_BYTES:
            raise TooLarge(f"{entry.filename} unpacks to {entry.file_size} bytes; at most {_MAX_XML_BYTES} are read")
        if entry.flag_bits & 0x1:
            raise EncryptedDocument("the container is encrypted")
    return tuple(entry.filename for entry in entries)


def entry_names(data: bytes) -> tuple[str, ...]:
    """The names in the container, whatever it would unpack to. Raises ReadError for a damaged one."""
    return tuple(entry.filename for entry in _entries(data))


def _entries(data: bytes) -> list[zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, UnicodeError) as error:
        raise ReadError(f"the ZIP container is damaged or cut off: {error}") from error


def first_entry(data: bytes) -> bytes:
    """The first 200 bytes of the first entry, where EPUB and OpenDocument files state their media type."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(archive.infolist()[0]) as entry:
            return entry.read(200)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ReadError(f"the ZIP container is damaged: {error}") from error


def read_entries(data: bytes, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of entries of a container that `check_zip` has passed. Raises ReadError at one it cannot read."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in names:
                yield name, archive.read(name)
    except KeyError as error:
        raise ReadError(f"the container lacks a part: {error}") from error
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ReadError(f"a part of the container is damaged: {error}") from error


def read_entry(data: bytes, name: str) -> bytes:
    """One entry, as `read_entries` has it."""
    return next(content for _, content in read_entries(data, [name]))
