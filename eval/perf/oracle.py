"""The right answers of a made-up collection, by the plain formulas over all of it, block by block."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.eval.perf.collection import BLOCK_CHUNKS, CHUNKS_OF_DOCUMENT, SHARES, VOCABULARY, Block, Collection
from ragagent.settings import RetrievalSettings
from ragagent.types import Vector
from ragagent.where import Range, Where

Numbers = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass
class Nearest:
    """The `count` nearest chunks of each question by inner product in float32, of those that `accepts` lets in.

    `accepts` takes a document's number; without it every chunk counts. Chunks are numbered in the order they are made.
    """

    questions: Vector
    count: int = 10
    accepts: frozenset[int] | None = None
    numbers: Numbers = field(init=False)
    scores: Vector = field(init=False)

    def __post_init__(self) -> None:
        shape = (len(self.questions), self.count)
        self.numbers = np.full(shape, -1, np.int64)
        self.scores = np.full(shape, -np.inf, np.float32)

    def add(self, first: int, vectors: Vector) -> None:
        """Takes in the chunks from number `first` on."""
        places = np.arange(first, first + len(vectors))
        if self.accepts is not None:
            chosen = np.array([int(place) in self.accepts for place in places // CHUNKS_OF_DOCUMENT], np.bool_)
            places, vectors = places[chosen], vectors[chosen]
        scores = np.concatenate([self.scores, self.questions @ vectors.T], axis=1)
        numbers = np.concatenate([self.numbers, np.broadcast_to(places, (len(scores), len(places)))], axis=1)
        best = np.argpartition(-scores, self.count - 1, axis=1)[:, : self.count]
        self.scores = np.take_along_axis(scores, best, axis=1)
        self.numbers = np.take_along_axis(numbers, best, axis=1)

    def recall(self, found: Sequence[Sequence[int]]) -> float:
        """The share of the nearest that are among `found`, which has the numbers found for each question."""
        right = [set(row[row >= 0].tolist()) for row in self.numbers]
        hits = sum(len(wanted & set(got)) for wanted, got in zip(right, found, strict=True))
        return hits / max(1, sum(len(wanted) for wanted in right))


class Bm25:
    """The score of every chunk for a few questions, by the Lucene form written out."""

    def __init__(self, collection: Collection, questions: Sequence[str], settings: RetrievalSettings) -> None:
        numbers = {word: number for number, word in enumerate(collection.vocabulary)}
        self._questions = [sorted(question.split()) for question in questions]
        self._columns = {word: column for column, word in enumerate(sorted(set(itertools.chain(*self._questions))))}
        self._slots = np.full(VOCABULARY + 1, -1, np.int64)  # the last stands for "no word", which has the number -1
        for word, column in self._columns.items():
            self._slots[numbers[word]] = column
        self._settings = settings
        self._frequencies: list[npt.NDArray[np.uint8]] = []
        self._lengths: list[Scores] = []

    def add(self, block: Block) -> None:
        """Takes in the next block."""
        heads = np.repeat(self._counted(block.titles), CHUNKS_OF_DOCUMENT, axis=0)
        weight = self._settings.title_weight
        if weight != int(weight):
            raise ValueError("only a whole title weight is written out here")
        self._frequencies.append((self._counted(block.words) + int(weight) * heads).astype(np.uint8))
        self._lengths.append((block.words >= 0).sum(axis=1) + weight * block.titles.shape[1])

    def scores(self) -> list[Scores]:
        """For each question the score of every chunk, in the order of chunks."""
        frequencies, lengths = np.concatenate(self._frequencies), np.concatenate(self._lengths)
        k1, b = self._settings.k1, self._settings.b
        norm = k1 * (1 - b + b * lengths / lengths.mean())
        found = []
        for words in self._questions:
            total = np.zeros(len(lengths))
            for word in words:
                counts = frequencies[:, self._columns[word]].astype(np.float64)
                having = int(np.count_nonzero(counts))
                total += np.log(1 + (len(counts) - having + 0.5) / (having + 0.5)) * counts / (counts + norm)
            found.append(total)
        return found

    def _counted(self, words: npt.NDArray[np.int32]) -> Numbers:
        """How often each row has each of the words asked for."""
        slots = self._slots[words]
        rows, places = np.nonzero(slots >= 0)
        width = len(self._columns)
        flat = np.bincount(rows * width + slots[rows, places], minlength=len(words) * width)
        return flat.reshape(len(words), width)


def require_equal(scores: Scores, numbers: Sequence[int], found: Sequence[float], where: str) -> None:
    """Raises AssertionError unless `found` are the best of `scores`, each that of its chunk, to 1e-9."""
    best = np.sort(scores[scores > 0])[::-1][: len(found)]
    if not np.allclose(found, best, rtol=1e-9, atol=0) or len(best) != len(found):
        raise AssertionError(f"{where}: {found} are not the best scores {best.tolist()}")
    if not np.allclose(found, scores[list(numbers)], rtol=1e-9, atol=0):
        raise AssertionError(f"{where}: a chunk has the score of another")


def walk(collection: Collection, takers: Iterable[Nearest], formula: Bm25 | None, *engines: Any) -> None:
    """Shows every block to the oracles, and its vectors to `engines` (faiss indexes)."""
    nearest = list(takers)
    for number in range(collection.blocks):
        block = collection.block(number)
        for one in nearest:
            one.add(number * BLOCK_CHUNKS, block.vectors)
        if formula is not None:
            formula.add(block)
        for engine in engines:
            engine.add(block.vectors)


def selections(documents: int) -> Mapping[str, tuple[Where, frozenset[int]]]:
    """Filters by name, each with the documents (by number) that it lets in: half, one in 100, one in 10,000."""
    shares = min(SHARES, documents)
    hundredth = list(range(0, shares, 100))
    return {
        "50 %": (Range(key="share", lt=shares // 2), _with(documents, range(shares // 2))),
        "1 %": ({"share": hundredth}, _with(documents, hundredth)),
        "0.01 %": ({"share": 7}, _with(documents, [7])),
    }


def _with(documents: int, shares: Iterable[int]) -> frozenset[int]:
    return frozenset(place for share in shares for place in range(share, documents, SHARES))
