"""A run of ingestion may be killed at any moment: what it reported is there, and nothing half-done is."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ragagent import KnowledgeBase, Settings
from ragagent.settings import ChunkingSettings, IngestSettings
from ragagent.testing.embedding import HashEmbedder

MOMENTS = 100
DOCUMENTS = 90
SETTINGS = Settings(
    chunking=ChunkingSettings(max_tokens=24, min_tokens=1), ingest=IngestSettings(batch_chunks=6, lock_timeout_s=30)
)

CHILD = """
import sys
from pathlib import Path
from ragagent import KnowledgeBase, Settings
from ragagent.settings import ChunkingSettings, IngestSettings
from ragagent.testing.embedding import HashEmbedder
import faiss

settings = Settings(
    chunking=ChunkingSettings(max_tokens=24, min_tokens=1), ingest=IngestSettings(batch_chunks=6, lock_timeout_s=30)
)

def sink(event):
    if event["name"] == "ingest.commit":
        print(f"committed {event['documents']}", flush=True)

print("ready", flush=True)
with KnowledgeBase.open(sys.argv[1], settings=settings, embedder=HashEmbedder(), trace=sink) as kb:
    report = kb.ingest(Path(sys.argv[2]))
    print("report", report.added, report.unchanged, report.failed, flush=True)
"""


def mark(number: int, part: int) -> str:
    """A word of letters alone, found in one chunk only, that no stemmer shortens."""
    letters = "abcdefghij"
    return "qk" + "".join(letters[int(digit)] for digit in f"{number:03}{part}") + "x"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files whose chunks each carry a word found nowhere else."""
    folder = tmp_path_factory.mktemp("documents")
    for number in range(DOCUMENTS):
        parts = [
            f"Part {part} of the logbook kept aboard vessel number {number}, marked {mark(number, part)}, "
            f"tells of the weather, the cargo and the crew on day {part}.\n"
            for part in range(3)
        ]
        (folder / f"log-{number:03}.txt").write_text("\n".join(parts))
    return folder


def killed_after(commits: int, seconds: float, kb: Path, folder: Path) -> tuple[int, bool]:
    """Runs an ingest and kills it `seconds` after its n-th commit: (documents reported as committed, whether it ended).

    Moments are counted in commits so that a slow machine is hit in the midst of the work as well.
    """
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(kb), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(commits + 1)]
    assert lines[0] == "ready\n"
    time.sleep(seconds)
    child.kill()
    output, problems = child.communicate()
    lines += output.splitlines()
    assert child.returncode in (0, -9), problems
    # The last line may be cut off in its midst as well.
    reported = sum(int(found[1]) for line in lines if (found := re.match(r"committed (\d+)", line)))
    return reported, any(line.startswith("report") for line in lines)


def check_whole(kb: KnowledgeBase) -> int:
    """Asserts that every document there is complete and found by both searches; returns how many there are."""
    assert kb.check() == ()
    documents = list(kb.documents())
    for document in documents:
        number = int(document.uri.rsplit("-", 1)[1].removesuffix(".txt"))
        found = set()
        for part in range(3):
            hits = kb.search(mark(number, part), k=3, mode="sparse")
            assert hits, f"document {number} lost part {part}"
            assert {hit.document_id for hit in hits} == {document.id}
            found.add(hits[0].chunk.id)
            assert document.text[slice(*hits[0].chunk.span)] == hits[0].chunk.text
        assert len(found) == 3
        (nearest, *_) = kb.search(hits[0].text, k=1, mode="dense")
        assert nearest.document_id == document.id
    return len(documents)


def test_a_killed_ingest_keeps_what_it_reported_and_nothing_half_done(folder: Path, tmp_path: Path) -> None:
    chance = random.Random(20)
    generation, committed, cut_midway = 0, 0, 0
    for _ in range(MOMENTS):
        path = tmp_path / f"kb{generation}"
        reported, finished = killed_after(chance.randint(0, 12), chance.uniform(0.0, 0.03), path, folder)
        committed += reported
        with KnowledgeBase.open(path, settings=SETTINGS, embedder=HashEmbedder()) as kb:
            there = check_whole(kb)
        assert there >= committed, f"{committed} documents were reported, {there} are there"
        # A commit whose report was cut off by the kill counts from here on.
        cut_midway += reported > 0 and not finished
        committed = there
        if finished:
            assert there == DOCUMENTS
            generation, committed = generation + 1, 0
    assert cut_midway > MOMENTS / 2, f"only {cut_midway} of {MOMENTS} kills hit the work itself"
    path = tmp_path / f"kb{generation}"
    with KnowledgeBase.open(path, settings=SETTINGS, embedder=HashEmbedder()) as kb:
        report = kb.ingest(folder)
        assert report.added + report.unchanged == DOCUMENTS
        assert report.failed == 0
        assert check_whole(kb) == DOCUMENTS
