"""Snapshots: instant, cheap, and what they bring back is what was there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ragagent.errors import ConfigError, Corrupt
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Entry
from ragagent.testing.entries import DIMENSION, entry, vector_of

LIBRARY = [entry(f"n:{number}", [f"word{number} common", f"other{number} common"], title="T") for number in range(12)]


def answers(index: EmbeddedIndex) -> list[tuple[str, str, float]]:
    return [
        (mode, hit.chunk.id, hit.score)
        for mode in ("dense", "sparse", "hybrid")
        for text in ("common word7", "other3", "changed")
        for hit in index.search(text, vector_of(text), k=30, mode=mode)
    ]


def changed(index: EmbeddedIndex) -> None:
    """Removes, edits and adds."""
    index.write(
        [entry("n:3", ["changed words", "other3 common"], title="T"), entry("new", ["a new one, changed"])],
        remove=[one.document.id for one in LIBRARY[6:9]],
    )


def uris(names) -> list[str]:
    return [one.uri for one in names]


def rows(folder: Path, table: str) -> int:
    connection = sqlite3.connect(folder / "ragagent.db")
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


def test_a_snapshot_comes_back_as_it_was_and_so_does_the_state_before(opened) -> None:
    index = opened()
    index.write(LIBRARY)
    index.touch({LIBRARY[0].document.id: "stamped"})
    before, documents = answers(index), list(index.documents())
    index.snapshots.create("one")
    changed(index)
    after, later = answers(index), list(index.documents())
    assert after != before

    restored = index.snapshots.restore("one")
    assert answers(index) == before
    assert list(index.documents()) == documents
    assert uris(restored.difference.added) == ["n:6", "n:7", "n:8"]
    assert uris(restored.difference.removed) == ["new"]
    assert uris(restored.difference.changed) == ["n:3"]
    assert index.check() == ()

    index.snapshots.restore(restored.before)
    assert answers(index) == after
    assert list(index.documents()) == later
    assert index.known()[LIBRARY[0].document.id].stamp == "stamped"
    assert index.check() == ()


def test_a_snapshot_costs_one_row_and_an_unchanged_document_nothing(opened, folder: Path) -> None:
    index = opened()
    index.write(LIBRARY)
    before = rows(folder, "embeddings")
    index.snapshots.create("one")
    assert rows(folder, "archive") == 0
    changed(index)
    changed(index)
    # Four versions are gone since: three removed, one edited; the second edit found nothing that a snapshot has.
    assert rows(folder, "archive") == 4
    assert rows(folder, "embeddings") >= before


def test_a_removed_snapshot_leaves_nothing_behind(opened, folder: Path) -> None:
    index = opened()
    index.write(LIBRARY)
    index.snapshots.create("one")
    changed(index)
    index.snapshots.create("two")
    index.write(remove=[entry("new", [""]).document.id])
    index.snapshots.remove(["one"])
    assert rows(folder, "archive") == 1
    index.snapshots.remove(["two"])
    assert rows(folder, "archive") == rows(folder, "archived_embeddings") == 0
    live = {text for one in index.documents() for text in [chunk.text for chunk in index.chunks(one.id)]}
    assert rows(folder, "embeddings") == len(live)


def test_differences_name_what_was_added_removed_and_changed(opened) -> None:
    index = opened()
    index.write(LIBRARY)
    index.snapshots.create("one")
    changed(index)
    index.snapshots.create("two")
    difference = index.snapshots.diff("one")
    assert (uris(difference.added), uris(difference.removed), uris(difference.changed)) == (
        ["new"],
        ["n:6", "n:7", "n:8"],
        ["n:3"],
    )
    assert index.snapshots.diff("one", "two") == difference
    back = index.snapshots.diff("two", "one")
    assert (back.added, back.removed, back.changed) == (difference.removed, difference.added, difference.changed)
    index.write([LIBRARY[3]])
    assert uris(index.snapshots.diff("one").changed) == []


def test_snapshots_are_listed_from_the_oldest_on(opened) -> None:
    index = opened()
    assert index.snapshots.list() == ()
    index.write(LIBRARY)
    index.snapshots.create("z")
    index.write(remove=[LIBRARY[0].document.id])
    index.snapshots.create("a")
    assert [(one.name, one.documents, one.automatic) for one in index.snapshots.list()] == [
        ("z", 12, False),
        ("a", 11, False),
    ]


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", "x" * 201])
def test_a_name_that_is_none_is_refused(opened, name: str) -> None:
    with pytest.raises(ConfigError, match="no name"):
        opened().snapshots.create(name)


def test_unknown_and_taken_names_are_said(opened) -> None:
    index = opened()
    index.snapshots.create("one")
    with pytest.raises(ConfigError, match="already"):
        index.snapshots.create("one")
    for use in (index.snapshots.restore, index.snapshots.diff, lambda name: index.snapshots.remove(["one", name])):
        with pytest.raises(ConfigError, match="no snapshot 'two'; there are: 'one'"):
            use("two")
    assert len(index.snapshots.list()) == 1


def test_a_damaged_archive_names_the_document_and_changes_nothing(opened, folder: Path) -> None:
    index = opened()
    index.write(LIBRARY)
    index.snapshots.create("one")
    changed(index)
    after = answers(index)
    connection = sqlite3.connect(folder / "ragagent.db")
    connection.execute("UPDATE archive SET record = CAST(substr(record, 1, 40) || x'00' || substr(record, 42) AS BLOB)")
    connection.commit()
    connection.close()
    with pytest.raises(Corrupt, match=r"n:\d: its archived version is damaged"):
        index.snapshots.restore("one")
    assert answers(index) == after
    assert any("archive" in finding for finding in index.check())


def test_new_metadata_needs_no_new_vectors_and_belongs_to_the_history(opened) -> None:
    index = opened()
    index.write(LIBRARY)
    index.snapshots.create("one")
    before = answers(index)
    key = LIBRARY[0].document.id
    assert index.retag({key: {"kind": "tagged", "n": 1}, "nobody": {}}) == ("nobody",)
    assert answers(index) == before
    document = index.document(key)
    assert document is not None
    assert dict(document.metadata) == {"kind": "tagged", "n": 1}
    assert document.revision != LIBRARY[0].document.revision
    hits = index.search("common", None, k=20, mode="sparse", where={"kind": "tagged"})
    assert {hit.document_id for hit in hits} == {key}
    assert all(dict(hit.metadata) == {"kind": "tagged", "n": 1} for hit in hits)
    assert uris(index.snapshots.diff("one").changed) == ["n:0"]
    index.snapshots.restore("one")
    assert index.document(key) == LIBRARY[0].document
    assert index.check() == ()


def test_a_snapshot_outlives_closing(opened) -> None:
    index = opened()
    index.write(LIBRARY)
    before = answers(index)
    index.snapshots.create("one")
    index.close()
    index = opened()
    changed(index)
    index.close()
    index = opened()
    index.snapshots.restore("one")
    assert answers(index) == before


def test_an_empty_snapshot_brings_back_emptiness(opened) -> None:
    index = opened()
    index.snapshots.create("nothing")
    index.write(LIBRARY)
    restored = index.snapshots.restore("nothing")
    assert list(index.documents()) == []
    assert answers(index) == []
    index.snapshots.restore(restored.before)
    assert len(index.known()) == 12


def fresh(folder: Path, entries: list[Entry]) -> EmbeddedIndex:
    index = EmbeddedIndex.open(folder, fingerprint={"embedder": "hash"}, dimension=DIMENSION)
    index.write(entries)
    return index


def test_after_a_restore_rankings_are_those_of_a_fresh_build(opened, tmp_path: Path) -> None:
    index = opened(fold_chunks=3)
    index.write(LIBRARY)
    index.snapshots.create("one")
    for _ in range(3):
        changed(index)
        index.snapshots.restore("one")
    new = fresh(tmp_path / "fresh", LIBRARY)
    assert answers(index) == answers(new)
    new.close()
