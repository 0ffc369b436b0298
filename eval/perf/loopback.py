"""A client of a server on this machine that costs little beside it, and what the server's processes hold."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the server: `seconds` is from the first byte sent to the last one received."""

    status: int
    headers: Mapping[str, str]
    text: str
    seconds: float

    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.text)


@dataclass(slots=True)
class Connection:
    """One connection that is kept, one request at a time. Bodies come whole: no streams."""

    port: int
    token: str
    _streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = field(default=None)

    async def send(self, method: str, path: str, body: Any = None) -> Answer:
        """The answer. Raises OSError or asyncio.IncompleteReadError when the server hangs up."""
        sent = b"" if body is None else json.dumps(body).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
        )
        begin = time.perf_counter()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(head.encode() + sent)
        said = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in said[1:])}
        text = (await reader.readexactly(int(headers["content-length"]))).decode()
        seconds = time.perf_counter() - begin
        if headers.get("connection") == "close":
            self.close()
        return Answer(status=int(said[0].split()[1]), headers=headers, text=text, seconds=seconds)

    def close(self) -> None:
        """Hangs up; the next request connects again."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def memory_of(pid: int) -> tuple[int, int]:
    """The resident bytes of a process, and those of all its descendants together (shared pages count in each)."""
    parents = {
        one: _status(one) for one in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    }
    below, found = 0, {pid}
    while more := {one for one, (parent, _) in parents.items() if parent in found and one not in found}:
        below += sum(parents[one][1] for one in more)
        found |= more
    return parents[pid][1], below


def _status(pid: int) -> tuple[int, int]:
    """The parent of a process and its resident bytes; (0, 0) for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    except OSError:
        return 0, 0
    values = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(values["PPid"]), 1024 * int(values.get("VmRSS", "0").split()[0])
