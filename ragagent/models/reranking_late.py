"""Late interaction: each word of the question beside the word of the passage that is nearest to it.

The embedder that found the passage gives the vectors of its tokens too, before they are pooled into one. The score is
the mean over the question's tokens of the greatest cosine with a token of the passage (MaxSim; Khattab and Zaharia,
SIGIR 2020). No model is needed beside the one that is there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ragagent.errors import ConfigError
from ragagent.models.reranking import passage
from ragagent.protocols import Embedder, EmbedsTokens, KnowsLanguages
from ragagent.types import Hit, Vector, digest

Halves = npt.NDArray[np.float16]
CACHE_BYTES = 64 * 1024 * 1024
"""About 700 passages of 120 tokens and 384 dimensions."""

_QUESTION_BYTES = 4 * 1024 * 1024


class LateInteraction:
    """MaxSim with the token vectors of an embedder, of which the last passages' are kept.

    Costs one pass of the encoder for each passage that is not kept (5 ms for 200 tokens on two cores). Safe to call
    from several threads.
    """

    name = "late interaction"

    def __init__(self, embedder: Callable[[], Embedder], *, cache_bytes: int = CACHE_BYTES) -> None:
        """`embedder` gives the one in force; it may change between two calls."""
        self._embedder = embedder
        self._cache = TokenCache(cache_bytes)
        self._questions = TokenCache(_QUESTION_BYTES)

    def prepare(self) -> None:
        """Compiles the encoder. Raises ConfigError for an embedder that gives no vectors of tokens."""
        # Kept like any question, so that it is not asked again at each search.
        self._asked(self._embedder(), "prepare")

    def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
        """The mean greatest cosine for each of `hits`, in -1..1."""
        embedder = self._embedder()
        asked = self._asked(embedder, query)
        return [max_sim(asked, tokens) for tokens in self._tokens(embedder, [passage(hit) for hit in hits])]

    def close(self) -> None:
        """The embedder belongs to whoever gave it."""
        self._cache.clear()
        self._questions.clear()

    @property
    def languages(self) -> frozenset[str]:
        """Those of the embedder; empty where it does not tell."""
        embedder = self._embedder()
        return embedder.languages if isinstance(embedder, KnowsLanguages) else frozenset()

    def _asked(self, embedder: Embedder, query: str) -> Vector:
        """The token vectors of the question, which comes again with each block of a search."""
        of_tokens = _of_tokens(embedder)
        key = digest(embedder.fingerprint, query, "question")
        kept = self._questions.get(key)
        if kept is None:
            (asked,) = of_tokens.embed_tokens([query], query=True)
            kept = asked.astype(np.float16)
            self._questions.put(key, kept)
        return kept.astype(np.float32)

    def _tokens(self, embedder: Embedder, texts: Sequence[str]) -> list[Halves]:
        """The token vectors of each text, those that are not kept made together."""
        keys = [digest(embedder.fingerprint, text) for text in texts]
        found = {key: kept for key in keys if (kept := self._cache.get(key)) is not None}
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if new:
            made = _of_tokens(embedder).embed_tokens(list(new.values()))
            for key, vectors in zip(new, made, strict=True):
                found[key] = vectors.astype(np.float16)
                self._cache.put(key, found[key])
        return [found[key] for key in keys]


class TokenCache:
    """Token vectors by key, as many of the last used as fit into a number of bytes. Safe to use from several threads.

    In half precision, which changes a cosine by less than 0.001.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: OrderedDict[str, Halves] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0

    def get(self, key: str) -> Halves | None:
        """The vectors of `key`, which now count as used last; None where they are not kept."""
        with self._lock:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
            return found

    def put(self, key: str, vectors: Halves) -> None:
        """Keeps the vectors, and lets go of those used longest ago until all fit."""
        with self._lock:
            before = self._held.pop(key, None)
            self.bytes -= before.nbytes if before is not None else 0
            self._held[key] = vectors
            self.bytes += vectors.nbytes
            while self.bytes > self._most:
                _, dropped = self._held.popitem(last=False)
                self.bytes -= dropped.nbytes

    def clear(self) -> None:
        """Lets go of everything."""
        with self._lock:
            self._held.clear()
            self.bytes = 0


def max_sim(query: Vector, tokens: npt.NDArray[np.floating]) -> float:
    """The mean over the rows of `query`, float32[q, d], of the greatest inner product with a row of `tokens` [t, d].

    0 where either has no rows.
    """
    if not len(query) or not len(tokens):
        return 0.0
    return float((query @ tokens.astype(np.float32).T).max(axis=1).mean())


def _of_tokens(embedder: Embedder) -> EmbedsTokens:
    if not isinstance(embedder, EmbedsTokens):
        raise ConfigError(
            f"the embedder {embedder.name} gives no vectors of tokens, which late interaction needs: "
            "set retrieval.rerank to another value, or use an embedder that the built-in path runs"
        )
    return embedder
