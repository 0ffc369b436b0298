"""The MCP server over streamable HTTP: who may call, from where, with how much; on this machine alone by default."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import anyio.to_thread
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, BearerAuthBackend
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import RequestBodyLimitMiddleware, TransportSecuritySettings
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragagent.access import Principal
from ragagent.errors import ConfigError
from ragagent.serve.mcp.admission import SCOPES, allows, scope_of
from ragagent.serve.mcp.limits import Limits
from ragagent.serve.mcp.sessions import PRINCIPAL_CLAIM

PATH = "/mcp"
METADATA_PATH = "/.well-known/oauth-protected-resource"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Held(Protocol):
    """A token that is valid: its id, what it allows, and whom it looks for (None is the owner)."""

    @property
    def id(self) -> str: ...

    @property
    def scopes(self) -> Sequence[str]: ...

    def sees(self) -> Principal | None: ...


class Verifier(Protocol):
    """Knows tokens by their text, such as `ragagent.serve.http.tokens.Tokens`."""

    def find(self, text: str) -> Held | None:
        """The valid token of that text, or None. Called in a thread, for each request."""
        ...


class Either:
    """Tokens that one of several verifiers knows."""

    def __init__(self, *verifiers: Verifier) -> None:
        self._verifiers = verifiers

    def find(self, text: str) -> Held | None:
        return next((found for one in self._verifiers if (found := one.find(text)) is not None), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the server listens and how it is reached.

    `url` is the address that clients use, when a proxy stands before it; `issuers` are the authorization servers that
    the metadata names, for clients that can get a token there by themselves (`ragagent.serve.mcp.issuers`).
    """

    host: str = "127.0.0.1"
    port: int = 8765
    url: str = ""
    issuers: tuple[str, ...] = ()

    @property
    def resource(self) -> str:
        """The address of the MCP endpoint."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return self.url.rstrip("/") or f"http://{shown}:{self.port}{PATH}"

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a request may say that it is for, in its Host header: host, or host:port."""
        named = (self.host, urlsplit(self.resource).netloc, urlsplit(self.resource).hostname or "")
        return tuple(dict.fromkeys([*(one for one in named if one), *(_LOOPBACK if self.local else ())]))


def app(
    server: MCPServer[Any], place: Place, *, verifier: Verifier | None = None, limits: Limits | None = None
) -> ASGIApp:
    """The ASGI application; its lifespan has to be run.

    From outside in: Host and Origin, the size of the body, the token, its scopes, then the protocol. Without a
    `verifier` nobody is asked for a token. Raises ConfigError for that on an address that other machines can reach.
    """
    if verifier is None and not place.local:
        raise ConfigError(
            f"{place.host}: other machines can reach this address, so tokens are needed; make one with: "
            "ragagent token create NAME"
        )
    limits = limits or Limits()
    inner: ASGIApp = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=limits.max_body_bytes,
        max_sessions=limits.max_sessions,
        session_idle_timeout=limits.session_idle_s,
        # Checked further out, so that it holds for every path.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    if verifier is not None:
        inner = AuthContextMiddleware(_Admitted(inner, place))
        inner = AuthenticationMiddleware(inner, backend=BearerAuthBackend(_Verified(verifier)))
    return _Guarded(RequestBodyLimitMiddleware(inner, limits.max_body_bytes), place)


def serve(
    server: MCPServer[Any], place: Place, *, verifier: Verifier | None = None, limits: Limits | None = None
) -> None:
    """Serves until it is interrupted; calls under way have ten seconds to end. Raises as `app` does."""
    import uvicorn

    uvicorn.run(
        app(server, place, verifier=verifier, limits=limits),
        host=place.host,
        port=place.port,
        log_level="warning",
        timeout_graceful_shutdown=10,
        server_header=False,
    )


