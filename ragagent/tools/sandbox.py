"""A tool that runs Python in a process that can reach nothing: no network, no files but a scratch folder, no processes.

What the process may do is taken from it by the kernel (`ragagent.tools.confined`); here its time, its output and the
scratch folder are watched. Where the kernel lacks what is needed there is no such tool: it is never weaker unasked.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from ragagent.errors import ConfigError, ToolError
from ragagent.tools import confined
from ragagent.types import ToolSpec

MAX_CODE_CHARS = 16_000
"""So long that a pipe holds it in any script, and nobody has to read it first."""
_READ_AT_ONCE = 1 << 16
_WATCH_S = 0.02
_START_S = 30.0
_SIGNALS = {
    9: "it was ended",
    11: "it crashed",
    24: "it took too much time of the processor",
    25: "a file grew too large",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What code that runs may take. Files are the scratch folder's, which is removed after each run."""

    seconds: float = 10.0
    memory_bytes: int = 512 << 20
    file_bytes: int = 8 << 20
    folder_bytes: int = 64 << 20
    folder_entries: int = 1000
    open_files: int = 32
    output_bytes: int = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What became of a program: all that it printed, errors last, its exit code, and why it was stopped, if it was."""

    output: str
    code: int
    stopped: str = ""


@functools.cache
def unsafe() -> str:
    """Why code cannot be run safely here, tried out once; empty where it can."""
    if sys.platform != "linux":
        return f"it needs Linux, and this is {sys.platform}"
    try:
        ran = run("print(6 * 7)", Limits())
    except ToolError as error:
        return str(error)
    return (
        "" if ran.output.strip() == "42" else f"a first program did not run: {ran.output.strip()[:200] or ran.stopped}"
    )


def run(code: str, limits: Limits, stop: threading.Event | None = None) -> Ran:
    """Runs a program of Python and waits for its end; `stop` ends it. Raises ToolError where that cannot be safe."""
    scratch = tempfile.mkdtemp(prefix="ragagent-scratch-")
    try:
        return _ran(code, Path(scratch), limits, stop or threading.Event())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _ran(code: str, scratch: Path, limits: Limits, stop: threading.Event) -> Ran:
    given = (limits.memory_bytes, max(1, round(limits.seconds)), limits.file_bytes, limits.open_files)
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-X", "utf8", confined.__file__, *map(str, given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=scratch,
        env={"LANG": "C.UTF-8"},
        start_new_session=True,
    )
    watch = _Watch(process=process, scratch=scratch, limits=limits, stop=stop)
    try:
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], process.stdin).write(code.encode("utf-8", "replace"))
            cast(IO[bytes], process.stdin).close()
        watch.follow()
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            cast(IO[bytes], stream).close()
    errors = watch.errors.decode("utf-8", "replace")
    if process.returncode == confined.UNSAFE and not watch.output:
        raise ToolError(f"code cannot be run safely here: {errors[:500]}")
    parts = [part for part in (watch.output.decode("utf-8", "replace").rstrip(), errors.rstrip()) if part]
    died = _SIGNALS.get(-process.returncode, f"it was ended by signal {-process.returncode}")
    stopped = watch.stopped or (died if process.returncode < 0 else "")
    return Ran(output="\n".join(parts), code=process.returncode, stopped=stopped)


@dataclass(slots=True)
class _Watch:
    process: subprocess.Popen[bytes]
    scratch: Path
    limits: Limits
    stop: threading.Event
    output: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    stopped: str = ""

    def follow(self) -> None:
        """Reads what the process says until it has ended or takes too much."""
        streams = {cast(IO[bytes], self.process.stdout).fileno(): self.output}
        streams[cast(IO[bytes], self.process.stderr).fileno()] = self.errors
        until = time.monotonic() + self.limits.seconds
        while streams and not self.stopped:
            for ready in select.select(list(streams), [], [], _WATCH_S)[0]:
                data = os.read(ready, _READ_AT_ONCE)
                streams[ready].extend(data)
                if not data:
                    del streams[ready]
            self.stopped = self._too_much(until)
        most = self.limits.output_bytes
        del self.output[most:], self.errors[most:]
        # Who closes both streams may go on.
        while not self.stopped and self.process.poll() is None:
            time.sleep(_WATCH_S)
            self.stopped = self._too_much(until)

    def _too_much(self, until: float) -> str:
        if self.stop.is_set():
            return "it was cancelled"
        if time.monotonic() > until:
            return f"it took longer than {self.limits.seconds:g} seconds"
        if len(self.output) + len(self.errors) > self.limits.output_bytes:
            return f"it printed more than {self.limits.output_bytes} bytes; what follows was left out"
        if _too_large(self.scratch, self.limits):
            return f"its files took more than {self.limits.folder_bytes >> 20} MB, or were more than can be kept"
        return ""


def _too_large(folder: Path, limits: Limits) -> bool:
    size = 0
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= limits.folder_entries:
                return True
            with contextlib.suppress(OSError):
                size += entry.stat(follow_symlinks=False).st_blocks * 512
    return size > limits.folder_bytes


def run_python(limits: Limits | None = None) -> PythonTool:
    """The tool. Raises ConfigError, which says why, where code cannot be run safely."""
    reason = unsafe()
    if reason:
        raise ConfigError(f"the Python sandbox is refused: {reason}. Leave agent.sandbox and --sandbox off")
    return PythonTool(limits or Limits())


class PythonTool:
    """Runs programs one after another, each in a process and a folder of its own; nothing is kept between them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._stop = threading.Event()

    @property
    def spec(self) -> ToolSpec:
        code = {
            "type": "string",
            "description": "a program; what it prints comes back, and the value of its last line",
            "minLength": 1,
            "maxLength": MAX_CODE_CHARS,
        }
        return ToolSpec(
            name="run_python",
            description="Runs Python's standard library, without network and files, for what calculate cannot do.",
            parameters={
                "type": "object",
                "properties": {"code": code},
                "required": ["code"],
                "additionalProperties": False,
            },
            effects=("execute",),
            # It leaves nothing behind.
            idempotent=True,
        )

    def call(self, arguments: Mapping[str, Any]) -> str:
        """All that the program printed. Raises ToolError with that for one that failed or was stopped."""
        self._stop.clear()
        ran = run(str(arguments["code"]), self._limits, self._stop)
        if ran.stopped:
            raise ToolError(f"{ran.output}\n(stopped: {ran.stopped})".strip())
        if ran.code:
            raise ToolError(ran.output or f"it ended with code {ran.code}")
        return ran.output or "(it printed nothing)"

    def cancel(self) -> None:
        """Ends the program that runs."""
        self._stop.set()
