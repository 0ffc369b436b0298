from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ragagent.errors import ModelLoadError
from ragagent.models.embedding import open_embedder
from ragagent.settings import EmbeddingSettings

SLOW = EmbeddingSettings(backend="sentence-transformers")


@pytest.mark.parametrize("pooling", ["max", "lasttoken", "mean_sqrt_len_tokens"])
def test_vectors_are_those_of_the_engine_normalised(make_encoder: Callable[..., Path], pooling: str) -> None:
    import sentence_transformers

    folder = make_encoder("bert", pooling=pooling)
    texts = ["the house", "", "a \ud800 b", "passing " * 90]
    oracle = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(
        [text.replace("\ud800", "\ufffd") for text in texts], normalize_embeddings=True
    )
    embedder = open_embedder(folder)
    np.testing.assert_allclose(embedder.embed_documents(texts), oracle, atol=1e-5)
    np.testing.assert_allclose(embedder.embed_query(texts[0]), oracle[0], atol=1e-5)
    assert embedder.embed_documents([]).shape == (0, 32)


def test_loading_prints_nothing(make_encoder: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    folder = make_encoder("bert")
    capfd.readouterr()
    open_embedder(folder, settings=SLOW).embed_query("house")
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_the_engine_cannot_load_is_an_error_that_names_it(make_encoder: Callable[..., Path]) -> None:
    folder = make_encoder("bert")
    (folder / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(ModelLoadError, match=folder.name):
        open_embedder(folder, settings=SLOW)


def test_without_the_extra_the_error_says_why_it_is_needed_and_how_to_get_it(make_encoder: Callable[..., Path]) -> None:
    code = """
import sys
sys.modules["sentence_transformers"] = None
from ragagent.errors import MissingExtra
from ragagent.models.embedding import open_embedder
try:
    open_embedder(sys.argv[1])
except MissingExtra as error:
    print(error)
"""
    folder = make_encoder("bert", pooling="max")
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert "pools by max" in done.stdout
    assert "ragagent[sentence-transformers]" in done.stdout
