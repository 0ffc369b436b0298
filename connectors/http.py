"""HTTP with bounds: size, time and redirects; pauses that a server asks for; credentials for one host alone."""

from __future__ import annotations

import base64
import ssl
import threading
import time
import weakref
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import SplitResult, urljoin, urlsplit

from ragagent.connectors.addresses import Credentials, public, split_credentials
from ragagent.connectors.network import GuardedNetwork, Limits
from ragagent.errors import ConfigError, ConnectorError, ReadError, TooLarge

MAX_REDIRECTS = 5
MAX_WAIT_S = 60.0
"""A server that asks for a longer pause (429, 503 with Retry-After) is left alone."""
USER_AGENT = "ragagent"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({429, 503})
_SCHEMES = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the server said in the end. `url` is where the redirects led; `body` is empty for a 304 and a HEAD."""

    url: str
    status: int
    headers: Mapping[str, str] = field(hash=False)
    body: bytes

    @property
    def media_type(self) -> str:
        """The stated media type, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Refused(ReadError):
    """The server answered with another status than 200."""

    def __init__(self, status: int) -> None:
        words = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
        super().__init__(f"the server answered {status} {words}".rstrip())
        self.status = status

    @property
    def gone(self) -> bool:
        """Whether the server says that there is no such page."""
        return self.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}


