"""Does an ingest of many files take more memory than one of few?

Each size runs in a process of its own: so many small HTML pages, made on the way, into an empty knowledge base with
an embedder that hashes words, so that what is measured is the ingest and not a model. Reported are the peak of the
ingesting process, and of the largest process that files were read in.

    python -m ragagent.eval.perf.ingest_memory --files 1000 3000 10000
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from ragagent.app import KnowledgeBase
from ragagent.eval.environment import facts
from ragagent.eval.perf.measure import peak_rss_bytes
from ragagent.testing.embedding import HashEmbedder

QUESTION = "Does an ingest of many files take more memory than one of few?"
_WORDS = tuple(f"word{number}" for number in range(5000))
_MB = 1 << 20


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--files", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(_ingested(Path(arguments.child), arguments.files[0])))
        return
    found = {str(count): _run(count) for count in arguments.files}
    peaks = [one["peak_mb"] for one in found.values()]
    growth = round(peaks[-1] / peaks[0], 3)
    print(json.dumps({"question": QUESTION, "sizes": found, "last_to_first": growth, "environment": facts()}))


def _run(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="ingest-memory-") as place:
        folder = Path(place, "files")
        folder.mkdir()
        chance = random.Random(count)
        for number in range(count):
            text = " ".join(chance.choices(_WORDS, k=120))
            (folder / f"{number:06}.html").write_text(f"<html><body><p>Page {number}. {text}.</p></body></html>")
        command = [sys.executable, "-m", "ragagent.eval.perf.ingest_memory", "--files", str(count), "--child", place]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    record: dict[str, float] = json.loads(done.stdout)
    return record


def _ingested(place: Path, count: int) -> dict[str, float]:
    with KnowledgeBase.open(place / "kb", embedder=HashEmbedder()) as kb:
        report = kb.ingest(place / "files")
    if (report.added, report.failed) != (count, 0):
        raise AssertionError(f"{report.added} of {count} files came in, {report.failed} failed")
    return {
        "peak_mb": round(peak_rss_bytes() / _MB, 1),
        "reading_peak_mb": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
        "seconds": report.seconds,
        "chunks": report.chunks,
    }


if __name__ == "__main__":
    main()
