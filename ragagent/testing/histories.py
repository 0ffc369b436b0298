"""Random histories of an index, each held against a fresh one of the documents that are left.

    python -m ragagent.testing.histories --histories 1000 --seed 1

A history adds, edits, removes and tags documents anew, folds and merges (the tail is kept short), makes, restores and
forgets snapshots, migrates and rolls back, loses segment files, erases, backs up and goes on in what was restored, and
opens the index again. What is found afterwards has to be what an index finds that was made of the same documents at
once: the same chunks with the very same scores in the same order, by terms, by vectors and by both, with a filter and
without; the same documents, chunks and metadata; and `check` has nothing to say.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ragagent.index import backup
from ragagent.index.editions import Shadow
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Entry
from ragagent.testing.entries import DIMENSION, entry, vector_of
from ragagent.types import Metadata, SearchMode

STEPS = 14
_URIS = tuple(f"doc:{number}" for number in range(7))
_WORDS = ("apple", "banana", "cherry", "running", "the", "x_1", "数据库", "café")
_QUERIES = ("apple banana", "run x_1", "数据库 cafe cherry")
_MODES: tuple[SearchMode, ...] = ("dense", "sparse", "hybrid")
_KINDS = ("n", "m")


class History:
    """One index in a folder of its own below `place`, and what should be in it."""

    def __init__(self, place: Path, seed: int) -> None:
        self._place = place
        self._random = random.Random(seed)
        self._folder = place / "0"
        self._opened = 0
        self._expected: dict[str, Entry] = {}
        self._snapshots: dict[str, dict[str, Entry]] = {}
        self._index = self._open(self._folder)

    def _open(self, folder: Path, fold_chunks: int = 4) -> EmbeddedIndex:
        given = {"embedder": "hash"}
        return EmbeddedIndex.open(folder, fingerprint=given, dimension=DIMENSION, fold_chunks=fold_chunks)

    def run(self, steps: int) -> list[str]:
        """Takes so many steps and holds the outcome against a fresh index; returns the names of the steps."""
        taken = []
        try:
            for _ in range(steps):
                step = self._random.choice(_STEPS)
                taken.append(step.__name__)
                step(self)
            self._require()
        except Exception as error:
            error.add_note(" > ".join(taken))
            raise
        finally:
            self._index.close()
        return taken

    def _paragraphs(self) -> list[str]:
        words = self._random.choices
        return [" ".join(words(_WORDS, k=self._random.randint(1, 6))) for _ in range(self._random.randint(0, 4))]

    def write(self) -> None:
        uris = self._random.sample(_URIS, self._random.randint(0, 3))
        tags = {"kind": self._random.choice(_KINDS)}
        title = self._random.choice(["", "Apple"])
        entries = [entry(uri, self._paragraphs(), title=title, metadata=tags, stamp="s") for uri in uris]
        gone = [key for key in self._expected if self._random.random() < 0.2]
        self._index.write(entries, gone)
        self._expected = {key: one for key, one in self._expected.items() if key not in gone}
        self._expected.update({one.document.id: one for one in entries})

    def edit(self) -> None:
        for key in self._some():
            old = self._expected[key]
            texts = [chunk.text for chunk in old.chunks]
            texts.insert(self._random.randint(0, len(texts)), "banana running")
            document = old.document
            new = entry(document.uri, texts, title=document.title, metadata=document.metadata, stamp="s")
            self._index.write([new])
            self._expected[key] = new

    def retag(self) -> None:
        for key in self._some():
            tags: Metadata = {"kind": self._random.choice(_KINDS), "more": [1, "x"]}
            self._index.retag({key: tags})
            document = replace(self._expected[key].document, metadata=tags, revision="")
            self._expected[key] = replace(self._expected[key], document=document)

    def touch(self) -> None:
        for key in self._some():
            self._index.touch({key: "touched"})
            self._expected[key] = replace(self._expected[key], stamp="touched")

    def _some(self) -> list[str]:
        return self._random.sample(sorted(self._expected), min(1, len(self._expected)))

    def snapshot(self) -> None:
        name = f"number {len(self._snapshots)} {self._random.random()}"
        self._index.snapshots.create(name)
        self._snapshots[name] = dict(self._expected)

    def restore(self) -> None:
        if self._snapshots:
            name = self._random.choice(sorted(self._snapshots))
            before = self._index.snapshots.restore(name).before
            self._snapshots[before], self._expected = self._expected, dict(self._snapshots[name])

    def forget(self) -> None:
        if self._snapshots:
            name = self._random.choice(sorted(self._snapshots))
            self._index.snapshots.remove([name])
            del self._snapshots[name]

    def erase(self) -> None:
        dropped = self._index.compact(erase=True, drop_snapshots=True).dropped
        self._snapshots = {name: one for name, one in self._snapshots.items() if name not in dropped}

    def compact(self) -> None:
        self._index.compact()

    def reopen(self) -> None:
        self._index.close()
        self._index = self._open(self._folder)

    def lose_a_file(self) -> None:
        self._index.close()
        files = sorted(self._folder.glob("segments/*"))
        if files:
            self._random.choice(files).unlink()
        self._index = self._open(self._folder)

    def back_up(self) -> None:
        file = self._place / "backup.zip"
        self._index.backup(file)
        self._index.close()
        shutil.rmtree(self._folder)
        self._opened += 1
        self._folder = self._place / str(self._opened)
        backup.restore(file, self._folder)
        file.unlink()
        self._index = self._open(self._folder)

    def migrate(self) -> None:
        live = self._index.editions.live().fingerprint
        self._swap({**live, "readers": self._random.choice(["one", "two", "three"])})

    def begin_to_migrate(self) -> None:
        live = self._index.editions.live().fingerprint
        self._build({**live, "readers": self._random.choice(["one", "two"])}, 2)

    def roll_back(self) -> None:
        for one in self._index.editions.all():
            if one.state == "old":
                self._swap(one.fingerprint)

    def _swap(self, fingerprint: Mapping[str, str]) -> None:
        edition = self._build(fingerprint, len(_URIS))
        if edition is not None:
            self._index.editions.fold(edition)
            assert self._index.editions.swap(edition)

    def _build(self, fingerprint: Mapping[str, str], count: int) -> int | None:
        editions = self._index.editions
        if dict(fingerprint) == dict(editions.live().fingerprint):
            return None
        edition = editions.begin(fingerprint, DIMENSION).id
        missing = editions.unbuilt(edition, count)
        editions.build(edition, [Shadow(entry=self._expected[one.known.id], born=one.born) for one in missing])
        return edition

    def _require(self) -> None:
        with self._open(self._place / "fresh", fold_chunks=1000) as fresh:
            fresh.write(list(self._expected.values()))
            for query in _QUERIES:
                for mode in _MODES:
                    for where in (None, {"kind": "n"}):
                        found, wanted = (
                            [(hit.chunk, hit.score, dict(hit.metadata)) for hit in one.search(
                                query, vector_of(query), k=20, mode=mode, where=where)]
                            for one in (self._index, fresh)
                        )  # fmt: skip
                        assert found == wanted, (query, mode, where, found, wanted)
            assert list(self._index.documents()) == list(fresh.documents())
            assert _known(self._index) == _known(fresh)
            for key in self._expected:
                assert list(self._index.chunks(key)) == list(fresh.chunks(key))
        # A lost file is written again by the next write.
        self._index.write()
        assert self._index.check() == (), self._index.check()
        names = {one.name for one in self._index.snapshots.list()}
        assert names == self._snapshots.keys()


def _known(index: EmbeddedIndex) -> set[tuple[str, str, str, str]]:
    # A stamp is no part of a version: touching a document makes none, so a restore leaves the stamp as it is.
    return {(one.id, one.uri, one.revision, one.source) for one in index.known().values()}


_STEPS = (
    *[History.write] * 5,
    *[History.edit] * 2,
    *[History.restore] * 2,
    *[History.migrate] * 2,
    *(History.retag, History.touch, History.snapshot, History.forget, History.erase, History.compact),
    *(History.reopen, History.lose_a_file, History.back_up, History.begin_to_migrate, History.roll_back),
)


def histories(seeds: Sequence[int], place: Path) -> int:
    """Runs a history for each seed below `place`; returns how many steps they took. Raises AssertionError."""
    steps = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory(dir=place) as folder:
            try:
                steps += len(History(Path(folder), seed).run(STEPS))
            except Exception as error:
                error.add_note(f"history {seed}")
                raise
    return steps


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs many histories and says how many."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--place", type=Path, help="the folder to work in; one in memory is quickest")
    given = parser.parse_args(arguments)
    begun, done, steps = time.perf_counter(), 0, 0
    with tempfile.TemporaryDirectory(dir=given.place) as place:
        first = given.seed * 1_000_000
        for seed in range(first, first + given.histories):
            steps += histories([seed], Path(place))
            done += 1
            if done % 20 == 0 or done == given.histories:
                took = time.perf_counter() - begun
                sys.stdout.write(f"{done} histories of {steps} steps: each as a fresh build ({took:.0f} s)\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
