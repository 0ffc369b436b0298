"""The application's end of one model process: start it, talk to it, notice when it is gone or hangs, end it."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO, cast

import ragagent
from ragagent.errors import ModelCrashed, ModelLoadError
from ragagent.models.wire import receive, send

_KEPT_LINES = 60
_EXIT_GRACE_S = 5.0
_FAULTS = (signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE)

# Finds the very ragagent that starts it, whatever the working folder, and after that what its parent can import.
_PROGRAM = """
import sys
root, *path = sys.argv[1:]
sys.path.insert(0, root)
import ragagent
sys.path.remove(root)
sys.path.extend(entry for entry in path if entry not in sys.path)
try:
    # Before numpy: with numpy's C++ symbols there first, a CUDA build of GCC 13 faulted while it loaded a model.
    import llama_cpp.llama_cpp
except (ImportError, OSError, RuntimeError):
    pass  # told with the first request
from ragagent.models.llama_worker import main
main()
"""


class ProcessDied(ModelCrashed):
    """The process ended by itself or by somebody else's hand; trying again may help."""


class LlamaProcess:
    """One running model process. Messages of a request arrive in its own inbox; None there means the process ended."""

    def __init__(self) -> None:
        """Starts the process; nothing is loaded yet. Raises ModelLoadError when it cannot be started."""
        self.pid = 0
        self._owner = os.getpid()
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self._inboxes: dict[int, queue.SimpleQueue[dict[str, Any] | None]] = {}
        self._lock = threading.Lock()
        self._ended = False
        self._progress = -1
        self._progressed_at = time.monotonic()
        self._started: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        self._keeper = threading.Thread(target=self._keep, name="ragagent-model", daemon=True)
        self._keeper.start()
        failure = self._started.get()
        if failure is not None:
            raise ModelLoadError(f"the model process cannot be started with {sys.executable!r}: {failure}")

    @property
    def faulted(self) -> bool:
        """Whether the process ended by a fault of its own machine code."""
        return self._ended and -(self._popen.poll() or 0) in _FAULTS

    @property
    def killed(self) -> bool:
        """Whether the process was ended as the system ends one that takes too much memory."""
        return self._ended and -(self._popen.poll() or 0) == signal.SIGKILL

    @property
    def usable(self) -> bool:
        """Whether the process runs, and is this process's own child rather than one inherited by a fork."""
        return not self._ended and self._owner == os.getpid()

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message; a process that is gone is reported by the inbox, not here."""
        with contextlib.suppress(BrokenPipeError, ValueError), self._lock:
            send(cast(BinaryIO, self._popen.stdin), message)

    def open_inbox(self, identifier: int) -> None:
        """Begins to collect the messages of request `identifier`."""
        with self._lock:
            inbox = self._inboxes[identifier] = queue.SimpleQueue()
            if self._ended:
                inbox.put(None)

    def close_inbox(self, identifier: int) -> None:
        with self._lock:
            self._inboxes.pop(identifier, None)

    def receive(self, identifier: int, timeout_s: float) -> dict[str, Any]:
        """The next message of a request.

        Raises ModelCrashed when the process ended, or when it made no progress for `timeout_s` (it is killed then).
        """
        inbox = self._inboxes[identifier]
        waiting_since = time.monotonic()
        while True:
            try:
                message = inbox.get(timeout=max(0.0, self._patience(waiting_since, timeout_s)))
            except queue.Empty:
                if self._patience(waiting_since, timeout_s) > 0:
                    continue
                self.kill()
                raise ModelCrashed(
                    f"the model process made no progress for {timeout_s:g} s and was ended; the next request starts a "
                    "new one. If the machine is merely slow, raise llm.timeout_s or lower llm.batch_tokens"
                ) from None
            if message is None:
                inbox.put(None)  # whoever asks again must not wait
                raise ProcessDied(self.obituary())
            return message

    def kill(self) -> None:
        """Ends the process at once; returns when it is gone."""
        if self._owner == os.getpid():
            with contextlib.suppress(ProcessLookupError):
                self._popen.kill()
            self._keeper.join()

    def abandon(self) -> None:
        """Ends the process without waiting, for use while objects are being destroyed."""
        if self.usable:
            with contextlib.suppress(ProcessLookupError):
                self._popen.kill()

    def close(self) -> None:
        """Lets the process end by itself and ends it if it does not."""
        if self._owner != os.getpid():
            return
        with contextlib.suppress(OSError), self._lock:
            cast(BinaryIO, self._popen.stdin).close()
        self._keeper.join(_EXIT_GRACE_S)
        self.kill()

    def obituary(self) -> str:
        """How the process ended, what it said last, and what to do."""
        self._keeper.join(_EXIT_GRACE_S)
        return (
            f"the model process {_cause(self._popen.poll())}; the next request starts a new one. {self.last_lines()}"
        ).strip()

    def last_lines(self) -> str:
        """What the process wrote last on its standard error, shortened."""
        text = " ".join(" ".join(self._lines).split())
        return f"It said last: {text[-800:]}" if text else ""

    def _patience(self, waiting_since: float, timeout_s: float) -> float:
        return max(waiting_since, self._progressed_at) + timeout_s - time.monotonic()

    def _keep(self) -> None:
        """The thread that starts the process and stays for as long as it runs.

        Linux ends the process with the *thread* that started it, so a caller's own thread will not do.
        """
        try:
            self._popen = _start()
        except OSError as error:
            self._ended = True
            self._started.put(error)
            return
        self.pid = self._popen.pid
        self._started.put(None)
        errors = threading.Thread(target=self._read_errors, daemon=True)
        errors.start()
        try:
            while (message := receive(cast(BinaryIO, self._popen.stdout))) is not None:
                self._deliver(message)
        finally:
            self._bury(errors)

    def _deliver(self, message: dict[str, Any]) -> None:
        if message["op"] == "alive":
            if message["progress"] != self._progress:
                self._progress, self._progressed_at = message["progress"], time.monotonic()
            return
        self._progressed_at = time.monotonic()
        with self._lock:
            inbox = self._inboxes.get(message["id"])
            if inbox is not None:
                inbox.put(message)

    def _bury(self, errors: threading.Thread) -> None:
        try:
            self._popen.wait(_EXIT_GRACE_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()  # it closed its output and lives on
            self._popen.wait()
        errors.join(_EXIT_GRACE_S)
        with self._lock:
            self._ended = True
            for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
                with contextlib.suppress(OSError):
                    cast(BinaryIO, stream).close()
            for inbox in self._inboxes.values():
                inbox.put(None)

    def _read_errors(self) -> None:
        for line in cast(BinaryIO, self._popen.stderr):
            self._lines.append(line[:400].decode("utf-8", "replace"))


def _start() -> subprocess.Popen[bytes]:
    root = str(Path(ragagent.__file__).resolve().parent.parent)
    path = [entry for entry in sys.path if entry]
    return subprocess.Popen(
        # -P: the working folder may hold anybody's files and must not be imported from.
        [sys.executable, "-P", "-c", _PROGRAM, root, *path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # an interrupt at the terminal is the application's affair
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    """What llama.cpp and OpenMP look at while they are loaded."""
    return {
        # Threads that spin while they wait cost a busy machine 20 times its speed (measured: 0.4 against 9 tokens/s).
        "OMP_WAIT_POLICY": "passive",
        **os.environ,
        "GGML_NO_BACKTRACE": "1",  # an abort would start a debugger if there is one
    }


def _cause(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = {
        "SIGKILL": " (somebody ended it, or the system ran out of memory: then take a smaller model or context)",
        "SIGABRT": " (llama.cpp gave up)",
        "SIGILL": " (llama.cpp was built for another processor)",
    }.get(name, "")
    return f"was ended by {name}{hint}"
