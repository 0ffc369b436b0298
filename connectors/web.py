"""One web page, fetched with bounds: size, time, redirects, and no private address unless it is allowed."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

from ragagent.errors import ConnectorError, ReadError, TooLarge
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings
from ragagent.types import Failure

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SCHEMES = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_EXTENSIONS = {"text/markdown": ".md", "text/html": ".html", "application/xhtml+xml": ".html", "text/csv": ".csv"}


class WebPageConnector:
    """The page at one http(s) address, as it is now: a page has no stamp, so each ingest fetches it once.

    Each address, also one that a redirect leads to, is looked up first and the connection goes to the address that
    was checked, so that a name cannot lead to a private one between the check and the use. Proxies of the
    environment are not used.
    """

    def __init__(
        self,
        url: str,
        *,
        settings: IngestSettings | None = None,
        allow_private: bool = False,
        timeout_s: float = 30.0,
    ) -> None:
        # What is inside a document is named after `!/`, so no address of an item may hold that.
        self._url = url.partition("#")[0].replace("!/", "%21/")
        self._settings = settings or IngestSettings()
        self._allow_private = allow_private
        self._timeout_s = timeout_s
        if urlsplit(self._url).scheme.lower() not in _SCHEMES or not urlsplit(self._url).hostname:
            raise ConnectorError(f"{url}: not an http(s) address with a host")

    @property
    def source(self) -> str:
        """The address, without its fragment."""
        return self._url

    def items(self) -> Iterator[SourceItem | Failure]:
        """The one page; it is not fetched yet."""
        yield SourceItem(uri=self._url, stamp="")

    def fetch(self, item: SourceItem) -> Fetched:
        """The page as it is now. Raises ReadError with what the server, or the network, said."""
        url, media_type, data = self._follow(item.uri)
        name = urlsplit(url).path.rstrip("/").rpartition("/")[2]
        if not name.endswith(_EXTENSIONS.get(media_type, "")):
            name += _EXTENSIONS[media_type]
        return Fetched(
            uri=item.uri,
            name=name or urlsplit(url).hostname or url,
            content=data,
            media_type=media_type,
            metadata={"url": url},
        )

    def _follow(self, url: str) -> tuple[str, str, bytes]:
        """The final address, the stated media type and the body."""
        import httpx

        deadline = time.monotonic() + self._timeout_s
        timeout = httpx.Timeout(min(10.0, self._timeout_s))
        try:
            with httpx.Client(timeout=timeout, trust_env=False, follow_redirects=False) as client:
                for _ in range(MAX_REDIRECTS + 1):
                    answer = self._get(client, url, deadline)
                    if isinstance(answer, tuple):
                        return url, *answer
                    url = answer
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ReadError(f"cannot be fetched: {type(error).__name__}: {error}") from error
        raise ReadError(f"more than {MAX_REDIRECTS} redirects")

    def _get(self, client: Any, url: str, deadline: float) -> str | tuple[str, bytes]:
        """The address that the server redirects to, or the media type and body."""
        response = self._send(client, url)
        try:
            if response.status_code in _REDIRECTS and "location" in response.headers:
                return urljoin(url, str(response.headers["location"]))
            if response.status_code != 200:
                raise ReadError(f"the server answered {response.status_code} {response.reason_phrase}")
            media_type = str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
            return media_type, self._body(response, deadline)
        finally:
            response.close()

    def _send(self, client: Any, url: str) -> Any:
        """The response of the first address of the host that takes the connection; its body is not read yet."""
        import httpx

        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
        if scheme not in _SCHEMES or not host:
            raise ReadError(f"it leads to {url[:200]!r}, which is no http(s) address")
        addresses = self._addresses(host, parts.port or _SCHEMES[scheme])
        for address in addresses:
            request = client.build_request("GET", url, headers={"User-Agent": "ragagent", "Accept-Encoding": "gzip"})
            request.url = request.url.copy_with(host=address)
            request.extensions["sni_hostname"] = host.encode("idna").decode("ascii")
            try:
                return client.send(request, stream=True)
            except httpx.ConnectError:
                if address == addresses[-1]:
                    raise
        raise ReadError(f"the host {host} has no address")

    def _addresses(self, host: str, port: int) -> list[str]:
        """Every address of the host, all of them allowed."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ReadError(f"the host {host} cannot be looked up: {error}") from error
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        private = [address for address in addresses if not is_public(address)]
        if private and not self._allow_private:
            raise ReadError(f"{host} is at {private[0]}, which is not a public address, and that is not allowed")
        return addresses

    def _body(self, response: Any, deadline: float) -> bytes:
        body = bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > self._settings.max_file_bytes:
                raise TooLarge(f"the page has more than {self._settings.max_file_bytes} bytes")
            if time.monotonic() > deadline:
                raise ReadError(f"the page was not complete after {self._timeout_s:g} s")
        return bytes(body)


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also where it wraps an IPv4 address."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        wrapped = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            wrapped = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(str(wrapped))
    return found.is_global and not found.is_multicast
