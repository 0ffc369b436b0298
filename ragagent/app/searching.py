"""A query becomes hits, one step after another: search, fold, rerank."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragagent.app.embedders import Embedders
from ragagent.app.rerankers import Judge
from ragagent.errors import EmbedderChanged, FingerprintMismatch
from ragagent.protocols import Embedder, Index
from ragagent.settings import RetrievalSettings
from ragagent.types import Hit, SearchMode, Vector
from ragagent.where import Where

_SWAPS = 8
"""So many swaps may overtake one search; each is the end of a whole migration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a search is for."""

    query: str
    k: int
    mode: SearchMode
    where: Where | None = None


def hits(
    asked: Asked, index: Index, embedders: Embedders, settings: RetrievalSettings, judge: Judge | None = None
) -> list[Hit]:
    """The hits for a vector of the very edition that is searched, whatever is swapped meanwhile; ranks 1..k.

    `judge` reranks the best of them.
    """
    if asked.mode == "sparse":
        return Steps(asked, index, settings, judge=judge).hits()
    for attempt in range(_SWAPS):
        try:
            return Steps(asked, index, settings, embedder=embedders.current(), judge=judge).hits()
        except EmbedderChanged:
            if attempt == _SWAPS - 1:
                raise
            embedders.follow()
    raise AssertionError("the last attempt returns or raises")


class Steps:
    """The steps of one search. `embedder` is None where nothing is searched for by its vector."""

    def __init__(
        self,
        asked: Asked,
        index: Index,
        settings: RetrievalSettings,
        *,
        embedder: Embedder | None = None,
        judge: Judge | None = None,
    ) -> None:
        self._asked = asked
        self._index = index
        self._settings = settings
        self._embedder = embedder
        self._judge = judge

    def hits(self) -> list[Hit]:
        """The `k` best hits, best first."""
        depth = self._settings.rerank_depth if self._judge else 0
        found = self._folded(self._asked.query, max(self._asked.k, depth))
        return self._reranked(found)[: self._asked.k]

    def _reranked(self, found: list[Hit]) -> list[Hit]:
        """`found` with the best of them judged once more, as far as the time goes."""
        if self._judge is None or not found:
            return found
        from ragagent.retrieve import rerank

        settings = self._settings
        budget = rerank.Budget(
            depth=settings.rerank_depth, seconds=settings.rerank_seconds, share=settings.rerank_share
        )
        return rerank.reranked(self._asked.query, found, self._judge.reranker, budget, self._judge.pace)

    def _folded(self, query: str, count: int) -> list[Hit]:
        """What the index finds, without what says what others say already unless the settings want all."""
        vector = self._vector(query)
        find = functools.partial(self._found, query, vector)
        if self._settings.duplicates == "show":
            return find(count)
        from ragagent.retrieve import distinct

        library = distinct.Library(
            by_words=self._by_words, chunks=self._index.chunks, cosines=self._cosines(vector) if vector else None
        )
        return distinct.found(query, count, find, library, self._settings.candidates)

    def _found(self, query: str, vector: Callable[[], Vector] | None, count: int) -> list[Hit]:
        asked, made_by = self._asked, self._embedder.fingerprint if self._embedder is not None else None
        return self._index.search(query, vector, k=count, mode=asked.mode, where=asked.where, embedder=made_by)

    def _vector(self, query: str) -> Callable[[], Vector] | None:
        """Makes the query's vector while the index searches the terms, and once, however often the index is asked."""
        if self._embedder is None:
            return None
        return functools.cache(functools.partial(self._embedder.embed_query, query))

    def _by_words(self, text: str, count: int) -> list[Hit]:
        try:
            return self._index.search(text, None, k=count, mode="sparse")
        except FingerprintMismatch:
            # Terms of another version's analyser: until it is migrated this is searched by vectors alone.
            return []

    def _cosines(self, vector: Callable[[], Vector]) -> Callable[[Sequence[str]], list[float]]:
        def cosines(texts: Sequence[str]) -> list[float]:
            assert self._embedder is not None
            return list(map(float, self._embedder.embed_documents(texts) @ vector()))

        return cosines
