"""Bytes on their way to the model folder: counted, bounded, hashed, and room made sure of first."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ragagent.atomic import sync_folder
from ragagent.errors import ModelDownloadError, StorageFull

if TYPE_CHECKING:
    # protocols imports numpy, which costs more than the whole budget of this package.
    from ragagent.protocols import Progress

BLOCK_BYTES = 1 << 20
SPARE_BYTES = 16 << 20
"""Room that is left free beside a model: for records, logs and whatever else writes to the same disk."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_RIGHT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR})


class Readable(Protocol):
    """Anything that gives bytes."""

    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    """Anything that takes bytes."""

    def write(self, data: bytes, /) -> int: ...


class Meter:
    """Counts bytes of one stage and tells a Progress about them."""

    def __init__(self, progress: Progress | None, stage: str, total: int | None) -> None:
        self._progress = progress
        self._stage = stage
        self.total = total
        self.done = 0

    def add(self, size: int, detail: str) -> None:
        """Counts `size` more bytes; a negative size takes back what has to be fetched again."""
        self.done += size
        if self._progress is not None:
            self._progress.update(self._stage, self.done, self.total, detail)


class Hashing:
    """Hashes what is read through it."""

    def __init__(self, source: Readable) -> None:
        import hashlib

        self._source = source
        self._state = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        block = self._source.read(size)
        self._state.update(block)
        return block

    def sha256(self) -> str:
        """The SHA-256 of everything read so far, in lower-case hexadecimal."""
        return self._state.hexdigest()


def copy(source: Readable, target: Writable, *, limit: int, meter: Meter, detail: str) -> int:
    """Copies to the end of `source` and returns the number of bytes. Raises ModelDownloadError beyond `limit`."""
    copied = 0
    while block := source.read(BLOCK_BYTES):
        copied += len(block)
        if copied > limit:
            raise ModelDownloadError(f"{detail} gives more than the {limit} bytes it should")
        target.write(block)
        meter.add(len(block), detail)
    return copied


def sha256_of(path: Path, meter: Meter | None = None, detail: str = "") -> str:
    """The SHA-256 of a file, in lower-case hexadecimal."""
    # Here and below, imported where it is used: finding a model must not pay for fetching one.
    import hashlib

    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            state.update(block)
            if meter is not None:
                meter.add(len(block), detail or path.name)
    return state.hexdigest()


def require_space(folder: Path, size: int) -> None:
    """Raises StorageFull when the disk of `folder` has no room for `size` more bytes."""
    import shutil

    free = shutil.disk_usage(folder).free
    if size + SPARE_BYTES > free:
        raise StorageFull(
            f"no room in {folder}: {size + SPARE_BYTES:,} bytes are needed and {free:,} are free. "
            "Free some space, or name another folder (setting models.folder)."
        )


@contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Turns the system's errors for a full or read-only disk into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageFull(
                f"no room left in {folder} ({error.strerror}); what was fetched so far is kept"
            ) from error
        if error.errno in _NO_RIGHT:
            raise StorageFull(f"cannot write to {folder}: {error.strerror} ({error.filename})") from error
        raise


def settle(partial: Path, final: Path) -> None:
    """Moves a finished file into place: its bytes are on the disk first, and readers see all of it or nothing."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    final.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, final)
    sync_folder(final.parent)
