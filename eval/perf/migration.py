"""Do queries notice when a knowledge base changes its embedder, and does the change survive a kill?

A knowledge base of `--chunks` chunks is migrated by a process of its own from HashEmbedder to a real embedder (or to
a HashEmbedder of another dimension where no model is at hand), while this process asks on two threads and another
process asks on one. The migration is killed with SIGKILL when half of it is done, resumed, and rolled back after a few
documents were added. Each query is a chunk's own text: nearest to it must be that chunk, at a cosine above 0.98, which
a vector of one embedder among those of the other never reaches. A query that fails or mixes is an error and no figure.

    python -m ragagent.eval.perf.migration --chunks 20000
"""

from __future__ import annotations

import argparse
import functools
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ragagent.app import KnowledgeBase
from ragagent.errors import ModelNotFound, RagAgentError
from ragagent.eval.perf import generated
from ragagent.eval.perf.measure import Timing, line
from ragagent.protocols import Embedder
from ragagent.settings import ChunkingSettings, IngestSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Document

QUESTION = "Do queries notice when a knowledge base changes its embedder, and does the change survive a kill?"
REAL = "all-MiniLM-L6-v2"
SETTINGS = Settings(chunking=ChunkingSettings(max_tokens=64, min_tokens=1), ingest=IngestSettings(lock_timeout_s=120))
_PARAGRAPHS = 8
_WORDS = 16
_SURE = 0.98
_PAUSE_S = 0.02
"""Between two queries of a thread: a server with something to do, not one at its limit."""


