"""What does a principal's session cost beside a search of the owner, and what do scores tell of what it may not see?

    python -m ragagent.eval.perf.access --chunks 100000

Sessions that may read a half and a hundredth of the documents, with the statistics of what is visible and of all, and
the first search of sessions that nobody had before. Before anything is timed, the hits of a session are held against an
index that holds nothing else. What is told: by how many of the words in what a session may read its scores give away
in how many chunks of everything they stand, to whoever knows the formula, the number of chunks and their mean length.
"""

from __future__ import annotations

import argparse
import functools
import math
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from ragagent.access import Mask, Principal
from ragagent.eval.perf import measure
from ragagent.eval.perf.filters import DIMENSION, K, Library, library
from ragagent.index.access import GuardedIndex
from ragagent.index.embedded import EmbeddedIndex
from ragagent.protocols import Entry, Index
from ragagent.settings import RetrievalSettings
from ragagent.types import SearchMode, Vector

Statistics = Literal["visible", "all"]
STATISTICS: tuple[Statistics, ...] = ("visible", "all")
SHARES = {"half": 2, "hundredth": 100}
_TENANTS = 100
_BATCH = 2000


def lettered(made: Library) -> Library:
    """The same with words of letters alone, each of which is one term."""
    letters = str.maketrans("0123456789", "bcdfghjklm")
    return replace(made, texts=tuple(text.translate(letters) for text in made.texts))


def readers(number: int) -> tuple[str, ...]:
    """The acl of a document: every second one is read by half, every hundredth by hundredth, and each by a tenant."""
    wide = [f"group:{name}" for name, every in SHARES.items() if number % every == 0]
    return (*wide, f"group:tenant{number % _TENANTS}")


def entries(made: Library, numbers: Sequence[int]) -> Iterator[list[Entry]]:
    """The documents of those numbers with their readers, in batches."""
    for start in range(0, len(numbers), _BATCH):
        batch = []
        for number in numbers[start : start + _BATCH]:
            (one,) = made.entries(range(number, number + 1))
            batch.append(Entry(document=one.document.labelled(readers(number)), chunks=one.chunks, vectors=one.vectors))
        yield batch


def session(index: Index, group: str, statistics: Statistics) -> GuardedIndex:
    """What a member of a group sees."""
    return GuardedIndex(index, Mask(principal=Principal(groups=(group,))), statistics=statistics)


def checked(index: Index, alone: Index, made: Library, questions: int, rng: random.Random) -> int:
    """Holds the hits of a session to those of an index with nothing else; returns how many questions agreed."""
    seen = session(index, "hundredth", "visible")
    for _ in range(questions):
        text, vector = _question(made, rng)
        for mode in get_args(SearchMode):
            found, expected = (one.search(text, vector, k=K, mode=mode) for one in (seen, alone))
            assert found == expected, (mode, text)
    return questions


def told(index: Index, made: Library, statistics: Statistics, words: int) -> float:
    """The share of words of visible documents whose frequency among all chunks the scores of a session give away."""
    chunks = len(made.texts)
    counts = [Counter(text.split()) for text in made.texts]
    frequencies = Counter(word for one in counts for word in one)
    seen, form = session(index, "hundredth", statistics), RetrievalSettings()
    visible = [number for number in range(chunks) if number % SHARES["hundredth"] == 0]
    found = asked = 0
    for word in sorted({word for number in visible for word in counts[number]})[:words]:
        (hit,) = seen.search(word, None, k=1, mode="sparse")
        times = counts[int(hit.uri.partition(":")[2])][word]
        # Every text is as long as the mean.
        idf = hit.score / (times / (times + form.k1))
        found += round((chunks + 1) / math.exp(idf) - 0.5) == frequencies[word]
        asked += 1
    return found / asked


def _question(made: Library, rng: random.Random) -> tuple[str, Vector]:
    number = rng.randrange(len(made.texts))
    return " ".join(rng.sample(made.texts[number].split(), 2)), made.vectors[number]


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds, checks, times, and prints one line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--words", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    made = lettered(library(given.chunks, given.seed))
    with tempfile.TemporaryDirectory() as folder, _open(Path(folder) / "alone") as alone:
        with _open(Path(folder) / "kb") as index:
            for batch in entries(made, range(given.chunks)):
                index.write(batch)
        for batch in entries(made, range(0, given.chunks, SHARES["hundredth"])):
            alone.write(batch)
        with _open(Path(folder) / "kb") as index:
            sys.stdout.write(_measured(index, alone, made, given) + "\n")
    return 0


def _open(folder: Path) -> EmbeddedIndex:
    return EmbeddedIndex.open(folder, fingerprint={"embedder": "made up"}, dimension=DIMENSION)


def _measured(index: EmbeddedIndex, alone: Index, made: Library, given: argparse.Namespace) -> str:
    rng = random.Random(given.seed)
    agreed = checked(index, alone, made, given.questions, rng)
    leaks = {name: told(index, made, name, given.words) for name in STATISTICS}
    asked: dict[str, Sequence[Index]] = {"owner": [index] * given.questions}
    for group in SHARES:
        for statistics in STATISTICS:
            asked[f"{group}, {statistics}"] = [session(index, group, statistics)] * given.questions
    tenants = [f"tenant{number % _TENANTS}" for number in range(1, min(given.questions, _TENANTS) + 1)]
    asked["first of a session"] = [session(index, tenant, "visible") for tenant in tenants]
    timings = {name: measure.each(name, functools.partial(_search, made, rng), seen) for name, seen in asked.items()}
    return measure.line(
        "Hybrid search of the owner and of sessions that may read a half and a hundredth of the documents",
        timings,
        chunks=len(made.texts),
        equal_to_an_index_of_the_visible=agreed,
        word_frequencies_told=leaks,
    )


def _search(made: Library, rng: random.Random, index: Index) -> object:
    text, vector = _question(made, rng)
    return index.search(text, vector, k=K, mode="hybrid")


if __name__ == "__main__":
    sys.exit(main())
