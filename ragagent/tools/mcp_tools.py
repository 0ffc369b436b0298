"""Tools of foreign servers, and their resources and prompts as tools, as far as the user has allowed them.

A server is a stranger. Its tools are off until the user has allowed them one by one; what was allowed is pinned by a
hash of all that the server says of the tool, so that a changed one has to be allowed anew, also when it changes between
two calls. What a server says of its tools (that they only read, say) is a claim: a tool is taken to do everything
unless the user says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ragagent.errors import ConfigError, ToolError
from ragagent.text import hidden
from ragagent.tools.mcp import Connection, Stop
from ragagent.tools.mcp_asking import Ask
from ragagent.tools.mcp_config import Allowances, Allowed, Server, description_hash
from ragagent.tools.mcp_requests import Described
from ragagent.tools.mcp_signin import Browser
from ragagent.tools.mcp_tokens import Tokens
from ragagent.tools.schema import plain
from ragagent.tools.under_way import Tell, untold
from ragagent.types import EFFECTS, Effect, ToolSpec

_MAX_DESCRIPTION_CHARS = 1000
_OTHER = re.compile(r"[^A-Za-z0-9_]+")

State = Literal["off", "allowed", "changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A tool that a server offers, and whether it may be used: `changed` is one that was, before it was changed."""

    server: str
    tool: Described
    hash: str
    state: State
    effects: tuple[Effect, ...]


class ForeignTool:
    """One allowed tool of a server, or one of its prompts or what reads its resources."""

    def __init__(self, connection: Connection, described: Described, allowed: Allowed) -> None:
        """Raises ConfigError when its arguments cannot be described to a model."""
        self._connection = connection
        self._described = described
        self._hash = allowed.hash
        self._checked = connection.ready()
        self.spec = ToolSpec(
            name=f"{_OTHER.sub('_', connection.server.name)}__{_OTHER.sub('_', described.name)}",
            description=hidden.without(" ".join(described.description.split()))[:_MAX_DESCRIPTION_CHARS],
            parameters=_closed(plain(described.schema)),
            effects=allowed.effects,
        )

    def call(self, arguments: Mapping[str, Any]) -> str:
        """What the server gives. Raises ToolError when its description is not the allowed one any more."""
        return self.begun(untold).call(arguments)

    def begun(self, tell: Tell) -> ForeignCall:
        """The tool for one call, which tells how far it is and can be stopped."""
        return ForeignCall(self, tell)

    def use(self, arguments: Mapping[str, Any], tell: Tell, stop: Stop) -> str:
        """As `call`; `stop` stops it."""
        number = self._connection.ready()
        if number != self._checked:
            self._check(self._connection.offered())
            self._checked = number
        return self._connection.use(self._described, arguments, on=number, tell=tell, stop=stop)

    def _check(self, offered: Iterable[Described]) -> None:
        """Raises ToolError unless it is described as before. What reads resources is described here, and stays."""
        now = next((hash_of(one) for one in offered if one.name == self._described.name), None)
        if now != self._hash and not (now is None and self._described.use in ("list", "read")):
            raise ToolError(f"{self.spec.name} is not what was allowed any more; allow it anew, or leave it out")


class ForeignCall:
    """One call of a tool of a server."""

    def __init__(self, tool: ForeignTool, tell: Tell) -> None:
        self.spec = tool.spec
        self._tool, self._tell, self._stop = tool, tell, Stop()

    def call(self, arguments: Mapping[str, Any]) -> str:
        return self._tool.use(arguments, self._tell, self._stop)

    def cancel(self) -> None:
        """Stops it, from any thread; the server is told."""
        self._stop.now()


