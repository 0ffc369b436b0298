"""One short text at a time: the same vectors as many at once, within the bound of int8."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.errors import ModelError
from ragagent.models.calibration import read
from ragagent.models.embedding import open_embedder
from ragagent.models.encoder import EncoderSpec, content_digest, read_spec
from ragagent.models.int8 import Seen
from ragagent.models.openvino_bert import OpenVinoEncoder
from ragagent.models.openvino_query import WIDTHS, QueryEncoder, runs_here

if not runs_here():
    pytest.skip("the engine has no int8 kernels for this processor", allow_module_level=True)


@pytest.fixture(scope="module")
def spec(minilm: Path) -> EncoderSpec:
    return read_spec(minilm)


@pytest.fixture(scope="module")
def seen(minilm: Path) -> dict[str, Seen]:
    found = read(content_digest(minilm))
    if found is None:
        pytest.skip("the model folder holds another version of the default model than the package knows")
    return dict(found.seen)


@pytest.fixture(scope="module")
def queries(spec: EncoderSpec, seen: dict[str, Seen]) -> Iterator[QueryEncoder]:
    encoder = QueryEncoder(spec, seen)
    yield encoder
    encoder.close()


def test_a_vector_is_that_of_int8_for_many_texts_and_close_to_float(
    spec: EncoderSpec, seen: dict[str, Seen], queries: QueryEncoder
) -> None:
    exact = OpenVinoEncoder(spec, threads=1, precision="f32")
    rounded = OpenVinoEncoder(spec, threads=1, precision="int8", seen=seen)
    # Not those that a model keeps for itself: texts with them are embedded in float.
    words = st.integers(999, 30000) | st.sampled_from([100, 1012])

    @given(st.lists(words, max_size=WIDTHS[-1] - 2) | st.builds(lambda one, n: [one] * n, words, st.integers(0, 30)))
    @settings(max_examples=30, deadline=None)
    def check(middle: list[int]) -> None:
        ids = [101, *middle, 102]
        found = queries.encode(ids)
        assert abs(np.linalg.norm(found) - 1) < 1e-5
        assert found @ exact.encode([[ids]])[0][0] > 0.97  # of any tokens; of usual texts it is 0.995
        # The last bit before rounding differs, and what is rounded the other way reaches every layer after. A single
        # token is held to what the embedder promises: on a processor with a matrix unit "!" alone is at 0.9967.
        assert found @ rounded.encode([[ids]])[0][0] > (0.995 if len(middle) == 1 else 0.997)

    check()


def test_a_vector_is_the_same_each_time_and_on_every_thread(queries: QueryEncoder) -> None:
    texts = [[101, *range(2000, 2000 + count), 102] for count in (1, 9, 15, 25, 30)]
    expected = [queries.encode(ids) for ids in texts]
    wrong: list[int] = []

    def work(offset: int) -> None:
        for step in range(20):
            row = (step + offset) % len(texts)
            if not np.array_equal(queries.encode(texts[row]), expected[row]):
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_closed_encoder_says_so(spec: EncoderSpec, seen: dict[str, Seen]) -> None:
    encoder = QueryEncoder(spec, seen)
    encoder.encode([101, 2000, 102])
    encoder.close()
    encoder.close()
    with pytest.raises(ModelError, match="closed"):
        encoder.encode([101, 2000, 102])


def test_queries_of_every_length_keep_the_bound(minilm: Path) -> None:
    embedder = open_embedder(minilm)
    words = "the ferry leaves at noon and again in the evening while bicycles travel free of charge " * 3
    for count in range(0, len(words), 19):
        text = words[:count]
        assert embedder.embed_query(text) @ embedder.embed_documents([text])[0] > 0.995
    embedder.close()


def test_an_encoder_that_was_never_calibrated_embeds_queries_like_documents(make_encoder: Callable[..., Path]) -> None:
    embedder = open_embedder(make_encoder("bert"))
    assert embedder.embed_query("house") @ embedder.embed_documents(["house"])[0] > 0.9995
    embedder.close()
