"""Opening the model that the settings name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragagent.errors import ModelNotFound
from ragagent.models.language import open_llm
from ragagent.models.llama import LlamaModel
from ragagent.models.remote import RemoteModel
from ragagent.models.store import ModelStore
from ragagent.settings import LlmSettings


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/v1", "https://models.invalid/v1#chat"])
def test_an_address_is_an_endpoint(url: str, tmp_path: Path) -> None:
    model = open_llm(LlmSettings(model=url), ModelStore(tmp_path))
    assert isinstance(model, RemoteModel)
    assert model.name == url
    assert not model.constrains
    model.close()


def test_a_path_is_a_local_model_and_is_not_loaded_yet(tiny_gguf: Path, tmp_path: Path) -> None:
    model = open_llm(LlmSettings(model=str(tiny_gguf)), ModelStore(tmp_path))
    assert isinstance(model, LlamaModel)
    assert model.name == str(tiny_gguf)
    assert model.pid is None
    model.close()


def test_a_name_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"qwen2\.5-coder-1\.5b-instruct"):
        open_llm(LlmSettings(), ModelStore(tmp_path))
