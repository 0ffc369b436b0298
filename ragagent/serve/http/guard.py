"""The gate: every request passes here before a route sees it, and every answer on its way out.

In this order: the host it was sent to, the site it comes from, the token, the rate, the size of its body. Out go the
security headers, one line of the log and the metrics; whatever was not foreseen becomes a 500 without any detail.
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragagent.access import Principal
from ragagent.errors import ConfigError
from ragagent.serve.http import logs
from ragagent.serve.http.errors import Refusal
from ragagent.serve.http.limits import Limits, Rates, bounded
from ragagent.serve.http.metrics import Metrics
from ragagent.serve.http.tokens import SCOPES, Tokens
from ragagent.serve.http.tokens import Scope as TokenScope

UPLOADS = "/api/uploads"
OPEN = ("/health",)
"""Answered without a token, beside the web page's own files."""
_GUARDED = ("/api", "/v1", "/metrics", "/openapi.json")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who a request is from. `principal` none is the owner, who sees everything; `key` tells clients apart."""

    key: str
    name: str
    scopes: frozenset[TokenScope]
    principal: Principal | None = None

    def may(self, scope: TokenScope) -> bool:
        """Whether it may do that; an admin may do everything."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What the server is bound to, and by which names it may be asked."""

    loopback: bool = True
    hosts: frozenset[str] = field(default_factory=frozenset)

    def admits(self, host: str) -> bool:
        """Whether `host`, without its port, is a name of this server.

        A name that is not known may be anybody's: a page of evil.example whose name turns out to be 127.0.0.1 is let
        into the browser's same origin, and its requests say evil.example here. An address cannot be rebound.
        """
        name = host.lower().rstrip(".")
        if name in self.hosts:
            return True
        address = _address(name)
        if self.loopback:
            return name == "localhost" or (address is not None and address.is_loopback)
        return name == "localhost" or address is not None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound to `host`."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None


