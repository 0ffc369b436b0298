from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.errors import ConfigError
from ragagent.protocols import Embedder
from ragagent.testing.embedding import HashEmbedder


@given(texts=st.lists(st.text(), max_size=12), dimension=st.integers(1, 100))
def test_vectors_are_unit_rows_in_the_order_of_the_texts(texts: list[str], dimension: int) -> None:
    embedder = HashEmbedder(dimension)
    vectors = embedder.embed_documents(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), dimension)
    assert vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_array_equal(embedder.embed_query(text), vector)


@given(text=st.text())
def test_offsets_are_disjoint_ranges_that_leave_only_space_out(text: str) -> None:
    offsets = HashEmbedder().tokenizer.offsets(text).tolist()
    assert offsets == sorted(offsets)
    ends = [0, *(end for _, end in offsets)]
    starts = [*(start for start, _ in offsets), len(text)]
    assert all(end <= start and not text[end:start].strip() for end, start in zip(ends, starts, strict=True))
    assert all(start < end for start, end in offsets)


def test_texts_that_share_words_are_nearer() -> None:
    embedder = HashEmbedder()
    query = embedder.embed_query("When does the lease end?")
    near, far = embedder.embed_documents(["The lease does end in March.", "Revenue grew by twelve percent."])
    assert query @ near > query @ far + 0.2


def test_another_process_has_the_same_vectors() -> None:
    code = "from ragagent.testing.embedding import HashEmbedder as H; print(H(8).embed_query('a b a').tobytes().hex())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert found == HashEmbedder(8).embed_query("a b a").tobytes().hex()


def test_it_is_an_embedder_whose_fingerprint_names_its_dimension() -> None:
    assert isinstance(HashEmbedder(), Embedder)
    assert HashEmbedder(32).fingerprint != HashEmbedder(64).fingerprint


def test_what_is_no_string_and_no_dimension_is_an_error() -> None:
    with pytest.raises(ConfigError, match="bytes"):
        HashEmbedder().embed_documents([b"x"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="0"):
        HashEmbedder(0)
