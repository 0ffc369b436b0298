"""Bits that flip in the files of a knowledge base: every answer is right, or an error of ours; never wrong, never gone.

    python -m ragagent.testing.flips --flips 5000 --seed 1

A small knowledge base with everything in it (segments, a tail, replaced and removed documents, snapshots with archived
versions, an edition that a migration kept, a backup, a log of commits that are not in the database yet) is made once.
Then, for each flip, one bit of one of its files is turned in a copy, the copy is opened, and every question that an
index answers is asked and compared with what the sound one says. Half of the flips in the database fall on any byte;
the other half first chooses one of its trees, so that small tables and inner pages are hit as often as vectors.

A flip in the log may end it early, as a power cut would: then the answers are those of an earlier commit, all of them,
and `status` says that commits are missing. Those are counted apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pickle
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ragagent.errors import RagAgentError
from ragagent.index import backup
from ragagent.index.database import connect
from ragagent.index.editions import Shadow
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Entry
from ragagent.testing.entries import DIMENSION, entry, vector_of
from ragagent.types import SearchMode
from ragagent.where import Not, Prefix, Range

DATABASE = "ragagent.db"
_DOCUMENTS = 40
_FOLD_CHUNKS = 30
_COMMITS = 4
_MODES: tuple[SearchMode, ...] = ("dense", "sparse", "hybrid")
_KINDS = {"database": 12, "log": 2, "dense": 1, "sparse": 1, "backup": 1, "other": 1}
_A_CHILD = 40
_LONG = 0.3
_TOLD = 200

Question = Callable[[EmbeddedIndex], Any]


# --- what is damaged


@dataclasses.dataclass(frozen=True, slots=True)
class Sound:
    """Knowledge bases before the damage: one that was closed, one with a log, a backup, and what they answer.

    `states` are the answers of the one with a log after each of the commits in it, the newest last.
    """

    closed: Path
    logged: Path
    backup: Path
    answers: Mapping[str, Any]
    states: tuple[Mapping[str, Any], ...]


def made(place: Path) -> Sound:
    """Makes what is to be damaged in the folder `place`."""
    closed, file = place / "closed", place / "backup.zip"
    with opened(closed) as index:
        _fill(index)
        index.backup(file)
    logged, states = place / "logged", []
    shutil.copytree(closed, logged)
    with opened(logged) as index:
        for number in range(_COMMITS + 1):
            if number:
                index.write([_entry(number, "anew")], [_entry(number + 10).document.id])
            shutil.copytree(logged, place / f"state{number}")
            states.append(asked(place / f"state{number}"))
        shutil.copytree(logged, place / "killed")
    # Asked of a copy: the last question restores a snapshot.
    shutil.copytree(closed, place / "asked")
    return Sound(closed, place / "killed", file, asked(place / "asked"), tuple(states))


def opened(folder: Path) -> EmbeddedIndex:
    """The index that is damaged."""
    return EmbeddedIndex.open(folder, fingerprint={"embedder": "hash"}, dimension=DIMENSION, fold_chunks=_FOLD_CHUNKS)


def _entry(number: int, words: str = "") -> Entry:
    paragraphs = [f"word{number} common {words}", f"other{number} common word{number % 7}", ""][: 2 + number % 2]
    return entry(
        f"n:{number % 9}:{number}" if number % 5 else f"n:1:1!/{number}",
        [text for text in paragraphs if text],
        title=f"title{number % 3}",
        metadata={"year": number, "team": "abc"[number % 3], "tags": ["x", f"t{number % 4}"]},
        source=f"source{number % 2}",
        stamp=f"stamp {number}",
    )


def _fill(index: EmbeddedIndex) -> None:
    entries = [_entry(number) for number in range(_DOCUMENTS)]
    index.write([*entries[:24], entry("empty", [])])
    index.snapshots.create("first")
    index.write(entries[24:34])
    index.write([_entry(3, "again"), _entry(4)], [entries[5].document.id, entries[30].document.id])
    _migrate(index)
    index.retag({entries[7].document.id: {"year": 7, "team": "z"}})
    index.snapshots.create("second")
    index.write(entries[34:], [entries[8].document.id])


def _migrate(index: EmbeddedIndex) -> None:
    """Leaves an older edition behind, kept for a rollback."""
    editions = index.editions
    edition = editions.begin({**editions.live().fingerprint, "readers": "two"}, DIMENSION).id
    there = {one.document.id: one for one in (_entry(number) for number in range(_DOCUMENTS))}
    there |= {one.document.id: one for one in (_entry(3, "again"), entry("empty", []))}
    missing = editions.unbuilt(edition, _DOCUMENTS)
    editions.build(edition, [Shadow(entry=there[one.known.id], born=one.born) for one in missing])
    assert editions.swap(edition)


# --- what is asked

_FILTERS = {
    "team": {"team": "a"},
    "source and tags": {"source": "source0", "tags": ["t1", "t2"]},
    "uri": {"uri": "n:3:12"},
    "years": Range("year", ge=10, lt=40),
    "not a prefix": Not(Prefix("uri", "n:1")),
    "title": {"title": "title1"},
}


def _questions() -> dict[str, Question]:
    ids = [_entry(number).document.id for number in range(_DOCUMENTS + 3)] + [entry("empty", []).document.id]
    questions: dict[str, Question] = {
        "documents": lambda index: list(index.documents()),
        "known": lambda index: dict(index.known()),
        "known of a source": lambda index: dict(index.known("source1")),
        "known of ids": lambda index: dict(index.known_of(ids)),
        "each known": lambda index: list(index.each_known()),
        "known inside": lambda index: list(index.known_inside("n:1:1")),
        "counts": lambda index: (index.status().documents, index.status().chunks),
        "snapshots": lambda index: index.snapshots.list(),
        "difference": lambda index: index.snapshots.diff("first"),
        "difference of two": lambda index: index.snapshots.diff("first", "second"),
        "editions": lambda index: index.editions.all(),
        "many": lambda index: index.search_many(
            ["word3", "common"], [vector_of("word3"), vector_of("common")], k=5, mode="hybrid"
        ),
    }
    for key in ids:
        questions[f"document {key}"] = lambda index, key=key: index.document(key)  # type: ignore[misc]
        questions[f"chunks {key}"] = lambda index, key=key: tuple(index.chunks(key))  # type: ignore[misc]
    for name, where in _FILTERS.items():
        for mode in _MODES[: 1 + (name == "team")]:
            questions[f"{mode} where {name}"] = lambda index, where=where, mode=mode: index.search(  # type: ignore[misc]
                "common word3", vector_of("common word3"), k=100, mode=mode, where=where
            )
    for mode in _MODES:
        for text in ("word7 common", "again"):
            questions[f"{mode} {text}"] = lambda index, text=text, mode=mode: index.search(  # type: ignore[misc]
                text, vector_of(text), k=7, mode=mode
            )
    return questions


_QUESTIONS = _questions()
_FEW = ("documents", "known", "counts", "snapshots", "dense word7 common", "sparse word7 common", "dense where team")


def answers(index: EmbeddedIndex, names: Sequence[str] = tuple(_QUESTIONS)) -> dict[str, Any]:
    """What each question gives: its answer, or the error of ours that it raises."""
    return {name: _answer(_QUESTIONS[name], index) for name in names}


def _answer(question: Question, index: EmbeddedIndex) -> Any:
    try:
        return _plain(question(index))
    except RagAgentError as error:
        return error


def _plain(value: Any) -> Any:
    """A value that can be compared: what search says of the work that it took is left out."""
    if isinstance(value, list | tuple) and value and hasattr(value[0], "stages"):
        return [(hit.chunk, hit.rank, hit.score, hit.title, hit.uri, dict(hit.metadata)) for hit in value]
    if isinstance(value, list) and value and isinstance(value[0], list):
        return [_plain(one) for one in value]
    return value


def asked(folder: Path, *, long: bool = True) -> dict[str, Any]:
    """All answers of the knowledge base in `folder`, last those that change it; one error for all if it stays shut.

    A backup and a restore are among them where it may take `long`.
    """
    try:
        with opened(folder) as index:
            found = answers(index)
            found["vectors"] = _answer(_vectors, index)
            found["missing commits"] = _answer(
                lambda index: any("commit" in one for one in index.status().findings), index
            )
            if not long:
                return found
            found["backed up"] = _answer(lambda index: _backed_up(index, folder), index)
            found["restored"] = _answer(_restored, index)
            return found
    except RagAgentError as error:
        return {"open": error}


def _missing(index: EmbeddedIndex) -> bool:
    return any("commit" in one for one in index.status().findings)


def _vectors(index: EmbeddedIndex) -> list[tuple[str, list[float]]]:
    texts = [text for number in range(20) for text in _entry(number).texts]
    return sorted((text, vector.tolist()) for text, vector in index.cached_vectors(texts).items())


def _backed_up(index: EmbeddedIndex, folder: Path) -> Any:
    file, again = folder.with_name(f"{folder.name}.zip"), folder.with_name(f"{folder.name}.again")
    try:
        index.backup(file)
        return _unpacked(file, again)
    finally:
        file.unlink(missing_ok=True)
        shutil.rmtree(again, ignore_errors=True)


def _unpacked(file: Path, folder: Path) -> Any:
    """What the knowledge base in a backup answers; its own errors are answers."""
    backup.restore(file, folder)
    with opened(folder) as index:
        return answers(index, _FEW)


def _restored(index: EmbeddedIndex) -> Any:
    index.snapshots.restore("first")
    return [*index.documents()], [
        _plain(index.search("common word3", vector_of("common word3"), k=100, mode=mode)) for mode in _MODES
    ]


# --- the law


def differences(right: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """The questions whose answers are neither right nor an error of ours."""
    if "open" in found:
        return []
    return [name for name, one in found.items() if not _accepted(name, right[name], one)]


def _accepted(name: str, right: Any, found: Any) -> bool:
    if isinstance(found, RagAgentError):
        return True
    if name == "vectors":
        # One that is not there is made again from its text.
        return all(one in right for one in found)
    if name == "backed up" and isinstance(found, dict) and isinstance(right, dict):
        return all(_accepted(one, right[one], found[one]) for one in right)
    return bool(right == found)


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one flip: right, error, older, wrong or crash; where the bit was, and what was wrong."""

    outcome: str
    place: str
    wrong: tuple[str, ...] = ()


