"""What does a writer cost the readers? Several reader processes on one index, with and without one that writes.

    python -m ragagent.eval.perf.readers --readers 8 --seconds 60

The readers search all the time. The writer replaces four documents of five chunks five times a second, about as many
chunks as the default model embeds in that time on two cores; `--pause 0` lets it write all the time. The run is cut
into turns, with and without the writer, so that a drift of the machine meets both alike. Every text carries the number
of the version of its document, and the title of the document the same: each hit is held against that, and its document
is read and held against the hit's place in it, unless it has been replaced meanwhile. A hit that mixes two versions is
a torn read; it and every error ends up in the line that is printed, and in the exit code.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from ragagent.errors import RagAgentError
from ragagent.eval.environment import facts
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Entry
from ragagent.types import Chunk, Document, Hit, Span, Vector

DIMENSION = 384
CHUNKS = 5
WORDS = 60
TURN_S = 5.0
PAUSE_S = 0.2
REPLACED = 4
_MODES = ("hybrid", "sparse", "dense")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one reader did in one turn."""

    reads: int
    seconds: float
    torn: int
    errors: tuple[str, ...]


def entry(number: int, version: int) -> Entry:
    """A document of five chunks whose every text names the version, as its title does."""
    rng = np.random.default_rng([number, version])
    words = (rng.zipf(1.2, (CHUNKS, WORDS)) - 1) % 20_000
    texts = [f"version{version}x document{number}x " + " ".join(f"w{word}x" for word in row) for row in words.tolist()]
    document = Document(uri=f"made:{number}", title=f"version{version}x", text="\n".join(texts))
    chunks, start = [], 0
    for position, text in enumerate(texts):
        span = Span(start, start + len(text))
        key = f"c{number}.{version}.{position}"
        chunks.append(Chunk(id=key, document_id=document.id, span=span, text=text, position=position))
        start = span.end + 1
    return Entry(document=document, chunks=tuple(chunks), vectors=_vectors(rng, CHUNKS))


def _vectors(rng: np.random.Generator, count: int) -> Vector:
    vectors = rng.standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def open_index(folder: Path) -> EmbeddedIndex:
    """The index that is read and written."""
    return EmbeddedIndex.open(folder, fingerprint={"embedder": "made up"}, dimension=DIMENSION)


def is_torn(index: EmbeddedIndex, hit: Hit) -> bool:
    """Whether a hit mixes two versions of its document."""
    version = hit.text.partition(" ")[0]
    if hit.title != version or f"document{hit.uri.partition(':')[2]}x" not in hit.text:
        return True
    document = index.document(hit.document_id)
    if document is None or document.title != version:
        # Replaced since the search; then it must be whole itself.
        return document is not None and document.text.count(document.title) != CHUNKS
    return hit.chunk.span.of(document.text) != hit.text


