"""One server of the Model Context Protocol, over stdio or streamable HTTP, for callers that are not asynchronous."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from ragagent.errors import ToolError
from ragagent.text import hidden
from ragagent.tools.mcp_asking import Ask
from ragagent.tools.mcp_config import Server
from ragagent.tools.mcp_person import Person
from ragagent.tools.mcp_signin import SIGN_IN_S, Browser, auth
from ragagent.tools.mcp_tokens import Tokens
from ragagent.tools.mcp_transport import transport

if TYPE_CHECKING:
    from mcp import Client

_CONNECT_S = 30.0
_CLOSE_S = 10.0
_SETTLE_S = 0.5
_PROBE_S = 1.0
_TURNS = 40
_TICK_S = 0.5
_MAX_PAGES = 50
_MAX_CHARS = 2_000_000
_KEPT_CHARS = 400
_Result = TypeVar("_Result")
Request = Callable[["Client"], Coroutine[Any, Any, _Result]]

Progress = Callable[[float, float | None, str], None]
"""Told how far a call is: how much is done, of how much if that is known, and in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A tool as its server describes it: everything here is the server's word."""

    name: str
    description: str
    schema: Mapping[str, Any]
    annotations: Mapping[str, Any] = field(default_factory=dict, hash=False)


class Connection:
    """A server, connected when it is first needed, and anew after it was lost. Safe for several threads.

    One task of a background thread enters and leaves the connection, as the SDK requires. A call that was under way
    when the server went away is not made again: nobody knows whether it took effect.
    """

    def __init__(
        self,
        server: Server,
        *,
        timeout_s: float = 60.0,
        progress: Progress | None = None,
        ask: Ask | None = None,
        tokens: Tokens | None = None,
        browser: Browser | None = None,
    ) -> None:
        """Connects nothing yet. `timeout_s` bounds a call, without the time in which somebody is asked.

        `ask` asks a person what the server wants to know; without it the server is told that nobody can be asked.
        `tokens` keeps what a sign-in gave, and `browser` is somebody who can sign in.
        """
        self.server = server
        self._person = Person(server.name, ask) if ask is not None else None
        self._tokens, self._browser = tokens, browser
        self._timeout_s = timeout_s
        self._progress = progress
        self._lock = threading.RLock()
        self._live: _Live | None = None
        self._calls: set[concurrent.futures.Future[Any]] = set()
        self._number = 0

    def tools(self) -> list[Described]:
        """What the server offers, to the last page. Raises ToolError when that cannot be had."""
        return self._asked(_all_tools)

    def ready(self) -> int:
        """How often it was connected, once it is."""
        return self._connected()[1]

    def call(self, name: str, arguments: Mapping[str, Any], *, on: int | None = None) -> str:
        """The text of what a tool gives. Raises ToolError for its errors, after `timeout_s`, and for a lost server.

        With `on` it is called on that very connection (`ready`) or not at all.
        """

        async def called(client: Client) -> str:
            found = await client.call_tool(
                name,
                dict(arguments),
                progress_callback=self._told,
            )
            text = _text(found.content) or _structured(found.structured_content)
            if found.is_error:
                raise ToolError(text or "the tool failed and did not say why")
            return text or "(no result)"

        return self._asked(called, on)

    def resources(self) -> list[tuple[str, str]]:
        """The address and the name of each resource of the first page."""

        async def listed(client: Client) -> list[tuple[str, str]]:
            return [(str(one.uri), one.name) for one in (await client.list_resources()).resources]

        return self._asked(listed)

    def read(self, uri: str) -> str:
        """The text of a resource."""

        async def had(client: Client) -> str:
            found = await client.read_resource(uri)
            return "\n".join(str(getattr(one, "text", "[not text]")) for one in found.contents)[:_MAX_CHARS]

        return self._asked(had)

    def prompts(self) -> list[tuple[str, str]]:
        """The name and the description of each prompt of the first page."""

        async def listed(client: Client) -> list[tuple[str, str]]:
            return [(one.name, one.description or "") for one in (await client.list_prompts()).prompts]

        return self._asked(listed)

    def prompt(self, name: str, arguments: Mapping[str, str]) -> str:
        """The text of a prompt."""

        async def had(client: Client) -> str:
            found = await client.get_prompt(name, dict(arguments))
            return "\n".join(_text([one.content]) for one in found.messages)

        return self._asked(had)

    def cancel(self) -> None:
        """Stops the calls under way, from any thread; the server is told."""
        for call in list(self._calls):
            call.cancel()

    def close(self) -> None:
        """Ends the connection, and the server where it is a process of ours. It is connected anew when needed."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.close()

    def _asked(self, request: Request[_Result], on: int | None = None) -> _Result:
        live, number = self._connected()
        if on is not None and on != number:
            raise ToolError(f"the server {self.server.name!r} was connected anew meanwhile; nothing was called")
        answer = live.submit(request)
        self._calls.add(answer)
        try:
            return self._awaited(answer)
        except concurrent.futures.CancelledError:
            raise ToolError(f"the call of {self.server.name!r} was cancelled; it may have taken effect") from None
        except TimeoutError:
            answer.cancel()
            raise ToolError(f"{self.server.name!r} did not answer in {self._timeout_s:g} s") from None
        finally:
            self._calls.discard(answer)

    def _awaited(self, answer: concurrent.futures.Future[_Result]) -> _Result:
        """The answer, if it comes in time. While a person is being asked the time stands still."""
        left = self._timeout_s
        while True:
            began = time.monotonic()
            try:
                return answer.result(min(left, _TICK_S))
            except TimeoutError:
                if self._person is None or not self._person.busy:
                    left -= time.monotonic() - began
                if left <= 0:
                    raise

    def _connected(self) -> tuple[_Live, int]:
        with self._lock:
            if self._live is not None and self._live.lost:
                self.close()
            if self._live is None:
                self._live = _Live(self.server, self._person, self._tokens, self._browser)
                self._number += 1
            return self._live, self._number

    async def _told(self, progress: float, total: float | None, message: str | None) -> None:
        if self._progress is not None:
            self._progress(progress, total, hidden.without(message or ""))


class _Live:
    """A connection while it lasts, with a thread and an event loop of its own."""

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


async def _all_tools(client: Client) -> list[Described]:
    found: list[Described] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += [
            Described(
                name=one.name,
                description=one.description or one.title or "",
                schema=one.input_schema,
                annotations=one.annotations.model_dump(mode="json", exclude_none=True) if one.annotations else {},
            )
            for one in page.tools
        ]
        cursor = page.next_cursor
        if not cursor:
            return found
    raise ToolError(f"the server lists its tools on more than {_MAX_PAGES} pages")


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


def _text(blocks: Sequence[Any]) -> str:
    """The text of content; of what is no text, what it is."""
    return "\n".join(_block(one) for one in blocks)[:_MAX_CHARS]


def _block(block: Any) -> str:
    if block.type == "text":
        return str(block.text)
    if block.type == "resource":
        return str(getattr(block.resource, "text", f"[{block.resource.uri}: not text]"))
    if block.type == "resource_link":
        return f"[{block.uri}]"
    return f"[{block.type}, {getattr(block, 'mime_type', 'unknown')}: not shown]"


def _structured(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:_MAX_CHARS] if value is not None else ""
