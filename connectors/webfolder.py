"""A folder that a web server lists: every file below it, by the validators that the server gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ragagent.connectors.addresses import outside, public, split_credentials
from ragagent.connectors.http import Refused, Response, Web, wanted_url
from ragagent.connectors.links import links_of, normalised
from ragagent.connectors.options import read_options
from ragagent.connectors.pages import file_name
from ragagent.connectors.web import WebOptions, kind_of, open_web
from ragagent.errors import ConnectorError, ReadError
from ragagent.protocols import Fetched, SourceItem
from ragagent.settings import IngestSettings, at_least
from ragagent.types import Failure

_NO_HEAD = frozenset({HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderOptions(WebOptions):
    """What a folder of the web can be told."""

    files: int = field(default=100_000, metadata=at_least(1))
    depth: int = field(default=20, metadata=at_least(0))


class WebFolderConnector:
    """The files below an http(s) address that ends in `/`, as the pages that list its folders name them."""

    def __init__(
        self, url: str, *, options: FolderOptions | None = None, settings: IngestSettings | None = None
    ) -> None:
        self._options = options or FolderOptions()
        plain = normalised(split_credentials(wanted_url(url))[0]) or url
        self._root = plain if plain.endswith("/") else plain + "/"
        self._web: Web = open_web(url, self._options, settings or IngestSettings())

    @property
    def source(self) -> str:
        """`folder+` and the address, which ends in `/`."""
        return "folder+" + outside(public(self._root))

    def items(self) -> Iterator[SourceItem | Failure]:
        """Every file, folder by folder, in the order of the listings.

        Raises ConnectorError where the folder itself cannot be had.
        """
        try:
            first = self._web.get(self._root)
        except ReadError as error:
            raise ConnectorError(f"{public(self._root)}: {error}") from error
        yield from self._folder(first, 0, {self._root}, [self._options.files])

    def fetch(self, item: SourceItem) -> Fetched:
        """The file as it is now. Raises ReadError with what the server, or the network, said."""
        if not item.uri.startswith(outside(self._root)):
            raise ReadError(f"it is not below {self._root}")
        found = self._web.get(item.uri)
        return Fetched(
            uri=item.uri,
            name=file_name(found.url, found.media_type),
            content=found.body,
            media_type=found.media_type,
            metadata=_modified(found),
        )

    def _folder(self, listing: Response, depth: int, seen: set[str], left: list[int]) -> Iterator[SourceItem | Failure]:
        """The files of one folder and of those inside it; `left` is how many more may come."""
        for url in links_of(listing.body, listing.url).links:
            if url in seen or not self._below(url, listing.url):
                continue
            seen.add(url)
            try:
                if not url.endswith("/"):
                    left[0] -= 1
                    if left[0] >= 0:
                        yield self._item(url)
                elif depth < self._options.depth:
                    yield from self._folder(self._web.get(url), depth + 1, seen, left)
            except Refused as error:
                if not error.gone:
                    yield Failure(uri=outside(url), reason=str(error), kind=kind_of(error))
            except ReadError as error:
                yield Failure(uri=outside(url), reason=str(error), kind=kind_of(error))
        if depth == 0 and left[0] < 0:
            reason = f"there are more than {self._options.files} files; the rest was left out (option files)"
            yield Failure(uri=self.source, reason=reason, kind="ConnectorError")

    def _below(self, url: str, folder: str) -> bool:
        """Whether it stands in the very folder that lists it; what sorts the listing has a query."""
        inner = url.removeprefix(folder.partition("?")[0].rpartition("/")[0] + "/")
        return inner != url and bool(inner) and "/" not in inner.rstrip("/") and not urlsplit(url).query

    def _item(self, url: str) -> SourceItem:
        try:
            found = self._web.head(url)
        except Refused as error:
            if error.status not in _NO_HEAD:
                raise
            return SourceItem(uri=outside(url), stamp="")
        size = found.headers.get("content-length", "")
        marks = [found.headers.get("etag", ""), found.headers.get("last-modified", "")]
        stamp = "|".join([*marks, size]) if any(marks) else ""
        return SourceItem(uri=outside(url), stamp=stamp, size_bytes=int(size) if size.isdigit() else None)


def open_source(
    address: str, *, options: Mapping[str, Any], settings: IngestSettings, cache: Path | None
) -> WebFolderConnector:
    """The folder at `folder+https://...`."""
    chosen = read_options(FolderOptions, options, source=public(address))
    return WebFolderConnector(address.partition("+")[2], options=chosen, settings=settings)


def _modified(found: Response) -> dict[str, str]:
    stated = found.headers.get("last-modified")
    return {"modified": stated} if stated else {}
