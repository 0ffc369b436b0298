from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.errors import ConfigError, ModelError, ModelLoadError, ModelNotFound
from ragagent.models.embedding import open_embedder
from ragagent.models.encoder import UnknownEncoder, content_digest
from ragagent.models.store import ModelStore
from ragagent.protocols import Embedder
from ragagent.settings import EmbeddingSettings

SENTENCES = [
    "The lease ends on 31 March 2027 unless either party gives notice.",
    "Revenue grew by 12 % to 4.1 million.",
    "El contrato termina en marzo.",
    "合同将于2027年3月31日到期。",
    "def area(radius): return 3.14 * radius ** 2",
    "word " * 500,
    "?",
    "a",
    "",
    " \n\t ",
    "nul \x00 in the middle",
    "lone \udfff surrogate",
    "[PAD] [SEP]",
    "[SEP] [CLS] [MASK] " * 9 + "and [UNK]",
]


@pytest.fixture(scope="module")
def embedder(minilm: Path) -> Iterator[Embedder]:
    opened = open_embedder(minilm, settings=EmbeddingSettings(threads=2))
    yield opened
    opened.close()


def test_every_text_has_the_vector_that_sentence_transformers_gives_it(embedder: Embedder, minilm: Path) -> None:
    pytest.importorskip("sentence_transformers")
    other = open_embedder(minilm, settings=EmbeddingSettings(backend="sentence-transformers"))
    agreement = (embedder.embed_documents(SENTENCES) * other.embed_documents(SENTENCES)).sum(1)
    assert agreement.min() > 0.995
    assert agreement.mean() > 0.998
    assert embedder.fingerprint != other.fingerprint
    assert (embedder.dimension, embedder.max_tokens) == (other.dimension, other.max_tokens)
    for text in SENTENCES[:6]:
        np.testing.assert_array_equal(embedder.tokenizer.offsets(text), other.tokenizer.offsets(text))


@given(texts=st.lists(st.sampled_from(SENTENCES) | st.text(max_size=300), max_size=24))
@settings(max_examples=15, deadline=None)
def test_a_vector_depends_on_its_text_alone(texts: list[str], embedder: Embedder) -> None:
    together = embedder.embed_documents(texts)
    assert together.dtype == np.float32
    assert together.shape == (len(texts), embedder.dimension)
    assert together.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, together, strict=True):
        assert embedder.embed_documents([text])[0] @ vector > 0.9995
        assert embedder.embed_query(text) @ vector > 0.995


def test_no_texts_have_no_rows_and_the_right_width(embedder: Embedder) -> None:
    assert embedder.embed_documents([]).shape == (0, embedder.dimension)


def test_a_text_of_ten_megabytes_has_the_vector_of_its_beginning(embedder: Embedder) -> None:
    beginning = "The tenant pays the rent on the first working day of each month. " * 60
    vectors = embedder.embed_documents([beginning + "other words " * 800_000, beginning])
    assert vectors[0] @ vectors[1] > 0.9995


@pytest.mark.parametrize("value", [None, 7, b"bytes"])
def test_what_is_no_string_is_an_error_that_says_so(embedder: Embedder, value: object) -> None:
    with pytest.raises(ConfigError, match=type(value).__name__):
        embedder.embed_documents(["fine", value])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match=type(value).__name__):
        embedder.embed_query(value)  # type: ignore[arg-type]


