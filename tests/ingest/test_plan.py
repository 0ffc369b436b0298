from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
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
    steps = plan(_Listed(listed), {one.id: one for one in known})
    gone = before - there - failing if listed else set()
    assert set(steps.gone) == {one.id for one in known if root_uri(one.uri) in {_uri(name) for name in gone}}
    assert {item.uri for item in steps.fresh} <= {_uri(name) for name in there - before}


@given(uri=st.text(st.characters(exclude_characters="!"), min_size=1), path=st.text())
def test_the_root_of_what_is_inside_is_the_item(uri: str, path: str) -> None:
    assert root_uri(inner_uri(uri, path)) == root_uri(inner_uri(inner_uri(uri, "a"), path)) == uri
    assert root_uri(uri) == uri


class _Places(_Listed):
    """A source of which two places are looked at."""

    places = (f"{_SOURCE}/a", f"{_SOURCE}/b.txt")


@given(before=st.sets(st.sampled_from(["a/1", "a/2", "ab", "b.txt", "b.txt2", "c/1"])), there=st.booleans())
def test_where_places_are_looked_at_only_what_lay_there_can_be_gone(before: set[str], there: bool) -> None:
    known = {digest(_uri(name)): _known(_uri(name)) for name in before}
    listed: list[SourceItem | Failure] = [SourceItem(uri=_uri("a/1"), stamp="1")] if there else []
    gone = before & {"a/1", "a/2", "b.txt"} - ({"a/1"} if there else set())
    assert set(plan(_Places(listed), known).gone) == {digest(_uri(name)) for name in gone}


@given(before=st.sets(st.sampled_from(["a/1", "a/b/2", "ab", "c"])), failing=st.sampled_from(["a", "a/", "a/b", "x"]))
def test_what_lies_below_something_that_cannot_be_looked_at_stays(before: set[str], failing: str) -> None:
    known = {digest(_uri(name)): _known(_uri(name)) for name in before}
    steps = plan(_Listed([Failure(uri=_uri(failing), reason="closed")]), known)
    hidden = {name for name in before if name.startswith(failing.rstrip("/") + "/")}
    assert set(steps.gone) == {digest(_uri(name)) for name in before - hidden}


def test_nothing_is_gone_from_a_source_that_failed_as_a_whole() -> None:
    known = {digest(uri): _known(uri) for uri in (_uri("a"), "elsewhere:/b")}
    listed: list[SourceItem | Failure] = [Failure(uri=_SOURCE, reason="cut off"), SourceItem(uri=_uri("c"), stamp="1")]
    assert plan(_Listed(listed), known).gone == ()


def test_an_item_without_a_stamp_is_fetched_each_time() -> None:
    steps = plan(_Listed([SourceItem(uri=_uri("a"), stamp="")]), {digest(_uri("a")): _known(_uri("a"), stamp="")})
    assert [item.uri for item in steps.fresh] == [_uri("a")]
