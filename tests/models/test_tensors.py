from __future__ import annotations

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.errors import ModelLoadError
from ragagent.models.tensors import read_tensors


def test_tensors_are_those_that_safetensors_wrote(tmp_path: Path) -> None:
    numpy_files = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(1)
    written = {
        "a": rng.standard_normal((3, 5)).astype(np.float32),
        "b": rng.standard_normal(7).astype(np.float16),
        "ids": np.arange(4),
        "empty": np.zeros((0, 2), np.float32),
    }
    numpy_files.save_file(written, tmp_path / "model.safetensors")
    found = read_tensors(tmp_path / "model.safetensors")
    assert found.keys() == written.keys()
    for name, tensor in written.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)


def test_a_bfloat16_is_read_as_the_same_number(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    values = torch.tensor([1.5, -2.25, 3e38, 1e-40, 0.0]).to(torch.bfloat16)
    save_file({"x": values}, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(read_tensors(tmp_path / "model.safetensors")["x"], values.float().numpy())


def test_writing_to_a_tensor_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    file = _file(tmp_path, {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, bytes(8))
    before = file.read_bytes()
    read_tensors(file)["x"][:] = 1
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": "ab", "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        {"shape": [2], "data_offsets": [0, 8]},
        17,
    ],
)
def test_a_header_that_does_not_fit_the_data_is_an_error(tmp_path: Path, entry: object) -> None:
    with pytest.raises(ModelLoadError, match=r"model\.safetensors"):
        read_tensors(_file(tmp_path, {"x": entry}, bytes(8)))


@given(data=st.binary(max_size=200))
@settings(max_examples=60)
def test_any_bytes_are_tensors_or_an_error(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "any.safetensors"
    file.write_bytes(data)
    with contextlib.suppress(ModelLoadError):
        read_tensors(file)


@given(end=st.integers(0, 99))
@settings(max_examples=30)
def test_a_file_cut_short_is_an_error(end: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = _file(folder, {"x": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}, bytes(32)).read_bytes()
    cut = folder / "cut.safetensors"
    cut.write_bytes(whole[: min(end, len(whole) - 1)])
    with pytest.raises(ModelLoadError):
        read_tensors(cut)


def _file(folder: Path, header: object, data: bytes) -> Path:
    text = json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path
