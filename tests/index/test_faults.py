"""A disk that fails, a clock that goes back, bits that flip: a right answer or a clear error, never a wrong record."""

from __future__ import annotations

import errno
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragagent.errors import RagAgentError
from ragagent.index.embedded import EmbeddedIndex
from ragagent.testing import disk, durability
from ragagent.testing.entries import entry

FLIPS = 25
watched = pytest.mark.skipif(bool(disk.missing()), reason=disk.missing() or "-")

WORK = """
import sys
from pathlib import Path
from ragagent.errors import RagAgentError
from ragagent.testing import durability
try:
    for done in durability.work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])):
        print("done", done, flush=True)
except RagAgentError as error:
    print("error", type(error).__name__, error, flush=True)
"""

READ = """
import json, sys
from pathlib import Path
from ragagent.errors import RagAgentError
from ragagent.testing import durability
try:
    with durability.open_index(Path(sys.argv[1])) as index:
        print("done", json.dumps(durability.answers(index)), flush=True)
except RagAgentError as error:
    print("error", type(error).__name__, error, flush=True)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return disk.library(tmp_path_factory.mktemp("library"))


def told(script: str, library: Path, folder: Path, *arguments: str, **conditions: Any) -> list[list[str]]:
    """What a program says under conditions; anything but an answer or an error of ours ends it otherwise."""
    command = [sys.executable, "-c", script, str(folder), *arguments]
    environment = disk.environment(library, folder, **conditions)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.split(" ", 2) for line in done.stdout.splitlines()]


def worked(folder: Path, steps: int) -> Path:
    for _ in durability.work(folder, 0, steps):
        pass
    return folder


def fault(kind: str, error: int, after: int) -> str:
    return f"{kind}:{error}:{after}"


FULL = [fault("w", errno.ENOSPC, after) for after in (0, 3, 20, 45, 80, 130, 210, 400)]
BROKEN = [fault("w", errno.EIO, 60), fault("s", errno.EIO, 0), fault("s", errno.EIO, 7), fault("s", errno.EIO, 23)]
NO_NAMES = [fault("c", errno.ENOSPC, after) for after in (0, 1, 4)]


@watched
@pytest.mark.parametrize("one", [*FULL, *BROKEN, *NO_NAMES])
def test_a_disk_that_is_full_or_fails_gives_a_clear_error_and_loses_nothing(tmp_path: Path, library: Path, one) -> None:
    folder = worked(tmp_path / "kb", 5)
    said = told(WORK, library, folder, "5", "16", faults=[one])
    acknowledged = [int(words[1]) for words in said if words[0] == "done"]
    errors = [words[1:] for words in said if words[0] == "error"]
    for name, message in errors:
        assert name in {"StorageFull", "Corrupt", "IndexStateError"}, message
        assert str(folder) in message
        assert name != "Corrupt" or str(errno.EIO) in one, "a full disk is no damage"
    # The disk has room again.
    steps = durability.require(folder, max([5, *acknowledged]), under_way=bool(errors))
    durability.require(folder, steps, under_way=False, write=True)


@watched
@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES], ids=["read-only", "no permission"])
def test_what_cannot_be_written_can_be_read_and_says_so_when_written(tmp_path: Path, library: Path, error) -> None:
    folder = worked(tmp_path / "kb", 5)
    faults = [fault(kind, error, 0) for kind in "ocw"]
    (words,) = told(READ, library, folder, faults=faults)
    with durability.open_index(folder) as index:
        assert words[0] == "done", words
        assert json.loads(" ".join(words[1:])) == [list(one) for one in durability.answers(index)]
    said = told(WORK, library, folder, "5", "1", faults=faults)
    assert said[-1][:2] == ["error", "StorageFull"]
    assert "permission" in said[-1][2] or "writ" in said[-1][2]
    durability.require(folder, 5, under_way=False)


@watched
@pytest.mark.parametrize("kind", ["l", "p"], ids=["flock", "fcntl"])
def test_a_file_system_without_locks_is_named_and_nothing_is_written(tmp_path: Path, library: Path, kind: str) -> None:
    folder = worked(tmp_path / "kb", 5)
    said = told(WORK, library, folder, "5", "3", faults=[fault(kind, errno.ENOLCK, 0)])
    assert said[-1][0] == "error"
    assert str(folder) in said[-1][2]
    assert "cannot lock files" in said[-1][2]
    assert "another program" not in said[-1][2]
    durability.require(folder, 5, under_way=False, write=True)


@watched
def test_a_clock_that_goes_back_changes_nothing(tmp_path: Path, library: Path) -> None:
    folder, decade = tmp_path / "kb", 10 * 365 * 86_400
    folder.mkdir()
    for begin, clock_s in ((0, 0), (15, -decade), (30, decade), (45, -2 * decade)):
        said = told(WORK, library, folder, str(begin), "15", clock_s=clock_s)
        assert said[-1] == ["done", str(begin + 15)], said[-1]
        durability.require(folder, begin + 15, under_way=False)


# --- bits


LIBRARY = [
    entry(f"n:{number}", [f"word{number} common", f"other{number} common"], title=f"title{number % 3}",
          metadata={"year": number, "team": "abc"[number % 3]}, stamp=str(number))
    for number in range(40)
]  # fmt: skip


def opened(folder: Path) -> EmbeddedIndex:
    return EmbeddedIndex.open(folder, fingerprint={"embedder": "hash"}, dimension=32, fold_chunks=30)


def flipped(file: Path, rng: random.Random) -> None:
    data = bytearray(file.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def test_a_flipped_bit_in_the_log_gives_the_state_of_some_commit(tmp_path: Path) -> None:
    folder, states = tmp_path / "kb", []
    index = opened(folder)
    for number in range(8):
        index.write([LIBRARY[number]])
        states.append({one.document.id for one in LIBRARY[: number + 1]})
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    index.close()
    for seed in range(FLIPS):
        again, rng = tmp_path / str(seed), random.Random(seed)
        shutil.copytree(copy, again)
        (again / "ragagent.db-shm").unlink()
        flipped(again / "ragagent.db-wal", rng)
        with opened(again) as one:
            there = set(one.known())
            assert there in [set(), *states]
            # Commits that were acknowledged are not lost in silence.
            said = [finding for finding in one.check() if "commit 9 was there already" in finding]
            assert list(one.check()) == said == list(one.status().findings)
            assert bool(said) == (there != states[-1])
        shutil.rmtree(again)


def older(folder: Path, copy: Path) -> None:
    shutil.copy(copy / "ragagent.db", folder / "ragagent.db")


def without_log(folder: Path, copy: Path) -> None:
    older(folder, copy)
    for file in folder.glob("ragagent.db-*"):
        file.unlink()


@pytest.mark.parametrize("put_back", [older, without_log], ids=lambda one: one.__name__)
@pytest.mark.parametrize("closed", [True, False])
def test_an_older_database_put_back_is_the_older_state_or_an_error(
    tmp_path: Path, put_back: Callable[[Path, Path], None], closed: bool
) -> None:
    folder, copy = worked(tmp_path / "kb", 16), tmp_path / "copy"
    shutil.copytree(folder, copy)
    index = durability.open_index(folder)
    for number in range(16, 22):
        durability.step(index, number)
    if closed:
        index.close()
    else:
        # As after a kill: the log of the newer database lies beside the older one.
        killed = tmp_path / "killed"
        shutil.copytree(folder, killed)
        index.close()
        folder = killed
    put_back(folder, copy)
    outcome = answers_or_error(folder)
    assert outcome in [list(durability.fresh(steps)) for steps in (16, 22)] or str(folder) in str(outcome)


def answers_or_error(folder: Path) -> durability.Answers | str:
    """What the first queries find; or an error, or what `check` finds where they find something else."""
    try:
        with durability.open_index(folder) as index:
            found = durability.answers(index)
            findings = index.check()
            return f"{folder}: {findings}" if findings else found
    except RagAgentError as error:
        return str(error)
