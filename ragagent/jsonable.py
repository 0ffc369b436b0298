"""Records as plain JSON values, the same everywhere: `--json`, the servers, runs of the evaluation."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def canonical(value: Any) -> str:
    """`value`, which is plain JSON, in one spelling: what equals it is written alike."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def jsonable(value: Any) -> Any:
    """`value` as dicts, lists and scalars. A Span becomes [start, end]; a vector becomes a list of numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: jsonable(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    return value
