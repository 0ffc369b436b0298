"""The git program, asked about repositories that nobody vouches for: it reads objects and runs nothing of theirs.

No configuration of the system, the user or a place that names commands is in force; hooks, filters, pagers, signature
checks and lazy fetching are off; only the transport that was asked for is allowed, and nothing ever prompts.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from ragagent.connectors.addresses import Credentials
from ragagent.errors import ConnectorError, ReadError

_QUIET: Mapping[str, str] = {
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.pager": "cat",
    "core.askPass": "",
    "credential.helper": "",
    "log.showSignature": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    "fetch.recurseSubmodules": "false",
    "http.followRedirects": "false",
    "safe.directory": "*",
}
_KEPT = ("PATH", "HOME", "TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Git:
    """Runs git in one repository. `transport` is the only protocol it may use; none for a repository on this disk."""

    def __init__(self, folder: Path, *, transport: str = "none", credentials: Credentials | None = None) -> None:
        program = shutil.which("git")
        if program is None:
            raise ConnectorError("reading a Git repository needs the program git, which is not installed here")
        self._program = program
        self._folder = folder
        self._environment = _environment(transport, credentials)

    def run(self, *arguments: str, timeout_s: float = 60.0) -> bytes:
        """What a command prints. Raises ConnectorError with what git says where it fails or takes too long."""
        try:
            done = subprocess.run(
                self._command(arguments),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConnectorError(f"git {arguments[0]} was not done after {timeout_s:g} s") from error
        if done.returncode:
            said = " ".join(done.stderr.decode("utf-8", "replace").split())[-500:]
            raise ConnectorError(f"git {arguments[0]}: {said or f'it ended with {done.returncode}'}")
        return done.stdout

    def records(self, *arguments: str) -> Iterator[bytes]:
        """What a command prints, as records that end with a zero byte, while it runs; left off, it is stopped."""
        with subprocess.Popen(
            self._command(arguments),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                assert process.stdout is not None
                yield from _split(process.stdout)
            finally:
                process.kill()

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [self._program, "--git-dir", str(self._folder), "--no-pager", "--no-replace-objects", *arguments]

    def blobs(self) -> Blobs:
        """What reads contents, through one process for all of them."""
        process = subprocess.Popen(
            self._command(["cat-file", "--batch"]),
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return Blobs(process)


class Blobs:
    """Contents by the name of their blob. Safe to use from several threads."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lock = threading.Lock()
        weakref.finalize(self, _end, process)

    def read(self, name: str) -> bytes:
        """The bytes of a blob. Raises ReadError where the repository does not have it."""
        with self._lock:
            to, answers = self._process.stdin, self._process.stdout
            assert to is not None
            assert answers is not None
            try:
                to.write(name.encode("ascii") + b"\n")
                to.flush()
            except OSError as error:
                raise ReadError("git ended while it read the repository") from error
            header = answers.readline().split()
            if len(header) != 3 or header[1] != b"blob":
                raise ReadError(f"the repository does not have the blob {name}; is it a partial clone?")
            size = int(header[2])
            data = answers.read(size)
            answers.read(1)
        if len(data) != size:
            raise ReadError("git ended while it read the repository")
        return data


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.wait()


def _split(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while piece := stream.read1(1 << 16):  # type: ignore[attr-defined]
        *whole, rest = (rest + piece).split(b"\0")
        yield from whole
    if rest:
        yield rest


def _environment(transport: str, credentials: Credentials | None) -> dict[str, str]:
    settings = dict(_QUIET)
    if credentials is not None:
        # In the environment of the process alone: arguments and files can be read by others.
        secret = base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode("ascii")
        settings["http.extraHeader"] = f"Authorization: Basic {secret}"
    found = {name: os.environ[name] for name in _KEPT if name in os.environ}
    for number, (key, value) in enumerate(settings.items()):
        found[f"GIT_CONFIG_KEY_{number}"] = key
        found[f"GIT_CONFIG_VALUE_{number}"] = value
    return {
        **found,
        "GIT_CONFIG_COUNT": str(len(settings)),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": transport,
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes",
        "LC_ALL": "C",
    }
