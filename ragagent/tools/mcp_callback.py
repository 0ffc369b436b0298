"""The address on this machine to which a browser comes back from a sign-in."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from urllib.parse import parse_qs, urlsplit

from ragagent.errors import ToolError

_MAX_LINE = 16_384
_READ_S = 10.0
_PATH = "/callback"
_PAGE = (
    "<!doctype html><meta charset=utf-8><title>ragagent</title>"
    "<p>{}</p><p>You can close this page and go back to where you came from.</p>"
)


class Callback:
    """Listens on 127.0.0.1 from the start on, and answers the one visit that carries the right state.

    Whatever else comes there (another page that guesses the port, a second visit) is turned away and changes nothing.
    """

    def __init__(self, port: int = 0) -> None:
        """Raises ToolError when `port` is taken; 0 is any that is free."""
        try:
            self._socket = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            raise ToolError(f"port {port} of this machine cannot be had: {error.strerror}") from error
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}{_PATH}"

    async def visit(self, state: str, timeout_s: float) -> dict[str, str]:
        """What the visit with this `state` brought. Raises ToolError after `timeout_s`."""
        found: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()

        async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            brought = await _asked(reader)
            right = brought.get("state") == state and not found.done()
            await _reply(writer, 200 if right else 404, "You are signed in." if "code" in brought else "Not signed in.")
            if right:
                found.set_result(brought)

        # The listener takes a copy: a second sign-in on the same connection comes back to the same port.
        server = await asyncio.start_server(answered, sock=self._socket.dup(), limit=_MAX_LINE)
        try:
            return await asyncio.wait_for(asyncio.shield(found), timeout_s)
        except TimeoutError:
            raise ToolError(f"nobody signed in within {timeout_s:g} s") from None
        finally:
            found.cancel()
            server.close()

    def close(self) -> None:
        """Gives the port back."""
        self._socket.close()


async def _asked(reader: asyncio.StreamReader) -> dict[str, str]:
    """The parameters of a visit to the path; empty for any other."""
    with contextlib.suppress(ValueError, OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(_READ_S):
            method, target, *_ = (await reader.readline()).decode("ascii").split(" ")
            while (await reader.readline()).strip():
                pass
        parts = urlsplit(target)
        if method == "GET" and parts.path == _PATH:
            return {name: values[0] for name, values in parse_qs(parts.query, max_num_fields=20).items()}
    return {}


async def _reply(writer: asyncio.StreamWriter, status: int, words: str) -> None:
    body = _PAGE.format(words if status == 200 else "There is nothing here.").encode()
    head = (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not Found'}\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n"
        "Content-Security-Policy: default-src 'none'\r\nConnection: close\r\n\r\n"
    )
    with contextlib.suppress(OSError):
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()
