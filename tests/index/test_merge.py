"""Large segments are built by a thread while commits and searches go on; what it built is published only if it fits."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragagent.index import block, segments, upkeep
from ragagent.index.block import Part
from ragagent.index.embedded import EmbeddedIndex
from ragagent.index.upkeep import AT_ONCE_CHUNKS
from ragagent.protocols import Entry
from ragagent.testing.entries import entry, vector_of

S = upkeep._SETTLED_CHUNKS
FOLD = AT_ONCE_CHUNKS + 76
"""Just too many to be folded at once."""


def library(first: int, count: int) -> list[Entry]:
    return [entry(f"n:{number}", [f"word{number} common", f"other{number}"]) for number in range(first, first + count)]


def answers(index: EmbeddedIndex) -> list[tuple[str, str, float]]:
    return [
        (mode, hit.chunk.id, hit.score)
        for mode in ("dense", "sparse")
        for text in ("common word7", "other19", "word1200")
        for hit in index.search(text, vector_of(text), k=10, mode=mode)
    ]


def settled(index: EmbeddedIndex, folder: Path) -> None:
    """Waits until the thread has nothing to do; nothing may be left over then."""
    while index._background._thread is not None:
        time.sleep(0.01)
    assert not [file for file in segments._pending if file.is_relative_to(folder)]
    assert index.check() == ()
    listed = {path for path in (folder / "segments").iterdir() if path.is_file()}
    assert len(listed) == 2 * index.status().segments


def test_a_thread_folds_and_merges_while_documents_come_and_go(opened, folder: Path) -> None:
    index = opened(fold_chunks=FOLD)
    for first in range(0, 3000, 250):
        index.write(library(first, 250))
        index.write(remove=[one.document.id for one in library(first, 250)[::5]])
        assert [hit.uri for hit in index.search(f"word{first + 1}", None, k=1, mode="sparse")] == [f"n:{first + 1}"]
    settled(index, folder)
    assert index.status().segments >= 1
    assert index.status().tail_chunks < 2 * FOLD
    fresh = EmbeddedIndex.open(folder.parent / "fresh", fingerprint={"embedder": "hash"}, dimension=32)
    fresh.write([one for first in range(0, 3000, 250) for n, one in enumerate(library(first, 250)) if n % 5])
    assert answers(index) == answers(fresh)
    fresh.close()
    index.close()
    assert opened().check() == ()


def test_what_dies_while_its_segment_is_built_stays_dead(opened, folder: Path) -> None:
    index, reader = opened(fold_chunks=100 * FOLD), opened()
    index.write(library(0, 1000))
    answers(reader)
    with index._views.snapshot() as (connection, view):
        step = upkeep.due(connection, view, 1)
    assert step is not None
    built = upkeep.build(folder, step)
    index.write(remove=[one.document.id for one in library(0, 1000)[::2]])
    index.write(library(2000, 100))
    assert index._offered(built)
    for one in (index, reader, opened()):
        assert one.status().chunks == 1200
        assert one.status().segments == 1
        for mode in ("dense", "sparse"):
            found = {hit.uri for hit in one.search("word500", vector_of("word500"), k=5000, mode=mode)}
            assert not found & {f"n:{number}" for number in range(0, 1000, 2)}
        assert [hit.uri for hit in one.search("word501", None, k=1, mode="sparse")] == ["n:501"]
        assert one.check() == ()
        assert answers(one) == answers(index)


def test_a_step_that_was_overtaken_is_dropped(opened, folder: Path) -> None:
    index = opened(fold_chunks=100 * FOLD)
    index.write(library(0, 400))
    with index._views.snapshot() as (connection, view):
        step = upkeep.due(connection, view, 1)
    assert step is not None
    built = [upkeep.build(folder, step), upkeep.build(folder, step)]
    assert index._offered(built[0])
    before = index.status()
    assert index._offered(built[1])
    assert index.status().segments == before.segments == 1
    settled(index, folder)


def test_a_long_exclusive_block_is_no_hindrance(opened, folder: Path) -> None:
    index = opened(fold_chunks=FOLD)
    with index.exclusive():
        for first in range(0, 9000, 600):
            index.write(library(first, 600))
        assert index.status().segments >= 1
        # However fast documents come, the tail stays bounded.
        assert index.status().tail_chunks <= 9 * FOLD
    settled(index, folder)


def test_another_writer_in_between_loses_nothing(opened, folder: Path) -> None:
    first, second = opened(fold_chunks=FOLD), opened(fold_chunks=FOLD)
    failures: list[BaseException] = []

    def write(index: EmbeddedIndex, start: int) -> None:
        try:
            for number in range(start, start + 2000, 100):
                index.write(library(number, 100))
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=write, args=one) for one in ((first, 0), (second, 5000))]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        hits = first.search("common", vector_of("common"), k=50, mode="hybrid")
        assert len({hit.chunk.id for hit in hits}) == len(hits)
    for thread in threads:
        thread.join()
    assert failures == []
    for index in (first, second):
        while index._background._thread is not None:
            time.sleep(0.01)
        assert index.status().documents == 4000
        assert index.status().chunks == 8000
        assert index.check() == ()


def test_the_thread_ends_with_the_index(opened, folder: Path) -> None:
    index = opened(fold_chunks=FOLD)
    index.write(library(0, 3000))
    index.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "index upkeep"]
    assert opened().status().tail_chunks == 0


@pytest.mark.parametrize("sizes", [[4096] * 40, [262_144] * 5 + [100_000] * 7, [1, 5000, 3, 70_000, 70_000, 70_000, 2]])
def test_merging_ends_with_few_segments_none_of_them_too_large(sizes: list[int]) -> None:
    class Sized:
        """A part, as far as the choice of what to merge goes."""

        def __init__(self, count: int) -> None:
            self.count = count
            self.block = range(count)

    parts, moved = [Sized(size) for size in sizes], 0
    while chosen := upkeep._mergeable(parts):  # type: ignore[arg-type]
        at = parts.index(chosen[0])  # type: ignore[arg-type]
        total = sum(part.count for part in chosen)
        assert total <= upkeep.MOST_CHUNKS
        parts[at : at + len(chosen)] = [Sized(total)]
        moved += total
    assert len(parts) <= 2 * sum(sizes) / upkeep.MOST_CHUNKS + 12
    assert moved <= 12 * sum(sizes)


def part_of(size: int) -> Part:
    """As large as that, and empty."""
    none = block.empty(8)
    return block.whole(replace(none, rows=np.broadcast_to(np.int64(0), size)), 1)


@given(sizes=st.lists(st.integers(1, upkeep.MOST_CHUNKS), max_size=30))
@example(sizes=[200_000, 60_000, 160_000, 160_000, 80_000, *[20_000] * 3, 140_000, 80_000, *[20_000] * 3])
def test_neighbours_of_some_size_are_settled_into_few_segments_and_no_chunk_is_merged_often(sizes: list[int]) -> None:
    merged = [[0] for _ in sizes]
    while chosen := upkeep._mergeable(parts := [part_of(size) for size in sizes]) or upkeep._settling(parts):
        (at,) = [n for n in range(len(parts)) if [id(p) for p in parts[n : n + len(chosen)]] == [*map(id, chosen)]]
        sizes[at : at + len(chosen)] = [sum(sizes[at : at + len(chosen)])]
        merged[at : at + len(chosen)] = [[1 + times for one in merged[at : at + len(chosen)] for times in one]]
    assert max(sizes, default=0) <= upkeep.MOST_CHUNKS
    assert not any(min(pair) >= S and sum(pair) <= upkeep.MOST_CHUNKS for pair in pairwise(sizes))
    assert max((times for one in merged for times in one), default=0) <= upkeep.MOST_CHUNKS // S + 18
