"""Dense search is exact over the stored vectors, whatever the scan's rounding, the ties and the mask."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.index import search
from ragagent.index.block import Block, Part, whole
from ragagent.index.dense import DenseVectors
from ragagent.index.postings import build


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def part_of(vectors: np.ndarray, first: int, ids: np.ndarray) -> Part:
    count = len(vectors)
    return whole(
        Block(
            rows=np.arange(first, first + count),
            documents=np.zeros(count, np.int64),
            ids=ids,
            lengths=np.zeros((count, 2), np.uint32),
            postings=build([]),
            dense=DenseVectors(vectors.astype(np.float16)),
        )
    )


def oracle(vectors: np.ndarray, query: np.ndarray, ids: np.ndarray, allowed: np.ndarray, count: int) -> list[bytes]:
    """Every score in float64, sorted in full."""
    scores = (vectors.astype(np.float16).astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    order = sorted(np.flatnonzero(allowed).tolist(), key=lambda place: (-scores[place], ids[place]))
    return [bytes(ids[place]) for place in order[:count]]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.sampled_from([1, 10, 100]),
    distinct=st.sampled_from([1, 40, 3000]),
    share=st.sampled_from([1.0, 0.6, 0.01, 0.0]),
    cuts=st.lists(st.integers(0, 3000), max_size=3),
)
def test_it_is_the_full_sort_at_every_selectivity_and_with_any_number_of_ties(
    seed: int, count: int, distinct: int, share: float, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng, distinct, 24)[rng.integers(0, distinct, 3000)]
    ids = np.array([f"{number:04}".encode() for number in rng.permutation(3000)])
    query = unit(rng, 24)
    allowed = rng.random(3000) < share if share < 1 else np.ones(3000, np.bool_)
    edges = [0, *sorted(cuts), 3000]
    ranges = [(low, high) for low, high in itertools.pairwise(edges) if high > low]
    parts = [part_of(vectors[low:high], low, ids[low:high]) for low, high in ranges]
    masks = [None if share == 1 else allowed[low:high] for low, high in ranges]
    found = search.dense_ranking(parts, query, count, masks)
    assert found.ids.tolist() == oracle(vectors, query, ids, allowed, count)


def test_a_stored_vector_is_within_the_stated_error() -> None:
    rng = np.random.default_rng(1)
    vectors = unit(rng, 2000, 384)
    # Components of very different size are the hard case for half precision.
    vectors[::2] *= np.exp(rng.standard_normal((1000, 384)) * 3).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    stored = vectors.astype(np.float16).astype(np.float64)
    others = unit(rng, 50, 384).astype(np.float64)
    assert np.abs(stored @ others.T - vectors.astype(np.float64) @ others.T).max() < 0.0005
    assert (1 - (stored * vectors).sum(axis=1) / np.linalg.norm(stored, axis=1)).max() < 1e-3


@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_file_holds_the_vectors_bit_for_bit(tmp_path: Path, count: int) -> None:
    vectors = unit(np.random.default_rng(2), count, 16).astype(np.float16)
    DenseVectors(vectors).write(tmp_path / "x.faiss")
    read = DenseVectors.read(tmp_path / "x.faiss", 16)
    np.testing.assert_array_equal(read.vectors, vectors)
    query = unit(np.random.default_rng(3), 16)
    np.testing.assert_array_equal(read.nearest(query, 5, None), DenseVectors(vectors).nearest(query, 5, None))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(4), 10, 16).astype(np.float16)
    DenseVectors(vectors).write(tmp_path / "x.faiss")
    with pytest.raises(ValueError, match="not the vectors"):
        DenseVectors.read(tmp_path / "x.faiss", 17)
    (tmp_path / "y.faiss").write_bytes(b"no faiss at all, but some bytes all the same")
    with pytest.raises(ValueError, match=r"y\.faiss"):
        DenseVectors.read(tmp_path / "y.faiss", 16)
