"""Work that is interrupted, by kill -9 or by a power cut, and the law that what is left of it has to keep.

    python -m ragagent.testing.durability --cuts 1000 --kills 1000

The work is a fixed sequence of steps over a small fleet of documents: documents written, edited, tagged anew and
removed, stamps set, snapshots made, restored and removed, the whole migrated to another embedder and back, compacted
and erased, the index closed and opened, all with a tail so short that segments are folded and merged all the time. What
is there after so many steps is known, so what is found after an interruption can be held against it:

- the index opens, by itself;
- every step that was acknowledged is there whole, the one that was under way is there whole or not at all;
- documents, dense and sparse search agree (`EmbeddedIndex.check` finds nothing), and the first queries give what an
  index answers that was built from the same documents anew;
- it can be written to.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from ragagent.errors import RagAgentError
from ragagent.index.editions import Shadow
from ragagent.index.embedded import EmbeddedIndex, stored_fingerprint
from ragagent.protocols import Entry
from ragagent.testing import disk
from ragagent.testing.entries import DIMENSION, entry, vector_of
from ragagent.types import Document, SearchMode, Vector

FLEET = 12
STEPS_A_LIFE = 40
MOMENTS_A_LIFE = 50
_MODULE = "ragagent.testing.durability"
_REOPENED = 13
_FOLD_CHUNKS = 6
_ROUND = 20
_EMBEDDERS = ("hash", "turned")
_NO_VECTORS = np.zeros((0, DIMENSION), np.float32)
_QUERIES = ("log7 first", "ship3 hull", "the second of log", "stern")
_MODES: tuple[SearchMode, ...] = ("dense", "sparse", "hybrid")

Answers = list[tuple[str, str, str, float]]


# --- the work


def open_index(folder: Path) -> EmbeddedIndex:
    """The index that is worked on, whichever embedder it is built with."""
    if stored_fingerprint(folder) is not None:
        return EmbeddedIndex.open(folder, fingerprint={}, dimension=None, fold_chunks=_FOLD_CHUNKS)
    built_with = {"embedder": _EMBEDDERS[0]}
    return EmbeddedIndex.open(folder, fingerprint=built_with, dimension=DIMENSION, fold_chunks=_FOLD_CHUNKS)


@dataclass(frozen=True, slots=True)
class State:
    """What is there after some steps: documents by id, the names of the snapshots, and the embedder."""

    entries: Mapping[str, Entry]
    snapshots: frozenset[str]
    embedder: str

    def marks(self) -> tuple[object, ...]:
        """What tells one state from the one before it."""
        return {key: one.stamp for key, one in self.entries.items()}, self.snapshots, self.embedder, self._steps()

    def _steps(self) -> dict[str, object]:
        return {key: dict(one.document.metadata) for key, one in self.entries.items()}


def vectors_of(vectors: Vector, embedder: str) -> Vector:
    """What another embedder makes of the texts: the same vectors, turned round."""
    return np.ascontiguousarray(vectors if embedder == _EMBEDDERS[0] else vectors[..., ::-1])


def _uris(number: int) -> list[str]:
    return [f"ship:{(number * 5 + place) % FLEET}" for place in range(4)]


def _key(uri: str) -> str:
    return entry(uri, []).document.id


def _written(number: int) -> list[Entry]:
    """What a step of writing writes; the third of its documents is removed."""
    uris = _uris(number)
    names = [uri.replace(":", "") for uri in uris]
    tags = {"step": number, "even": number % 2 == 0}
    return [
        entry(uris[0], [f"{names[0]} log{number} first", f"the second of log{number}"], stamp=str(number)),
        # One chunk stays as it is from step to step, and keeps its row and its vector.
        entry(uris[1], [f"{names[1]} hull", f"stern log{number}"], stamp=str(number), metadata=tags),
        # Nothing but the metadata changes.
        entry(uris[3], [f"{names[3]} hull", "stern"], stamp=str(number), metadata=tags),
    ]


def expected(steps: int) -> State:
    """What is there after so many steps."""
    while len(_states) <= steps:
        _states.append(_after(_states[-1], len(_states) - 1))
    return _states[steps]


_states = [State({}, frozenset(), _EMBEDDERS[0])]


def _after(before: State, number: int) -> State:
    match number % _ROUND:
        case 1 | 11:
            stamps = {_key(uri): f"touched {number}" for uri in _uris(number)}
            touched = {key: replace(one, stamp=stamps.get(key, one.stamp)) for key, one in before.entries.items()}
            return replace(before, entries=touched)
        case 3 | 13:
            return replace(before, snapshots=before.snapshots | {f"s{number}"})
        case 6:
            return replace(before, entries=_tagged(before.entries, number))
        case 8:
            return replace(before, entries=expected(number - 5).entries)
        case 18:
            return replace(before, snapshots=before.snapshots - {f"s{number - 5}", f"s{number - 15}"})
        case 17:
            return replace(before, embedder=_EMBEDDERS[(number // _ROUND + 1) % 2])
        case 9 | 19:
            return before
        case _:
            there = {key: one for key, one in before.entries.items() if key != _key(_uris(number)[2])}
            return replace(before, entries=there | {one.document.id: one for one in _written(number)})


def _tagged(entries: Mapping[str, Entry], number: int) -> dict[str, Entry]:
    """`entries` with other metadata in every third."""
    tagged = dict(entries)
    for key in sorted(entries)[::3]:
        old = entries[key].document
        tagged[key] = replace(
            entries[key], document=Document(id=old.id, uri=old.uri, text=old.text, metadata={"tagged": number})
        )
    return tagged


def step(index: EmbeddedIndex, number: int) -> None:
    """Does step `number`. All of it but a migration is one commit, and that is seen in one."""
    match number % _ROUND:
        case 1 | 11:
            index.touch({_key(uri): f"touched {number}" for uri in _uris(number)})
        case 3 | 13:
            index.snapshots.create(f"s{number}")
        case 6:
            tagged = _tagged(expected(number).entries, number)
            index.retag({key: tagged[key].document.metadata for key in sorted(tagged)[::3]})
        case 8:
            index.snapshots.restore(f"s{number - 5}")
        case 18:
            index.snapshots.remove(sorted(expected(number).snapshots & {f"s{number - 5}", f"s{number - 15}"}))
        case 17:
            _migrate(index, expected(number + 1))
        case 9:
            index.compact()
        case 19:
            # By now the only snapshots are those that restoring made.
            index.compact(erase=True, drop_snapshots=True)
        case _:
            embedder = expected(number).embedder
            entries = [_turned(one, embedder) for one in _written(number)]
            index.write(entries, [_key(_uris(number)[2])])


def _turned(one: Entry, embedder: str) -> Entry:
    return replace(one, vectors=vectors_of(one.vectors, embedder))


def _migrate(index: EmbeddedIndex, after: State) -> None:
    built_with = {**index.editions.live().fingerprint, "embedder": after.embedder}
    edition = index.editions.begin(built_with, DIMENSION).id
    while missing := index.editions.unbuilt(edition, 3):
        shadows = [Shadow(entry=_turned(after.entries[one.known.id], after.embedder), born=one.born) for one in missing]
        index.editions.build(edition, shadows)
    assert index.editions.swap(edition)


def work(folder: Path, begin: int, steps: int) -> Iterator[int]:
    """Does the steps from `begin` on; yields how many are done in all, at first those that were before."""
    index = open_index(folder)
    try:
        yield begin
        for number in range(begin, begin + steps):
            if number % _REOPENED == 0:
                index.close()
                index = open_index(folder)
            step(index, number)
            yield number + 1
    finally:
        index.close()


# --- the law


def answers(index: EmbeddedIndex) -> Answers:
    """What a few questions find, in every mode."""
    embedder = index.editions.live().fingerprint["embedder"]
    return [
        (mode, query, hit.chunk.id, hit.score)
        for query in _QUERIES
        for mode in _MODES
        for hit in index.search(query, vectors_of(vector_of(query), embedder), k=8, mode=mode)
    ]


@functools.cache
def fresh(steps: int) -> tuple[tuple[str, str, str, float], ...]:
    """The answers after so many steps of an index that was made anew from the same documents."""
    state = expected(steps)
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedIndex.open(
            Path(folder) / "kb", fingerprint={"embedder": state.embedder}, dimension=DIMENSION, fold_chunks=1000
        ) as index,
    ):
        index.write([_turned(one, state.embedder) for one in state.entries.values()])
        return tuple(answers(index))


def found(index: EmbeddedIndex) -> State:
    """The documents without their vectors, the snapshots that were made by a step, and the embedder."""
    known = index.known()
    return State(
        {
            document.id: Entry(
                document=document,
                chunks=tuple(index.chunks(document.id)),
                vectors=_NO_VECTORS,
                stamp=known[document.id].stamp,
            )
            for document in index.documents()
        },
        frozenset(one.name for one in index.snapshots.list() if not one.automatic),
        index.editions.live().fingerprint["embedder"],
    )


def require(folder: Path, acknowledged: int, *, under_way: bool, write: bool = False) -> int:
    """Holds what is in `folder` to the law; returns how many steps are there. Raises AssertionError."""
    with open_index(folder) as index:
        # The first thing that is asked of it is a question.
        first = answers(index)
        marks = found(index).marks()
        possible = [acknowledged + 1, acknowledged] if under_way else [acknowledged]
        steps = next((count for count in possible if expected(count).marks() == marks), None)
        assert steps is not None, f"after {acknowledged} steps there is {marks}, not {expected(acknowledged).marks()}"
        assert first == list(fresh(steps)), f"after {steps} steps the answers are not those of a new index"
        _agrees(index, steps)
        if write:
            step(index, steps)
            steps += 1
            _agrees(index, steps)
            assert answers(index) == list(fresh(steps)), "a step after the interruption goes wrong"
        return steps


def _agrees(index: EmbeddedIndex, steps: int) -> None:
    state = expected(steps)
    findings = index.check()
    assert findings == (), findings
    there = found(index)
    assert there.marks() == state.marks()
    for key, one in state.entries.items():
        assert (there.entries[key].document, there.entries[key].chunks) == (one.document, one.chunks)
    vector = vectors_of(vector_of("log"), state.embedder)
    everything = index.search("log", vector, k=1000, mode="dense")
    chunks = {chunk.id for one in state.entries.values() for chunk in one.chunks}
    assert {hit.chunk.id for hit in everything} == chunks
    for one in state.entries.values():
        for chunk, text in zip(one.chunks, one.texts, strict=True):
            hits = index.search(text, None, k=max(len(everything), 1), mode="sparse")
            assert chunk.id in {hit.chunk.id for hit in hits}, text


# --- power cuts


@dataclass(frozen=True, slots=True)
class Recording:
    """What a life of the work did to its folder. `initial` is a copy of the folder before it."""

    folder: Path
    initial: Path | None
    operations: tuple[disk.Operation, ...]

    def acknowledged(self, moment: int) -> tuple[int, bool] | None:
        """How many steps were done by then, and whether another had begun; None before it was open."""
        words = [one.data.decode() for one in self.operations[:moment] if one.kind == "A"]
        done = [int(word.split()[1]) for word in words if word.startswith("done")]
        return (done[-1], words[-1].startswith("begin")) if done else None


def recorded(place: Path, built: Path, begin: int, initial: Path | None, steps: int = STEPS_A_LIFE) -> Recording:
    """Works in `place`/kb, which begins as a copy of `initial`, with every operation written down."""
    folder, log = place / "kb", place / "log"
    if initial is None:
        folder.mkdir()
    else:
        shutil.copytree(initial, folder)
    command = [sys.executable, "-m", _MODULE, "--work", str(folder), "--begin", str(begin), "--steps", str(steps)]
    subprocess.run(command, env=disk.environment(built, folder, log=log), check=True)
    return Recording(folder, initial, tuple(disk.read_log(log)))


def require_complete(recording: Recording) -> None:
    """The log must explain every byte in the folder, or the cuts made from it mean nothing."""
    follower = disk.Disk(recording.folder, recording.initial)
    for one in recording.operations:
        follower.follow(one)
    told = {path: data for path, data in follower.now().items() if data is not None}
    there = {str(path.relative_to(recording.folder)): path for path in recording.folder.rglob("*") if path.is_file()}
    there = {path: file for path, file in there.items() if not path.endswith("-shm")}
    assert told.keys() == there.keys(), told.keys() ^ there.keys()
    for path, file in there.items():
        assert file.read_bytes() == told[path], f"{path} was written past the log"


def power_cuts(place: Path, moments: int, seed: int, a_life: int = MOMENTS_A_LIFE) -> int:
    """Cuts the power at so many moments; each life begins with what one of the cuts before left. Returns the steps."""
    rng = random.Random(seed)
    built = disk.library(place)
    initial, begin, number = None, 0, 0
    while moments > 0:
        life = place / f"life{number}"
        life.mkdir()
        recording = recorded(life, built, begin, initial)
        require_complete(recording)
        chosen = [rng.randint(0, len(recording.operations)) for _ in range(min(a_life, moments))]
        images = list(_held(recording, chosen, rng, life, begin))
        moments -= len(chosen)
        initial, begin = images[-1]
        number += 1
    return begin


def _held(
    recording: Recording, moments: Sequence[int], rng: random.Random, place: Path, begin: int
) -> Iterator[tuple[Path, int]]:
    """Holds each image to the law; yields a copy of it as it was, with the number of steps that are in it."""
    seed = rng.getrandbits(32)
    for number, (moment, content) in enumerate(
        disk.cuts(recording.operations, recording.folder, recording.initial, moments, seed)
    ):
        image, kept = place / f"cut{number}", place / f"kept{number}"
        disk.lay_out(content, image, random.Random(f"{seed} {moment}"))
        shutil.copytree(image, kept)
        acknowledged, under_way = recording.acknowledged(moment) or (begin, False)
        try:
            steps = require(image, acknowledged, under_way=under_way)
            if number % 4 == 0:
                require(image, steps, under_way=False, write=True)
        except (AssertionError, RagAgentError) as error:
            # The image stays where it is.
            error.add_note(f"after a power cut at operation {moment} with seed {seed}; as it was left: {kept}")
            raise
        yield kept, steps
        shutil.rmtree(image)
        shutil.rmtree(kept) if number < len(moments) - 1 else None


# --- kills


def _work_until_killed(folder: str, begin: int, acknowledge: Connection) -> None:
    # The process inherits no test options; anything it prints would only be noise.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for done in work(Path(folder), begin, sys.maxsize - begin):
        acknowledge.send(done)


def killed(folder: Path, begin: int, steps: int, delay_s: float) -> int:
    """Lets a process work until it is killed, `delay_s` after it did so many steps; returns how many it acknowledged.

    That counts those before it was started.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ragagent.index.embedded", "faiss", "numpy"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work_until_killed, args=(str(folder), begin, theirs))
    process.start()
    theirs.close()
    acknowledged = begin
    while acknowledged < begin + steps:
        acknowledged = int(ours.recv())
    time.sleep(delay_s)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while True:
        try:
            acknowledged = int(ours.recv())
        except EOFError:
            ours.close()
            return acknowledged


