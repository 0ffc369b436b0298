"""Many questions at once get what each of them gets alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.errors import ConfigError
from ragagent.testing.entries import entry, vector_of

WORDS = ["ant", "bee", "cat", "dog", "eel", "the", "数据库"]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    library=st.lists(TEXTS, min_size=1, max_size=30),
    queries=st.lists(st.one_of(TEXTS, st.just("")), max_size=12),
    mode=st.sampled_from(["dense", "sparse", "hybrid"]),
    k=st.sampled_from([1, 5, 100]),
    where=st.sampled_from([None, {"even": True}, {"even": "neither"}]),
)
def test_a_batch_is_its_searches_one_by_one(opened, library, queries, mode, k, where) -> None:
    index = opened(fold_chunks=7)
    index.write(remove=list(index.known()))
    index.write([entry(f"u{at}", [text], metadata={"even": at % 2 == 0}) for at, text in enumerate(library)])
    vectors = [None if mode == "sparse" else vector_of(query) for query in queries]
    arguments: dict[str, Any] = {"k": k, "mode": mode, "where": where}
    alone = [index.search(query, vector, **arguments) for query, vector in zip(queries, vectors, strict=True)]
    assert index.search_many(queries, vectors, **arguments) == alone


def test_a_batch_that_makes_no_sense_is_refused(opened) -> None:
    index = opened()
    with pytest.raises(ConfigError, match="2 queries with 1 vectors"):
        index.search_many(["a", "b"], [None], k=1, mode="sparse")
    with pytest.raises(ConfigError, match="needs a query vector"):
        index.search_many(["a", "b"], [vector_of("a"), None], k=1, mode="hybrid")
    with pytest.raises(ConfigError, match="k = 0"):
        index.search_many([], [], k=0, mode="sparse")
