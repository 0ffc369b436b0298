"""An ingest that is killed at any moment, and the law that it goes on where it was.

    python -m ragagent.testing.ingest_kills --files 1000 --kills 50
    python -m ragagent.testing.ingest_kills --files 1000 --kills 20 --embedder all-MiniLM-L6-v2

A folder of HTML pages, notes and archives is ingested once without interruption. Then it is ingested again and again
into another knowledge base, each time killed with SIGKILL at a random moment, and at last left to end. Held to be true:

- after each kill the knowledge base opens, and its own check finds nothing;
- whatever was there stays, and what a run has embedded and committed is not embedded by a later one;
- the end is that of the run without interruption: the same documents, chunks, stamps and vectors, the same hits.

Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ragagent.app import KnowledgeBase
from ragagent.ingest import chunking
from ragagent.models.embedding import open_embedder
from ragagent.protocols import Embedder
from ragagent.settings import ChunkingSettings, IngestSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Vector

SETTINGS = Settings(
    chunking=ChunkingSettings(max_tokens=60, min_tokens=1), ingest=IngestSettings(batch_chunks=24, lock_timeout_s=60)
)
HASH = "hash"
_WORDS = (
    "anchor",
    "ballast",
    "capstan",
    "deck",
    "ensign",
    "forecastle",
    "galley",
    "halyard",
    "keel",
    "lantern",
    "mast",
    "rudder",
    "spar",
    "tiller",
    "winch",
)
_QUERIES = 20


def main() -> None:
    """Runs it; with `--child` it is the ingest that is killed."""
    parser = argparse.ArgumentParser(description="Kills an ingest at random moments and compares the end.")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--embedder", default=HASH, help=f"a model, or {HASH}")
    parser.add_argument("--child", nargs=2, metavar=("KB", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _ingest(Path(arguments.child[0]), Path(arguments.child[1]), arguments.embedder)
        return
    with tempfile.TemporaryDirectory(prefix="ingest-kills-") as place:
        folder = Path(place, "files")
        write_files(folder, arguments.files, arguments.seed)
        found = Kills(Path(place), folder, arguments.embedder, arguments.seed).run(arguments.kills)
    sys.stdout.write(json.dumps({"files": arguments.files, "embedder": arguments.embedder, **found}) + "\n")


def write_files(folder: Path, count: int, seed: int = 0) -> None:
    """Pages of HTML, plain notes, and every tenth an archive with two notes; each with words found in no other."""
    folder.mkdir()
    chance = random.Random(seed)
    for number in range(count):
        texts = [f"Log {number} part {part}: " + " ".join(chance.choices(_WORDS, k=45)) + "." for part in range(3)]
        if number % 10 == 0:
            with zipfile.ZipFile(folder / f"log{number:05}.zip", "w") as file:
                for part, text in enumerate(texts[:2]):
                    file.writestr(f"part{part}.txt", text)
        elif number % 2:
            body = "".join(f"<p>{text}</p>" for text in texts)
            (folder / f"log{number:05}.html").write_text(
                f"<html><head><title>Log</title></head><body>{body}</body></html>"
            )
        else:
            (folder / f"log{number:05}.txt").write_text("\n\n".join(texts))


@dataclass(frozen=True, kw_only=True)
class State:
    """Each document with its chunks and stamp, as a digest by uri; the chunks' vectors; what some questions find."""

    documents: Mapping[str, str]
    vectors: Vector
    found: Sequence[Sequence[tuple[str, str]]]


