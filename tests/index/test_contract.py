"""The embedded index keeps the contract of every index, with a long tail, with many segments, and after reopening."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Index
from ragagent.testing.index import RULES


@pytest.mark.parametrize("fold_chunks", [1, 4096], ids=["segments", "tail"])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_contract_is_kept(rule, fold_chunks, tmp_path: Path) -> None:
    made: list[Path] = []

    def factory(dimension: int) -> Index:
        made.append(tmp_path / str(len(made)))
        return EmbeddedIndex.open(made[-1], fingerprint={}, dimension=dimension, fold_chunks=fold_chunks)

    rule(factory)


def test_it_is_an_index(tmp_path: Path) -> None:
    with EmbeddedIndex.open(tmp_path, fingerprint={}, dimension=4) as index:
        assert isinstance(index, Index)
