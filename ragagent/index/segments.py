"""Segment files: named arrays in one immutable file, written aside, synced, and known by the digest of its bytes.

Layout: 8 bytes magic, 8 bytes length of the header, the header (JSON: name, type, shape and offset of each array),
then the arrays, each aligned to 64 bytes. A file's name is the XXH3 of its bytes (128 bits), so a file that is torn,
foreign or altered does not pass for the one that the database lists. That is a guard against accidents, not against
forgery: who can write to the folder can write to the database as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from ragagent.atomic import sync_folder

FOLDER = "segments"
_MAGIC = b"RAGSEG02"
_ALIGNMENT = 64
_ASIDE = ".aside"
_READ_BYTES = 1 << 20
_pending: set[Path] = set()
"""Files of this process that are being written, or wait to be listed; guarded by the interpreter's lock."""


def path(folder: Path, digest: str, suffix: str) -> Path:
    """Where the file of that digest lies in the knowledge base `folder`."""
    return folder / FOLDER / f"{digest}.{suffix}"


def write(folder: Path, suffix: str, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[str, int]:
    """Writes a segment file, synced and under its name for good; returns its digest and its size in bytes.

    Raises OSError. No `sweep` of this process takes it before `release` is told.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    # The name of the folder itself has to outlive a power cut.
    sync_folder(folder)
    aside = folder / FOLDER / f"{uuid.uuid4().hex}{_ASIDE}.{suffix}"
    _pending.add(aside)
    try:
        write_arrays(aside, arrays)
        size = aside.stat().st_size
        with aside.open("rb") as opened:
            os.fsync(opened.fileno())
        digest = _digest(aside)
        _pending.add(path(folder, digest, suffix))
        aside.replace(path(folder, digest, suffix))
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    finally:
        _pending.discard(aside)
    sync_folder(folder / FOLDER)
    return digest, size


def release(file: Path) -> None:
    """Says that a file that was written is listed by now, or never will be."""
    _pending.discard(file)


def intact(file: Path, digest: str) -> bool:
    """Whether the file is there and has the bytes it was written with. Reads all of it: about 0.2 s a GB from memory.

    It is read, not mapped: bytes that cannot be read are an error then, where a map would end the process.
    """
    try:
        return _digest(file) == digest
    except OSError:
        return False


def _digest(file: Path) -> str:
    state, buffer = xxhash.xxh3_128(), bytearray(_READ_BYTES)
    view = memoryview(buffer)
    with file.open("rb", buffering=0) as opened:
        while size := opened.readinto(buffer):
            state.update(view[:size])
    return state.hexdigest()


def sweep(folder: Path, listed: Collection[Path]) -> None:
    """Removes every file that is not listed: left over from a kill, or merged away."""
    if not (folder / FOLDER).is_dir():
        return
    for file in (folder / FOLDER).iterdir():
        if file not in listed and file not in _pending and file.is_file():
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
