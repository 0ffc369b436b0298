"""What a site says about itself: robots.txt and sitemaps."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urljoin

from ragagent.connectors.http import USER_AGENT, Web
from ragagent.connectors.readers.xml_tree import local, parse_xml, text_of
from ragagent.errors import ConnectorError, ReadError

MAX_SITEMAPS = 50
MAX_BYTES = 50 * 1024 * 1024
_MAX_ROBOTS = 512 * 1024
_GZIP = b"\x1f\x8b"


class Rules(NamedTuple):
    """What robots.txt allows us; without one, everything."""

    parsed: Any = None

    def allow(self, url: str) -> bool:
        """Whether `url` may be asked for."""
        return self.parsed is None or bool(self.parsed.can_fetch(url, USER_AGENT))

    @property
    def delay_s(self) -> float:
        """The pause between two requests that the site asks for."""
        return 0.0 if self.parsed is None else float(self.parsed.crawl_delay(USER_AGENT) or 0.0)

    @property
    def sitemaps(self) -> list[str]:
        """The sitemaps that robots.txt names."""
        return [] if self.parsed is None else list(self.parsed.sitemaps)


def rules(web: Web, root: str) -> Rules:
    """The rules of the site at `root`, as RFC 9309 has it: none is all allowed, a broken server is none allowed.

    Raises ConnectorError where robots.txt cannot be had.
    """
    from protego import Protego

    url = urljoin(root, "/robots.txt")
    try:
        found = web.ask(url)
    except ReadError as error:
        raise ConnectorError(f"{url}: {error}") from error
    if found.status >= 500 or found.status == 429:
        raise ConnectorError(f"{url}: the server answered {found.status}, so that nothing may be asked for now")
    if found.status != 200:
        return Rules()
    return Rules(Protego.parse(found.body[:_MAX_ROBOTS].decode("utf-8", "replace")))


def sitemap(web: Web, root: str, named: list[str], limit: int) -> Iterator[str]:
    """The addresses in the sitemaps that robots.txt names, or in /sitemap.xml, and in those they lead to.

    A sitemap that is not there or cannot be read gives none: the links of the pages lead on.
    """
    waiting = list(dict.fromkeys([*named, urljoin(root, "/sitemap.xml")]))
    seen: set[str] = set()
    while waiting and len(seen) < MAX_SITEMAPS and limit > 0:
        url = waiting.pop(0)
        if url in seen:
            continue
        seen.add(url)
        try:
            inner, pages = _read(web.get(url).body)
        except ReadError:
            continue
        waiting.extend(inner)
        yield from pages[:limit]
        limit -= len(pages)


def _read(data: bytes) -> tuple[list[str], list[str]]:
    """The sitemaps and the pages that a sitemap names. Raises ReadError for what is none."""
    if data.startswith(_GZIP):
        data = _unpacked(data)
    if not data.lstrip().startswith((b"<", b"\xef\xbb\xbf<")):
        lines = data.decode("utf-8", "replace").splitlines()
        return [], [line.strip() for line in lines if line.strip().startswith("http")]
    root = parse_xml(data.strip())
    found = [text_of(node).strip() for entry in root for node in entry if local(node) == "loc"]
    return (found, []) if local(root) == "sitemapindex" else ([], found)


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(data, MAX_BYTES)
    except zlib.error as error:
        raise ReadError(f"the sitemap is damaged: {error}") from error
    if unpacker.unconsumed_tail:
        raise ReadError(f"the sitemap has more than {MAX_BYTES} bytes")
    return unpacked
