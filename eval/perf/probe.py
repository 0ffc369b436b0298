"""One stage of `ragagent.eval.perf.scale` in a process of its own, so that its memory and its start are its own.

    python -m ragagent.eval.perf.probe STAGE FOLDER [CHUNKS SEED]

Prints one JSON object. FOLDER holds the index in `kb` and the questions in `questions.json` and `questions.npy`.
"""

from __future__ import annotations

import importlib
import itertools
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragagent.eval.perf.measure import Timing, each, peak_rss_bytes

LIBRARIES = ("numpy", "faiss", "xxhash", "Stemmer", "tokenizers", "openvino", "numba")
FILTERED = 50
UPDATES = 60
WARM = 20
BATCH = 64


def main() -> None:
    """Runs the stage that the first argument names."""
    stage, folder, *more = sys.argv[1:]
    print(json.dumps(STAGES[stage](Path(folder), *more)))


def baseline(folder: Path, *libraries: str) -> dict[str, Any]:
    """The memory of a process that has imported what a searching one has, and done nothing."""
    del folder
    if "openvino" in libraries:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    for name in libraries:
        importlib.import_module(name)
    importlib.import_module("ragagent.index.embedded")
    importlib.import_module("ragagent.models.embedding")
    return {"peak_rss_bytes": peak_rss_bytes()}


def build(folder: Path, chunks: str, seed: str) -> dict[str, Any]:
    """Writes the collection into an index, one block to a transaction."""
    from ragagent.eval.perf.collection import Collection

    collection = Collection(chunks=int(chunks), seed=int(seed))
    seconds = {"making": 0.0, "writing": 0.0, "closing": 0.0}
    text_bytes = 0
    index = _index(folder, create=True)
    for number in range(collection.blocks):
        begin = time.perf_counter()
        entries = collection.entries(collection.block(number))
        made = time.perf_counter()
        index.write(entries)
        seconds["making"] += made - begin
        seconds["writing"] += time.perf_counter() - made
        text_bytes += sum(len(entry.document.text) for entry in entries)
        print(f"{number + 1}/{collection.blocks} {json.dumps(seconds)}", file=sys.stderr, flush=True)
    begin = time.perf_counter()
    index.close()
    seconds["closing"] = time.perf_counter() - begin
    return {
        "seconds": seconds,
        "processor_s": time.process_time(),
        "text_bytes": text_bytes,
        "peak_rss_bytes": peak_rss_bytes(),
    }


def rebuild(folder: Path) -> dict[str, Any]:
    """Throws the segments away, and has them made again from the database alone."""
    shutil.rmtree(folder / "kb" / "segments")
    texts, vectors = _questions(folder)
    begin, busy = time.perf_counter(), time.process_time()
    index = _index(folder)
    index.search(texts[0], vectors[0], k=10, mode="hybrid")
    answered = time.perf_counter() - begin
    index.write()
    index.close()
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    with _index(folder) as again:
        status = again.status()
    if status.findings or not status.segments:
        raise AssertionError(f"the segments were not made again: {status}")
    return {"first_answer_s": answered, "seconds": seconds, "processor_s": busy, "peak_rss_bytes": peak_rss_bytes()}


def first(folder: Path) -> dict[str, Any]:
    """From opening to the first answer, with the libraries imported before."""
    importlib.import_module("faiss")
    importlib.import_module("xxhash")
    texts, vectors = _questions(folder)
    from ragagent.index.embedded import EmbeddedIndex  # noqa: F401

    begin = time.perf_counter()
    index = _index(folder)
    hits = index.search(texts[0], vectors[0], k=10, mode="hybrid")
    seconds = time.perf_counter() - begin
    if not hits:
        raise AssertionError("no hits")
    index.close()
    return {"seconds": seconds, "peak_rss_bytes": peak_rss_bytes()}


def search(folder: Path) -> dict[str, Any]:
    """The latency of each mode, what was found, and the memory of it all, the embedder's included."""
    from ragagent.models.embedding import DEFAULT_EMBEDDER, open_embedder

    texts, vectors = _questions(folder)
    asked = list(zip(texts, vectors, strict=True))
    embedder, index = open_embedder(DEFAULT_EMBEDDER), _index(folder)

    def embedded(question: tuple[str, Any]) -> None:
        text, vector = question

        # As a knowledge base does; the made-up vector takes the place of what comes out.
        def made() -> Any:
            return embedder.embed_query(text), vector

        index.search(text, lambda: made()[1], k=10, mode="hybrid")

    _warm(embedded, asked)
    timings = [
        each("hybrid with embedding", embedded, asked),
        each("hybrid", lambda one: index.search(*one, k=10, mode="hybrid"), asked),
        each("dense", lambda one: index.search(*one, k=10, mode="dense"), asked),
        each("sparse", lambda one: index.search(*one, k=10, mode="sparse"), asked),
        each("embedding", lambda one: embedder.embed_query(one[0]), asked),
    ]
    peak = peak_rss_bytes()
    dense = [_numbers(index.search(*one, k=10, mode="dense")) for one in asked]
    sparse = [index.search(*one, k=10, mode="sparse") for one in asked]
    index.close()
    return {
        "timings": {timing.name: timing.summary() for timing in timings},
        "peak_rss_bytes": peak,
        "libraries": [name for name in LIBRARIES if name in sys.modules],
        "dense": dense,
        "sparse": [[_numbers(hits), [hit.score for hit in hits]] for hits in sparse],
    }