class _Verified:
    """Tokens as the SDK wants them."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    async def verify_token(self, token: str) -> AccessToken | None:
        found = await anyio.to_thread.run_sync(self._verifier.find, token)
        if found is None:
            return None
        principal = found.sees()
        claims = None if principal is None else {PRINCIPAL_CLAIM: list(principal.names)}
        return AccessToken(token="", client_id=found.id, scopes=list(found.scopes), claims=claims)


class _Guarded:
    """Lets only requests through that are meant for this server, by their Host, and that no other page sent.

    A page that a browser shows can send requests to this machine, under its own name or, once that name leads here,
    under one of ours; the headers that it cannot set tell. What anybody may ask for is answered here: the metadata.
    """

    def __init__(self, inner: ASGIApp, place: Place) -> None:
        self._inner = inner
        self._place = place
        self._hosts = frozenset(one.casefold() for one in place.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        await (self._answer(Request(scope)) or self._inner)(scope, receive, send)

    def _answer(self, request: Request) -> Response | None:
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return Response("this server does not answer for that Host", status_code=421)
        origins = request.headers.getlist("origin")
        if len(origins) > 1 or (origins and not self._is_ours(urlsplit(origins[0]).netloc)):
            return Response("this server does not answer to that Origin", status_code=403)
        path = request.url.path
        if request.method == "GET" and path in (METADATA_PATH, METADATA_PATH + urlsplit(self._place.resource).path):
            return JSONResponse(metadata(self._place))
        return None

    def _is_ours(self, netloc: str) -> bool:
        netloc = netloc.casefold()
        name = netloc.rpartition(":")[0] if netloc.rpartition(":")[2].isdigit() else netloc
        return netloc in self._hosts or name in self._hosts


class _Admitted:
    """Answers 401 without a valid token and 403 without the scope that the request needs, as OAuth has it.

    The protocol's own layer holds requests to the same rule (`admission.admit`); here clients are told in the way that
    lets them ask for more.
    """

    def __init__(self, inner: ASGIApp, place: Place) -> None:
        self._inner = inner
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        user = scope.get("user")
        if not isinstance(user, AuthenticatedUser):
            given = any(key == b"authorization" for key, _ in scope["headers"])
            refusal = self._refusal(401, "invalid_token" if given else "", "a valid bearer token is needed", SCOPES)
            await refusal(scope, receive, send)
            return
        needed, replay = await _needed(receive)
        if not allows(user.scopes, needed):
            refusal = self._refusal(403, "insufficient_scope", f"this needs the scope {needed}", (needed,))
            await refusal(scope, replay, send)
            return
        await self._inner(scope, replay, send)

    def _refusal(self, status: int, error: str, description: str, scopes: Sequence[str]) -> Response:
        parts = urlsplit(self._place.resource)
        where = f"{parts.scheme}://{parts.netloc}{METADATA_PATH}{parts.path}"
        said = [f'error="{error}"', f'error_description="{description}"'] if error else []
        challenge = ", ".join([*said, f'scope="{" ".join(scopes)}"', f'resource_metadata="{where}"'])
        body = {"error": error or "invalid_request", "error_description": description}
        return JSONResponse(body, status_code=status, headers={"WWW-Authenticate": f"Bearer {challenge}"})


async def _needed(receive: Receive) -> tuple[str, Receive]:
    """The scope that a request needs, by its body, and the body once more. Its size is bounded further out."""
    first = await receive()
    try:
        asked = json.loads(first.get("body", b"") or b"{}")
    except (ValueError, RecursionError):
        asked = {}
    found = asked if isinstance(asked, dict) else {}
    params = found.get("params")
    kept: list[Message] = [first]

    async def replay() -> Message:
        return kept.pop() if kept else await receive()

    return scope_of(str(found.get("method", "")), params if isinstance(params, dict) else {}), replay


def metadata(place: Place) -> Mapping[str, Any]:
    """What clients are told of this resource, after RFC 9728."""
    found: dict[str, Any] = {
        "resource": place.resource,
        "scopes_supported": list(SCOPES),
        "bearer_methods_supported": ["header"],
        "resource_name": "ragagent",
    }
    return {**found, "authorization_servers": list(place.issuers)} if place.issuers else found
