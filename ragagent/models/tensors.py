"""Reading the tensors of a safetensors file without its package: memory-mapped, nothing executed, bounds checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.errors import ModelLoadError

_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1", "I8": "i1"}
_MAX_HEADER_BYTES = 64 * 1024 * 1024


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Every tensor of `path` by name, as views into the mapped file; writing to one leaves the file as it is.

    BF16, which numpy does not have, comes as a float32 copy. Tensors of a kind that no encoder uses are left out.
    Raises ModelLoadError for a file that cannot be read or whose header does not fit its size.
    """
    try:
        header, data = _header(path)
        return {name: _tensor(data, entry) for name, entry in header.items() if entry["dtype"] in _KINDS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(f"{path}: not a readable safetensors file ({error}); fetch the model again") from error


def _header(path: Path) -> tuple[Mapping[str, Any], npt.NDArray[np.uint8]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError(f"a header of {length} bytes in a file of {size}")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    if size == 8 + length:
        return header, np.zeros(0, np.uint8)
    return header, np.memmap(path, np.uint8, "c", offset=8 + length)


def _tensor(data: npt.NDArray[np.uint8], entry: Mapping[str, Any]) -> npt.NDArray[Any]:
    kind = np.dtype(_KINDS[entry["dtype"]])
    shape = tuple(int(side) for side in entry["shape"])
    start, end = (int(offset) for offset in entry["data_offsets"])
    if not 0 <= start <= end <= data.size or end - start != kind.itemsize * math.prod(shape):
        raise ValueError(f"offsets {start}..{end} do not hold {entry['dtype']}{list(shape)}")
    values = np.frombuffer(data[start:end], kind).reshape(shape)
    if entry["dtype"] == "BF16":
        # A bfloat16 is the upper half of a float32.
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values