def read(folder: str, seed: int, orders: Connection) -> None:
    """A reader process: for each number of seconds it is sent, searches that long and sends what came of it."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    with open_index(Path(folder)) as index:
        _search(index, rng, numbers)
        orders.send("ready")
        while seconds := orders.recv():
            orders.send(_turn(index, rng, numbers, seconds))


def _turn(index: EmbeddedIndex, rng: random.Random, numbers: np.random.Generator, seconds: float) -> Turn:
    reads, torn, errors = 0, 0, []
    begun = time.perf_counter()
    while (took := time.perf_counter() - begun) < seconds:
        try:
            hits = _search(index, rng, numbers)
            torn += is_torn(index, hits[0])
            torn += sum(hit.text.partition(" ")[0] != hit.title for hit in hits)
        except (RagAgentError, LookupError) as error:
            errors.append(f"{type(error).__name__}: {error}")
        reads += 1
    return Turn(reads=reads, seconds=took, torn=torn, errors=tuple(errors))


def _search(index: EmbeddedIndex, rng: random.Random, numbers: np.random.Generator) -> list[Hit]:
    text = f"w{rng.randrange(20, 2000)}x w{rng.randrange(20, 2000)}x document{rng.randrange(100)}x"
    return index.search(text, _vectors(numbers, 1)[0], k=10, mode=rng.choice(_MODES))  # type: ignore[arg-type]


def write(folder: str, documents: int, pause_s: float, orders: Connection) -> None:
    """The writer process: for each number of seconds it is sent, replaces documents; sends how many commits it made."""
    rng, version = random.Random(0), 1
    with open_index(Path(folder)) as index:
        orders.send("ready")
        while seconds := orders.recv():
            commits, until = 0, time.perf_counter() + seconds
            while time.perf_counter() < until:
                version += 1
                index.write([entry(rng.randrange(documents), version) for _ in range(REPLACED)])
                commits += 1
                time.sleep(pause_s)
            orders.send(commits)


def run(
    folder: Path, *, readers: int, seconds: float, documents: int, turn_s: float, pause_s: float
) -> dict[str, object]:
    """The figures of a run: reads a second of each kind of turn, torn reads, errors, commits."""
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        reading = [_started(stack, context, read, str(folder), seed) for seed in range(readers)]
        writing = _started(stack, context, write, str(folder), documents, pause_s)
        for one in (*reading, writing):
            one.recv()
        turns: dict[bool, list[Turn]] = {True: [], False: []}
        commits, seconds_written = 0, 0.0
        for number in range(max(round(seconds / turn_s), 2)):
            # without, with, with, without: neither is always the later one.
            with_writer = number % 4 in (1, 2)
            for one in (*reading, *([writing] if with_writer else [])):
                one.send(turn_s)
            turns[with_writer] += [one.recv() for one in reading]
            commits += writing.recv() if with_writer else 0
            seconds_written += turn_s if with_writer else 0
        for one in (*reading, writing):
            one.send(0)
    return _figures(turns, commits, seconds_written)


def _started(stack: contextlib.ExitStack, context: multiprocessing.context.SpawnContext, *call: object) -> Connection:
    function, *arguments = call
    ours, theirs = context.Pipe()
    process = context.Process(target=function, args=(*arguments, theirs))  # type: ignore[arg-type]
    process.start()
    theirs.close()
    stack.callback(process.join)
    return ours


def _figures(turns: dict[bool, list[Turn]], commits: int, seconds_written: float) -> dict[str, object]:
    rates = {kind: sum(one.reads / one.seconds for one in found) for kind, found in turns.items()}
    readers = {kind: len(found) for kind, found in turns.items()}
    without, beside = (rates[kind] / max(readers[kind], 1) for kind in (False, True))
    everything = [*turns[False], *turns[True]]
    errors = [error for one in everything for error in one.errors]
    return {
        "reads_per_second_of_a_reader": {"without_writer": round(without, 1), "with_writer": round(beside, 1)},
        "kept": round(beside / without, 3),
        "reads": sum(one.reads for one in everything),
        "commits": commits,
        "chunks_written_per_second": round(commits * REPLACED * CHUNKS / max(seconds_written, 1e-9), 1),
        "torn": sum(one.torn for one in everything),
        "errors": len(errors),
        "first_errors": errors[:3],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds, runs, and prints one line; the exit code is 1 where there was a torn read or an error."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--readers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--turn", type=float, default=TURN_S, help="seconds of a turn with or without the writer")
    parser.add_argument("--pause", type=float, default=PAUSE_S, help="seconds that the writer rests after a commit")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "kb"
        with open_index(folder) as index:
            for start in range(0, given.documents, 500):
                index.write([entry(number, 1) for number in range(start, min(start + 500, given.documents))])
        figures = run(
            folder,
            readers=given.readers,
            seconds=given.seconds,
            documents=given.documents,
            turn_s=given.turn,
            pause_s=given.pause,
        )
    question = "Reads a second with and without a writer, and whether any was torn"
    record = {"question": question, "readers": given.readers, "chunks": given.documents * CHUNKS, **figures}
    sys.stdout.write(json.dumps({**record, "environment": facts()}) + "\n")
    return 1 if figures["torn"] or figures["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