def kills(folder: Path, moments: int, seed: int) -> int:
    """Kills the work at so many moments, and holds what is there to the law each time. Returns the steps."""
    rng = random.Random(seed)
    steps = 0
    for _ in range(moments):
        acknowledged = killed(folder, steps, rng.randint(0, 4), rng.choice([0, 0.001, 0.01, 0.1]) * rng.random())
        steps = require(folder, acknowledged, under_way=True)
    return steps


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs power cuts and kills at many moments, or (for the former) the work itself."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cuts", type=int, default=0, help="cut the power at so many moments")
    parser.add_argument("--kills", type=int, default=0, help="kill at so many moments")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it there")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--begin", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=STEPS_A_LIFE, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.work is not None:
        for done in work(given.work, given.begin, given.steps):
            disk.mark(f"done {done}")
            disk.mark(f"begin {done}")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        place = given.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        if given.cuts:
            begun = time.perf_counter()
            _report(f"{given.cuts} power cuts", power_cuts(place, given.cuts, given.seed), begun)
        if given.kills:
            begun = time.perf_counter()
            _report(f"{given.kills} kills", kills(place / "kb", given.kills, given.seed), begun)
    return 0


def _report(what: str, steps: int, begun: float) -> None:
    took = time.perf_counter() - begun
    sys.stdout.write(f"{what}, {steps} steps done in all: nothing lost, nothing by halves ({took:.0f} s)\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
