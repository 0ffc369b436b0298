"""A web site: the pages that its sitemap and its links lead to, within its own host and the folder of the start."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ragagent.connectors.addresses import has_secret, outside, public, split_credentials
from ragagent.connectors.http import Refused
from ragagent.connectors.ignore import matcher
from ragagent.connectors.links import Found, is_asset, is_trap, links_of, normalised
from ragagent.connectors.options import read_options
from ragagent.connectors.pages import Page, Pages
from ragagent.connectors.sitemap import Rules, rules, sitemap
from ragagent.connectors.web import WebOptions, kind_of, open_pages, open_web, shown
from ragagent.errors import ConfigError, ConnectorError, ReadError
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings, at_least
from ragagent.types import Failure

_HTML = frozenset({"text/html", "application/xhtml+xml", ""})
_NOT_READ = ("image/", "audio/", "video/", "font/", "text/css", "text/javascript", "application/javascript")
_MAX_QUERIES = 50
"""So many addresses that differ in their query alone are followed: calendars and filters never end."""
_MAX_IN_A_ROW = 10
"""So many failures one after the other, and the server is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteOptions(WebOptions):
    """What a site can be told. `include` and `exclude` are patterns as in .gitignore, against the path."""

    pages: int = field(default=1000, metadata=at_least(1))
    depth: int = field(default=16, metadata=at_least(0))
    """How many links may lie between the start, or the sitemap, and a page."""
    delay_s: float = field(default=0.2, metadata=at_least(0))
    """The pause between two requests; the site's own crawl-delay counts where it is longer."""
    total_s: float = field(default=3600.0, metadata=at_least(1))
    """How long the whole site may take."""
    max_page_bytes: int = field(default=20 * 1024 * 1024, metadata=at_least(1))
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    robots: bool = True
    """Whether robots.txt is kept to; turn it off for a site of your own."""
    sitemap: bool = True


@dataclass(slots=True)
class _Frontier:
    """What waits to be looked at, in the order it was found, and what was seen already."""

    limit: int
    waiting: deque[tuple[str, int]] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)
    queries: Counter[str] = field(default_factory=Counter)

    def add(self, url: str, depth: int) -> None:
        if url in self.seen or len(self.seen) >= self.limit:
            return
        plain, mark, _ = url.partition("?")
        if mark and self.queries[plain] >= _MAX_QUERIES:
            return
        self.queries[plain] += bool(mark)
        self.seen.add(url)
        self.waiting.append((url, depth))


