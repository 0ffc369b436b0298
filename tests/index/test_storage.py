"""No room and no permission: an error that says so, and everything committed is still there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ragagent.index.embedded import EmbeddedIndex
from ragagent.testing.entries import DIMENSION, entry

FULL = """
import resource, sys
from pathlib import Path
from ragagent.errors import StorageFull
from ragagent.index.embedded import EmbeddedIndex
from ragagent.testing.entries import DIMENSION, entry
index = EmbeddedIndex.open(Path(sys.argv[1]), fingerprint={"embedder": "hash"}, dimension=DIMENSION, fold_chunks=16)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
for number in range(10_000):
    try:
        index.write([entry(f"n:{number}", [f"word{number} " * 20, f"other{number} " * 20])])
    except StorageFull as error:
        print(f"full {error}", flush=True)
        break
    print(number, flush=True)
print("found", index.search("word0", None, k=5, mode="sparse")[0].uri, flush=True)
index.close()
"""

UNPERMITTED = """
import os, sys
from pathlib import Path
from ragagent.errors import StorageFull
from ragagent.index.embedded import EmbeddedIndex
from ragagent.testing.entries import DIMENSION, entry, vector_of
words = vector_of("words")
# Root may write anywhere, so give that up; by then everything that is imported late must be in memory.
for attempt in range(2):
    index = EmbeddedIndex.open(Path(sys.argv[1] + "-other"), fingerprint={}, dimension=DIMENSION, fold_chunks=1)
    index.write([entry("x", ["words"])])
    index.search("words", words, k=5, mode="hybrid")
    index.close()
os.setgid(65534); os.setuid(65534)
index = EmbeddedIndex.open(Path(sys.argv[1]), fingerprint={"embedder": "hash"}, dimension=DIMENSION)
print(len(index.search("words", words, k=50, mode="hybrid")), len(list(index.documents())))
for use in (
    lambda: index.write([entry("new", ["words"])]),
    lambda: EmbeddedIndex.open(Path(sys.argv[1]) / "new", fingerprint={}, dimension=4),
):
    try:
        use()
    except StorageFull as error:
        print("full", error)
index.close()
"""


def run(program: str, *arguments: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("limit", [400_000, 900_000])
def test_a_full_disk_is_an_error_and_loses_nothing(opened, folder: Path, limit: int) -> None:
    # A limit on the size of any file has the same effect on a write as a disk without room.
    opened().close()
    *acknowledged, full, found = run(FULL, str(folder), str(limit))
    assert full.startswith("full ")
    assert "nothing that was committed is lost" in full
    assert found == "found n:0"
    index = opened()
    assert {document.uri for document in index.documents()} == {f"n:{number}" for number in acknowledged}
    assert index.check() == ()
    index.write([entry("room again", ["plenty of room"])])
    assert index.search("plenty", None, k=1, mode="sparse")[0].uri == "room again"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone without permission")
@pytest.mark.parametrize("state", ["closed", "open", "log left behind"])
def test_a_folder_that_may_only_be_read_can_be_searched(state: str) -> None:
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        folder = Path(made) / "kb"
        index = EmbeddedIndex.open(folder, fingerprint={"embedder": "hash"}, dimension=DIMENSION, fold_chunks=8)
        index.write([entry(f"n:{number}", ["words"]) for number in range(9)])
        if state == "closed":
            index.close()
        if state == "log left behind":
            copy = Path(made) / "copy"
            shutil.copytree(folder, copy)
            folder = copy
        first, *errors = run(UNPERMITTED, str(folder))
        index.close()
    assert first == "9 9"
    assert len(errors) == 2
    assert all(error.startswith("full ") for error in errors)