class Guard:
    """The gate around the app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        tokens: Tokens,
        reach: Reach,
        limits: Limits,
        metrics: Metrics,
        everybody: Principal | None = None,
    ) -> None:
        """`everybody` is who somebody without a token is, where none is needed; None is the owner."""
        self._app = app
        self._tokens = tokens
        self._reach = reach
        self._limits = limits
        self._metrics = metrics
        self._everybody = everybody
        self._rates = Rates(limits.requests_per_minute, limits.burst)
        self._failures = Rates(limits.failures_per_minute, limits.failures_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = _Passage(scope, send)
        try:
            caller = self._admitted(scope)
            scope.setdefault("state", {})["caller"] = caller
            passage.client = caller.name
            _require_writer(scope["path"], caller)
            await self._app(scope, self._bounded(scope, receive), passage.send)
        except Refusal as refusal:
            await passage.refuse(refusal)
        except Exception as error:  # noqa: BLE001  # the boundary
            # The boundary: nothing that was not foreseen reaches the client in words.
            logs.log("fault", request=passage.request_id, where=logs.fault(error))
            await passage.refuse(
                Refusal(500, "fault", f"something went wrong here; the log has it as {passage.request_id}")
            )
        finally:
            passage.note(self._metrics)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        headers = Headers(scope=scope)
        said = headers.get("content-length")
        most = self._limits.upload_bytes if scope["path"] == UPLOADS else self._limits.body_bytes
        return bounded(receive, self._limits, most=most, length=int(said) if said and said.isdecimal() else None)

    def _admitted(self, scope: Scope) -> Caller:
        """Who it is. Raises Refusal for whoever may not in."""
        headers = Headers(scope=scope)
        host = _one(headers.getlist("host"), "Host")
        if not self._reach.admits(_without_port(host)):
            raise Refusal(
                403, "wrong_host", f"this server is not {host!r:.100}; name it when it is started: --allow-host NAME"
            )
        _require_own_site(headers, scope, host)
        if not _guarded(scope["path"]):
            return Caller(key="page", name="page", scopes=frozenset())
        caller = self._known(headers, scope)
        wait_s = self._rates.wait_s(caller.key)
        if wait_s:
            raise Refusal(429, "too_many_requests", "too many requests: slow down", retry_after_s=wait_s)
        return caller

    def _known(self, headers: Headers, scope: Scope) -> Caller:
        text = _bearer(headers)
        try:
            needed = not self._reach.loopback or self._tokens.any()
        except ConfigError as error:
            raise Refusal(503, "tokens_unreadable", str(error), retry_after_s=60) from error
        if not needed:
            return Caller(key="local", name="local", scopes=frozenset(SCOPES), principal=self._everybody)
        address = scope["client"][0] if scope.get("client") else ""
        wait_s = self._failures.wait_s(address, take=False)
        if wait_s:
            raise Refusal(429, "too_many_failures", "too many wrong tokens from there: wait", retry_after_s=wait_s)
        token = self._tokens.find(text) if text else None
        if token is None:
            if text:
                self._failures.wait_s(address)
            raise Refusal(
                401,
                "no_token" if not text else "invalid_token",
                "a valid token is needed: Authorization: Bearer rag_... (ragagent token create)",
                headers={"WWW-Authenticate": 'Bearer realm="ragagent"'},
            )
        return Caller(key=token.id, name=token.id, scopes=frozenset(token.scopes), principal=token.sees())


def _require_writer(path: str, caller: Caller) -> None:
    """A body that may be large is taken only of whoever may send it; the route would ask when it is here."""
    if path == UPLOADS and not caller.may("write"):
        raise Refusal(403, "missing_scope", "the token does not allow this: it lacks the scope write")


def _guarded(path: str) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in _GUARDED)


def _one(values: list[str], name: str) -> str:
    if len(values) != 1:
        raise Refusal(400, "wrong_header", f"a request has one {name} header; this one has {len(values)}")
    return values[0]


def _without_port(host: str) -> str:
    return host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host


def _require_own_site(headers: Headers, scope: Scope, host: str) -> None:
    """Refuses what another site's page sends, whose user has no say in it. Programs send neither of these headers."""
    origins = headers.getlist("origin")
    if origins:
        given = urlsplit(_one(origins, "Origin"))
        if given.netloc.lower() != host.lower() or given.scheme not in ("http", "https"):
            raise Refusal(403, "wrong_origin", f"requests of pages from {origins[0]!r:.100} are not answered")
    site = headers.get("sec-fetch-site", "none")
    opened = scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate" and not _guarded(scope["path"])
    if site not in ("none", "same-origin") and not opened:
        raise Refusal(403, "wrong_site", f"requests of pages from elsewhere ({site!r:.40}) are not answered")


def _bearer(headers: Headers) -> str:
    values = headers.getlist("authorization")
    if not values:
        return ""
    kind, _, text = _one(values, "Authorization").partition(" ")
    return text.strip() if kind.lower() == "bearer" else ""


class _Passage:
    """One request on its way: what is sent back, and what is noted of it."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.request_id = secrets.token_hex(8)
        self.client = ""
        self._scope = scope
        self._send = send
        self._begin = time.monotonic()
        self._status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in self._headers().items():
                headers.setdefault(name, value)
        await self._send(message)

    def _headers(self) -> Mapping[str, str]:
        return {**_HEADERS, "X-Request-Id": self.request_id}

    async def refuse(self, refusal: Refusal) -> None:
        """Sends an error, if nothing was sent yet."""
        if self._status:
            return

        async def nothing() -> Message:
            return {"type": "http.disconnect"}

        await refusal.response()(self._scope, nothing, self.send)

    def note(self, metrics: Metrics) -> None:
        """One line of the log, and the metrics, by the route: paths hold ids, queries hold words."""
        route = getattr(self._scope.get("route"), "path", None) or (
            "page" if not _guarded(self._scope["path"]) else "none"
        )
        method = self._scope["method"] if self._scope["method"] in _METHODS else "other"
        seconds = time.monotonic() - self._begin
        labels: dict[str, str] = {"method": method, "route": route}
        metrics.count(
            "ragagent_http_requests_total", "Requests answered.", 1, **labels, status=str(self._status or 499)
        )
        metrics.time("ragagent_http_request_seconds", "Time from request to the end of its answer.", seconds, **labels)
        logs.log(
            "request",
            request=self.request_id,
            client=self.client,
            **labels,
            status=self._status or 499,
            seconds=round(seconds, 4),
        )


_METHODS = frozenset(("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"))
