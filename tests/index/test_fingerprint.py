"""A change of what an index is built with asks for as little work as makes it as good as built anew."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.index import fingerprint
from ragagent.index.fingerprint import Work

STORED = {
    "embedder": "a",
    "embedder_name": "A",
    "dimension": "64",
    "tokenizer": "t",
    "chunker": "c",
    "analyser": "x",
    "readers": "r",
}
KEYS = st.sampled_from(sorted(STORED))
PARTS = st.dictionaries(KEYS, st.sampled_from(["a", "b", "c"]))


def work(stored: dict[str, str], wanted: dict[str, str]) -> Work:
    return fingerprint.work(fingerprint.changes(stored, wanted))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("embedder_name", Work.NOTHING),
        ("analyser", Work.ANALYSE),
        ("embedder", Work.EMBED),
        ("dimension", Work.EMBED),
        ("tokenizer", Work.CHUNK),
        ("chunker", Work.CHUNK),
        ("readers", Work.PARSE),
    ],
)
def test_a_change_of_one_part_asks_for_the_work_in_the_table(key: str, expected: Work) -> None:
    assert work(STORED, {**STORED, key: "another"}) is expected
    (change,) = fingerprint.changes(STORED, {**STORED, key: "another"})
    assert (change.key, change.stored, change.wanted) == (key, STORED[key], "another")


@given(PARTS)
def test_what_is_built_as_wanted_needs_nothing(parts: dict[str, str]) -> None:
    assert fingerprint.changes(parts, parts) == ()
    assert work(parts, {}) is Work.NOTHING


@given(PARTS, PARTS)
def test_after_the_work_nothing_is_left_to_do(stored: dict[str, str], wanted: dict[str, str]) -> None:
    assert fingerprint.changes(fingerprint.after(stored, wanted), wanted) == ()


@given(PARTS, PARTS, PARTS)
def test_more_changes_never_ask_for_less_work(
    stored: dict[str, str], wanted: dict[str, str], more: dict[str, str]
) -> None:
    differing = {key: value for key, value in more.items() if key not in wanted}
    assert work(stored, {**wanted, **differing}) >= work(stored, wanted)


def test_a_part_that_was_never_recorded_does_not_differ() -> None:
    assert fingerprint.changes({"embedder": "a"}, {"embedder": "a", "tokenizer": "t", "readers": "r"}) == ()


def test_another_embedder_cuts_again_where_the_tokenizer_was_not_recorded() -> None:
    assert work({"embedder": "a"}, {"embedder": "b", "tokenizer": "t"}) is Work.CHUNK
    assert work({"embedder": "a", "tokenizer": "t"}, {"embedder": "b", "tokenizer": "t"}) is Work.EMBED


@given(PARTS, PARTS)
def test_what_makes_chunks_and_vectors_alike_leaves_nothing_to_embed_or_cut(
    first: dict[str, str], second: dict[str, str]
) -> None:
    same = fingerprint.alike(first, second)
    found = {change.key for change in fingerprint.changes(first, second)}
    assert not (same and found & {"embedder", "dimension", "tokenizer", "chunker"})
    assert fingerprint.alike(first, {**first, "analyser": "other", "readers": "other", "embedder_name": "other"})


def test_every_kind_of_work_has_words_for_people() -> None:
    assert all(kind.words for kind in Work)
