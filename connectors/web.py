"""One web page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragagent.connectors.addresses import Credentials, outside, public, split_credentials
from ragagent.connectors.http import Web, origin_of, wanted_url
from ragagent.connectors.network import Limits
from ragagent.connectors.options import SECRET, read_options
from ragagent.connectors.pages import Page, Pages
from ragagent.errors import ReadError
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings, at_least
from ragagent.types import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """What every kind of web source can be told."""

    allow_private: bool = False
    """Whether addresses of this machine and of private networks may be asked."""
    allow_networks: tuple[str, ...] = ()
    """Private networks that may be asked, as 10.1.0.0/16, where others may not."""
    timeout_s: float = field(default=30.0, metadata=at_least(0.1))
    """How long one page may take, redirects and pauses included."""
    ca_file: str = ""
    """A file of certificates to trust beside the usual ones, as an intranet has them."""
    user: str = ""
    password: str = field(default="", repr=False, metadata=SECRET)


class WebPageConnector:
    """The page at one http(s) address, as it is now: each enumeration asks whether it changed."""

    def __init__(
        self,
        url: str,
        *,
        options: WebOptions | None = None,
        settings: IngestSettings | None = None,
        cache: Path | None = None,
    ) -> None:
        self._address = split_credentials(wanted_url(url))[0]
        self._pages = open_pages(url, options or WebOptions(), settings or IngestSettings(), cache)
        self._uri = outside(public(self._address))
        self._found: Page | None = None

    @property
    def source(self) -> str:
        """The address, without its fragment and without what is secret in it."""
        return self._uri

    def items(self) -> Iterator[SourceItem | Failure]:
        """The one page, or why it cannot be had."""
        try:
            self._found = self._pages.look(self._address)
        except ReadError as error:
            yield Failure(uri=self._uri, reason=str(error), kind=kind_of(error))
            return
        yield SourceItem(uri=self._uri, stamp=self._found.digest, size_bytes=self._found.size)

    def fetch(self, item: SourceItem) -> Fetched:
        """The page as it was when it was listed. Raises ReadError with what the server, or the network, said."""
        if item.uri != self._uri:
            raise ReadError(f"it is not the page {self._uri}")
        found = self._pages.fetched(self._address, self._found)
        return shown(found, self._uri)


def open_source(
    address: str, *, options: Mapping[str, Any], settings: IngestSettings, cache: Path | None
) -> WebPageConnector:
    """The page at an http(s) address."""
    chosen = read_options(WebOptions, options, source=public(address))
    return WebPageConnector(address, options=chosen, settings=settings, cache=cache)


def open_web(url: str, options: WebOptions, settings: IngestSettings) -> Web:
    """Requests to the host of `url` with the credentials of the options, or of the address itself."""
    plain, given = split_credentials(wanted_url(url))
    if options.user or options.password:
        given = Credentials(options.user, options.password)
    limits = Limits(
        timeout_s=options.timeout_s,
        max_bytes=settings.max_file_bytes,
        allow_private=options.allow_private,
        allow_networks=options.allow_networks,
        ca_file=options.ca_file,
    )
    return Web(limits, origin=origin_of(plain), credentials=given)


def open_pages(url: str, options: WebOptions, settings: IngestSettings, cache: Path | None) -> Pages:
    """Pages of the host of `url`, remembered below the folder `cache`."""
    return Pages(open_web(url, options, settings), None if cache is None else cache / "pages")


def shown(fetched: Fetched, uri: str) -> Fetched:
    """What was fetched, under the address that is stored, with nothing secret in what it says of itself."""
    return Fetched(
        uri=uri,
        name=fetched.name,
        content=fetched.content,
        media_type=fetched.media_type,
        metadata={"url": public(str(fetched.metadata["url"]))},
    )


def kind_of(error: ReadError) -> str:
    """The name of the error for a Failure: that of the tree in `ragagent.errors`."""
    known = next(kind for kind in type(error).__mro__ if kind.__module__ == "ragagent.errors")
    return known.__name__
