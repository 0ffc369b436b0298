"""One connection to a server while it lasts, in a thread of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import tempfile
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ragagent.errors import ToolError
from ragagent.text import hidden
from ragagent.tools.mcp_config import Server
from ragagent.tools.mcp_person import Person
from ragagent.tools.mcp_signin import SIGN_IN_S, Browser, auth
from ragagent.tools.mcp_tokens import Tokens
from ragagent.tools.mcp_transport import transport

if TYPE_CHECKING:
    from mcp import Client

_CONNECT_S = 60.0
_CLOSE_S = 10.0
_SETTLE_S = 0.5
_PROBE_S = 1.0
_TURNS = 40
_KEPT_CHARS = 400
_Result = TypeVar("_Result")
Request = Callable[["Client"], Coroutine[Any, Any, _Result]]
"""What is asked of a server once it is connected."""


class Live:
    """A connection while it lasts, with a thread and an event loop of its own."""

    # What the SDK logs (a server that went away, say) is told by our errors; who wants its log adds a handler.
    for _name in ("mcp", "client"):
        logging.getLogger(_name).addHandler(logging.NullHandler())

    def __init__(self, server: Server, person: Person | None, tokens: Tokens | None, browser: Browser | None) -> None:
        """Returns when the server has answered. Raises ToolError, with what it said last, when it does not."""
        self._server, self._person = server, person
        self._auth, self._callback = auth(server, tokens, browser)
        self._client: Client | None = None
        self._asking = 0
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # closed with the connection
        self._loop = asyncio.new_event_loop()
        self._over, self._gone = asyncio.Event(), asyncio.Event()
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name=f"ragagent-mcp-{server.name}", daemon=True)
        self._thread.start()
        try:
            self._ready.result(_CONNECT_S + SIGN_IN_S if self._callback is not None else _CONNECT_S)
        except TimeoutError:
            self.close()
            raise ToolError(f"the server {server.name!r} did not answer in {_CONNECT_S:g} s") from None

    @property
    def lost(self) -> bool:
        return self._gone.is_set()

    def submit(self, request: Request[_Result]) -> concurrent.futures.Future[_Result]:
        """What a request will have given; ToolError as soon as the server is gone."""
        asked = self._asked(request)
        try:
            return asyncio.run_coroutine_threadsafe(asked, self._loop)
        except RuntimeError:
            asked.close()
            raise ToolError(f"the server {self._server.name!r} has gone; nothing was called") from None

    def close(self) -> None:
        """Returns when the server is gone."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._own())
            self._loop.run_until_complete(_all_cancelled())
        finally:
            self._gone.set()
            if self._callback is not None:
                self._callback.close()
            self._errors.close()
            self._loop.close()

    async def _own(self) -> None:
        """The one task that enters and leaves the connection."""
        from mcp import Client

        try:
            streams = transport(self._server, self._errors, self._gone, self._auth)
            elicit = self._person.answer if self._person is not None else None
            async with Client(streams, elicitation_callback=elicit) as client:
                self._client = client
                self._ready.set_result(None)
                probe = asyncio.ensure_future(self._probe()) if self._server.url else None
                await self._until(self._over, self._gone)
                if probe is not None:
                    probe.cancel()
                # Those who wait for an answer are told before the connection is left.
                self._gone.set()
                for _ in range(_TURNS):
                    if self._asking:
                        await asyncio.sleep(_SETTLE_S / 10)
        except Exception as error:  # noqa: BLE001  # the boundary to a foreign program: what it does is its own error
            if not self._ready.done():
                why = f"the server {self._server.name!r} cannot be used: {_said(error)}. {self._last_words()}"
                self._ready.set_exception(ToolError(why.strip()))

    async def _asked(self, request: Request[_Result]) -> _Result:
        assert self._client is not None
        self._asking += 1
        asked = asyncio.ensure_future(request(self._client))
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({asked, gone}, return_when=asyncio.FIRST_COMPLETED)
            if asked.done():
                return asked.result()
        except ToolError:
            raise
        except Exception as error:  # noqa: BLE001  # as above
            if not _is_end(error):
                raise ToolError(f"{self._server.name!r}: {_said(error)}") from None
            self._gone.set()
        finally:
            self._asking -= 1
            for task in (asked, gone):
                task.cancel()
            await asyncio.wait({asked, gone}, timeout=_SETTLE_S)
        raise ToolError(
            f"the server {self._server.name!r} has gone in the middle of the call, which may have taken effect"
        )

    async def _probe(self) -> None:
        """Notices a server over HTTP that is not there any more: the SDK waits for a stream to come back."""
        parts = urlsplit(self._server.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        while True:
            await asyncio.sleep(_PROBE_S)
            if not self._asking:
                continue
            try:
                async with asyncio.timeout(_PROBE_S):
                    _, writer = await asyncio.open_connection(parts.hostname, port)
                writer.close()
            except ConnectionRefusedError:
                self._gone.set()
                return
            except (OSError, TimeoutError):
                # Behind a proxy the host itself may be out of reach. Only a refusal says that nobody is there.
                continue

    async def _until(self, *events: asyncio.Event) -> None:
        """Returns when the first of them happens."""
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    def _last_words(self) -> str:
        """What a server of ours has written on its standard error last."""
        self._errors.seek(0)
        text = " ".join(hidden.without(self._errors.read()).split())
        return f"It said last: {text[-_KEPT_CHARS:]}" if text else ""


async def _all_cancelled() -> None:
    """Returns when nothing else is at work in the loop."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _is_end(error: BaseException) -> bool:
    """Whether an error means that the server is not there any more."""
    from mcp import MCPError
    from mcp.types import CONNECTION_CLOSED

    if isinstance(error, BaseExceptionGroup):
        return any(_is_end(one) for one in error.exceptions)
    if isinstance(error, MCPError):
        return error.code == CONNECTION_CLOSED or "session terminated" in str(error).lower()
    name = type(error).__name__
    return isinstance(error, OSError) or name.endswith(("ResourceError", "ConnectError", "ReadError", "ProtocolError"))


def _said(error: BaseException) -> str:
    """An error in words; of a group, its first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = " ".join(hidden.without(str(error)).split())
    return text[:_KEPT_CHARS] or type(error).__name__
