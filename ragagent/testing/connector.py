"""The contract of `ragagent.protocols.Connector` as rules that any source can be held to.

    check_connector(lambda: MyConnector("my://place"))                      # what a listing alone shows
    check_connector(factory, change=..., remove=..., unreachable=...)       # and what happens when the source changes
    @pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
    def test_rule(rule): rule(Trial(factory, change=..., remove=...))       # one test each

A factory makes a new connector of one and the same source, which holds two items or more that can be read. A rule
raises AssertionError when it is broken. Some rules ingest the source into a knowledge base of their own, embedded by
`HashEmbedder`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ragagent.app import KnowledgeBase
from ragagent.errors import ConnectorError, ReadError
from ragagent.protocols import Connector, Fetched, SourceItem
from ragagent.settings import IngestSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Document, Failure, root_uri

Listing = dict[str, SourceItem]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A source to try the rules on.

    `change` gives one item another content, `remove` takes one out, each returning its uri; `unreachable` puts the
    whole source out of reach, for good. What is not given is not tried. `secrets` must show nowhere.
    """

    factory: Callable[[], Connector]
    change: Callable[[], str] | None = None
    remove: Callable[[], str] | None = None
    unreachable: Callable[[], None] | None = None
    secrets: tuple[str, ...] = ()


def check_connector(
    factory: Callable[[], Connector],
    *,
    change: Callable[[], str] | None = None,
    remove: Callable[[], str] | None = None,
    unreachable: Callable[[], None] | None = None,
    secrets: tuple[str, ...] = (),
) -> None:
    """Holds a connector to every rule; those that change the source come last."""
    trial = Trial(factory=factory, change=change, remove=remove, unreachable=unreachable, secrets=secrets)
    for rule in RULES:
        rule(trial)


def the_source_has_one_name(trial: Trial) -> None:
    source = trial.factory().source
    assert source, "a source has a name"
    assert source == trial.factory().source, "two connectors of one source give two names"
    _shows_no_secret(trial, source)


def items_come_in_a_stable_order(trial: Trial) -> None:
    one, other = trial.factory(), trial.factory()
    first = list(one.items())
    assert sum(isinstance(item, SourceItem) for item in first) >= 2, "the rules want a source of two items or more"
    assert list(one.items()) == first, "the same connector lists the same items otherwise the second time"
    assert list(other.items()) == first, "two connectors of one source list its items otherwise"


def uris_are_unique_and_plain(trial: Trial) -> None:
    items = list(trial.factory().items())
    uris = [item.uri for item in items]
    assert len(set(uris)) == len(uris), "two items have one uri"
    for item in items:
        assert item.uri.encode("utf-8"), "a uri is text"
        assert "!/" not in item.uri, f"{item.uri}: `!/` parts what is inside an item from the item"
        _shows_no_secret(trial, repr(item))


def every_item_can_be_fetched_in_any_order(trial: Trial) -> None:
    connector = trial.factory()
    items = _items(connector)
    forwards = {uri: _content(connector.fetch(item)) for uri, item in items.items()}
    backwards = {uri: _content(connector.fetch(item)) for uri, item in reversed(items.items())}
    assert forwards == backwards, "what is fetched depends on what was fetched before"
    for item in items.values():
        _is_whole(trial, item, connector.fetch(item))


def a_listing_may_be_left_unfinished(trial: Trial) -> None:
    connector = trial.factory()
    whole = list(connector.items())
    begun = connector.items()
    assert list(itertools.islice(begun, 1)) == whole[:1]
    del begun
    assert list(connector.items()) == whole, "a listing that was left unfinished changes the next one"


def what_never_was_there_cannot_be_fetched(trial: Trial) -> None:
    connector = trial.factory()
    items = _items(connector)
    stranger = SourceItem(uri=next(iter(items)) + "-that-never-was", stamp="1")
    _refuses(connector, stranger)
    _refuses(connector, SourceItem(uri="file:///etc/passwd", stamp="1"))


def an_interrupted_ingest_goes_on_where_it_was(trial: Trial) -> None:
    with _knowledge_base() as kb:
        first = _Watched(trial.factory(), stop_after=1)
        with contextlib.suppress(KeyboardInterrupt):
            kb.ingest(first)
        kept = _uris(kb)
        second = _Watched(trial.factory())
        kb.ingest(second)
        assert not kept & set(second.fetched), "what was committed before the interruption is fetched again"
        assert _uris(kb) == set(_items(trial.factory()))
        third = _Watched(trial.factory())
        report = kb.ingest(third, prune=True)
        fresh = {item.uri for item in _items(trial.factory()).values() if not item.stamp}
        assert set(third.fetched) == fresh, "what did not change is fetched again"
        assert (report.added, report.updated, report.removed, report.embedded) == (0, 0, 0, 0)


