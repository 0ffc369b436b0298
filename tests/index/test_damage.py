"""Damaged, foreign and newer files: a right answer or a clear error, never a wrong record."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ragagent.errors import ConfigError, Corrupt, FingerprintMismatch, IndexStateError, NewerVersion
from ragagent.index.embedded import EmbeddedIndex, stored_fingerprint
from ragagent.testing.entries import DIMENSION, entry, vector_of

LIBRARY = [entry(f"n:{number}", [f"word{number} common", f"other{number} common"]) for number in range(20)]


def answers(index: EmbeddedIndex) -> list[tuple[str, str, float]]:
    return [
        (mode, hit.chunk.id, hit.score)
        for mode in ("dense", "sparse", "hybrid")
        for text in ("common word7", "other19")
        for hit in index.search(text, vector_of(text), k=10, mode=mode)
    ]


def torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) * 2 // 3] ^= 4
    file.write_bytes(data)


def foreign(file: Path) -> None:
    file.write_bytes(b"something else altogether")


def emptied(file: Path) -> None:
    file.write_bytes(b"")


DAMAGES: list[Callable[[Path], None]] = [Path.unlink, torn, flipped, foreign, emptied]


@pytest.mark.parametrize("suffix", ["dense", "sparse"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_segment_is_served_from_the_database_and_mended_by_the_next_write(
    opened, folder: Path, damage, suffix: str
) -> None:
    index = opened()
    index.write(LIBRARY)
    expected = answers(index)
    index.close()
    (file,) = folder.glob(f"segments/*.{suffix}")
    damage(file)

    index = opened()
    assert answers(index) == expected
    assert any(str(file) in finding for finding in index.check())
    assert index.status().findings
    index.write()
    assert index.check() == ()
    assert index.status().findings == ()
    assert answers(index) == expected
    index.close()
    assert answers(opened()) == expected


def test_a_writer_mends_what_it_never_searched(opened, folder: Path) -> None:
    index = opened()
    index.write(LIBRARY)
    index.close()
    for file in folder.glob("segments/*"):
        flipped(file)
    index = opened()
    index.write()
    index.close()
    assert opened().check() == ()


def test_every_segment_lost_at_once_costs_nothing_but_time(opened, folder: Path) -> None:
    index = opened()
    for number in range(0, 20, 4):
        index.write(LIBRARY[number : number + 4])
    expected = answers(index)
    index.close()
    shutil.rmtree(folder / "segments")
    index = opened()
    assert answers(index) == expected
    index.write()
    assert index.check() == ()


def test_files_that_no_segment_lists_are_swept_by_the_next_writer(opened, folder: Path) -> None:
    index = opened()
    index.write(LIBRARY)
    index.close()
    stray = folder / "segments" / "left over from a kill.dense"
    stray.write_bytes(b"x")
    index = opened()
    assert stray.exists()
    index.write()
    assert not stray.exists()
    assert index.check() == ()


def test_a_newer_format_is_refused_and_left_untouched(opened, folder: Path) -> None:
    opened().close()
    with sqlite3.connect(folder / "ragagent.db") as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = (folder / "ragagent.db").read_bytes()
    for use in (opened, lambda: stored_fingerprint(folder)):
        with pytest.raises(NewerVersion, match=r"format 99.*Upgrade"):
            use()
    assert (folder / "ragagent.db").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to look at" * 100, b"SQLite format 3\0" + b"x" * 99]
)
def test_a_file_that_is_no_database_is_named_and_left_untouched(opened, folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "ragagent.db").write_bytes(content)
    with pytest.raises(Corrupt, match=r"ragagent\.db"):
        opened()
    with pytest.raises(Corrupt, match=r"ragagent\.db"):
        stored_fingerprint(folder)
    assert (folder / "ragagent.db").read_bytes() == content


def test_a_database_of_another_program_is_left_untouched(opened, folder: Path) -> None:
    folder.mkdir()
    connection = sqlite3.connect(folder / "ragagent.db")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(Corrupt, match="not one of ragagent"):
        opened()


def test_a_truncated_database_is_an_error_that_names_it(opened, folder: Path) -> None:
    index = opened()
    index.write(LIBRARY)
    index.close()
    file = folder / "ragagent.db"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 3])
    with pytest.raises(Corrupt, match=r"ragagent\.db"):
        list(opened().documents())


def test_a_kill_while_it_is_created_leaves_a_folder_that_can_be_created(opened, folder: Path) -> None:
    folder.mkdir()
    (folder / "ragagent.db").touch()
    index = opened()
    index.write(LIBRARY)
    assert len(index.known()) == 20


def test_an_older_copy_of_the_database_gives_the_older_answers(opened, folder: Path) -> None:
    index = opened(fold_chunks=1000)
    index.write(LIBRARY[:10])
    older = answers(index)
    index.close()
    copy = (folder / "ragagent.db").read_bytes()
    index = opened(fold_chunks=1000)
    index.write(LIBRARY[10:])
    index.close()
    (folder / "ragagent.db").write_bytes(copy)
    assert answers(opened()) == older


def test_another_embedder_is_refused_by_name(opened, folder: Path) -> None:
    given = {"embedder": "one", "chunker": "c", "embedder_name": "Name"}
    opened(fingerprint=given).close()
    opened(fingerprint={**given, "embedder_name": "another way to say it"}).close()
    opened(fingerprint={}).close()
    with pytest.raises(FingerprintMismatch, match=r"Name.*embedder is 'one', now 'two'"):
        opened(fingerprint={**given, "embedder": "two"})
    with pytest.raises(FingerprintMismatch, match=r"dimension is '32', now '33'"):
        opened(fingerprint=given, dimension=DIMENSION + 1)
    with pytest.raises(FingerprintMismatch, match="reader is 'not recorded'"):
        opened(fingerprint={**given, "reader": "r"})
    stored = stored_fingerprint(folder)
    assert stored is not None
    assert given.items() <= dict(stored).items()


def test_where_there_is_none_nothing_is_made_unless_asked(opened, folder: Path) -> None:
    assert stored_fingerprint(folder) is None
    with pytest.raises(IndexStateError, match="no knowledge base"):
        opened(create=False)
    assert not folder.exists()


def test_a_file_in_the_place_of_the_folder_is_named(opened, folder: Path) -> None:
    folder.write_text("a file")
    with pytest.raises(ConfigError, match="a file, where the folder"):
        opened()
    assert folder.read_text() == "a file"
