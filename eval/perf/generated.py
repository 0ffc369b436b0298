"""Text for measurements where no data set is at hand: the same for the same seed, with the word lengths of English."""

from __future__ import annotations

import random
from collections.abc import Iterator

SYLLABLES = (
    "ba",
    "con",
    "der",
    "es",
    "fi",
    "gra",
    "in",
    "ju",
    "ka",
    "lo",
    "men",
    "nor",
    "pro",
    "qui",
    "re",
    "sta",
    "un",
)


def texts(count: int, words: int, *, seed: int = 0) -> Iterator[str]:
    """`count` texts of about `words` words, in sentences; common words come often, as in real text."""
    rng = random.Random(seed)
    vocabulary = ["".join(rng.choices(SYLLABLES, k=rng.choice((1, 1, 2, 2, 3)))) for _ in range(5000)]
    weights = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    for _ in range(count):
        yield _sentences(rng.choices(vocabulary, weights, k=words))


def _sentences(words: list[str]) -> str:
    parts = [words[start : start + 14] for start in range(0, len(words), 14)]
    return " ".join(" ".join(part).capitalize() + "." for part in parts)
