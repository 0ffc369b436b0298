"""The embedded index keeps the contract of every index, with a long tail, with many segments, and after reopening."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Index
from ragagent.testing.capabilities import CAPABILITIES, offered
from ragagent.testing.entries import Factory
from ragagent.testing.index import RULES
from ragagent.testing.plain import PlainIndex

EVERY = (*RULES, *(rule for one in CAPABILITIES.values() for rule in one.rules))


def embedded(folder: Path, fold_chunks: int) -> Factory:
    made: list[Path] = []

    def factory(dimension: int) -> Index:
        made.append(folder / str(len(made)))
        given = {"embedder": "hash", "chunker": "paragraphs"}
        return EmbeddedIndex.open(made[-1], fingerprint=given, dimension=dimension, fold_chunks=fold_chunks)

    return factory


ENGINES: dict[str, Callable[[Path], Factory]] = {
    "segments": lambda folder: embedded(folder, 1),
    "tail": lambda folder: embedded(folder, 4096),
    "plain": lambda _: PlainIndex,
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.__name__)
def test_the_contract_is_kept(rule, engine: str, tmp_path: Path) -> None:
    rule(ENGINES[engine](tmp_path))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_capability_is_offered(engine: str, tmp_path: Path) -> None:
    assert offered(ENGINES[engine](tmp_path)) == tuple(CAPABILITIES)


def test_it_is_an_index(tmp_path: Path) -> None:
    with EmbeddedIndex.open(tmp_path, fingerprint={}, dimension=4) as index:
        assert isinstance(index, Index)