def main() -> None:
    """Prints one line of JSON; with `--role`, does the part of a child process."""
    arguments = _arguments()
    if arguments.role == "measure":
        with tempfile.TemporaryDirectory() as temporary:
            print(_measured(Path(temporary) / "kb", arguments.chunks, arguments.target or _target()))
    elif arguments.role == "query":
        _ask_until_told(arguments.kb, arguments.seed)
    else:
        _work(arguments.kb, arguments.role, arguments.target)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--target", help="the embedder to migrate to")
    parser.add_argument("--role", default="measure", choices=["measure", "query", "migrate", "rollback"])
    parser.add_argument("--kb", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _target() -> str:
    from ragagent.models.store import ModelStore

    try:
        ModelStore().resolve(REAL)
    except ModelNotFound:
        return "hash-384"
    return REAL


@functools.cache
def _embedder(name: str) -> Embedder:
    from ragagent.models.embedding import open_embedder

    if not name.startswith("hash-"):
        return open_embedder(name)
    made = HashEmbedder(int(name.removeprefix("hash-")))
    if _target() == REAL:
        # Both cut alike, so that the chunks asked for are there before and after.
        made.tokenizer = open_embedder(REAL).tokenizer  # type: ignore[assignment]
    return made


def _open(folder: Path, trace: Callable[[Mapping[str, Any]], None] | None = None) -> KnowledgeBase:
    from ragagent.index.embedded import stored_fingerprint

    stored = stored_fingerprint(folder) or {"embedder_name": "hash-64"}
    embedder = _embedder(stored["embedder_name"])
    return KnowledgeBase.open(folder, settings=SETTINGS, embedder=embedder, embedders=_embedder, trace=trace)


def _documents(chunks: int) -> Iterator[Document]:
    texts = list(generated.texts(chunks, _WORDS, seed=1))
    for start in range(0, len(texts), _PARAGRAPHS):
        text = "\n\n".join(
            f"Part {start + place}. {one}" for place, one in enumerate(texts[start : start + _PARAGRAPHS])
        )
        yield Document(uri=f"text:{start:07}", text=text)


class _Asking:
    """Asks for chunks by their own text; `phase` names what goes on meanwhile."""

    def __init__(self, kb: KnowledgeBase, texts: list[str], seed: int) -> None:
        self._kb, self._texts, self._chance = kb, texts, random.Random(seed)
        self.phase = ""
        self.seconds: dict[str, list[float]] = {}
        self.wrong: list[str] = []
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(_PAUSE_S):
            self.ask()

    def ask(self) -> None:
        text, phase, begin = self._chance.choice(self._texts), self.phase, time.perf_counter()
        try:
            hits = self._kb.search(text, k=3, mode="dense")
        except RagAgentError as error:
            self.wrong.append(f"failed: {error}")
        else:
            if not hits or hits[0].text != text or hits[0].score < _SURE:
                self.wrong.append(f"mixed: {text[:40]!r} {[hit.score for hit in hits]}")
        self.seconds.setdefault(phase, []).append(time.perf_counter() - begin)


def _texts(kb: KnowledgeBase) -> list[str]:
    """The texts that one chunk alone has: of equal ones any may be the nearest."""
    counts = Counter(chunk.text for document in kb.documents() for chunk in kb._index.chunks(document.id))
    return [text for text, count in counts.items() if count == 1 and "Part" in text]


def _ask_until_told(folder: Path, seed: int) -> None:
    """The querying process: asks until there is a line to read, then says how it went."""
    with _open(folder) as kb:
        asking = _Asking(kb, _texts(kb), seed)
        thread = threading.Thread(target=asking.run)
        thread.start()
        print("ready", flush=True)
        sys.stdin.readline()
        asking.done.set()
        thread.join()
        print(sum(map(len, asking.seconds.values())), len(asking.wrong), *asking.wrong[:1], flush=True)


def _work(folder: Path, role: str, target: str) -> None:
    """The migrating process: says after each batch how many documents it has built."""

    def sink(event: Mapping[str, Any]) -> None:
        if event["name"] == "migrate.commit":
            print("built", event["documents"], flush=True)

    with _open(folder, sink) as kb:
        report = kb.rollback() if role == "rollback" else kb.migrate(embedder=_embedder(target))
        print("report", report.documents, report.resumed, report.embedded, report.seconds, flush=True)


def _child(folder: Path, role: str, target: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ragagent.eval.perf.migration", "--role", role, "--kb", str(folder)]
    return subprocess.Popen([*command, "--target", target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _killed(folder: Path, target: str, documents: int) -> int:
    """Starts a migration and kills it once so many documents are built; returns how many it said it built."""
    child = _child(folder, "migrate", target)
    assert child.stdout is not None
    built = 0
    while built < documents:
        built += int(child.stdout.readline().split()[1])
    child.kill()
    child.communicate()
    return built


def _finished(folder: Path, role: str, target: str) -> dict[str, float]:
    output, _ = _child(folder, role, target).communicate()
    words = output.splitlines()[-1].split()
    assert words[0] == "report", output
    return dict(zip(("documents", "resumed", "embedded", "seconds"), map(float, words[1:]), strict=True))


def _measured(folder: Path, chunks: int, target: str) -> str:
    with _open(folder) as kb:
        kb.ingest(list(_documents(chunks)))
        size = {"before": kb.status().size_bytes}
        plan = kb.migration_plan(embedder=_embedder(target))
        texts = _texts(kb)
        other = _child(folder, "query", target)
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        asking = [_Asking(kb, texts, seed) for seed in (1, 2)]
        threads = [threading.Thread(target=one.run) for one in asking]

        def phase(name: str) -> None:
            for one in asking:
                one.phase = name

        phase("before")
        for thread in threads:
            thread.start()
        time.sleep(3)
        phase("migrating")
        built = _killed(folder, target, plan.documents // 2)
        resumed = _finished(folder, "migrate", target)
        size["both editions"] = kb.status().size_bytes
        phase("after")
        time.sleep(3)
        kb.ingest([Document(uri=f"late:{number}", text=f"Written late, number {number}.") for number in range(20)])
        phase("rolling back")
        back = _finished(folder, "rollback", target)
        time.sleep(2)
        for one in asking:
            one.done.set()
        for thread in threads:
            thread.join()
        output, _ = other.communicate("\n")
        asked, wrong, *words = output.split(maxsplit=2)
        problems = [problem for one in asking for problem in one.wrong]
        assert (len(problems), wrong) == (0, "0"), (problems[:3], words)
        assert resumed["resumed"] >= built, "a killed migration lost what it had committed"
        kb.finish_migration()
        size["after finish"] = kb.status().size_bytes
        assert kb.check() == ()
        return line(
            QUESTION,
            _timings(asking),
            chunks=plan.chunks_now,
            documents=plan.documents,
            target=target,
            planned_seconds=plan.seconds,
            planned_bytes=plan.bytes,
            killed_after_documents=built,
            resumed=resumed,
            rolled_back=back,
            size_bytes=size,
            queries=sum(len(seconds) for one in asking for seconds in one.seconds.values()),
            queries_of_the_other_process=int(asked),
            failed_or_mixed=0,
        )


def _timings(asking: list[_Asking]) -> dict[str, Timing]:
    phases = dict.fromkeys(phase for one in asking for phase in one.seconds)
    return {
        phase: Timing(name=phase, seconds=tuple(second for one in asking for second in one.seconds.get(phase, ())))
        for phase in phases
    }


if __name__ == "__main__":
    main()
