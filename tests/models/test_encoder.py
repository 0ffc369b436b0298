from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragagent.errors import ModelLoadError
from ragagent.models.encoder import UnknownEncoder, content_digest, read_spec


@pytest.fixture
def folder(minilm: Path, tmp_path: Path) -> Path:
    """A copy of the default model, whose files a test may change."""
    return Path(shutil.copytree(minilm, tmp_path / "model"))


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_default_model_is_read_as_its_files_say(minilm: Path) -> None:
    spec = read_spec(minilm)
    assert (spec.dimension, spec.layers, spec.heads, spec.max_tokens) == (384, 6, 12, 256)
    assert (spec.pooling, spec.first_position, spec.query_prefix) == ("mean", 0, "")


@pytest.mark.parametrize(
    ("file", "changes", "reason"),
    [
        ("config.json", {"model_type": "mpnet"}, "model_type is 'mpnet'"),
        ("config.json", {"hidden_act": "silu"}, "hidden_act is 'silu'"),
        ("config.json", {"position_embedding_type": "relative_key"}, "relative_key"),
        ("config.json", {"is_decoder": True}, "is_decoder"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "max"),
        ("1_Pooling/config.json", {"pooling_mode": "lasttoken"}, "lasttoken"),
        ("1_Pooling/config.json", {"include_prompt": False}, "prompt"),
        ("sentence_bert_config.json", {"do_lower_case": True}, "lowercases"),
    ],
)
def test_what_the_fast_path_does_not_know_is_refused_with_the_reason(
    folder: Path, file: str, changes: dict[str, Any], reason: str
) -> None:
    _edit(folder / file, **changes)
    with pytest.raises(UnknownEncoder, match=reason):
        read_spec(folder)


def test_a_further_module_is_refused_by_name(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.insert(2, {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UnknownEncoder, match="Dense"):
        read_spec(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_model_without_a_file_of_the_fast_path_is_refused_by_its_name(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(UnknownEncoder, match=file):
        read_spec(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model_type": "bert", "hidden_act": "gelu"}'])
def test_a_broken_configuration_is_an_error_that_names_the_folder(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelLoadError, match="model"):
        read_spec(folder)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '[{"type": 3}]', "null"])
def test_broken_modules_are_an_error_that_names_the_folder(folder: Path, content: str) -> None:
    (folder / "modules.json").write_text(content)
    with pytest.raises(ModelLoadError, match="model"):
        read_spec(folder)


def test_a_module_path_that_leads_out_of_the_folder_is_an_error(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = "../../etc"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelLoadError, match="outside"):
        read_spec(folder)


def test_the_longest_input_fits_the_positions(make_encoder: Callable[..., Path]) -> None:
    assert read_spec(make_encoder("bert")).max_tokens == 64
    assert read_spec(make_encoder("xlm-roberta", max_position_embeddings=50)).max_tokens == 48


def test_the_digest_changes_with_a_file_that_decides_and_not_with_place_or_readme(folder: Path, tmp_path: Path) -> None:
    digest = content_digest(folder)
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere" / "other name"))
    (moved / "README.md").write_text("changed")
    assert content_digest(moved) == digest
    _edit(moved / "1_Pooling" / "config.json", pooling_mode_cls_token=True)
    assert content_digest(moved) != digest
