"""An embedder without a model file, for tests and examples of everything around embedding."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ragagent.errors import ConfigError
from ragagent.types import Vector, digest

_TOKEN = re.compile(r"\w+|[^\w\s]")


class RegexTokenizer:
    """Words and single punctuation marks."""

    def offsets(self, text: str) -> npt.NDArray[np.int32]:
        """int32[n, 2]: the character range of each token of `text`, in order."""
        spans = [match.span() for match in _TOKEN.finditer(text)]
        return np.array(spans, np.int32).reshape(-1, 2)


class HashEmbedder:
    """A bag of hashed words: texts that share words are near, in any process and on any machine.

    Each casefolded token adds a fixed pseudo-random direction, weighted by the logarithm of its count. A text
    without tokens has a direction of its own. Only the first `max_tokens` tokens count.
    """

    def __init__(self, dimension: int = 64) -> None:
        if dimension < 1:
            raise ConfigError(f"dimension = {dimension}: must be at least 1")
        self.dimension = dimension
        self.name = f"hash-{dimension}"
        self.fingerprint = f"hash words v1 {dimension}"
        self.max_tokens = 512
        self.tokenizer = RegexTokenizer()
        self._directions: dict[str, Vector] = {}

    def embed_documents(self, texts: Sequence[str]) -> Vector:
        """float32[n, d], normalised, in the order of `texts`; n may be 0."""
        rows = [self.embed_query(text) for text in texts]
        return np.array(rows, np.float32).reshape(-1, self.dimension)

    def embed_query(self, text: str) -> Vector:
        """float32[d], normalised."""
        if not isinstance(text, str):
            raise ConfigError(f"a text to embed must be a string, not {type(text).__name__}: {text!r:.80}")
        counts = Counter(match.group().casefold() for match in _first(text, self.max_tokens)) or Counter([""])
        total = np.zeros(self.dimension, np.float64)
        for word, count in sorted(counts.items()):
            total += np.log1p(count) * self._direction(word)
        norm = np.linalg.norm(total)
        return (total / norm if norm > 1e-9 else self._direction("")).astype(np.float32)

    def embed_tokens(self, texts: Sequence[str], *, query: bool = False) -> list[Vector]:
        """For each text float32[t, d], normalised: the direction of each of its words; see `EmbedsTokens`."""
        return [self._directions_of(_first(text, self.max_tokens)) for text in texts]

    def _directions_of(self, matches: Iterable[re.Match[str]]) -> Vector:
        tokens = [match.group().casefold() for match in matches]
        words = [token for token in tokens if token[0].isalnum()] or tokens
        return np.array([self._direction(word) for word in words], np.float32).reshape(-1, self.dimension)

    def close(self) -> None:
        """Nothing is held."""

    def _direction(self, word: str) -> Vector:
        if word not in self._directions:
            values = np.random.default_rng(int(digest(word), 16)).standard_normal(self.dimension)
            self._directions[word] = (values / np.linalg.norm(values)).astype(np.float32)
        return self._directions[word]


def _first(text: str, count: int) -> list[re.Match[str]]:
    return [match for match, _ in zip(_TOKEN.finditer(text), range(count), strict=False)]
