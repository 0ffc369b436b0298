"""Addresses in web pages: which there are, and when two of them are one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from posixpath import normpath
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

from ragagent.connectors.readers.html import shallow
from ragagent.errors import ReadError
from ragagent.text.decode import decode

MAX_LINKS = 5000
MAX_URL_CHARS = 2000
_MAX_SAME_SEGMENT = 3
_MAX_SEGMENTS = 30
_PORTS = {"http": 80, "https": 443}
_TRACKING = re.compile(r"utm_\w+|gclid|fbclid|mc_[ce]id|msclkid|phpsessid|jsessionid|sid|sessionid", re.IGNORECASE)
_ASSETS = re.compile(
    r"\.(css|m?js|map|png|jpe?g|gif|webp|avif|svg|ico|bmp|woff2?|ttf|otf|eot|mp[34]|m4[av]|ogg|wav|webm|mov|avi|mkv"
    r"|zip|gz|tgz|bz2|xz|7z|rar|tar|exe|msi|dmg|iso|deb|rpm|whl|jar|apk|bin)$",
    re.IGNORECASE,
)
_SAFE = "!$&'()*+,;=:@/~-._"


@dataclass(frozen=True, slots=True)
class Found:
    """The addresses that a page links to, in order, and the one it says is its own."""

    links: tuple[str, ...]
    canonical: str | None


def links_of(data: bytes, base: str) -> Found:
    """The http(s) addresses in an HTML page at `base`, normalised, each once, at most MAX_LINKS."""
    from selectolax.lexbor import LexborHTMLParser

    try:
        tree = LexborHTMLParser(shallow(decode(data).text))
    except ReadError:
        return Found((), None)
    stated = tree.css_first("base[href]")
    if stated is not None:
        base = _joined(base, stated.attributes.get("href") or "") or base
    links = dict.fromkeys(link for link in (_joined(base, href) for href in _hrefs(tree)) if link)
    node = tree.css_first("link[rel=canonical][href]")
    own = _joined(base, node.attributes.get("href") or "") if node is not None else None
    return Found(tuple(links), own)


def _hrefs(tree: object) -> Iterator[str]:
    for count, node in enumerate(tree.css("a[href], area[href], iframe[src], frame[src]")):  # type: ignore[attr-defined]
        if count == MAX_LINKS:
            return
        yield node.attributes.get("href") or node.attributes.get("src") or ""


def _joined(base: str, href: str) -> str | None:
    try:
        return normalised(urljoin(base, href.strip()))
    except ValueError:
        return None


def normalised(url: str) -> str | None:
    """One spelling for all the addresses of one page: no fragment, no default port, no tracking; None for no page."""
    try:
        parts = urlsplit(url)
        scheme, name, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        return None
    name = (name or "").rstrip(".")
    if scheme not in _PORTS or not name or len(url) > MAX_URL_CHARS:
        return None
    host = f"[{name}]" if ":" in name else name
    if port not in {None, _PORTS[scheme]}:
        host += f":{port}"
    query = "&".join(piece for piece in parts.query.split("&") if not _TRACKING.fullmatch(piece.partition("=")[0]))
    return urlunsplit((scheme, host, _path(parts.path), query, ""))


def _path(path: str) -> str:
    plain = quote(unquote_to_bytes(path.encode("utf-8", "replace")), safe=_SAFE)
    clean = normpath("/" + plain.lstrip("/"))
    return clean if clean == "/" or not path.endswith(("/", "/.", "/..")) else clean + "/"


def is_asset(url: str) -> bool:
    """Whether the name says that there is nothing to read: styles, scripts, pictures, sounds, packages."""
    return _ASSETS.search(urlsplit(url).path) is not None


def is_trap(url: str) -> bool:
    """Whether the path repeats itself, as that of a link that is relative by mistake does, or is absurdly deep."""
    segments = [segment for segment in urlsplit(url).path.split("/") if segment]
    return len(segments) > _MAX_SEGMENTS or any(segments.count(one) > _MAX_SAME_SEGMENT for one in set(segments))
