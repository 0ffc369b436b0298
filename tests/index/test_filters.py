"""A filter is exactly what brute force over the documents says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.errors import ConfigError
from ragagent.index import filters
from ragagent.testing.index import entry, vector_of
from ragagent.types import Document

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from([0.5, 1.0, float(2**60)]),
    st.sampled_from(["", "1", "true", "null", "a'b\"c", "x OR 1=1", "é", "*", "%"]),
)  # fmt: skip
KEYS = st.sampled_from(["a", "b", "id", "title", "uri", "source", "'; DROP TABLE documents --"])
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3))


def accepts(one, where: dict[str, Any]) -> bool:
    """What `where` means, said plainly; a value equals another when they are the same JSON value."""
    document: Document = one.document
    own = {"id": document.id, "uri": document.uri, "title": document.title, "source": one.source}
    fields = {**document.metadata, **own}

    def listed(value: Any) -> list[Any]:
        return value if isinstance(value, list) else [value]

    def same(left: Any, right: Any) -> bool:
        return isinstance(left, bool) == isinstance(right, bool) and left == right

    return all(
        key in fields and any(same(has, wanted) for has in listed(fields[key]) for wanted in listed(value))
        for key, value in where.items()
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    metadata=st.lists(st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=12),
    wheres=st.lists(st.dictionaries(KEYS, VALUES, max_size=2), min_size=1, max_size=10),
)
def test_a_filter_is_brute_force(opened, metadata, wheres) -> None:
    index = opened(fold_chunks=5)
    index.write(remove=list(index.known()))
    library = [
        entry(f"u{number}", [f"common words {number}"], title=str(number % 2), metadata=one, source="1")
        for number, one in enumerate(metadata)
    ]
    index.write(library)
    for where in wheres:
        expected = {one.document.uri for one in library if accepts(one, where)}
        for mode in ("dense", "sparse", "hybrid"):
            hits = index.search("common", vector_of("common"), k=100, mode=mode, where=where)
            assert {hit.uri for hit in hits} == expected, (mode, where)


def test_what_is_no_scalar_is_refused(opened) -> None:
    index = opened()
    index.write([entry("a", ["words"])])
    for value in ({"x": 1}, [[1]], object()):
        with pytest.raises(ConfigError, match="cannot be filtered by"):
            index.search("words", None, k=1, mode="sparse", where={"a": value})
    with pytest.raises(ConfigError, match="at most"):
        index.search("words", None, k=1, mode="sparse", where={"a": list(range(filters.MOST_VALUES + 1))})


@given(left=SCALARS, right=SCALARS)
def test_values_are_encoded_alike_exactly_when_they_are_equal(left: Any, right: Any) -> None:
    same = isinstance(left, bool) == isinstance(right, bool) and left == right
    assert (filters.encoded(left) == filters.encoded(right)) == same