class Web:
    """Requests to the web within `Limits`; threads take turns. Credentials go to the origin they belong to alone."""

    def __init__(self, limits: Limits, *, origin: str = "", credentials: Credentials | None = None) -> None:
        """`origin` is where the credentials belong: scheme, host and port, as `https://example.org`."""
        import httpcore

        self._limits = limits
        self._origin = origin
        self._credentials = credentials
        self._network = GuardedNetwork(limits)
        self._turn = threading.Lock()
        self._pool: Any = httpcore.ConnectionPool(
            network_backend=cast(Any, self._network), ssl_context=_trusting(limits.ca_file), retries=0
        )
        weakref.finalize(self, self._pool.close)

    def close(self) -> None:
        """Closes the connections; they are closed as well when nothing refers to this object any more."""
        self._pool.close()

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Response:
        """The page. Raises ReadError with what the network or the server said, TooLarge; a 304 is no error."""
        return _good(self._request("GET", url, headers or {}))

    def ask(self, url: str) -> Response:
        """As `get`, whatever the status; the body is empty unless it is 200."""
        return self._request("GET", url, {})

    def head(self, url: str) -> Response:
        """As `get`, without the body."""
        return _good(self._request("HEAD", url, {}))

    def _request(self, method: str, url: str, headers: Mapping[str, str]) -> Response:
        with self._turn:
            return self._in_turn(method, url, headers)

    def _in_turn(self, method: str, url: str, headers: Mapping[str, str]) -> Response:
        deadline = time.monotonic() + self._limits.timeout_s
        with self._network.until(deadline):
            for attempt in range(self._limits.tries):
                found = self._follow(method, url, headers)
                pause = _pause(found, attempt)
                if pause is None or attempt == self._limits.tries - 1 or time.monotonic() + pause > deadline:
                    return found
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _follow(self, method: str, url: str, headers: Mapping[str, str]) -> Response:
        for _ in range(MAX_REDIRECTS + 1):
            found = self._once(method, url, headers)
            if found.status not in _REDIRECTS or "location" not in found.headers:
                return found
            url = _target(url, found.headers["location"])
        raise ReadError(f"more than {MAX_REDIRECTS} redirects")

    def _once(self, method: str, url: str, headers: Mapping[str, str]) -> Response:
        import httpcore
        import httpx

        plain, given = split_credentials(url)
        parts = _taken_apart(plain)
        if parts.scheme.lower() not in _SCHEMES or not parts.hostname:
            raise ReadError(f"it leads to {public_or_cut(url)[:200]!r}, which is no http(s) address")
        sent = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "gzip", **headers}
        credentials = given or (self._credentials if origin_of(plain) == self._origin else None)
        if credentials is not None:
            sent["Authorization"] = _basic(credentials)
        try:
            exact = httpx.URL(plain)
            target = httpcore.URL(scheme=exact.raw_scheme, host=exact.raw_host, port=exact.port, target=exact.raw_path)
            with self._pool.stream(method, target, headers=list(sent.items())) as response:
                return self._response(plain, method, response)
        except (httpcore.ConnectError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise ReadError(f"cannot be fetched: {_said(error)}") from error
        except httpcore.TimeoutException as error:
            raise ReadError(f"no whole answer within {self._limits.timeout_s:g} s, or none for a while") from error
        except (httpx.InvalidURL, zlib.error, UnicodeError, ValueError) as error:
            raise ReadError(f"cannot be fetched: {type(error).__name__}: {error}") from error

    def _response(self, url: str, method: str, response: Any) -> Response:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        body = self._body(headers, response) if method == "GET" and response.status == 200 else b""
        return Response(url=url, status=response.status, headers=headers, body=body)

    def _body(self, headers: Mapping[str, str], response: Any) -> bytes:
        """The body, unpacked piece by piece, so that a small answer cannot grow beyond the limit."""
        body = bytearray()
        for piece in _pieces(headers, response):
            body += piece
            if len(body) > self._limits.max_bytes:
                raise TooLarge(f"the page has more than {self._limits.max_bytes} bytes")
            self._network.check()
        return bytes(body)


def _pieces(headers: Mapping[str, str], response: Any) -> Iterator[bytes]:
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        yield from response.iter_stream()
        return
    if encoding not in {"gzip", "x-gzip"}:
        raise ReadError(f"the page is packed as {encoding[:40]!r}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=31)
    for raw in response.iter_stream():
        while raw:
            # A bounded step: the last byte of a gzip bomb may stand for a megabyte.
            yield unpacker.decompress(raw, 1 << 20)
            raw = unpacker.unconsumed_tail


@cache
def _trusting(ca_file: str) -> ssl.SSLContext:
    """The usual certificates, and those of a file; to load them takes longer than a page."""
    import httpcore

    context: ssl.SSLContext = httpcore.default_ssl_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file = {ca_file}: {error}") from error
    return context


def origin_of(url: str) -> str:
    """Scheme, host and port of an address: what is not encrypted is another place than what is."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def wanted_url(url: str) -> str:
    """`url` without its fragment. Raises ConnectorError for what is no http(s) address with a host."""
    plain = url.partition("#")[0]
    try:
        parts = urlsplit(plain)
        if parts.scheme.lower() in _SCHEMES and parts.hostname and parts.port != 0:
            return plain
    except ValueError:
        pass
    raise ConnectorError(f"{public_or_cut(url)}: not an http(s) address with a host")


def _target(url: str, location: str) -> str:
    try:
        return urljoin(url, location).partition("#")[0]
    except ValueError as error:
        raise ReadError(f"it leads to {location[:200]!r}, which is no address: {error}") from error


def _taken_apart(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ReadError(f"it leads to {public_or_cut(url)[:200]!r}, which is no address: {error}") from error
    return parts


def public_or_cut(url: str) -> str:
    """The address as it may be shown, also where it cannot be taken apart."""
    try:
        return public(url)
    except ValueError:
        return url.rpartition("@")[2][:200]


def _basic(credentials: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode("ascii")


def _good(found: Response) -> Response:
    if found.status not in {200, 304}:
        raise Refused(found.status)
    return found


def _pause(found: Response, attempt: int) -> float | None:
    """How long to wait before the next try; None where there is nothing to wait for, or the wait is too long."""
    if found.status not in _BUSY:
        return None
    stated = found.headers.get("retry-after", "").strip()
    seconds = _seconds(stated) if stated else float(2**attempt)
    return seconds if 0 <= seconds <= MAX_WAIT_S else None


def _seconds(stated: str) -> float:
    if stated.isascii() and stated.isdigit():
        return float(stated)
    try:
        return max(0.0, parsedate_to_datetime(stated).timestamp() - time.time())
    except (ValueError, TypeError):
        return 1.0


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
