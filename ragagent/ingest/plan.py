"""What an ingest has to do, decided before anything is changed."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Protocol

from ragagent.protocols import Connector, KnownDocument, Narrowed, Relabels, SourceItem
from ragagent.types import Failure, digest, root_uri

_PAGE = 500
_IN_MEMORY_BYTES = 4 << 20


class Known(Protocol):
    """What a plan asks of an index."""

    def known_of(self, ids: Sequence[str]) -> Mapping[str, KnownDocument]: ...

    def each_known(self) -> Iterator[KnownDocument]: ...


class Plan:
    """What is to do about a source: some counts, and the items that are to be loaded.

    `fresh` items have to be loaded, `changed` of them to replace an earlier version, `fresh_bytes` large where the
    source says how large; `unchanged` are passed over by their stamp. What is inside an item goes with it and is not
    counted. The items wait in a file, so a plan takes some 100 bytes of memory for each item of the source, for
    knowing that it has been seen, and no more.
    """

    def __init__(self, connector: Connector, acl: tuple[str, ...] | None) -> None:
        self.unchanged = self.fresh = self.changed = self.fresh_bytes = 0
        self.failures: list[Failure] = []
        self.relabelled: list[str] = []
        """The ids of unchanged items that are to get other readers."""
        self._acl = acl
        self._connector = connector
        self._seen: set[bytes] = set()
        self._file = tempfile.SpooledTemporaryFile(  # noqa: SIM115  # closed with the plan
            _IN_MEMORY_BYTES, "w+", encoding="utf-8", errors="surrogatepass"
        )

    def __enter__(self) -> Plan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def items(self) -> Iterator[SourceItem]:
        """The items to load, in the order of the source."""
        self._file.seek(0)
        for line in self._file:
            uri, stamp, size = json.loads(line)
            yield SourceItem(uri=uri, stamp=stamp, size_bytes=size)

    def gone(self, index: Known) -> Iterator[str]:
        """The ids of what is known and no longer at the source.

        What cannot be looked at counts as still there, and so does all that lies below it. Where a source yields
        nothing at all, nothing counts as gone: an unmounted disk must not empty a knowledge base.
        """
        connector, source = self._connector, self._connector.source
        if not (self._seen or isinstance(connector, Narrowed)):
            return
        looked_at = connector.places if isinstance(connector, Narrowed) else (source,)
        places = {place.rstrip("/") for place in looked_at}
        hidden = {failure.uri for failure in self.failures}
        for document in index.each_known():
            if (
                _key(root_uri(document.uri)) not in self._seen
                and _within(document, source, places)
                and hidden.isdisjoint(_above(document, source))
            ):
                yield document.id

    def _look(self, index: Known, page: Iterable[SourceItem | Failure]) -> None:
        items = []
        for item in page:
            key = _key(item.uri)
            if key in self._seen:
                continue
            self._seen.add(key)
            if isinstance(item, Failure):
                self.failures.append(item)
            else:
                items.append(item)
        known = index.known_of([digest(item.uri) for item in items])
        relabels = isinstance(index, Relabels)
        for item in items:
            self._compare(item, known.get(digest(item.uri)), relabels)

    def _compare(self, item: SourceItem, old: KnownDocument | None, relabels: bool) -> None:
        others = old is not None and self._acl is not None and old.acl != self._acl
        # An index that cannot change readers alone has to be given the whole document again.
        if old is not None and old.stamp == item.stamp != "" and (relabels or not others):
            self.unchanged += 1
            if others:
                self.relabelled.append(old.id)
            return
        self.fresh += 1
        self.changed += old is not None
        self.fresh_bytes += item.size_bytes or 0
        self._file.write(json.dumps((item.uri, item.stamp, item.size_bytes)) + "\n")


def plan(
    connector: Connector,
    index: Known,
    listed: Callable[[str], None] = lambda _: None,
    acl: tuple[str, ...] | None = None,
) -> Plan:
    """Compares a source with what `index` knows, by stamps alone: nothing is read. An item without a stamp is fresh.

    `acl` is who may read all of the source, None where that is not said: then what is there keeps its readers.

    `listed` is told the uri of each item as the source names it. The caller closes the plan. Raises ConnectorError when
    the source as a whole is out of reach.
    """
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(Plan(connector, acl))
        items = _told(connector.items(), listed)
        while page := list(islice(items, _PAGE)):
            made._look(index, page)
        stack.pop_all()
        return made


def _told(items: Iterable[SourceItem | Failure], listed: Callable[[str], None]) -> Iterator[SourceItem | Failure]:
    for item in items:
        listed(item.uri)
        yield item


def _key(uri: str) -> bytes:
    return bytes.fromhex(digest(uri))


def _within(document: KnownDocument, source: str, places: set[str]) -> bool:
    # A document may have come in as a single file before its folder did, so its place decides, not only its source.
    if document.source == source and source.rstrip("/") in places:
        return True
    return root_uri(document.uri) in places or not places.isdisjoint(_above(document, source=""))


def _above(document: KnownDocument, source: str) -> Iterator[str]:
    """The addresses whose failure hides the document: its source, and each folder above it, with and without its `/`.

    The addresses of a site's pages do not begin with the name of the source, so that name is told apart.
    """
    yield source
    address = root_uri(document.uri)
    while "/" in address:
        address = address.rpartition("/")[0]
        yield address
        yield address + "/"