def tried(sound: Sound, seed: int, place: Path) -> Verdict:
    """Turns one bit, chosen by `seed`, in a copy below `place`, and asks everything."""
    rng = random.Random(seed)
    kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
    folder = place / str(seed)
    try:
        if kind == "backup":
            return _damaged_backup(sound, folder, rng)
        logged = kind == "log" or (kind == "other" and rng.random() < 0.5)
        shutil.copytree(sound.logged if logged else sound.closed, folder)
        where = _turned(folder, kind, rng)
        found = asked(folder, long=rng.random() < _LONG)
        return _verdict(where, found, sound.states if logged else (sound.answers,))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _verdict(where: str, found: Mapping[str, Any], states: Sequence[Mapping[str, Any]]) -> Verdict:
    wrong = [differences(state, found) for state in states]
    failed = any(isinstance(one, RagAgentError) for one in found.values())
    if not wrong[-1]:
        return Verdict("error" if failed else "right", where)
    # That commits are missing is what an older state has to say.
    for state in wrong[:-1]:
        if state == ["missing commits"]:
            return Verdict("older", where)
    return Verdict("wrong", where, tuple(min(wrong, key=len)[:4]))


def _damaged_backup(sound: Sound, folder: Path, rng: random.Random) -> Verdict:
    file = folder.with_name(f"{folder.name}.zip")
    try:
        shutil.copy(sound.backup, file)
        where = _flip(file, rng.randrange(file.stat().st_size), rng)
        found = _unpacked(file, folder)
        return _verdict(where, found, ({name: sound.answers[name] for name in found},))
    except RagAgentError:
        return Verdict("error", "backup")
    finally:
        file.unlink(missing_ok=True)


