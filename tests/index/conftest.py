"""Indexes in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ragagent.index.embedded import EmbeddedIndex
from ragagent.testing.entries import DIMENSION


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the index of a test lies; not there yet."""
    return tmp_path / "kb"


@pytest.fixture
def opened(folder: Path) -> Iterator[Callable[..., EmbeddedIndex]]:
    """Opens the index in `folder`, again and again if need be; closes them all in the end."""
    indexes: list[EmbeddedIndex] = []

    def open_index(**arguments: Any) -> EmbeddedIndex:
        given = {"fingerprint": {"embedder": "hash"}, "dimension": DIMENSION, "fold_chunks": 8, **arguments}
        indexes.append(EmbeddedIndex.open(folder, **given))
        return indexes[-1]

    yield open_index
    for index in indexes:
        index.close()
