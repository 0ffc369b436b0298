"""How fast, how large and how right is the index at each size, beside plain faiss and rank-bm25?

For each size a collection is made and written (or taken from `--kb` if it is there), its segments are made again from
the database alone, and then searched, filtered and updated, each in a process of its own. What is found is compared
with the plain formulas over all of the collection before any figure is printed. Memory is the peak resident set beyond
that of a process which has imported the same libraries; the embedding model counts as part of it.

    python -m ragagent.eval.perf.scale --chunks 10000 100000 --kb FOLDER --table table.md --plot curves.svg
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragagent.eval.environment import facts
from ragagent.eval.perf import curves, oracle
from ragagent.eval.perf.collection import Collection, Question
from ragagent.eval.perf.measure import Timing, each, peak_rss_bytes
from ragagent.settings import RetrievalSettings

QUESTION = "How fast, how large and how right is the index at each size?"
STAGES = ("rebuild", "first", "search", "filtered", "update", "batch", "reference")
MIN_RECALL = 0.99
SPARSE_SAMPLE = 20
FLAT_TO, RANK_BM25_TO = 1_000_000, 100_000


def main() -> None:
    """Prints one line of JSON for each size."""
    arguments = _arguments()
    records = []
    for chunks in arguments.chunks:
        record = measured(arguments.kb / str(chunks), chunks, arguments)
        records.append(record)
        print(json.dumps(record), flush=True)
    for place, made in ((arguments.table, curves.table), (arguments.plot, curves.svg)):
        if place:
            place.write_text(made(records), encoding="utf-8")


def measured(folder: Path, chunks: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything about one size, as plain values. Raises AssertionError where an answer is wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    collection = Collection(chunks=chunks, seed=arguments.seed)
    questions = _asked(folder, collection, arguments.queries)
    built = _built(folder, collection)
    stages = [stage for stage in STAGES if stage not in arguments.skip]
    record: dict[str, Any] = {"question": QUESTION, "chunks": chunks, "queries": len(questions), "build": built}
    if "rebuild" in stages:
        record["rebuild"] = _probe("rebuild", folder)
    record["disk"] = _disk(folder, built["text_bytes"])
    if "first" in stages:
        record["first"] = _median([_probe("first", folder) for _ in range(5)])
    search = _probe("search", folder) if "search" in stages else None
    filtered = _probe("filtered", folder, str(collection.documents)) if "filtered" in stages else {}
    record |= _checked(collection, questions, search, filtered, reference="reference" in stages)
    if search is not None:
        beside = _probe("baseline", folder, *search["libraries"])["peak_rss_bytes"]
        record["timings"] = search["timings"]
        record["memory"] = {
            "peak_rss_bytes": search["peak_rss_bytes"],
            "libraries_bytes": beside,
            "beyond_libraries_bytes": search["peak_rss_bytes"] - beside,
            "libraries": search["libraries"],
        }
    for stage in ("update", "batch"):
        if stage in stages:
            record[stage] = _probe(stage, folder)
    return {**record, "measuring_peak_rss_bytes": peak_rss_bytes(), "environment": facts()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000])
    parser.add_argument("--kb", type=Path, required=True, help="folder that keeps the indexes, one for each size")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--skip", nargs="*", default=[], choices=STAGES)
    parser.add_argument("--table", type=Path, help="write the figures here as a Markdown table too")
    parser.add_argument("--plot", type=Path, help="write the curves of cost here as SVG too")
    return parser.parse_args()


def _probe(stage: str, folder: Path, *more: str) -> dict[str, Any]:
    """What one stage, run by itself, prints. Its errors go to our own standard error."""
    command = [sys.executable, "-m", "ragagent.eval.perf.probe", stage, str(folder), *more]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _asked(folder: Path, collection: Collection, count: int) -> list[Question]:
    """The questions, left in `folder` for the probes."""
    kept_text, kept_vectors = folder / "questions.json", folder / "questions.npy"
    if kept_text.exists() and kept_vectors.exists():
        texts, vectors = json.loads(kept_text.read_text()), np.load(kept_vectors)
        if len(texts) == count:
            return [Question(text=text, vector=vector) for text, vector in zip(texts, vectors, strict=True)]
    questions = collection.questions(count)
    np.save(kept_vectors, np.stack([one.vector for one in questions]))
    kept_text.write_text(json.dumps([one.text for one in questions]))
    return questions


def _built(folder: Path, collection: Collection) -> dict[str, Any]:
    """The figures of the build, which is done only if it has not been."""
    kept = folder / "built.json"
    if not kept.exists():
        made = _probe("build", folder, str(collection.chunks), str(collection.seed))
        seconds = made["seconds"]["writing"] + made["seconds"]["closing"]
        kept.write_text(json.dumps({**made, "chunks_per_second": collection.chunks / seconds}))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def _disk(folder: Path, text_bytes: int) -> dict[str, int]:
    """Bytes by kind; `beside_text` is what is on disk beyond the text itself."""
    files = [file for file in (folder / "kb").rglob("*") if file.is_file()]
    segments = sum(file.stat().st_size for file in files if file.parent.name == "segments")
    rest = sum(file.stat().st_size for file in files) - segments
    return {
        "text": text_bytes,
        "segments": segments,
        "database_beside_text": rest - text_bytes,
        "beside_text": segments + rest - text_bytes,
    }


def _median(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    timing = Timing(name="first", seconds=tuple(run["seconds"] for run in runs))
    return {**timing.summary(), "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs)}


def _checked(
    collection: Collection,
    questions: Sequence[Question],
    search: dict[str, Any] | None,
    filtered: dict[str, Any],
    *,
    reference: bool,
) -> dict[str, Any]:
    """Recall of dense search and equality of sparse search, with and without filters; latency of plain engines."""
    vectors = np.stack([one.vector for one in questions])
    nearest = oracle.Nearest(vectors)
    selected = oracle.selections(collection.documents)
    under = {name: oracle.Nearest(vectors[: _asked_of(filtered, name)], accepts=selected[name][1]) for name in filtered}
    formula = oracle.Bm25(collection, [one.text for one in questions[:SPARSE_SAMPLE]], RetrievalSettings())
    flat = _flat(collection) if reference and collection.chunks <= FLAT_TO else None
    begin = time.perf_counter()
    oracle.walk(collection, [nearest, *under.values()], formula, *([flat] if flat else []))
    found: dict[str, Any] = {"oracle_s": time.perf_counter() - begin}
    scores = formula.scores()
    if search is not None:
        found["recall@10"] = nearest.recall(search["dense"])
        found["sparse_equal"] = _compare(scores, search["sparse"], "sparse")
    documents = np.arange(collection.chunks) // 10
    found["filters"] = {}
    for name, results in filtered.items():
        allowed = np.isin(documents, list(selected[name][1]))
        equal = _compare([np.where(allowed, one, 0.0) for one in scores], results["sparse"], name)
        recall = under[name].recall(results["dense"])
        found["filters"][name] = {**results["timing"], "recall@10": recall, "sparse_equal": equal}
    if reference:
        found["reference"] = _references(collection, questions, flat)
    return found


def _asked_of(filtered: dict[str, Any], name: str) -> int:
    return len(filtered[name]["dense"])


def _compare(scores: Sequence[oracle.Scores], found: Sequence[Any], name: str) -> int:
    """How many questions were compared, all of them equal."""
    for one, (numbers, got) in zip(scores, found, strict=False):
        oracle.require_equal(one, numbers, got, name)
    return min(len(scores), len(found))


def _flat(collection: Collection) -> Any:
    import faiss

    faiss.omp_set_num_threads(1)  # as the index itself, which gives one query one thread
    return faiss.IndexFlatIP(collection.dimension)


def _references(collection: Collection, questions: Sequence[Question], flat: Any) -> dict[str, Any]:
    """faiss's flat index over float32, and rank-bm25 while that fits in memory."""
    timings = []
    if flat is not None:
        searching: Callable[[Question], object] = lambda one: flat.search(one.vector[None], 10)  # noqa: E731
        timings.append(each("faiss IndexFlatIP", searching, questions[:50]))
    if collection.chunks <= RANK_BM25_TO:
        from rank_bm25 import BM25Okapi

        blocks = (collection.block(number) for number in range(collection.blocks))
        texts = [
            chunk.text.split() for block in blocks for entry in collection.entries(block) for chunk in entry.chunks
        ]
        plain = BM25Okapi(texts)
        ranked: Callable[[Question], object] = lambda one: np.argsort(plain.get_scores(one.text.split()))[-10:]  # noqa: E731
        timings.append(each("rank-bm25", ranked, questions[:20]))
    return {timing.name: timing.summary() for timing in timings}


if __name__ == "__main__":
    main()
