"""Several processes and threads on one index: one writes at a time, everybody sees each commit whole."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ragagent.errors import Corrupt, Locked
from ragagent.index.database import LOG_BYTES, Readers
from ragagent.protocols import Entry
from ragagent.testing.entries import DIMENSION, entry, vector_of
from ragagent.types import Document

WRITER = """
import sys
from pathlib import Path
from ragagent.index.embedded import EmbeddedIndex
from ragagent.testing.entries import DIMENSION, entry
index = EmbeddedIndex.open(Path(sys.argv[1]), fingerprint={"embedder": "hash"}, dimension=DIMENSION, fold_chunks=8)
print("ready", flush=True)
for line in sys.stdin:
    command, name = line.split()
    if command == "write":
        index.write([entry(name, [f"{name} first", f"{name} second"])])
    elif command == "remove":
        index.write(remove=[entry(name, []).document.id])
    elif command == "hold":
        held = index.exclusive()
        held.__enter__()
    print("done", flush=True)
"""


class Other:
    """Another process that does what it is told to the same index."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-c", WRITER, str(folder)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def do(self, command: str, name: str = "-") -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command} {name}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other(opened, folder: Path):
    opened().close()
    process = Other(folder)
    yield process
    process.kill()


def found(index, text: str) -> set[str]:
    return {
        hit.uri
        for mode in ("dense", "sparse")
        for hit in index.search(text, vector_of(text), k=100, mode=mode)
        if hit.score > 0.1
    }


def test_the_next_query_sees_what_another_process_committed(opened, other: Other) -> None:
    index = opened()
    assert found(index, "alpha first") == set()
    # Enough to be folded and merged behind the reader's back, several times.
    for number in range(24):
        other.do("write", f"n{number}")
        assert f"n{number}" in found(index, f"n{number} first")
    other.do("remove", "n3")
    assert "n3" not in found(index, "n3 first")
    assert index.status().documents == 23
    assert index.status().findings == ()
    assert index.check() == ()


def test_every_one_of_many_readers_sees_a_commit_at_its_next_query(opened, other: Other) -> None:
    readers = [opened() for _ in range(8)]
    for number in range(6):
        other.do("write", f"n{number}")
        other.do("remove", f"n{number - 1}")
        for reader in readers:
            assert found(reader, f"n{number} first") == {f"n{number}"}


def test_a_second_writer_waits_and_is_then_told_who_holds_the_lock(opened, other: Other) -> None:
    other.do("hold")
    index = opened(lock_timeout_s=0.2)
    with pytest.raises(Locked, match=rf"process {other.process.pid} .*did not finish within 0\.2 s"):
        index.write([entry("mine", ["my words"])])
    assert found(index, "my words") == set()
    other.kill()
    # The lock goes with the process, however that ends.
    index.write([entry("mine", ["my words"])])
    assert "mine" in found(index, "my words")


def test_reading_is_never_blocked_by_a_writer(opened, other: Other) -> None:
    other.do("write", "x")
    other.do("hold")
    index = opened(lock_timeout_s=0)
    assert "x" in found(index, "x first")
    assert len(list(index.documents())) == 1


def test_two_indexes_of_one_process_exclude_one_another(opened) -> None:
    first, second = opened(), opened(lock_timeout_s=0.05)
    with first.exclusive():
        first.write([entry("a", ["one"])])
        with pytest.raises(Locked):
            second.write([entry("b", ["two"])])
    second.write([entry("b", ["two"])])
    assert len(first.known()) == 2


def test_another_thread_waits_for_an_exclusive_block(opened) -> None:
    index = opened(lock_timeout_s=60)
    thread = threading.Thread(target=lambda: index.write([entry("b", ["two"])]))
    with index.exclusive():
        thread.start()
        index.write([entry("a", ["one"])])
        assert set(index.known()) == {entry("a", []).document.id}
    thread.join()
    assert len(index.known()) == 2


def test_documents_can_be_removed_while_they_are_listed(opened) -> None:
    index = opened()
    index.write([entry(f"n:{number:03}", ["words"]) for number in range(80)])
    seen = []
    for document in index.documents():
        seen.append(document.uri)
        index.write(remove=[document.id])
    assert seen == [f"n:{number:03}" for number in range(80)]
    assert index.known() == {}


def read_one_of(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT id FROM documents")
    raise Corrupt(f"{next(rows)} is damaged")


def test_an_error_that_is_kept_holds_no_later_reader_at_its_commit(opened, folder: Path) -> None:
    index = opened()
    index.write([entry("one", ["first"]), entry("two", ["second"])])
    with contextlib.closing(Readers(folder)) as readers:
        with pytest.raises(Corrupt) as kept, readers.snapshot() as connection:
            read_one_of(connection)
        index.write([entry("three", ["third"])])
        with readers.snapshot() as connection:
            assert connection.execute("SELECT count(*) FROM documents").fetchone() == (3,)
    assert "damaged" in str(kept.value)


def test_the_log_is_emptied_once_no_reader_needs_it(opened, folder: Path) -> None:
    index, log = opened(), folder / "ragagent.db-wal"
    index.write([entry("a", ["small"])])
    reader = sqlite3.connect(folder / "ragagent.db", isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM documents").fetchone() == (1,)
    for number in range(5):
        big = Document(uri="big", text=str(number) * (LOG_BYTES // 4))
        index.write([Entry(document=big, chunks=(), vectors=np.zeros((0, DIMENSION), np.float32))])
    assert log.stat().st_size > LOG_BYTES
    assert reader.execute("SELECT count(*) FROM documents").fetchone() == (1,)
    reader.execute("COMMIT")
    reader.close()
    index.write([entry("a", ["small again"])])
    assert log.stat().st_size < LOG_BYTES
    assert len(index.known()) == 2
