"""One process at a time changes a model: an advisory lock that ends with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ragagent.errors import ModelDownloadError

if TYPE_CHECKING:
    from ragagent.protocols import Progress

_POLL_S = 0.1


@contextmanager
def locked(path: Path, timeout_s: float, progress: Progress | None) -> Iterator[None]:
    """Holds the lock file `path` for the block; while another process has it, `progress` hears the stage wait.

    Raises ModelDownloadError after `timeout_s`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _acquire(descriptor, path, timeout_s, progress)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, timeout_s: float, progress: Progress | None) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise ModelDownloadError(
                    f"another process has been changing the model {path.stem} for over {timeout_s:g} s: wait, or end it"
                ) from None
        if progress is not None:
            progress.update("wait", 0, None, f"another process is changing {path.stem}")
        time.sleep(_POLL_S)
