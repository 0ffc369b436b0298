"""One writer at a time, across threads and processes: an advisory lock on a file that says who holds it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ragagent.errors import IndexStateError, Locked, StorageFull

FILE_NAME = "writer.lock"
_SIGNATURE_BYTES = 256
_POLL_S = 0.02


class WriterLock:
    """The right to write to a folder. The operating system gives it back when the process ends, however it ends."""

    def __init__(self, folder: Path, timeout_s: float) -> None:
        self._file = folder / FILE_NAME
        self._timeout_s = timeout_s
        self._thread = threading.RLock()
        self._depth = 0

    @contextlib.contextmanager
    def held(self, timeout_s: float | None = None) -> Iterator[bool]:
        """Holds the lock for a block; within it the same thread may enter again. Yields whether it is the outermost.

        Raises Locked, naming the holder, after the time limit: the one given, or the lock's own.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        if not self._thread.acquire(timeout=max(limit_s, 0)):
            raise Locked(self._message(f"another thread of this process ({os.getpid()})"))
        try:
            if self._depth:
                yield False
            else:
                with self._locked_file(limit_s):
                    self._depth += 1
                    try:
                        yield True
                    finally:
                        self._depth -= 1
        finally:
            self._thread.release()

    @contextlib.contextmanager
    def _locked_file(self, limit_s: float) -> Iterator[None]:
        try:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageFull(f"{self._file}: cannot be opened for writing: {error.strerror}") from error
        try:
            self._wait(descriptor, limit_s)
            self._sign(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _wait(self, descriptor: int, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                    raise IndexStateError(
                        f"{self._file}: this file system cannot lock files ({error.strerror}); "
                        "move the knowledge base to a local disk"
                    ) from error
                if time.monotonic() >= deadline:
                    raise Locked(self._message(self._holder())) from None
            time.sleep(_POLL_S)

    def _sign(self, descriptor: int) -> None:
        # Only for people and messages: a full disk must not keep anyone from the lock itself.
        with contextlib.suppress(OSError):
            # Over the last one at the same length: to cut the file first costs milliseconds on a busy disk.
            signature = f"{os.getpid()} {' '.join(sys.argv)[:200]}\n".encode(errors="replace")
            os.pwrite(descriptor, signature[:_SIGNATURE_BYTES].ljust(_SIGNATURE_BYTES), 0)

    def _holder(self) -> str:
        try:
            pid, _, command = self._file.read_text(encoding="utf-8", errors="replace").strip().partition(" ")
        except OSError:
            return "another process"
        return f"process {pid} ({command})" if pid else "another process"

    def _message(self, holder: str) -> str:
        return (
            f"{self._file.parent}: {holder} is writing to this knowledge base and did not finish within "
            f"{self._timeout_s:g} s; wait for it, or raise ingest.lock_timeout_s"
        )