def a_stamp_changes_with_the_content_and_only_then(trial: Trial) -> None:
    if trial.change is None:
        return
    connector = trial.factory()
    before = _items(connector)
    old = {uri: _content(connector.fetch(item)) for uri, item in before.items()}
    changed = trial.change()
    connector = trial.factory()
    after = _items(connector)
    assert list(after) == list(before), "a change of content changes no uri and no order"
    for uri, item in after.items():
        is_other = _content(connector.fetch(item)) != old[uri]
        assert is_other == (uri == changed), f"{uri}: the trial said that {changed} changes"
        assert (item.stamp != before[uri].stamp or not item.stamp) == is_other, f"{uri}: stamp {item.stamp!r}"


def what_was_removed_is_gone(trial: Trial) -> None:
    if trial.remove is None:
        return
    with _knowledge_base() as kb:
        kb.ingest(trial.factory())
        before = _items(trial.factory())
        removed = trial.remove()
        connector = trial.factory()
        after = {item.uri: item for item in connector.items()}
        assert removed in before
        assert removed not in after, "what is not there any more is neither listed nor a failure"
        assert {uri: item for uri, item in before.items() if uri != removed} == after
        _refuses(connector, before[removed])
        kb.ingest(trial.factory())
        assert _uris(kb) == set(before), "what is gone stays until it is pruned"
        assert kb.ingest(trial.factory(), prune=True).removed >= 1
        assert _uris(kb) == set(after), "pruning removes what is gone, and nothing else"


def a_source_out_of_reach_is_one_error(trial: Trial) -> None:
    if trial.unreachable is None:
        return
    with _knowledge_base() as kb:
        kb.ingest(trial.factory())
        before = _uris(kb)
        trial.unreachable()
        said: Exception | None = None
        try:
            kb.ingest(trial.factory(), prune=True)
        except ConnectorError as error:
            said = error
        assert said is not None, f"the source is out of reach, and still gave {list(trial.factory().items())}"
        assert not isinstance(said, ReadError), "a ReadError is about one item"
        _shows_no_secret(trial, str(said))
        assert _uris(kb) == before, "a source out of reach changes nothing"


class _Watched:
    """A connector that notes what is fetched, and is interrupted after some of it."""

    def __init__(self, connector: Connector, *, stop_after: int | None = None) -> None:
        self.fetched: list[str] = []
        self._connector = connector
        self._stop_after = stop_after

    @property
    def source(self) -> str:
        return self._connector.source

    def items(self) -> Iterator[SourceItem | Failure]:
        return self._connector.items()

    def fetch(self, item: SourceItem) -> Fetched | Document:
        if len(self.fetched) == self._stop_after:
            raise KeyboardInterrupt
        self.fetched.append(item.uri)
        return self._connector.fetch(item)


@contextlib.contextmanager
def _knowledge_base() -> Iterator[KnowledgeBase]:
    """A new, empty one that commits each document at once."""
    settings = Settings(ingest=IngestSettings(batch_chunks=1))
    with (
        tempfile.TemporaryDirectory(prefix="ragagent-") as folder,
        KnowledgeBase.open(folder, embedder=HashEmbedder(16), settings=settings) as kb,
    ):
        yield kb


def _uris(kb: KnowledgeBase) -> set[str]:
    """The items that are there; what is inside them goes with them."""
    return {root_uri(document.uri) for document in kb.known().values()}


def _items(connector: Connector) -> Listing:
    return {item.uri: item for item in connector.items() if isinstance(item, SourceItem)}


def _content(found: Fetched | Document) -> str | bytes:
    if isinstance(found, Document):
        return found.text
    return found.content.read_bytes() if isinstance(found.content, Path) else found.content


def _is_whole(trial: Trial, item: SourceItem, found: Fetched | Document) -> None:
    assert found.uri == item.uri, "what is fetched has the uri of the item"
    assert _content(found), f"{item.uri}: nothing in it"
    json.dumps(dict(found.metadata), default=list)
    if isinstance(found, Fetched):
        assert found.name, "the name decides the format where the bytes do not"
        assert isinstance(found.content, bytes | Path)
    for shown in (found.title, json.dumps(dict(found.metadata), default=list), getattr(found, "name", "")):
        _shows_no_secret(trial, shown)


def _refuses(connector: Connector, item: SourceItem) -> None:
    try:
        found = connector.fetch(item)
    except ReadError:
        return
    raise AssertionError(f"{item.uri} is not there, and still gave {found}")


def _shows_no_secret(trial: Trial, shown: str) -> None:
    for secret in trial.secrets:
        assert secret not in shown, f"a credential shows in {shown[:200]!r}"


RULES: tuple[Callable[[Trial], None], ...] = (
    the_source_has_one_name,
    items_come_in_a_stable_order,
    uris_are_unique_and_plain,
    every_item_can_be_fetched_in_any_order,
    a_listing_may_be_left_unfinished,
    what_never_was_there_cannot_be_fetched,
    an_interrupted_ingest_goes_on_where_it_was,
    a_stamp_changes_with_the_content_and_only_then,
    what_was_removed_is_gone,
    a_source_out_of_reach_is_one_error,
)
"""In the order they are tried: the last three change the source."""


__all__ = ["RULES", "Trial", "check_connector"]
