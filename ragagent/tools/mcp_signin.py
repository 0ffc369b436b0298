"""Signing in to a server that asks for it (OAuth 2.1, by the provider of the MCP SDK).

The provider finds the authorization server, registers, proves itself (PKCE) and refreshes. Ours is what stands around
it: where tokens are kept, who opens the page, which addresses may be gone to, and that a run in which nobody can sign
in says what to do instead of opening pages.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from ragagent.errors import ToolError
from ragagent.tools.mcp_callback import Callback
from ragagent.tools.mcp_config import Server
from ragagent.tools.mcp_tokens import Tokens

if TYPE_CHECKING:
    import httpx2
    from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

SIGN_IN_S = 300.0
"""How long somebody has to sign in, in seconds."""
_MAX_ERROR_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """Somebody who can sign in: `open` shows them a page. `scope` is asked for besides what the server asks for."""

    open: Callable[[str], None]
    scope: str = ""
    keyring: bool | None = None


def auth(server: Server, tokens: Tokens | None, browser: Browser | None) -> tuple[httpx2.Auth | None, Callback | None]:
    """What signs the requests to a server, and the port it listens on, which is the caller's to close.

    None for a server over pipes and for one whose headers sign in already.
    """
    if not server.url or tokens is None or any(name.lower() == "authorization" for name in server.headers):
        return None, None
    if browser is None and not tokens.of(server.url).get("tokens"):
        return _signed_out(server), None
    kept = tokens.of(server.url)
    callback = _callback(server, kept) if browser is not None else None
    store = _Store(server, tokens, browser, callback)
    return _guarded(server, _provider(server, store, browser, callback)), callback


def _callback(server: Server, kept: Mapping[str, Any]) -> Callback:
    """The port that the client is registered with, where that is still free: servers compare it."""
    registered = (kept.get("client") or {}).get("redirect_uris") or []
    wanted = server.oauth.port or next((urlsplit(str(one)).port or 0 for one in registered), 0)
    try:
        return Callback(wanted)
    except ToolError:
        if server.oauth.port:
            raise
        return Callback()


def _provider(server: Server, store: _Store, browser: Browser | None, callback: Callback | None) -> OAuthClientProvider:
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientMetadata, OAuthMetadata, ProtectedResourceMetadata

    asked: dict[str, str] = {}

    async def redirect(url: str) -> None:
        if browser is None or callback is None:
            raise ToolError(_sign_in(server, _one(url, "scope")))
        asked["state"] = _one(url, "state")
        _check(url, server)
        browser.open(_with_scope(url, browser.scope))

    async def came_back() -> AuthorizationCodeResult:
        assert callback is not None
        return _result(await callback.visit(asked["state"], SIGN_IN_S), server)

    # Where nobody can sign in nothing is registered either; the address only fills the place.
    at = callback.url if callback is not None else "http://127.0.0.1/callback"
    provider = OAuthClientProvider(
        server_url=server.url,
        client_metadata=OAuthClientMetadata.model_validate({"client_name": "ragagent", "redirect_uris": [at]}),
        storage=store,
        redirect_handler=redirect,
        callback_handler=came_back,
        client_metadata_url=server.oauth.metadata_url or None,
    )
    store.context = provider.context
    kept = store.kept()
    # The provider itself keeps neither when a token ends nor where it is refreshed.
    provider.context.token_expiry_time = kept.get("expires_at")
    if found := kept.get("authorization_server"):
        provider.context.oauth_metadata = OAuthMetadata.model_validate(found)
    if found := kept.get("resource"):
        provider.context.protected_resource_metadata = ProtectedResourceMetadata.model_validate(found)
        provider.context.auth_server_url = str(provider.context.protected_resource_metadata.authorization_servers[0])
    return provider


class _Store:
    """What the provider of the SDK keeps, as it keeps it."""

    def __init__(self, server: Server, tokens: Tokens, browser: Browser | None, callback: Callback | None) -> None:
        self._server, self._tokens, self._callback = server, tokens, callback
        self._keyring = browser.keyring if browser is not None else None
        self.context: Any = None

    def kept(self) -> dict[str, Any]:
        return self._tokens.of(self._server.url)

    async def get_tokens(self) -> OAuthToken | None:
        from mcp.shared.auth import OAuthToken

        found = self.kept().get("tokens")
        return OAuthToken.model_validate(found) if found else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        record = {**self.kept(), "tokens": _plain(tokens), "expires_at": None}
        if tokens.expires_in is not None:
            record["expires_at"] = time.time() + tokens.expires_in
        for name, found in (
            ("authorization_server", self.context.oauth_metadata),
            ("resource", self.context.protected_resource_metadata),
        ):
            if found is not None:
                record[name] = _plain(found)
        self._tokens.keep(self._server.url, record, keyring=self._keyring)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        from mcp.shared.auth import OAuthClientInformationFull

        if self._server.oauth.client_id:
            return OAuthClientInformationFull.model_validate(_registered(self._server))
        found = self.kept().get("client")
        if not found or (self._callback is not None and self._callback.url not in (found.get("redirect_uris") or [])):
            return None
        return OAuthClientInformationFull.model_validate(found)

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        record = {**self.kept(), "client": {**_plain(client_info), "redirect_uris": self._came_back_to(client_info)}}
        self._tokens.keep(self._server.url, record, keyring=self._keyring)

    def _came_back_to(self, client_info: OAuthClientInformationFull) -> list[str]:
        """The addresses that were registered: servers may leave them out of what they answer."""
        said = [str(one) for one in client_info.redirect_uris or ()]
        return said or ([self._callback.url] if self._callback is not None else [])


def _registered(server: Server) -> dict[str, Any]:
    """A client that its user has registered by hand."""
    method = "client_secret_basic" if server.oauth.client_secret else "none"
    said = {"client_id": server.oauth.client_id, "token_endpoint_auth_method": method}
    return {**said, "client_secret": server.oauth.client_secret or None}


def _guarded(server: Server, provider: OAuthClientProvider) -> httpx2.Auth:
    import httpx2

    class Guarded(httpx2.Auth):
        """The provider, which goes only where it is safe to send a secret: a server says itself who signs in for it."""

        requires_response_body = True

        async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
            flow = provider.async_auth_flow(request)
            try:
                asked = await anext(flow)
                while True:
                    if asked is not request:
                        _check(str(asked.url), server)
                    asked = await flow.asend((yield asked))
            except StopAsyncIteration:
                return
            finally:
                await flow.aclose()

    return Guarded()


def _signed_out(server: Server) -> httpx2.Auth:
    import httpx2

    class SignedOut(httpx2.Auth):
        async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
            response = yield request
            if response.status_code == httpx2.codes.UNAUTHORIZED:
                raise ToolError(_sign_in(server))

    return SignedOut()


def _sign_in(server: Server, scope: str = "") -> str:
    more = f' --scope "{scope}"' if scope else ""
    return f"{server.name!r} asks for a sign-in: ragagent agent signin {server.name} --mcp FILE{more}"


def _check(url: str, server: Server) -> None:
    """Raises ToolError for an address that a secret could be read on the way to.

    Only a server on this machine may send to others on it: one elsewhere would reach what listens here.
    """
    parts = urlsplit(url)
    local = _is_local(parts.hostname or "")
    if local and _is_local(urlsplit(server.url).hostname or ""):
        return
    if parts.scheme != "https" or local:
        raise ToolError(f"{server.name!r} sends its sign-in to {parts.scheme}://{parts.netloc}, which is not safe")


def _is_local(host: str) -> bool:
    """Whether a host is this machine, or an address in the network around it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return not address.is_global


def _result(brought: Mapping[str, str], server: Server) -> AuthorizationCodeResult:
    from mcp.client.auth import AuthorizationCodeResult

    if "code" not in brought:
        why = brought.get("error_description") or brought.get("error") or "it did not say why"
        raise ToolError(f"{server.name!r} refused the sign-in: {why[:_MAX_ERROR_CHARS]}")
    return AuthorizationCodeResult(code=brought["code"], state=brought.get("state"), iss=brought.get("iss"))


def _with_scope(url: str, scope: str) -> str:
    if not scope:
        return url
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    query["scope"] = " ".join(dict.fromkeys([*query.get("scope", "").split(), *scope.split()]))
    return urlunsplit(parts._replace(query=urlencode(query)))


def _one(url: str, name: str) -> str:
    return parse_qs(urlsplit(url).query).get(name, [""])[0]


def _plain(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.model_dump(mode="json", exclude_none=True)
    return found
