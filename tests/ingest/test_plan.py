from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.ingest.plan import plan
from ragagent.protocols import Fetched, KnownDocument, SourceItem
from ragagent.types import Failure, digest, inner_uri, root_uri

_SOURCE = "list:/box"
_names = st.sets(st.sampled_from("abcdef"), max_size=6)


class _Listed:
    """A source that only lists: a plan reads nothing."""

    def __init__(self, items: list[SourceItem | Failure]) -> None:
        self.source = _SOURCE
        self._items = items

    def items(self) -> Iterator[SourceItem | Failure]:
        return iter(self._items)

    def fetch(self, item: SourceItem) -> Fetched:
        raise AssertionError(f"a plan reads nothing, not even {item.uri}")


class _Remembered(dict[str, KnownDocument]):
    """What an index knows."""

    def known_of(self, ids: Sequence[str]) -> Mapping[str, KnownDocument]:
        return {key: self[key] for key in ids if key in self}

    def each_known(self) -> Iterator[KnownDocument]:
        return iter(sorted(self.values(), key=lambda one: one.uri))


def _planned(source: _Listed, known: Iterable[KnownDocument]) -> tuple[list[str], set[str]]:
    """The uris that would be loaded, and the ids that are gone."""
    remembered = _Remembered((one.id, one) for one in known)
    with plan(source, remembered) as steps:
        fresh = [item.uri for item in steps.items()]
        assert len(fresh) == steps.fresh
        return fresh, set(steps.gone(remembered))


def _known(uri: str, stamp: str = "1") -> KnownDocument:
    return KnownDocument(id=digest(uri), uri=uri, source=_SOURCE, stamp=stamp, revision="r")


def _uri(name: str) -> str:
    return f"{_SOURCE}/{name}"


@given(there=_names, failing=_names, before=_names, inside=st.sets(st.sampled_from(["x", "y!/z"]), max_size=2))
def test_what_is_inside_an_item_is_gone_exactly_when_the_item_is(
    there: set[str], failing: set[str], before: set[str], inside: set[str]
) -> None:
    listed: list[SourceItem | Failure] = [SourceItem(uri=_uri(name), stamp="1") for name in sorted(there)]
    listed += [Failure(uri=_uri(name), reason="closed") for name in sorted(failing)]
    known = [_known(_uri(name)) for name in before]
    known += [_known(inner_uri(_uri(name), path)) for name in before for path in inside]
    fresh, found = _planned(_Listed(listed), known)
    gone = before - there - failing if listed else set()
    assert found == {one.id for one in known if root_uri(one.uri) in {_uri(name) for name in gone}}
    assert set(fresh) == {_uri(name) for name in there - before}


@given(uri=st.text(st.characters(exclude_characters="!"), min_size=1), path=st.text())
def test_the_root_of_what_is_inside_is_the_item(uri: str, path: str) -> None:
    assert root_uri(inner_uri(uri, path)) == root_uri(inner_uri(inner_uri(uri, "a"), path)) == uri
    assert root_uri(uri) == uri


class _Places(_Listed):
    """A source of which two places are looked at."""

    places = (f"{_SOURCE}/a", f"{_SOURCE}/b.txt")


@given(before=st.sets(st.sampled_from(["a/1", "a/2", "ab", "b.txt", "b.txt2", "c/1"])), there=st.booleans())
def test_where_places_are_looked_at_only_what_lay_there_can_be_gone(before: set[str], there: bool) -> None:
    known = [_known(_uri(name)) for name in before]
    listed: list[SourceItem | Failure] = [SourceItem(uri=_uri("a/1"), stamp="1")] if there else []
    gone = before & {"a/1", "a/2", "b.txt"} - ({"a/1"} if there else set())
    assert _planned(_Places(listed), known)[1] == {digest(_uri(name)) for name in gone}


@given(before=st.sets(st.sampled_from(["a/1", "a/b/2", "ab", "c"])), failing=st.sampled_from(["a", "a/", "a/b", "x"]))
def test_what_lies_below_something_that_cannot_be_looked_at_stays(before: set[str], failing: str) -> None:
    known = [_known(_uri(name)) for name in before]
    _, gone = _planned(_Listed([Failure(uri=_uri(failing), reason="closed")]), known)
    hidden = {name for name in before if name.startswith(failing.rstrip("/") + "/")}
    assert gone == {digest(_uri(name)) for name in before - hidden}


def test_nothing_is_gone_from_a_source_that_failed_as_a_whole() -> None:
    known = [_known(uri) for uri in (_uri("a"), "elsewhere:/b")]
    listed: list[SourceItem | Failure] = [Failure(uri=_SOURCE, reason="cut off"), SourceItem(uri=_uri("c"), stamp="1")]
    assert _planned(_Listed(listed), known)[1] == set()


def test_an_item_without_a_stamp_is_fetched_each_time() -> None:
    fresh, _ = _planned(_Listed([SourceItem(uri=_uri("a"), stamp="")]), [_known(_uri("a"), stamp="")])
    assert fresh == [_uri("a")]


@given(count=st.integers(0, 2000), every=st.integers(1, 7))
@settings(max_examples=20, deadline=None)
def test_what_is_to_be_loaded_comes_in_the_order_of_the_source_however_much_it_is(count: int, every: int) -> None:
    uris = [_uri(f"{number * 7919 % 2003:05}\udc80\n") for number in range(count)]
    items: list[SourceItem | Failure] = [SourceItem(uri=uri, stamp="2", size_bytes=3) for uri in uris]
    known = [_known(uri, stamp="2") for uri in uris[::every]]
    fresh, _ = _planned(_Listed([*items, *items]), known)
    assert fresh == [uri for place, uri in enumerate(uris) if place % every]