@dataclass
class Kills:
    """One folder, the state that an undisturbed ingest of it leaves, and a knowledge base that is disturbed."""

    place: Path
    folder: Path
    embedder: str
    seed: int
    hits: list[int] = field(default_factory=list)
    """How many documents each kill found committed, where it hit the work itself."""

    def run(self, kills: int) -> dict[str, object]:
        """Kills so many runs. Raises AssertionError when a law is broken."""
        begin, ended = time.perf_counter(), 0
        whole = self._run(self.place / "whole")
        seconds = time.perf_counter() - begin
        assert whole is not None
        wanted = self._state(self.place / "whole")
        chance, round_ = random.Random(self.seed), 0
        for _ in range(kills):
            path = self.place / f"kb{round_}"
            before = self._look(path)
            report = self._run(path, kill_after_s=chance.uniform(0.0, seconds))
            if report is None:
                after = self._look(path)
                assert before <= after, "a kill took away what was committed"
                self.hits += [len(after)] * (before < after or bool(after))
                continue
            # It was quicker than its kill: compare, and begin another.
            self._check_end(path, before, report, wanted, whole)
            ended, round_ = ended + 1, round_ + 1
        path = self.place / f"kb{round_}"
        before = self._look(path)
        report = self._run(path)
        assert report is not None
        self._check_end(path, before, report, wanted, whole)
        return {
            "kills": kills,
            "after_the_work": ended,
            "in_the_work": kills - ended,
            "committed_at_a_kill": sorted(self.hits),
            "documents": len(wanted.documents),
            "whole_run_s": round(seconds, 1),
            "ends_compared": ended + 1,
        }

    def _run(self, path: Path, kill_after_s: float | None = None) -> dict[str, int] | None:
        """The report of an ingest; none when it was killed."""
        command = [sys.executable, "-m", "ragagent.testing.ingest_kills", "--embedder", self.embedder]
        child = subprocess.Popen([*command, "--child", str(path), str(self.folder)], stdout=subprocess.PIPE, text=True)
        try:
            output, _ = child.communicate(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            return None
        assert child.returncode == 0, f"the ingest ended with {child.returncode}"
        report: dict[str, int] = json.loads(output)
        return report

    def _look(self, path: Path) -> frozenset[tuple[str, str]]:
        """The documents that are there after a kill, by uri and revision; also opens and checks the whole."""
        if not path.exists():
            return frozenset()
        with _opened(path, self.embedder) as kb:
            assert kb.check() == (), kb.check()
            return frozenset((one.uri, one.revision) for one in kb.documents())

    def _state(self, path: Path) -> State:
        with _opened(path, self.embedder) as kb:
            return state_of(kb)

    def _check_end(
        self, path: Path, before: frozenset[tuple[str, str]], report: dict[str, int], wanted: State,
        whole: dict[str, int],
    ) -> None:  # fmt: skip
        end = self._state(path)
        assert end.documents == wanted.documents, "the documents are others than those of a run without interruption"
        assert end.found == wanted.found, "other hits than after a run without interruption"
        # A model's vectors depend in their last places on what stood in the same batch.
        assert np.allclose(end.vectors, wanted.vectors, atol=0 if self.embedder == HASH else 5e-3), "other vectors"
        there = {uri for uri, _ in before}
        assert report["failed"] == 0
        assert report["added"] == whole["added"] - len(there), "a committed document was written again"
        assert report["embedded"] <= whole["embedded"] - report["kept_texts"], "a committed text was embedded again"


def _ingest(path: Path, folder: Path, embedder: str) -> None:
    with _opened(path, embedder) as kb:
        kept = len(_texts(kb))
        report = kb.ingest(folder)
    counts = {"added": report.added, "failed": report.failed, "embedded": report.embedded, "kept_texts": kept}
    sys.stdout.write(json.dumps(counts) + "\n")


def _texts(kb: KnowledgeBase) -> set[str]:
    """The different texts that were embedded for what is there; some chunks have the same."""
    index = kb._embedded("compare")
    return {
        chunking.embedding_text(document.title, chunk)
        for document in kb.documents()
        for chunk in index.chunks(document.id)
    }


def _opened(path: Path, embedder: str) -> KnowledgeBase:
    return KnowledgeBase.open(path, settings=SETTINGS, embedder=_embedder(embedder))


def _embedder(name: str) -> Embedder:
    return HashEmbedder() if name == HASH else open_embedder(name)


def state_of(kb: KnowledgeBase) -> State:
    """All that a knowledge base holds, whatever the order in which it came in."""
    index = kb._embedded("compare")
    known, documents, vectors, found = kb.known(), dict[str, str](), [], []
    for document in sorted(kb.documents(), key=lambda one: one.uri):
        chunks = index.chunks(document.id)
        parts = (document, chunks, known[document.id].stamp)
        documents[document.uri] = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()
        texts = [chunking.embedding_text(document.title, chunk) for chunk in chunks]
        cached = index.cached_vectors(texts)
        vectors += [cached[text] for text in texts]
    for number in range(_QUERIES):
        question = f"log {7 * number} {_WORDS[number % len(_WORDS)]}"
        found.append([(hit.uri, hit.text) for hit in kb.search(question, k=5, mode="sparse")])
    return State(documents=documents, vectors=np.array(vectors), found=found)


if __name__ == "__main__":
    main()
