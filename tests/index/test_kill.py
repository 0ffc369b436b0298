"""kill -9 at random moments of writing, folding and merging: what was acknowledged is there, and nothing by halves."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Entry
from ragagent.testing.index import DIMENSION, entry, vector_of

KILLS = 30
FLEET = 12


def open_index(folder: Path) -> EmbeddedIndex:
    return EmbeddedIndex.open(folder, fingerprint={"embedder": "hash"}, dimension=DIMENSION, fold_chunks=6)


def batch(number: int) -> tuple[list[Entry], list[str]]:
    """The `number`-th batch: two documents written anew and one removed, out of a fleet of a dozen."""
    uris = [f"ship:{(number * 5 + step) % FLEET}" for step in range(3)]
    entries = [
        entry(uri, [f"{uri.replace(':', '')} log{number} first", f"the second of log{number}"], stamp=str(number))
        for uri in uris[:2]
    ]
    return entries, [entry(uris[2], []).document.id]


def expected(batches: int) -> dict[str, Entry]:
    """What is there after that many batches."""
    there: dict[str, Entry] = {}
    for number in range(batches):
        entries, remove = batch(number)
        for key in remove:
            there.pop(key, None)
        there.update({one.document.id: one for one in entries})
    return there


def write_without_end(folder: str, begin: int, acknowledge: Connection) -> None:
    """Runs in the process that gets killed."""
    # The child inherits no test options; anything it prints would only be noise.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    index = open_index(Path(folder))
    acknowledge.send(begin)
    number = begin
    while True:
        entries, remove = batch(number)
        index.write(entries, remove)
        number += 1
        acknowledge.send(number)


def killed_writer(folder: Path, begin: int, delay_s: float) -> int:
    """Lets a process write until it is killed; returns how many batches it acknowledged, of all that ever were."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ragagent.index.embedded", "ragagent.testing.index", "faiss"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=write_without_end, args=(str(folder), begin, theirs))
    process.start()
    theirs.close()
    acknowledged = ours.recv()
    time.sleep(delay_s)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while True:
        try:
            acknowledged = ours.recv()
        except EOFError:
            return int(acknowledged)


def test_a_killed_writer_loses_nothing_that_it_acknowledged(folder: Path) -> None:
    rng = random.Random(20)
    batches = 0
    for _ in range(KILLS):
        acknowledged = killed_writer(folder, batches, rng.uniform(0, 0.25))
        with open_index(folder) as index:
            stamps = {key: known.stamp for key, known in index.known().items()}
            outcomes = {
                count: {key: one.stamp for key, one in expected(count).items()}
                for count in (acknowledged, acknowledged + 1)
            }
            matching = [count for count, outcome in outcomes.items() if outcome == stamps]
            assert matching, (acknowledged, stamps, outcomes)
            batches = matching[-1]
            everything_is_found(index, expected(batches))
    assert batches > KILLS, "the writer was killed before it wrote anything worth losing"


def everything_is_found(index: EmbeddedIndex, there: dict[str, Entry]) -> None:
    assert index.check() == ()
    assert {document.id: document for document in index.documents()} == {
        key: one.document for key, one in there.items()
    }
    chunks = {chunk.id for one in there.values() for chunk in one.chunks}
    everything = index.search("log", vector_of("log"), k=1000, mode="dense")
    assert {hit.chunk.id for hit in everything} == chunks
    for one in there.values():
        for chunk, text in zip(one.chunks, one.texts, strict=True):
            for mode in ("dense", "sparse"):
                hits = index.search(text, vector_of(text), k=5, mode=mode)
                assert chunk.id in {hit.chunk.id for hit in hits}, (mode, text)
                assert {hit.chunk.id for hit in hits} <= chunks
