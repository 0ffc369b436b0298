from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.errors import ModelError, ModelLoadError
from ragagent.models.encoder import UnknownEncoder, read_spec
from ragagent.models.openvino_bert import OpenVinoEncoder
from ragagent.models.tokenizer import read_tokenizer

TEXTS = ["the house", "passing the houses 42 times, isn't it?", "", "a " * 100, "東京 ?!", "x"]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "camembert"])
def test_vectors_are_those_of_sentence_transformers(make_encoder: Callable[..., Path], kind: str, pooling: str) -> None:
    import sentence_transformers

    folder = make_encoder(kind, pooling=pooling)
    spec = read_spec(folder)
    tokenizer = read_tokenizer(spec.tokenizer)
    encoder = OpenVinoEncoder(spec, threads=1, precision="f32")
    found = encoder.encode([[tokenizer.token_ids(text, spec.max_tokens)] for text in TEXTS])
    oracle = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    oracle /= np.linalg.norm(oracle, axis=1, keepdims=True)
    assert (np.concatenate(found) * oracle).sum(1).min() > 0.99999


@pytest.mark.parametrize("changes", [{"hidden_act": "relu"}, {"layer_norm_eps": 0.1}, {"num_attention_heads": 1}])
def test_the_configuration_is_followed(make_encoder: Callable[..., Path], changes: dict[str, object]) -> None:
    import sentence_transformers

    folder = make_encoder("bert", **changes)
    spec = read_spec(folder)
    ids = read_tokenizer(spec.tokenizer).token_ids(TEXTS[1], spec.max_tokens)
    found = OpenVinoEncoder(spec, threads=1, precision="f32").encode([[ids]])[0][0]
    oracle = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(TEXTS[1])
    assert found @ oracle / np.linalg.norm(oracle) > 0.99999


def test_a_weight_that_is_missing_is_named(make_encoder: Callable[..., Path]) -> None:
    from safetensors.numpy import load_file, save_file

    folder = make_encoder("bert")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UnknownEncoder, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        OpenVinoEncoder(read_spec(folder), threads=1)


@pytest.mark.parametrize(
    "name",
    ["encoder.layer.0.attention.self.key.weight", "embeddings.position_embeddings.weight", "embeddings.LayerNorm.bias"],
)
def test_weights_of_another_shape_than_the_configuration_are_an_error(
    make_encoder: Callable[..., Path], name: str
) -> None:
    from safetensors.numpy import load_file, save_file

    folder = make_encoder("bert")
    tensors = load_file(folder / "model.safetensors")
    tensors[name] = np.zeros((5, 7), np.float32)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelLoadError, match=r"model\.safetensors"):
        OpenVinoEncoder(read_spec(folder), threads=1)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_each_row_of_each_batch_is_the_vector_of_its_tokens_alone(minilm: Path, precision: str) -> None:
    encoder = OpenVinoEncoder(read_spec(minilm), threads=2, precision=precision)  # type: ignore[arg-type]
    rng = np.random.default_rng(3)

    @given(st.lists(st.lists(st.integers(1, 70), min_size=1, max_size=9), max_size=6))
    @settings(max_examples=12, deadline=None)
    def check(shapes: list[list[int]]) -> None:
        batches = [[[101, *rng.integers(999, 30000, n).tolist(), 102] for n in lengths] for lengths in shapes]
        found = encoder.encode(batches)
        alone = encoder.encode([[ids] for batch in batches for ids in batch])
        assert [len(part) for part in found] == [len(batch) for batch in batches]
        for row, other in zip([row for part in found for row in part], alone, strict=True):
            assert abs(np.linalg.norm(row) - 1) < 1e-5
            assert row @ other[0] > 0.9995

    check()


def test_a_closed_encoder_says_so(make_encoder: Callable[..., Path]) -> None:
    encoder = OpenVinoEncoder(read_spec(make_encoder("bert")), threads=1)
    encoder.close()
    encoder.close()
    with pytest.raises(ModelError, match="closed"):
        encoder.encode([[[2, 3]]])