class SiteConnector:
    """Every page of a site once: under the address that it calls its own, and without copies of the same bytes."""

    def __init__(
        self,
        url: str,
        *,
        options: SiteOptions | None = None,
        settings: IngestSettings | None = None,
        cache: Path | None = None,
    ) -> None:
        self._options = options or SiteOptions()
        limits = settings or IngestSettings()
        start = normalised(split_credentials(url)[0])
        if start is None:
            raise ConnectorError(f"{public(url)}: not an http(s) address with a host")
        self._start = self._root = start
        self._source = "site+" + outside(public(start))
        self._pages = open_pages(url, self._options, _within(limits, self._options), cache)
        # robots.txt and sitemaps are asked for without credentials and are not kept.
        self._web = open_web(
            start, replace(self._options, user="", password=""), replace(limits, max_file_bytes=50 << 20)
        )
        self._found: dict[str, tuple[str, Page]] = {}
        try:
            self._include, self._exclude = matcher(self._options.include), matcher(self._options.exclude)
        except ValueError as error:
            raise ConfigError(f"a pattern to include or exclude cannot be used: {error}") from error

    @property
    def source(self) -> str:
        """`site+` and the address it starts from."""
        return self._source

    def items(self) -> Iterator[SourceItem | Failure]:
        """Every page, in the order the start, the sitemap and the links give; it is asked only whether it changed.

        What a limit left out is told by a Failure of the whole source. Raises ConnectorError where the start cannot
        be had, and where robots.txt cannot be had or forbids the start.
        """
        self._found.clear()
        first, allowed = self._arrive()
        crawl = _Crawl(self._pages, self._options, allowed, self._belongs)
        crawl.begin(self._start, first)
        if self._options.sitemap:
            crawl.seed(sitemap(self._web, self._root, allowed.sitemaps, 10 * self._options.pages))
        for url, found in crawl.run():
            uri = outside(public(url))
            if not self._taken(url):
                continue
            if isinstance(found, Failure):
                yield Failure(uri=uri, reason=found.reason, kind=found.kind)
            else:
                self._found[uri] = (url, found)
                yield SourceItem(uri=uri, stamp=found.digest, size_bytes=found.size)
        self._pages.trim()
        if crawl.left_out:
            yield Failure(uri=self._source, reason=crawl.left_out, kind="ConnectorError")

    def fetch(self, item: SourceItem) -> Fetched:
        """The page as it was when it was listed. Raises ReadError with what the server, or the network, said."""
        url, page = self._found.get(item.uri, (item.uri, None))
        if url != self._start and not self._belongs(url):
            raise ReadError(f"it is not a page of {public(self._start)}")
        return shown(self._pages.fetched(url, page or self._pages.look(url)), item.uri)

    def _arrive(self) -> tuple[Page, Rules]:
        """The start, and the rules of the site, which is where the redirects of the start lead."""
        allowed = self._rules(self._start)
        try:
            page = self._pages.look(self._start)
        except ReadError as error:
            raise ConnectorError(f"{public(self._start)}: {error}") from error
        self._root = normalised(page.url) or self._start
        if urlsplit(self._root).netloc == urlsplit(self._start).netloc:
            return page, allowed
        return page, self._rules(self._root)

    def _rules(self, url: str) -> Rules:
        allowed = rules(self._web, url) if self._options.robots else Rules()
        if not allowed.allow(url):
            raise ConnectorError(f"{public(url)}: robots.txt of the site does not allow it (option robots)")
        return allowed

    def _belongs(self, url: str) -> bool:
        """Whether an address lies within the host and the folder of the start, and is not left out."""
        start, parts = urlsplit(self._root), urlsplit(url)
        folder = start.path.rpartition("/")[0] + "/"
        if (parts.scheme, parts.netloc) != (start.scheme, start.netloc) or not parts.path.startswith(folder):
            return False
        path = parts.path.removeprefix(folder)
        return self._exclude is None or not path or not self._exclude.match_file(path)

    def _taken(self, url: str) -> bool:
        """Whether a page is one of those that `include` asks for; the links of the others are followed as well."""
        return self._include is None or self._include.match_file(urlsplit(url).path.lstrip("/"))