class Servers:
    """Servers by name, and what of them is allowed. Each is connected when it is first needed."""

    def __init__(
        self,
        servers: Mapping[str, Server],
        allowances: Allowances,
        *,
        timeout_s: float = 60.0,
        ask: Ask | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        """`ask` puts what a server wants to know to a person (`ragagent.tools.mcp_asking`); `tokens` keeps sign-ins."""
        self._connections = {
            name: Connection(server, timeout_s=timeout_s, ask=ask, tokens=tokens) for name, server in servers.items()
        }
        self._allowances = allowances
        self._tokens = tokens

    @property
    def names(self) -> tuple[str, ...]:
        """The servers, in the order they were given."""
        return tuple(self._connections)

    def connection(self, server: str) -> Connection:
        """The connection to a server. Raises ConfigError for a name that is not there."""
        if server not in self._connections:
            raise ConfigError(f"there is no server {server!r}; there are: {', '.join(self._connections) or 'none'}")
        return self._connections[server]

    def sign_in(self, server: str, browser: Browser) -> bool:
        """Signs in to a server, and keeps that; False where it asks for no sign-in. Waits for whoever is at `browser`.

        Raises ToolError when nobody signs in, and when the server cannot be used.
        """
        known, kept = self._signing(server), self._kept()
        if record := kept.of(known.url):
            # A token that is still good would keep what is asked for now from being asked.
            kept.keep(known.url, {name: value for name, value in record.items() if name != "tokens"})
        connection = Connection(known, tokens=self._tokens, browser=browser)
        try:
            connection.tools()
        finally:
            connection.close()
        return bool(kept.of(known.url).get("tokens"))

    def sign_out(self, server: str) -> bool:
        """Forgets the sign-in to a server; whether there was one. The authorization server is not told."""
        return self._kept().forget(self._signing(server).url)

    def _signing(self, server: str) -> Server:
        known = self.connection(server).server
        if not known.url:
            raise ConfigError(f"{server!r} is started here; only a server with an address can be signed in to")
        return known

    def _kept(self) -> Tokens:
        if self._tokens is None:
            raise ConfigError("sign-ins are kept nowhere: these servers were opened without tokens")
        return self._tokens

    def offers(self, server: str) -> list[Offer]:
        """What a server offers: its tools in its own order, then what reads its resources, and its prompts."""
        allowed = self._allowances.of(server)
        return [_offer(server, one, allowed.get(one.name)) for one in self.connection(server).offered()]

    def allow(self, server: str, names: Sequence[str], effects: Sequence[Effect] | None = None) -> list[Offer]:
        """Allows tools as they are described now, with these effects, or else as tools that may do everything."""
        offers = {offer.tool.name: offer for offer in self.offers(server)}
        if missing := [name for name in names if name not in offers]:
            raise ConfigError(f"{server!r} offers no tool {missing[0]!r}; it offers: {', '.join(offers)}")
        chosen = EFFECTS if effects is None else tuple(effect for effect in EFFECTS if effect in effects)
        self._allowances.allow(server, {name: Allowed(hash=offers[name].hash, effects=chosen) for name in names})
        return self.offers(server)

    def forbid(self, server: str, names: Sequence[str]) -> None:
        """Takes tools of a server out again."""
        self._allowances.forbid(server, names)

    def tools(self) -> tuple[list[ForeignTool], list[str]]:
        """The allowed tools of all servers, and in words what could not be had.

        Servers of which nothing is allowed are not even started.
        """
        found: list[ForeignTool] = []
        problems: list[str] = []
        for name, connection in self._connections.items():
            allowed = self._allowances.of(name)
            if not allowed:
                continue
            try:
                offers = self.offers(name)
            except ToolError as error:
                problems.append(str(error))
                continue
            for offer in offers:
                if offer.state == "changed":
                    problems.append(f"{name}: {offer.tool.name} was changed since it was allowed; allow it anew")
                elif offer.state == "allowed":
                    try:
                        tool = ForeignTool(connection, offer.tool, allowed[offer.tool.name])
                    except ConfigError as error:
                        problems.append(f"{name}: {offer.tool.name}: {error}")
                        continue
                    if tool.spec.name in {one.spec.name for one in found}:
                        problems.append(f"{name}: {offer.tool.name}: another tool is named {tool.spec.name} already")
                        continue
                    found.append(tool)
        return found, problems

    def close(self) -> None:
        """Ends all connections."""
        for connection in self._connections.values():
            connection.close()


def hash_of(tool: Described) -> str:
    """What pins a tool: a digest of all that its server says of it."""
    said = {"name": tool.name, "description": tool.description, "schema": tool.schema, "claims": tool.annotations}
    return description_hash(said)


def _offer(server: str, tool: Described, allowed: Allowed | None) -> Offer:
    now = hash_of(tool)
    state: State = "off" if allowed is None else "allowed" if allowed.hash == now else "changed"
    return Offer(server=server, tool=tool, hash=now, state=state, effects=allowed.effects if allowed else EFFECTS)


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an object that takes what it names and nothing else, unless it says that it does."""
    return {"type": "object", "properties": {}, "additionalProperties": False, **schema}
