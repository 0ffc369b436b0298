"""Files that are there as a whole, on disk, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def placed(target: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file to write to that becomes `target` as a whole, on disk, when the block ends well; else nothing is left.

    Who reads `target` sees what was there before or all that is new. Its folder is made where it is missing.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
        sync_folder(target.parent)
    finally:
        aside.unlink(missing_ok=True)


def write(target: Path, text: str, *, mode: int = 0o600) -> None:
    """Puts a text, as UTF-8, in place of what `target` held."""
    with placed(target, mode=mode) as file:
        file.write(text.encode("utf-8"))


def sync_folder(folder: Path) -> None:
    """Makes names in a folder outlast a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