def _turned(folder: Path, kind: str, rng: random.Random) -> str:
    """Turns a bit of a file of that kind; says where."""
    if kind == "database" and rng.random() < 0.5:
        tree, page, size = rng.choice(_pages(folder, rng))
        return _flip(folder / DATABASE, (page - 1) * size + rng.randrange(size), rng, tree)
    patterns = {
        "database": DATABASE,
        "log": f"{DATABASE}-wal",
        "dense": "segments/*.dense",
        "sparse": "segments/*.sparse",
    }
    known = {file for pattern in patterns.values() for file in folder.glob(pattern)}
    if kind in patterns:
        file = rng.choice(sorted(folder.glob(patterns[kind])))
    else:
        file = rng.choice(sorted(one for one in folder.rglob("*") if one.is_file() and one not in known))
    size = file.stat().st_size
    return _flip(file, rng.randrange(size), rng) if size else file.name


def _pages(folder: Path, rng: random.Random) -> list[tuple[str, int, int]]:
    """Pages of one tree of the database, the tree chosen first: its name, the page's number and size."""
    with closing(connect(folder, read_only=True)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        try:
            rows = connection.execute("SELECT name, pageno FROM dbstat ORDER BY name, pageno").fetchall()
        except connection.OperationalError:
            # This SQLite cannot tell which page is whose.
            return [("", 1 + rng.randrange((folder / DATABASE).stat().st_size // size), size)]
    name = rng.choice(sorted({name for name, _ in rows}))
    return [(one, page, size) for one, page in rows if one == name]


def _flip(file: Path, at: int, rng: random.Random, tree: str = "") -> str:
    bit = rng.randrange(8)
    with file.open("r+b") as opened_file:
        opened_file.seek(at)
        (byte,) = opened_file.read(1)
        opened_file.seek(at)
        opened_file.write(bytes([byte ^ 1 << bit]))
    return f"{file.suffix.lstrip('.') or file.name} {tree or '(any)'} byte {at} bit {bit}"


# --- many of them


def flips(sound: Sound, seeds: Sequence[int], place: Path) -> list[tuple[int, Verdict]]:
    """Tries each seed; children do it, so that one that is ended by a signal counts as a crash and no more."""
    verdicts: list[tuple[int, Verdict]] = []
    for at in range(0, len(seeds), _A_CHILD):
        waiting = list(seeds[at : at + _A_CHILD])
        while waiting:
            told, status = _in_a_child(sound, waiting, place)
            verdicts += told
            waiting = waiting[len(told) :]
            if waiting:
                verdicts.append((waiting.pop(0), Verdict("crash", f"ended with status {status}")))
    return verdicts


def _in_a_child(sound: Sound, seeds: Sequence[int], place: Path) -> tuple[list[tuple[int, Verdict]], int]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            for seed in seeds:
                pickle.dump((seed, _without_end(sound, seed, place)), pipe)
                pipe.flush()
        os._exit(0)
    os.close(writing)
    told: list[tuple[int, Verdict]] = []
    with os.fdopen(reading, "rb") as pipe:
        while True:
            try:
                told.append(pickle.load(pipe))
            except EOFError:
                break
    return told, os.waitpid(child, 0)[1]


def _without_end(sound: Sound, seed: int, place: Path) -> Verdict:
    try:
        return tried(sound, seed, place)
    except Exception as error:  # noqa: BLE001
        # What is no error of ours counts as a crash, whatever it is.
        return Verdict("crash", f"{type(error).__name__}: {error}")


def _tell(counted: Counter[str], took_s: float) -> None:
    told = ", ".join(f"{counted[name]} {name}" for name in ("right", "error", "older", "wrong", "crash"))
    sys.stdout.write(f"{counted.total()} flips: {told} ({took_s:.0f} s)\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs many flips and says what became of them; the status is 1 if any was wrong or crashed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", help="the folder to work in; one in memory is quickest")
    given = parser.parse_args(arguments)
    begun, counted = time.perf_counter(), Counter[str]()
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory(dir=given.place) as temporary:
        place = Path(temporary)
        sound = made(place)
        first = given.seed * 1_000_000
        for at in range(first, first + given.flips, _A_CHILD):
            for seed, verdict in flips(sound, range(at, min(at + _A_CHILD, first + given.flips)), place):
                counted[verdict.outcome] += 1
                if verdict.outcome in {"wrong", "crash"}:
                    sys.stdout.write(f"{verdict.outcome}: seed {seed}, {verdict.place}: {'; '.join(verdict.wrong)}\n")
                    sys.stdout.flush()
            if counted.total() % _TOLD < _A_CHILD or counted.total() == given.flips:
                _tell(counted, time.perf_counter() - begun)
    return 1 if counted["wrong"] or counted["crash"] else 0


if __name__ == "__main__":
    sys.exit(main())
