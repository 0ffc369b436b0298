"""The ingest's end of one reading process: starts it, hands it files, and says what became of each of them."""

from __future__ import annotations

import collections
import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, cast

import ragagent
from ragagent.errors import ConnectorError, OverLimit, ReaderCrashed, ReadError
from ragagent.ingest.isolation import tree, wire
from ragagent.ingest.isolation.confine import MAXRSS_BYTES
from ragagent.ingest.isolation.worker import too_much_memory
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings
from ragagent.types import Document

_WATCH_S = 0.05
_START_S = 60.0
_MOST_PROCESSES = 64
_KEPT_BYTES = 4000
_AT_ONCE = 1 << 20
_MOST_BYTES_A_CHAR = 4
_INTERPRETER_BYTES = 96 << 20
_OUT_OF_MEMORY = ("bad_alloc", "memory allocation of", "out of memory", "cannot allocate memory")

# Finds the very ragagent that starts it, whatever the working folder, and after that what its parent can import.
_PROGRAM = """
import sys
parent, root, *path = sys.argv[1:]
sys.path.insert(0, root)
import ragagent
sys.path.remove(root)
sys.path.extend(entry for entry in path if entry not in sys.path)
from ragagent.ingest.isolation.worker import main
main(int(parent))
"""


class Interrupted(Exception):
    """The run ends, so nobody waits for the file any more."""


