"""Room is given back, and what is erased is in no file any more."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ragagent.errors import IndexStateError
from ragagent.index.editions import Shadow
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Entry
from ragagent.testing.entries import entry, vector_of


def library(first: int, last: int) -> list[Entry]:
    """Documents whose words are their own, long enough to fill pages, one of them over several pieces."""
    return [
        entry(
            f"n:{number}",
            [f"uniqueword{number}x{part} shared filler " * (600 if number % 10 == 3 else 12) for part in range(4)],
            title=f"Heading{number}x",
            metadata={"tag": f"taggedvalue{number}x"},
        )
        for number in range(first, last)
    ]


def words(number: int) -> list[bytes]:
    return [f"{word}{number}x".encode() for word in ("uniqueword", "Heading", "heading", "taggedvalue")] + [
        f"uniqueword{number}x0".encode()
    ]


def found_in(folder: Path, wanted: list[bytes]) -> set[tuple[str, bytes]]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {(file.name, word) for file in files for word in wanted if word in file.read_bytes()}


def answers(index: EmbeddedIndex) -> list[tuple[str, str, float]]:
    return [
        (mode, hit.chunk.id, hit.score)
        for mode in ("dense", "sparse", "hybrid")
        for text in ("shared uniqueword7x1", "heading42x")
        for hit in index.search(text, vector_of(text), k=20, mode=mode)
    ]


def pages(folder: Path) -> tuple[int, int]:
    connection = sqlite3.connect(folder / "ragagent.db")
    try:
        return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count"))
    finally:
        connection.close()


def test_erased_documents_are_in_no_file(opened, folder: Path) -> None:
    index = opened(fold_chunks=20)
    everything = library(0, 60)
    for at in range(0, 60, 6):
        index.write(everything[at : at + 6])
    gone = [*range(5, 25), 33, 43, 59]
    index.write([entry("n:50", ["now something else"])])
    for number in gone:
        index.write(remove=[everything[number].document.id])
    before = answers(index)
    report = index.compact(erase=True)
    assert report.erased
    assert report.size_after < report.size_before
    # With the index still open, and after closing.
    secret = [word for number in (*gone, 50) for word in words(number)]
    assert found_in(folder, secret) == set()
    assert answers(index) == before
    assert index.check() == ()
    index.close()
    assert found_in(folder, secret) == set()
    kept = [words(number)[-1] for number in range(26, 30)]
    assert {word for _, word in found_in(folder, kept)} == set(kept)


def test_snapshots_that_hold_removed_documents_are_named_and_not_dropped_unasked(opened, folder: Path) -> None:
    index = opened(fold_chunks=10)
    index.write(library(0, 10))
    index.snapshots.create("with them")
    index.write(remove=[one.document.id for one in library(0, 3)])
    index.snapshots.create("without them")
    with pytest.raises(IndexStateError, match=r"'with them'.*--drop-snapshots"):
        index.compact(erase=True)
    assert [one.name for one in index.snapshots.list()] == ["with them", "without them"]
    report = index.compact(erase=True, drop_snapshots=True)
    assert report.dropped == ("with them",)
    assert [one.name for one in index.snapshots.list()] == ["without them"]
    assert found_in(folder, [word for number in range(3) for word in words(number)]) == set()
    assert index.check() == ()


def test_erasing_reaches_an_edition_that_is_kept_beside(opened, folder: Path) -> None:
    index = opened(fold_chunks=4)
    everything = library(0, 12)
    index.write(everything)
    other = index.editions.begin({"embedder": "other"}, 32)
    born = {one.known.id: one.born for one in index.editions.unbuilt(other.id, 100)}
    index.editions.build(other.id, [Shadow(entry=one, born=born[one.document.id]) for one in everything])
    index.editions.fold(other.id)
    index.write(remove=[one.document.id for one in everything[:4]])
    index.compact(erase=True)
    assert found_in(folder, [word for number in range(4) for word in words(number)]) == set()
    assert index.check() == ()


def test_compacting_gives_the_room_of_removed_documents_back(opened, folder: Path) -> None:
    index = opened(fold_chunks=50)
    everything = library(0, 60)
    index.write(everything)
    index.write(remove=[one.document.id for one in everything[:50]])
    before = answers(index)
    _, free = pages(folder)
    assert free > 0
    updates: list[tuple[str, int]] = []

    class Watching:
        def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
            updates.append((stage, done))

    report = index.compact(progress=Watching())
    assert pages(folder)[1] == 0
    assert report.size_after < report.size_before / 2
    assert [done for _, done in updates] == list(range(0, free, 1024))
    assert answers(index) == before
    assert index.check() == ()


def test_runs_of_agents_are_mentioned_when_erasing(opened, folder: Path) -> None:
    index = opened()
    index.write(library(0, 2))
    (folder / "agent.db").write_bytes(b"")
    assert any("agent.db" in note for note in index.compact(erase=True).notes)
    assert index.compact().notes == ()
