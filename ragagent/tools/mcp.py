"""One server of the Model Context Protocol, over stdio or streamable HTTP, for callers that are not asynchronous."""

from __future__ import annotations

import concurrent.futures
import functools
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ragagent.errors import ToolError
from ragagent.tools import mcp_contents, mcp_requests
from ragagent.tools.mcp_asking import Ask
from ragagent.tools.mcp_config import Server
from ragagent.tools.mcp_live import Live, Request
from ragagent.tools.mcp_person import Person
from ragagent.tools.mcp_requests import Described, Prompt, Resource
from ragagent.tools.mcp_signin import Browser
from ragagent.tools.mcp_tokens import Tokens
from ragagent.tools.under_way import Tell, untold

if TYPE_CHECKING:
    from mcp import Client

_TICK_S = 0.5
_Result = TypeVar("_Result")


class Stop:
    """Stops one request, from any thread, whether it is under way yet or not; the server is told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = False
        self._request: concurrent.futures.Future[object] | None = None

    def now(self) -> None:
        """Stops it. Returns at once."""
        with self._lock:
            self._wanted = True
            if self._request is not None:
                self._request.cancel()

    def holds(self, request: concurrent.futures.Future[Any]) -> None:
        """Says which request it is."""
        with self._lock:
            self._request = request
            if self._wanted:
                request.cancel()


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
        ask: Ask | None = None,
        tokens: Tokens | None = None,
        browser: Browser | None = None,
    ) -> None:
        """Connects nothing yet. `timeout_s` bounds a request, without the time in which somebody is asked.

        `ask` asks a person what the server wants to know; without it the server is told that nobody can be asked.
        `tokens` keeps what a sign-in gave, and `browser` is somebody who can sign in.
        """
        self.server = server
        self._person = Person(server.name, ask) if ask is not None else None
        self._tokens, self._browser = tokens, browser
        self._timeout_s = timeout_s
        self._lock = threading.RLock()
        self._live: Live | None = None
        self._number = 0

    def ready(self) -> int:
        """How often it was connected, once it is."""
        return self._connected()[1]

    def revision(self) -> str:
        """The revision of the protocol that both sides speak, such as 2025-11-25."""

        async def spoken(client: Client) -> str:
            return client.protocol_version

        return self._asked(spoken)

    def tools(self) -> list[Described]:
        """Its tools, to the last page. Raises ToolError when they cannot be had, as everything here does."""
        return self._asked(mcp_requests.tools)

    def call(self, name: str, arguments: Mapping[str, Any], *, tell: Tell = untold) -> str:
        """The text of what a tool gives; its errors, and a server that is lost or takes too long, are ToolErrors."""
        return self._asked(functools.partial(mcp_requests.call, name=name, arguments=arguments, tell=tell))

    def offered(self) -> list[Described]:
        """Its tools, and then what else it has, as tools (`ragagent.tools.mcp_contents`)."""
        return self._asked(mcp_contents.offered)

    def use(
        self,
        one: Described,
        arguments: Mapping[str, Any],
        *,
        on: int | None = None,
        tell: Tell = untold,
        stop: Stop | None = None,
    ) -> str:
        """The text of what an offer gives. With `on` it is had on that very connection (`ready`) or not at all."""
        return self._asked(functools.partial(mcp_contents.used, one=one, arguments=arguments, tell=tell), on, stop)

    def resources(self) -> list[Resource]:
        """Every resource, and then every template of some."""
        return self._asked(mcp_requests.resources)

    def read(self, uri: str) -> str:
        """The text of a resource; of what is no text, what it is."""
        return self._asked(functools.partial(mcp_requests.read, uri=uri))

    def prompts(self) -> list[Prompt]:
        """Every prompt."""
        return self._asked(mcp_requests.prompts)

    def prompt(self, name: str, arguments: Mapping[str, str]) -> str:
        """The text of a prompt with its arguments filled in."""
        return self._asked(functools.partial(mcp_requests.prompt, name=name, arguments=arguments))

    def close(self) -> None:
        """Ends the connection, and the server where it is a process of ours. It is connected anew when needed."""
        with self._lock:
            live, self._live = self._live, None
        if live is not None:
            live.close()

    def _asked(self, request: Request[_Result], on: int | None = None, stop: Stop | None = None) -> _Result:
        live, number = self._connected()
        if on is not None and on != number:
            raise ToolError(f"the server {self.server.name!r} was connected anew meanwhile; nothing was called")
        answer = live.submit(request)
        if stop is not None:
            stop.holds(answer)
        try:
            return self._awaited(answer)
        except concurrent.futures.CancelledError:
            raise ToolError(f"the call of {self.server.name!r} was cancelled; it may have taken effect") from None
        except TimeoutError:
            answer.cancel()
            raise ToolError(f"{self.server.name!r} did not answer in {self._timeout_s:g} s") from None

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

    def _connected(self) -> tuple[Live, int]:
        with self._lock:
            if self._live is not None and self._live.lost:
                self.close()
            if self._live is None:
                self._live = Live(self.server, self._person, self._tokens, self._browser)
                self._number += 1
            return self._live, self._number