def test_queries_and_documents_may_be_embedded_from_many_threads_at_once(embedder: Embedder) -> None:
    expected = embedder.embed_documents(SENTENCES)
    queries = [embedder.embed_query(text) for text in SENTENCES]
    wrong: list[str] = []

    def work(offset: int) -> None:
        for step in range(8):
            row = (offset + step) % len(SENTENCES)
            if embedder.embed_query(SENTENCES[row]) @ queries[row] < 0.9995:
                wrong.append(SENTENCES[row])
            if (embedder.embed_documents(SENTENCES) * expected).sum(1).min() < 0.9995:
                wrong.append("documents")

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_fingerprint_is_that_of_the_model_and_not_of_name_place_processor_threads_or_batches(
    embedder: Embedder, minilm: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(minilm)
    other = open_embedder(tmp_path / "link", settings=EmbeddingSettings(threads=1, batch_size=1))
    assert other.fingerprint == embedder.fingerprint
    assert other.fingerprint == f"{content_digest(minilm)} openvino"


def test_models_with_other_weights_have_other_fingerprints(make_encoder: Callable[..., Path]) -> None:
    folders = [make_encoder("bert"), make_encoder("bert", num_hidden_layers=1), make_encoder("bert", pooling="cls")]
    assert len({open_embedder(folder).fingerprint for folder in folders}) == 3


def test_the_prompts_of_the_model_go_before_queries_and_documents(make_encoder: Callable[..., Path]) -> None:
    folder = make_encoder("bert", prompts={"query": "query: ", "document": "passage: "})
    fast = open_embedder(folder)
    slow = open_embedder(folder, settings=EmbeddingSettings(backend="sentence-transformers"))
    plain = open_embedder(make_encoder("bert"))
    assert fast.embed_query("house") @ plain.embed_query("query: house") > 0.9995
    assert fast.embed_query("house") @ slow.embed_query("house") > 0.995
    assert (fast.embed_documents(["house"]) * slow.embed_documents(["house"])).sum() > 0.995
    assert fast.embed_query("house") @ fast.embed_documents(["house"])[0] < 0.995


def test_a_model_that_the_fast_path_does_not_know_runs_on_sentence_transformers(
    make_encoder: Callable[..., Path],
) -> None:
    folder = make_encoder("bert", pooling="max")
    opened = open_embedder(folder)
    assert "sentence-transformers" in opened.fingerprint
    np.testing.assert_allclose(np.linalg.norm(opened.embed_documents(SENTENCES), axis=1), 1, atol=1e-5)
    with pytest.raises(UnknownEncoder, match="max"):
        open_embedder(folder, settings=EmbeddingSettings(backend="openvino"))


def test_a_tokenizer_with_more_tokens_than_the_encoder_is_an_error(make_encoder: Callable[..., Path]) -> None:
    folder = make_encoder("bert", vocab_size=20)
    with pytest.raises(ModelLoadError, match="more tokens"):
        open_embedder(folder)


def test_a_name_that_is_nowhere_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="all-MiniLM-L6-v2"):
        open_embedder(store=ModelStore(tmp_path))


def test_a_file_is_no_embedding_model(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ConfigError, match=r"model\.gguf"):
        open_embedder(tmp_path / "model.gguf")


def test_a_closed_embedder_says_so(make_encoder: Callable[..., Path]) -> None:
    opened = open_embedder(make_encoder("bert"))
    opened.close()
    with pytest.raises(ModelError, match="closed"):
        opened.embed_query("house")
    with pytest.raises(ModelError, match="closed"):
        opened.embed_documents(["house"] * 40)


PROBE = """
import json, sys
asked = []
sys.addaudithook(lambda name, values: asked.append(name) if name in WATCHED else None)
from ragagent.models.embedding import open_embedder
embedder = open_embedder(sys.argv[1])
embedder.embed_documents(["one", "two"])
embedder.close()
print(json.dumps({"asked": asked, "modules": sorted(sys.modules)}))
"""


def test_the_default_path_opens_no_socket_and_loads_no_torch(minilm: Path) -> None:
    watched = ("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request")
    code = PROBE.replace("WATCHED", repr(watched))
    done = subprocess.run([sys.executable, "-c", code, str(minilm)], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    assert seen["asked"] == []
    loaded = {name.split(".")[0] for name in seen["modules"]}
    assert not loaded & {"torch", "transformers", "sentence_transformers", "onnxruntime"}
    assert "openvino_telemetry.main" not in seen["modules"]
    assert done.stderr == ""
