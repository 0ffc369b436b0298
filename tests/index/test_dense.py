"""Dense search: exact over the stored vectors when they are few; by codes, the same after any history, when many."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.errors import Corrupt
from ragagent.index import block, checksums, codes, dense, ids, loading, recall, schema
from ragagent.index.block import Block, Part, whole
from ragagent.index.dense import EXACT_CHUNKS
from ragagent.index.postings import build
from ragagent.index.vectors import Stored
from ragagent.index.view import View

LOOPS = loading.load()


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def stored_of(vectors: np.ndarray) -> Stored:
    """A database with those vectors; the row of each is its place plus one."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    for statement in schema.TABLES.split(";"):
        connection.execute(statement)
    rows = enumerate(checksums.packed(vectors), 1)
    connection.executemany("INSERT INTO embeddings VALUES (?, ?, ?)", ((row, str(row), blob) for row, blob in rows))
    return Stored(connection, vectors.shape[1])


def part_of(vectors: np.ndarray, places: np.ndarray, ids: np.ndarray) -> Part:
    """A part of the chunks at `places`, in that order."""
    count = len(places)
    return whole(
        Block(
            rows=np.arange(count) + int(places[0]) * 1000,
            documents=np.zeros(count, np.int64),
            embeddings=places.astype(np.int64) + 1,
            ids=ids[places],
            lengths=np.zeros((count, 2), np.uint32),
            terms=(0, 0),
            postings=build([]),
            codes=codes.encoded(vectors[places].astype(np.float16)),
        )
    )


def oracle(vectors: np.ndarray, query: np.ndarray, ids: np.ndarray, allowed: np.ndarray, count: int) -> list[bytes]:
    """Every score in float64, sorted in full."""
    scores = (vectors.astype(np.float16).astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    order = sorted(np.flatnonzero(allowed).tolist(), key=lambda place: (-scores[place], ids[place]))
    return [bytes(ids[place]) for place in order[:count]]


def named(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.array([f"{number:06}".encode() for number in rng.permutation(count)])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.sampled_from([1, 10, 100]),
    distinct=st.sampled_from([1, 40, 3000]),
    share=st.sampled_from([1.0, 0.6, 0.01, 0.0]),
    cuts=st.lists(st.integers(0, 3000), max_size=3),
)
def test_a_small_collection_is_sorted_in_full_at_every_selectivity_and_with_any_number_of_ties(
    seed: int, count: int, distinct: int, share: float, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng, distinct, 24)[rng.integers(0, distinct, 3000)]
    ids = named(rng, 3000)
    query = unit(rng, 24)
    allowed = rng.random(3000) < share if share < 1 else np.ones(3000, np.bool_)
    edges = [0, *sorted(cuts), 3000]
    ranges = [np.arange(low, high) for low, high in itertools.pairwise(edges) if high > low]
    parts = [part_of(vectors, places, ids) for places in ranges]
    masks = [None if share == 1 else allowed[places] for places in ranges]
    found = dense.search(parts, query, count, masks, stored_of(vectors))
    assert found.ranking.ids.tolist() == oracle(vectors, query, ids, allowed, count)
    assert found.plan.exact


class Many:
    """A collection too large to be scored one by one: clusters, and some vectors that come many times."""

    size = EXACT_CHUNKS + 10_000

    def __init__(self) -> None:
        rng = np.random.default_rng(8)
        centres = unit(rng, 300, 48)
        self.vectors = centres[rng.integers(0, 300, self.size)] + 0.6 * unit(rng, self.size, 48)
        self.vectors[: self.size // 6] = self.vectors[rng.integers(0, 3, self.size // 6)]
        self.vectors = (self.vectors / np.linalg.norm(self.vectors, axis=1, keepdims=True)).astype(np.float32)
        self.ids = named(rng, self.size)
        self.stored = stored_of(self.vectors)
        # Questions like the answers, like nothing at all, and exactly what comes many times.
        self.queries = np.concatenate([self.vectors[9000:9010], unit(rng, 3, 48), self.vectors[:3]])


@pytest.fixture(scope="module")
def many() -> Many:
    return Many()


def answers(found: Sequence[dense.Found]) -> list[list[tuple[bytes, float]]]:
    return [list(zip(one.ranking.ids.tolist(), one.ranking.scores.tolist(), strict=True)) for one in found]


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(1, Many.size - 1), max_size=4, unique=True),
    share=st.sampled_from([1.0, 0.97, 0.4, 0.03, 0.01, 0.0001]),
    count=st.sampled_from([1, 10, 100]),
)
def test_a_large_collection_gives_the_same_in_any_order_and_any_parts(many: Many, seed, cuts, share, count) -> None:
    allowed = np.random.default_rng(1).random(many.size) < share
    order = np.random.default_rng(seed).permutation(many.size)
    worn = [np.sort(places) for places in np.split(order, sorted(cuts))]
    expected = found_in(many, [np.arange(many.size)], allowed, count)
    found = found_in(many, worn, allowed, count)
    # Not nearly: the same floats, in the same order, and the same way to them.
    assert answers(found) == answers(expected)
    assert [one.plan for one in found] == [one.plan for one in expected]
    assert not set(itertools.chain(*(one.ranking.ids.tolist() for one in found))) - set(many.ids[allowed].tolist())
    assert all(len(one.ranking) == min(count, int(allowed.sum())) for one in found)