def filtered(folder: Path, documents: str) -> dict[str, Any]:
    """The latency of hybrid search under each filter, and what each search finds."""
    from ragagent.eval.perf.oracle import selections

    texts, vectors = _questions(folder)
    asked = list(zip(texts, vectors, strict=True))[:FILTERED]
    found: dict[str, Any] = {}
    with _index(folder) as index:
        _warm(lambda one: index.search(*one, k=10, mode="hybrid"), asked)
        for name, (where, _) in selections(int(documents)).items():
            timing = each(name, lambda one, w=where: index.search(*one, k=10, mode="hybrid", where=w), asked)  # type: ignore[misc]
            sparse = [index.search(*one, k=10, mode="sparse", where=where) for one in asked]
            found[name] = {
                "timing": timing.summary(),
                "dense": [_numbers(index.search(*one, k=10, mode="dense", where=where)) for one in asked],
                "sparse": [[_numbers(hits), [hit.score for hit in hits]] for hits in sparse],
            }
    return found


def update(folder: Path) -> dict[str, Any]:
    """Adds and removes one document of ten chunks at a time, each followed by a query."""
    from ragagent.eval.perf.collection import Collection

    made = Collection(chunks=1_000, seed=1_000_003)
    # The documents of another seed have the places of this one's; they must not replace them.
    extra = [_renamed(entry, f"extra:{turn}") for turn, entry in enumerate(made.entries(made.block(0))[:UPDATES])]
    asked = itertools.cycle(list(zip(*_questions(folder), strict=True)))
    seconds: dict[str, list[float]] = {name: [] for name in ("add", "query after add", "delete", "query after delete")}
    with _index(folder) as index:
        _warm(lambda one: index.search(*one, k=10, mode="hybrid"), list(itertools.islice(asked, WARM)))
        try:
            for entry, question in zip(extra, asked, strict=False):
                for name, seconds_of_step in zip(seconds, _changed(index, entry, question), strict=True):
                    seconds[name].append(seconds_of_step)
        finally:
            index.write(remove=[entry.document.id for entry in extra])
    return {name: Timing(name=name, seconds=tuple(found[5:])).summary() for name, found in seconds.items()}


def _changed(index: Any, entry: Any, question: tuple[str, Any]) -> Iterator[float]:
    """The seconds of adding, asking, removing and asking."""

    def query() -> None:
        index.search(*question, k=10, mode="hybrid")

    steps = (lambda: index.write([entry]), query, lambda: index.write(remove=[entry.document.id]), query)
    for step in steps:
        begin = time.perf_counter()
        step()
        yield time.perf_counter() - begin


def batch(folder: Path) -> dict[str, Any]:
    """Questions a second in batches and one at a time, of the same questions."""
    texts, vectors = _questions(folder)
    texts, vectors = texts[:BATCH], vectors[:BATCH]
    with _index(folder) as index:
        many = getattr(index, "search_many", None)
        if many is None:
            return {}

        _warm(lambda one: index.search(*one, k=10, mode="hybrid"), list(zip(texts, vectors, strict=True)))

        def one_by_one() -> Any:
            return [index.search(t, v, k=10, mode="hybrid") for t, v in zip(texts, vectors, strict=True)]

        def together() -> Any:
            return many(texts, vectors, k=10, mode="hybrid")

        if [_numbers(hits) for hits in one_by_one()] != [_numbers(hits) for hits in together()]:
            raise AssertionError("a batch finds something else than its questions one by one")
        timings = []
        for name, run in (("one by one", one_by_one), ("batch", together)):
            seconds = []
            for _ in range(5):
                begin = time.perf_counter()
                run()
                seconds.append(time.perf_counter() - begin)
            timings.append(Timing(name=name, seconds=tuple(seconds), work=len(texts)))
        return {timing.name: timing.summary() for timing in timings}


STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    stage.__name__: stage for stage in (baseline, build, rebuild, first, search, filtered, update, batch)
}


def _warm(search: Callable[[tuple[str, Any]], object], asked: Sequence[tuple[str, Any]]) -> None:
    """Asks until the process is as it stays: of a large collection, until the compiled loops are loaded."""
    from ragagent.index.loading import LOADING

    for turn in range(2):
        for question in asked[:WARM]:
            search(question)
        if turn == 0:
            LOADING.wait()


def _index(folder: Path, *, create: bool = False) -> Any:
    from ragagent.index.embedded import EmbeddedIndex

    return EmbeddedIndex.open(folder / "kb", fingerprint={}, dimension=384 if create else None, create=create)


def _questions(folder: Path) -> tuple[list[str], Any]:
    return json.loads((folder / "questions.json").read_text()), np.load(folder / "questions.npy")


def _numbers(hits: Sequence[Any]) -> list[int]:
    """Chunks by their number in the collection: the document's uri ends in its own."""
    return [int(hit.uri.rpartition(":")[2]) * 10 + hit.chunk.position for hit in hits]


def _renamed(entry: Any, uri: str) -> Any:
    from dataclasses import replace

    from ragagent.eval.perf.collection import chunk_id

    document = replace(entry.document, uri=uri, id="", revision="")
    chunks = [replace(one, document_id=document.id, id=chunk_id(document.id, one.text)) for one in entry.chunks]
    return replace(entry, document=document, chunks=tuple(chunks))


if __name__ == "__main__":
    main()
