"""A backup is one commit in one file; what comes back is exactly that, or an error that names what is damaged."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ragagent.errors import ConfigError, Corrupt
from ragagent.index import backup
from ragagent.index.embedded import EmbeddedIndex
from ragagent.ingest import origins
from ragagent.testing.entries import DIMENSION, entry, vector_of

LIBRARY = [entry(f"n:{number}", [f"word{number} common", f"other{number} common"]) for number in range(30)]


def answers(index: EmbeddedIndex) -> list[tuple[str, str, float]]:
    return [
        (mode, hit.chunk.id, hit.score)
        for mode in ("dense", "sparse", "hybrid")
        for text in ("common word7", "other3")
        for hit in index.search(text, vector_of(text), k=30, mode=mode)
    ]


def reopened(folder: Path) -> EmbeddedIndex:
    return EmbeddedIndex.open(folder, fingerprint={"embedder": "hash"}, dimension=DIMENSION, create=False)


def test_a_restored_backup_is_the_knowledge_base_it_was_made_of(opened, tmp_path: Path) -> None:
    index = opened(fold_chunks=20)
    index.write(LIBRARY)
    index.snapshots.create("one")
    index.write(remove=[LIBRARY[0].document.id])
    report = index.backup(tmp_path / "file.zip")
    expected = answers(index)
    index.write(remove=[one.document.id for one in LIBRARY])
    restored = backup.restore(tmp_path / "file.zip", tmp_path / "new")
    assert restored == report
    with reopened(tmp_path / "new") as other:
        assert answers(other) == expected
        assert other.status().findings == ()
        assert other.check() == ()
        other.write([LIBRARY[0]])
        other.snapshots.restore("one")
        assert len(other.known()) == 30
        assert other.check() == ()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file.zip", "kb", "new"]


def test_how_sources_were_opened_comes_back_with_a_backup(opened, folder: Path, tmp_path: Path) -> None:
    assert backup.SOURCES == origins.FILE
    index = opened()
    index.write(LIBRARY[:1])
    (folder / backup.SOURCES).write_text('{"git:x": {"address": "git+https://host/x", "options": {}}}')
    index.backup(tmp_path / "file.zip")
    backup.restore(tmp_path / "file.zip", tmp_path / "new")
    assert (tmp_path / "new" / backup.SOURCES).read_bytes() == (folder / backup.SOURCES).read_bytes()


def test_a_backup_while_a_writer_works_is_of_one_commit(opened, tmp_path: Path) -> None:
    index = opened(fold_chunks=6)
    index.write([entry("count", ["0"]), entry("twin", ["0"])])
    done = threading.Event()

    def writing() -> None:
        number = 0
        while not done.is_set():
            number += 1
            index.write([entry("count", [str(number)]), entry("twin", [str(number)]), entry(f"n:{number}", ["more"])])

    thread = threading.Thread(target=writing)
    thread.start()
    try:
        for number in range(5):
            index.backup(tmp_path / f"{number}.zip")
    finally:
        done.set()
        thread.join()
    for number in range(5):
        backup.restore(tmp_path / f"{number}.zip", tmp_path / f"restored{number}")
        with reopened(tmp_path / f"restored{number}") as other:
            texts = {document.uri: document.text for document in other.documents()}
            assert texts["count"] == texts["twin"]
            assert len(texts) == 2 + int(texts["count"])
            other.write()
            assert other.check() == ()


@pytest.mark.parametrize("kept", [0, 10, 1000, -1, -30])
def test_a_torn_backup_is_refused_and_leaves_nothing(opened, tmp_path: Path, kept: int) -> None:
    index = opened()
    index.write(LIBRARY)
    file = tmp_path / "file.zip"
    index.backup(file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(Corrupt, match=r"file\.zip"):
        backup.restore(file, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file.zip", "kb"]


def test_a_flipped_bit_anywhere_is_found(opened, tmp_path: Path) -> None:
    index = opened()
    index.write(LIBRARY)
    expected = answers(index)
    file = tmp_path / "file.zip"
    index.backup(file)
    whole = file.read_bytes()
    outcomes = set()
    for at in range(0, len(whole), len(whole) // 60):
        damaged = bytearray(whole)
        damaged[at] ^= 16
        file.write_bytes(damaged)
        folder = tmp_path / f"new{at}"
        try:
            backup.restore(file, folder)
        except Corrupt as error:
            outcomes.add("named" if "file.zip" in str(error) else "unnamed")
            assert not folder.exists()
            continue
        # A few bytes of a zip archive say nothing (times, say); then everything is there.
        with reopened(folder) as other:
            assert answers(other) == expected
            assert other.check() == ()
    assert outcomes == {"named"}


def test_nothing_is_overwritten(opened, folder: Path, tmp_path: Path) -> None:
    index = opened()
    index.write(LIBRARY)
    file = tmp_path / "file.zip"
    index.backup(file)
    with pytest.raises(ConfigError, match="there already"):
        index.backup(file)
    with pytest.raises(ConfigError, match="not empty"):
        backup.restore(file, folder)
    with pytest.raises(ConfigError, match="no such file"):
        backup.restore(tmp_path / "other.zip", tmp_path / "new")
    (tmp_path / "empty").mkdir()
    backup.restore(file, tmp_path / "empty")
    with reopened(tmp_path / "empty") as other:
        assert len(other.known()) == 30


def test_another_archive_is_no_backup(tmp_path: Path) -> None:
    import zipfile

    file = tmp_path / "file.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme", "something else")
    with pytest.raises(Corrupt, match="not a whole backup"):
        backup.restore(file, tmp_path / "new")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../outside", "something else")
        archive.writestr("manifest.json", '{"format": 1, "sha256": {"../outside": "0"}}')
    with pytest.raises(Corrupt, match="outside"):
        backup.restore(file, tmp_path / "new")
    assert not (tmp_path / "outside").exists()