def found_in(many: Many, parts: Sequence[np.ndarray], allowed: np.ndarray, count: int) -> list[dense.Found]:
    made = [part_of(many.vectors, places, many.ids) for places in parts]
    masks = [None if allowed.all() else allowed[places] for places in parts]
    return [dense.search(made, query, count, masks, many.stored) for query in many.queries]


def test_a_batch_of_queries_gives_what_they_give_one_by_one(many: Many) -> None:
    parts = [part_of(many.vectors, places, many.ids) for places in np.split(np.arange(many.size), [7000])]
    for masks in ([None, None], [np.arange(7000) % 3 == 0, np.arange(many.size - 7000) % 50 == 0]):
        alone = [dense.search(parts, query, 10, masks, many.stored) for query in many.queries]
        batch = dense.search_many(parts, many.queries, 10, masks, many.stored)
        assert answers(batch) == answers(alone)


@pytest.mark.skipif(LOOPS is None, reason="needs the extra 'fast'")
@pytest.mark.parametrize("share", [1.0, 0.5, 0.1, 0.02])
def test_the_compiled_loops_give_the_same_floats(many: Many, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = np.random.default_rng(3).random(many.size) < share
    parts = np.split(np.arange(many.size), [100, 7000, 7001, 20_000])
    monkeypatch.setattr(loading.LOADING, "loops", None)
    plain = found_in(many, parts, allowed, 10)
    monkeypatch.setattr(loading.LOADING, "loops", LOOPS)
    compiled = found_in(many, parts, allowed, 10)
    assert answers(compiled) == answers(plain)
    assert [one.plan for one in compiled] == [one.plan for one in plain]


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_codes_find_what_an_exact_search_finds(many: Many, share: float) -> None:
    allowed = np.random.default_rng(2).random(many.size) < share
    found = found_in(many, [np.arange(many.size)], allowed, 10)
    hits = [
        len(set(one.ranking.ids.tolist()) & set(oracle(many.vectors, query, many.ids, allowed, 10)))
        for one, query in zip(found, many.queries, strict=True)
    ]
    assert sum(hits) >= 0.99 * 10 * len(many.queries)


def test_what_comes_many_times_is_found_by_the_smallest_ids(many: Many) -> None:
    places = np.flatnonzero((many.vectors == many.vectors[0]).all(axis=1))
    assert len(places) > 1000
    (found,) = found_in(many, [np.arange(many.size)], np.ones(many.size, np.bool_), 100)[-3:-2]
    assert found.ranking.ids.tolist() == np.sort(many.ids[places])[:100].tolist()


def test_the_plan_says_what_was_done() -> None:
    assert str(dense.plan(20_000, 20_000, 10)) == "exact over 20,000 chunks"
    assert dense.plan(EXACT_CHUNKS + 1, EXACT_CHUNKS + 1, 10).exact is False
    few = dense.plan(1_000_000, 100, 10)
    assert str(few) == "exact over 100 chunks of 1,000,000 that pass the filter"
    plan = dense.plan(1_000_000, 1_000_000, 10)
    assert plan.rescored == dense.rescored(10)
    assert plan.considered == dense.considered(1_000_000, 10)
    assert str(plan).startswith("1,000,000 chunks, nearest ")
    assert "1-bit" not in str(dense.plan(1_000_000, 300, 10))
    assert dense.plan(1_000_000, 1000, 10).considered == 1000
    assert dense.plan(1_000_000, 2000, 10).considered == 1024


@given(live=st.integers(1, 10**8), share=st.floats(0, 1), count=st.integers(1, 10**4))
def test_each_step_keeps_at_least_what_is_asked_for(live: int, share: float, count: int) -> None:
    selected = int(live * share)
    plan = dense.plan(live, selected, count)
    assert min(selected, count) <= plan.rescored <= plan.considered <= plan.selected <= plan.live


def test_a_stored_vector_is_within_the_stated_error() -> None:
    rng = np.random.default_rng(1)
    vectors = unit(rng, 2000, 384)
    # Components of very different size are the hard case for half precision.
    vectors[::2] *= np.exp(rng.standard_normal((1000, 384)) * 3).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stored = stored_of(vectors).read(np.arange(1, 2001)).astype(np.float64)
    others = unit(rng, 50, 384).astype(np.float64)
    assert np.abs(stored @ others.T - vectors.astype(np.float64) @ others.T).max() < 0.0005
    assert (1 - (stored * vectors).sum(axis=1) / np.linalg.norm(stored, axis=1)).max() < 1e-3


@pytest.mark.parametrize("damage", ["missing", "flipped", "short"])
def test_a_damaged_vector_is_an_error_and_never_a_wrong_score(damage: str) -> None:
    vectors = unit(np.random.default_rng(2), 50, 16)
    stored = stored_of(vectors)
    (blob,) = stored.connection.execute("SELECT vector FROM embeddings WHERE row = 7").fetchone()
    altered = {"missing": None, "flipped": bytes([blob[0] ^ 8]) + blob[1:], "short": blob[:-6]}[damage]
    if altered is None:
        stored.connection.execute("DELETE FROM embeddings WHERE row = 7")
    else:
        stored.connection.execute("UPDATE embeddings SET vector = ? WHERE row = 7", (altered,))
    part = part_of(vectors, np.arange(50), named(np.random.default_rng(3), 50))
    with pytest.raises(Corrupt):
        dense.search([part], vectors[0], 5, [None], stored)


@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_file_holds_a_block_bit_for_bit(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(2)
    vectors = unit(rng, count + 1, 16)
    made = block.merged([part_of(vectors, np.arange(count + 1), named(rng, count + 1)).without(np.array([0]))], 16)
    written = block.write(tmp_path, made)
    read = block.read(tmp_path, written.dense, written.sparse, 16)
    assert read is not None
    for name in ("rows", "documents", "embeddings", "ids", "lengths"):
        np.testing.assert_array_equal(getattr(read, name)[:], getattr(made, name)[:])
    np.testing.assert_array_equal(read.codes.bits, made.codes.bits)
    np.testing.assert_array_equal(read.codes.nibbles, made.codes.nibbles)
    assert block.read(tmp_path, written.dense, written.sparse, 500) is None
    assert sum(file.stat().st_size for file in (tmp_path / "segments").iterdir()) == written.size


@given(
    names=st.lists(st.text("0123456789abcdef", min_size=4, max_size=4), min_size=1),
    odd=st.sampled_from(["", "A1b2", "xyz", "abc", "abcdef"]),
    data=st.data(),
)
def test_ids_that_are_digests_are_kept_in_half_the_room_and_come_back(names: list[str], odd: str, data) -> None:
    plain = np.array([name.encode() for name in [*names, *([odd] if odd else [])]])
    digits = ids.packed(plain)
    assert (digits is None) == bool(odd)
    if digits is not None:
        assert digits.nbytes * 2 == plain.nbytes
        which = np.array(data.draw(st.lists(st.integers(0, len(names) - 1))), np.int64)
        keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names))), np.bool_)
        for places in (which, keep, slice(None)):
            assert ids.Packed(digits)[places].tolist() == plain[places].tolist()


def test_an_index_knows_its_own_recall(many: Many) -> None:
    parts = tuple(part_of(many.vectors, places, many.ids) for places in np.split(np.arange(many.size), [7000]))
    worn = tuple(part.without(part.block.rows[::4]) for part in parts)
    for one in (parts, worn):
        view = View(generation=1, edition=1, dimension=48, sequence=0, parts=one, damaged=frozenset())
        assert (recall.estimated(view, many.stored) or 0) > 0.98
    small = View(generation=1, edition=1, dimension=48, sequence=0, parts=parts[:1], damaged=frozenset())
    assert recall.estimated(small, many.stored) is None
    # Codes that say nothing of their vectors: the estimate must show it.
    wrong = codes.encoded(unit(np.random.default_rng(9), 7000, 48).astype(np.float16))
    broken = (replace(parts[0], block=replace(parts[0].block, codes=wrong)), parts[1])
    view = View(generation=1, edition=1, dimension=48, sequence=0, parts=broken, damaged=frozenset())
    assert (recall.estimated(view, many.stored) or 0) < 0.9
