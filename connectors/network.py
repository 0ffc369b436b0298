"""Connections that keep to a deadline and to public addresses, whatever name they are asked for.

A name is looked up once and the connection goes to the address that was checked, so that it cannot lead to a private
one between the check and the use. Proxies of the environment are not used.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ragagent.errors import ConfigError, ReadError

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_STEP_S = 10.0
"""No single wait for the network is longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may take. `timeout_s` is for all of it: redirects, pauses that the server asks for, the body."""

    timeout_s: float = 30.0
    max_bytes: int = 256 * 1024 * 1024
    allow_private: bool = False
    allow_networks: tuple[str, ...] = ()
    ca_file: str = ""
    tries: int = 3


class GuardedNetwork:
    """A network backend of httpcore for one request at a time."""

    def __init__(self, limits: Limits) -> None:
        import httpcore

        self._limits = limits
        self._network = httpcore.SyncBackend()
        self._allowed = [_network(text) for text in limits.allow_networks]
        self._deadline = float("inf")

    @contextlib.contextmanager
    def until(self, deadline: float) -> Iterator[None]:
        """Nothing that is done inside lasts longer than to `deadline`, by the monotonic clock."""
        self._deadline = deadline
        try:
            yield
        finally:
            self._deadline = float("inf")

    def check(self) -> None:
        """Raises ReadError when the deadline is over."""
        if time.monotonic() > self._deadline:
            raise ReadError(f"the page was not complete after {self._limits.timeout_s:g} s")

    def left(self, timeout: float | None) -> float:
        """How long the next wait may be."""
        self.check()
        return min(_STEP_S if timeout is None else timeout, _STEP_S, max(0.01, self._deadline - time.monotonic()))

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> Any:
        """A stream to the first address of the host that takes the connection, all of them being allowed."""
        import httpcore

        addresses = self._addresses(host, port)
        for address in addresses:
            try:
                stream = self._network.connect_tcp(address, port, self.left(timeout), local_address, socket_options)
                return _Stream(stream, self)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if address == addresses[-1]:
                    raise
        raise ReadError(f"the host {host} has no address")

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:
        """Never: the web has no such addresses."""
        raise ReadError(f"{path}: a socket of this machine is no web address")

    def sleep(self, seconds: float) -> None:
        """Waits."""
        time.sleep(min(seconds, self.left(seconds)))

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ReadError(f"the host {host} cannot be looked up: {error}") from error
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        private = [address for address in addresses if not (is_public(address) or self._is_allowed(address))]
        if private and not self._limits.allow_private:
            at = "" if host == private[0] else f" is at {private[0]}, which"
            raise ReadError(
                f"{host}{at} is not a public address, and that is not allowed (options allow_private, allow_networks)"
            )
        return list(dict.fromkeys(addresses))

    def _is_allowed(self, address: str) -> bool:
        found = ipaddress.ip_address(address)
        return any(found in network for network in self._allowed)


class _Stream:
    """A connection whose every step keeps to the deadline of the request in hand."""

    def __init__(self, stream: Any, network: GuardedNetwork) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data: bytes = self._stream.read(max_bytes, self._network.left(timeout))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> Any:
        inner = self._stream.start_tls(ssl_context, server_hostname, self._network.left(timeout))
        return _Stream(inner, self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(f"allow_networks: {error}") from None


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