class ReadingProcess:
    """One process that reads a file at a time. For one thread at a time; `usable` is false once it has ended."""

    def __init__(self) -> None:
        """Starts the process and does not wait for it. Raises ConnectorError when it cannot be started."""
        self._owner = os.getpid()
        self._ready = False
        self._worn = False
        self._busy = False
        self._said: collections.deque[int] = collections.deque(maxlen=_KEPT_BYTES)
        self._code: int | None = None
        self._ended = threading.Event()
        self._peak_bytes = self._peak_before_bytes = self._seen_bytes = 0
        started = threading.Event()
        self._failure: OSError | None = None
        self._keeper = threading.Thread(target=self._keep, args=(started,), name="ragagent-reader", daemon=True)
        self._keeper.start()
        started.wait()
        if self._failure is not None:
            raise ConnectorError(f"no process to read files in: {sys.executable!r} cannot be started: {self._failure}")

    @property
    def usable(self) -> bool:
        """Whether it waits for a file, and is this process's own child rather than one inherited by a fork."""
        return not (self._busy or self._worn or self._ended.is_set()) and self._owner == os.getpid()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._popen.pid

    def read(
        self, fetched: Fetched, settings: IngestSettings, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[wire.Found | Document]:
        """What the file held, then the documents inside it, then its own.

        Raises the reader's ReadError; OverLimit when it took too long or too much memory, and ReaderCrashed when its
        process ended: the process is gone then. Raises Interrupted, and ends it, soon after `stopped` says so. A
        process whose iterator is left before its end is not usable any more.
        """
        watch = _Watch(settings=settings, stopped=stopped)
        if not self._ready:
            ready = self._expect(_Watch(settings=settings, stopped=stopped, seconds=_START_S), "ready")
            self._peak_before_bytes = int(ready.get("peak_bytes", 0))
            self._ready = True
        self._busy = True
        self._seen_bytes = 0
        self._send(wire.request(fetched, settings), watch)
        header, _ = self._receive(watch.again())
        if header["op"] == "failed":
            self._finish(watch)
            raise wire.error_of(header)
        try:
            yield (found := wire.found(header))
            for _ in range(len(found.inside) + 1):
                yield wire.document(*self._receive(watch.again()), of=fetched)
        except (KeyError, TypeError, ValueError) as error:
            # A file that has taken its reader over says what it likes; it may not be an error of ours.
            raise self._given_up(ReaderCrashed(f"its reader answered with nonsense: {error!r}")) from error
        self._finish(watch)

    def close(self) -> None:
        """Ends the process and all that it has started, and returns when they are gone."""
        if self._owner != os.getpid():
            return
        if not self._ended.is_set():
            tree.end(self.pid)
        self._keeper.join()
        for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            with contextlib.suppress(OSError):
                cast(IO[bytes], stream).close()

    def _finish(self, watch: _Watch) -> None:
        end = self._expect(watch.again(), "end")
        self._worn = bool(end.get("worn"))
        peak = end.get("peak_bytes")
        self._peak_before_bytes = peak if isinstance(peak, int) else 0
        self._busy = False

    def _expect(self, watch: _Watch, op: str) -> wire.Header:
        header, _ = self._receive(watch)
        if header["op"] != op:
            raise self._given_up(ReaderCrashed(f"its reader answered {header['op']!r} out of turn"))
        return header

    def _send(self, message: tuple[bytes, bytes], watch: _Watch) -> None:
        try:
            for part in message:
                self._write(memoryview(part), watch)
        except BrokenPipeError:
            raise self._died(watch) from None

    def _write(self, data: memoryview, watch: _Watch) -> None:
        # Not blocking: a process that reads no more must not hold the thread that feeds it.
        target = cast(int, self._popen.stdin.fileno())  # type: ignore[union-attr]
        while data:
            ready = select.select([], [target], [], _WATCH_S)[1]
            if ready:
                data = data[os.write(target, data[:_AT_ONCE]) :]
            else:
                self._check(watch)

    def _receive(self, watch: _Watch) -> tuple[wire.Header, bytearray]:
        header, body = wire.LENGTHS.unpack(self._bytes(wire.LENGTHS.size, watch))
        if max(header, body) > _MOST_BYTES_A_CHAR * watch.settings.max_text_chars + _AT_ONCE:
            raise self._given_up(ReaderCrashed(f"its reader answered with {max(header, body)} bytes at once"))
        try:
            return wire.unpacked(self._bytes(header, watch)), self._bytes(body, watch)
        except ValueError as error:
            raise self._given_up(ReaderCrashed(f"its reader answered with nonsense: {error}")) from error

    def _bytes(self, count: int, watch: _Watch) -> bytearray:
        """The next `count` bytes of the answer, while somebody looks after the process."""
        found = bytearray()
        source, errors = self._popen.stdout.fileno(), self._popen.stderr.fileno()  # type: ignore[union-attr]
        while len(found) < count:
            ready = select.select([source, errors], [], [], _WATCH_S)[0]
            if errors in ready and (said := os.read(errors, _AT_ONCE)):
                self._said.extend(said)
            if source in ready:
                data = os.read(source, min(count - len(found), _AT_ONCE))
                if not data:
                    raise self._died(watch)
                found += data
            else:
                self._check(watch)
        return found

    def _check(self, watch: _Watch) -> None:
        """Raises when the run ends, the process has ended, or it takes more than it is given."""
        if watch.stopped():
            raise self._given_up(Interrupted())
        if self._ended.is_set():
            raise self._died(watch)
        resident, processes = tree.resident_bytes(self.pid)
        self._seen_bytes = max(self._seen_bytes, resident)
        if processes > _MOST_PROCESSES:
            raise self._given_up(OverLimit(f"its reader started more than {_MOST_PROCESSES} processes"))
        if resident > watch.memory_bytes:
            raise self._given_up(OverLimit(too_much_memory(watch.settings.file_memory_mb)))
        if watch.is_over(processes > 1):
            raise self._given_up(OverLimit(_too_long(watch.seconds)))

    def _given_up(self, error: Exception) -> Exception:
        self._worn = True
        self.close()
        return error

    def _died(self, watch: _Watch) -> ReadError:
        """Why the process ended by itself."""
        self._worn = True
        self._ended.wait()
        if not self._ready:
            return ReaderCrashed(f"the process to read files in cannot start ({self._cause()}). {self._last_words()}")
        said = bytes(self._said).decode("utf-8", "replace").lower()
        # A peak that was there before the file is an earlier file's, or that of this process, which may hold far more
        # than a reader is given.
        peak_bytes = max(self._seen_bytes, self._peak_bytes if self._peak_bytes > self._peak_before_bytes else 0)
        near = peak_bytes > 0.95 * watch.memory_bytes
        if self._code == -signal.SIGXCPU:
            return OverLimit(_too_long(watch.seconds))
        if near or (self._code == -signal.SIGABRT and any(words in said for words in _OUT_OF_MEMORY)):
            return OverLimit(too_much_memory(watch.settings.file_memory_mb))
        return ReaderCrashed(f"its reader crashed ({self._cause()}). {self._last_words()}".strip())

    def _cause(self) -> str:
        code = self._code or 0
        if code >= 0:
            return f"exit code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"{name}: somebody ended it, or the system ran out of memory" if code == -signal.SIGKILL else name

    def _last_words(self) -> str:
        words = " ".join(bytes(self._said).decode("utf-8", "replace").split())
        return f"It said last: {words[-300:]}" if words else ""

    def _keep(self, started: threading.Event) -> None:
        """The thread that starts the process and stays for as long as it runs.

        Linux ends the process with the *thread* that started it, so a caller's own thread will not do.
        """
        with tempfile.TemporaryDirectory(prefix="ragagent-read-", ignore_cleanup_errors=True) as scratch:
            try:
                self._popen = _start(scratch)
            except OSError as error:
                self._failure = error
                self._ended.set()
                return
            finally:
                started.set()
            _, status, used = os.wait4(self._popen.pid, 0)
            tree.end_group(self._popen.pid)
            self._code = self._popen.returncode = os.waitstatus_to_exitcode(status)
            self._peak_bytes = used.ru_maxrss * MAXRSS_BYTES
            self._ended.set()


class _Watch:
    """What one file may take. While programs that its reader has started run, the time is theirs (OCR's)."""

    def __init__(self, *, settings: IngestSettings, stopped: Callable[[], bool], seconds: float | None = None) -> None:
        self.settings = settings
        self.stopped = stopped
        self.seconds = settings.file_seconds if seconds is None else seconds
        # What the interpreter and the libraries take is not the file's; the process itself counts that exactly.
        self.memory_bytes = (settings.file_memory_mb << 20) + _INTERPRETER_BYTES
        self._lent = settings.ocr_seconds if settings.ocr != "never" else 0.0
        self.again()

    def again(self) -> _Watch:
        """The same limits from now on."""
        self._begin = self._last = time.monotonic()
        self._elsewhere = 0.0
        return self

    def is_over(self, working_elsewhere: bool) -> bool:
        """Whether the time is up; `working_elsewhere` says that a program started by the reader is running."""
        now = time.monotonic()
        if working_elsewhere:
            self._elsewhere = min(self._elsewhere + now - self._last, self._lent)
        self._last = now
        return now - self._begin > self.seconds + self._elsewhere


def _too_long(seconds: float) -> str:
    return f"reading it took longer than {seconds:g} s (setting ingest.file_seconds)"


def _start(scratch: str) -> subprocess.Popen[bytes]:
    root = str(Path(ragagent.__file__).resolve().parent.parent)
    path = [entry for entry in sys.path if entry]
    process = subprocess.Popen(
        # -P: the working folder may hold anybody's files and must not be imported from.
        [sys.executable, "-P", "-c", _PROGRAM, str(os.getpid()), root, *path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # an interrupt at the terminal is the application's affair
        env={**os.environ, "TMPDIR": scratch},
    )
    os.set_blocking(cast(int, process.stdin.fileno()), False)  # type: ignore[union-attr]
    return process
