"""Segment files: named arrays in one immutable file, written aside, synced, and known by the digest of its bytes.

Layout: 8 bytes magic, 8 bytes length of the header, the header (JSON: name, type, shape and offset of each array),
then the arrays, each aligned to 64 bytes. A file's name is its SHA-256, so a file that is torn, foreign or altered
does not pass for the one that the database lists.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FOLDER = "segments"
_MAGIC = b"RAGSEG01"
_ALIGNMENT = 64
_ASIDE = ".aside"


def path(folder: Path, digest: str, suffix: str) -> Path:
    """Where the file of that digest lies in the knowledge base `folder`."""
    return folder / FOLDER / f"{digest}.{suffix}"


def aside(folder: Path, suffix: str) -> Path:
    """A place to write a file that no one looks at yet; only the holder of the writer's lock may."""
    (folder / FOLDER).mkdir(exist_ok=True)
    return folder / FOLDER / f"new{_ASIDE}.{suffix}"


def settled(folder: Path, written: Path, suffix: str) -> str:
    """Syncs a file that was written aside and gives it its name for good; returns its digest."""
    with written.open("rb+") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    written.replace(path(folder, digest, suffix))
    _sync_folder(folder / FOLDER)
    return digest


def intact(file: Path, digest: str) -> bool:
    """Whether the file is there and has the bytes it was written with. Reads all of it: about 1 s a GB."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == digest
    except OSError:
        return False


def sweep(folder: Path, listed: set[Path]) -> None:
    """Removes every file that is not listed: left over from a kill, or merged away."""
    if not (folder / FOLDER).is_dir():
        return
    for file in (folder / FOLDER).iterdir():
        if file not in listed and file.is_file():
            file.unlink(missing_ok=True)


def write_arrays(file: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Writes `arrays` in order; the same arrays give the same bytes."""
    entries, offset = [], 0
    for name, array in arrays.items():
        offset = _aligned(offset)
        entries.append({"name": name, "type": array.dtype.str, "shape": array.shape, "offset": offset})
        offset += array.nbytes
    header = json.dumps(entries).encode()
    begin = _aligned(len(_MAGIC) + 8 + len(header))
    with file.open("wb") as opened:
        opened.write(_MAGIC + len(header).to_bytes(8, "little") + header)
        for entry, array in zip(entries, arrays.values(), strict=True):
            opened.seek(begin + int(entry["offset"]))  # type: ignore[call-overload]
            opened.write(np.ascontiguousarray(array).data if array.size else b"")
        opened.truncate(max(opened.tell(), begin + offset))


def map_arrays(file: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file, mapped into memory. Raises ValueError or OSError when it is not such a file."""
    data = np.memmap(file, dtype=np.uint8, mode="r")
    if bytes(data[:8]) != _MAGIC:
        raise ValueError(f"{file}: not a segment file")
    length = int.from_bytes(bytes(data[8:16]), "little")
    entries = json.loads(bytes(data[16 : 16 + length]))
    begin = _aligned(16 + length)
    return {entry["name"]: _view(data, begin, entry) for entry in entries}


def _view(data: npt.NDArray[np.uint8], begin: int, entry: Mapping[str, Any]) -> npt.NDArray[Any]:
    dtype, shape = np.dtype(entry["type"]), tuple(entry["shape"])
    start = begin + entry["offset"]
    end = start + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if dtype.hasobject or end > data.size:
        raise ValueError("a segment file that promises more than it holds")
    # asarray: a plain view is cheaper to slice than a memmap.
    array: npt.NDArray[Any] = np.asarray(data[start:end]).view(dtype).reshape(shape)
    return array


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