class _Crawl:
    """One pass over a site; `left_out` says in the end why it is not the whole of it."""

    def __init__(self, pages: Pages, options: SiteOptions, allowed: Rules, wanted: Callable[[str], bool]) -> None:
        self.left_out = ""
        self._pages = pages
        self._options = options
        self._allowed = allowed
        self._wanted = wanted
        self._start = ""
        self._first: Page | None = None
        self._pause = max(options.delay_s, allowed.delay_s)
        self._deadline = time.monotonic() + options.total_s
        self._frontier = _Frontier(limit=20 * options.pages)
        self._given: set[str] = set()
        self._contents: set[str] = set()
        self._standing_in: dict[str, tuple[str, Page]] = {}
        self._unknown = 0

    def begin(self, url: str, page: Page) -> None:
        """Adds the start, which was looked at already."""
        self._start, self._first = url, page
        self._frontier.add(url, 0)

    def seed(self, urls: Iterator[str]) -> None:
        """Adds the addresses of a sitemap."""
        for url in urls:
            self._add(url, 0)

    def run(self) -> Iterator[tuple[str, Page | Failure]]:
        """The pages with their addresses, as they are found."""
        failed = 0
        while self._frontier.waiting and not self.left_out:
            url, depth = self._frontier.waiting.popleft()
            page = self._look(url)
            failed = failed + 1 if isinstance(page, Failure) else 0
            if isinstance(page, Failure):
                yield url, page
                self._follow_old(url, depth)
            elif page is not None:
                yield from self._take(url, page, depth)
            self.left_out = self._over(failed)
        yield from self._strays()
        if self._unknown and not self.left_out:
            self.left_out = f"what {self._unknown} pages lead to is not known, as they could not be had"

    def _look(self, url: str) -> Page | Failure | None:
        """The page, why it cannot be had, or None where there is none (any more)."""
        if url == self._start and self._first is not None:
            return self._first
        time.sleep(max(0.0, min(self._pause, self._deadline - time.monotonic())))
        try:
            return self._pages.look(url)
        except ReadError as error:
            if isinstance(error, Refused) and error.gone:
                return None
            return Failure(uri=url, reason=str(error), kind=kind_of(error))

    def _take(self, url: str, page: Page, depth: int) -> Iterator[tuple[str, Page]]:
        """The page if it is one to be read, after its links are noted."""
        arrived = normalised(page.url)
        if arrived is None or not (arrived == url or self._wanted(arrived) or url == self._start):
            return
        self._frontier.seen.add(arrived)
        own = self._follow(page, depth) if page.media_type in _HTML else None
        if page.media_type.startswith(_NOT_READ):
            return
        if own is not None and own != arrived and self._wanted(own) and self._allowed.allow(own):
            self._frontier.add(own, depth)
            self._standing_in.setdefault(own, (arrived if arrived != own else url, page))
            return
        yield from self._give(arrived if self._wanted(arrived) else url, page)

    def _give(self, url: str, page: Page) -> Iterator[tuple[str, Page]]:
        if url not in self._given and page.digest not in self._contents:
            self._given.add(url)
            self._contents.add(page.digest)
            yield url, page

    def _strays(self) -> Iterator[tuple[str, Page]]:
        """Pages that called an address their own under which nothing came."""
        for own, (url, page) in self._standing_in.items():
            if own not in self._given:
                yield from self._give(url, page)

    def _follow(self, page: Page, depth: int) -> str | None:
        """Notes the links of a page; the address that it calls its own."""
        body = self._pages.body(page)
        found = links_of(body, page.url) if body else Found((), None)
        if depth < self._options.depth:
            for link in found.links:
                self._add(link, depth + 1)
        return found.canonical

    def _follow_old(self, url: str, depth: int) -> None:
        """The links that a page had when it could be had last: what lies behind it is not gone."""
        old = self._pages.known(url)
        if old is not None:
            self._follow(old, depth)
        elif self._pages.fresh or self._pages.had(url):
            self._unknown += 1

    def _add(self, link: str, depth: int) -> None:
        url = normalised(link)
        if url is None or not self._wanted(url) or has_secret(url) or is_asset(url) or is_trap(url):
            return
        if self._allowed.allow(url):
            self._frontier.add(url, depth)

    def _over(self, failed: int) -> str:
        """Why the crawl ends before its end; empty while it goes on."""
        if failed >= _MAX_IN_A_ROW:
            return f"{failed} pages one after the other could not be had; the rest was left out"
        if self._frontier.waiting and len(self._given) >= self._options.pages:
            return f"there are more than {self._options.pages} pages; the rest was left out (option pages)"
        if self._frontier.waiting and time.monotonic() > self._deadline:
            return f"not done after {self._options.total_s:g} s; the rest was left out (option total_s)"
        return ""


def open_source(
    address: str, *, options: Mapping[str, Any], settings: IngestSettings, cache: Path | None
) -> SiteConnector:
    """The site at `site+https://...`."""
    chosen = read_options(SiteOptions, options, source=public(address))
    return SiteConnector(address.partition("+")[2], options=chosen, settings=settings, cache=cache)


def _within(settings: IngestSettings, options: SiteOptions) -> IngestSettings:
    return replace(settings, max_file_bytes=min(settings.max_file_bytes, options.max_page_bytes))
