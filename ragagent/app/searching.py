"""A query becomes hits, one step after another: understand, search, fold, rerank."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ragagent.app.embedders import Embedders
from ragagent.app.rerankers import Judge
from ragagent.errors import EmbedderChanged, FingerprintMismatch
from ragagent.protocols import Embedder, Index, SuggestsTerms
from ragagent.retrieve.explanation import Explanation, Taken
from ragagent.settings import RetrievalSettings, Understanding
from ragagent.types import Hit, SearchMode, Vector
from ragagent.where import Where

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ragagent.retrieve.variants import Variant

_SWAPS = 8
"""So many swaps may overtake one search; each is the end of a whole migration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a search is for, and how the question is understood."""

    query: str
    k: int
    mode: SearchMode
    where: Where | None = None
    understand: tuple[Understanding, ...] = ()


def explained(
    asked: Asked, index: Index, embedders: Embedders, settings: RetrievalSettings, judge: Judge | None = None
) -> Explanation:
    """The search with its hits, for a vector of the very edition that is searched, whatever is swapped meanwhile.

    `judge` reranks the best of them.
    """
    if asked.mode == "sparse":
        return Steps(asked, index, settings, judge=judge).taken()
    for attempt in range(_SWAPS):
        try:
            return Steps(asked, index, settings, embedder=embedders.current(), judge=judge).taken()
        except EmbedderChanged:
            if attempt == _SWAPS - 1:
                raise
            embedders.follow()
    raise AssertionError("the last attempt returns or raises")


@dataclass(slots=True)
class _Log:
    """The steps taken so far."""

    steps: list[Taken] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[list[str]]:
        """A step of that name; what it appends says what came of it. With nothing to say it was not taken."""
        begin = time.perf_counter()
        said: list[str] = []
        yield said
        if said:
            self.steps.append(Taken(name=name, detail="; ".join(said), seconds=time.perf_counter() - begin))


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
        self._log = _Log()

    def taken(self) -> Explanation:
        """All of them: the `k` best hits, best first, ranks 1..k, and how they came about."""
        begin = time.perf_counter()
        question = self._understood(self._asked.query)
        found = self._searched(question)
        found = self._joined(question, found)
        found = self._reranked(found)
        return Explanation(
            query=self._asked.query,
            searched=question,
            steps=tuple(self._log.steps),
            hits=tuple(found[: self._asked.k]),
            seconds=time.perf_counter() - begin,
        )

    @property
    def _depth(self) -> int:
        """How many hits the steps after the search look at."""
        wider = self._judge is not None or self._asked.understand not in ((), ("spelling",))
        return max(self._asked.k, self._settings.rerank_depth if wider else 0)

    def _understood(self, question: str) -> str:
        """The question as it is searched for."""
        index = self._index
        if "spelling" in self._asked.understand and isinstance(index, SuggestsTerms) and self._asked.mode != "dense":
            from ragagent.retrieve import spelling

            with self._log.step("spelling") as said:
                mended = spelling.mended(question, self._similar(index))
                said += [f"no document has {word!r}; {term!r} is searched too" for word, term in mended.added.items()]
            return mended.text
        return question

    def _similar(self, index: SuggestsTerms) -> Callable[[Sequence[str]], Mapping[str, Sequence[str]]]:
        return index.similar_terms

    def _searched(self, question: str) -> list[Hit]:
        """What the plain search finds."""
        with self._log.step("search") as said:
            found = self._folded(question, self._depth)
            folded = sum(len(hit.also) for hit in found)
            said.append(f"{self._asked.mode}, {len(found)} passages")
            said += [f"{folded} copies and versions folded into them"] if folded else []
        return found

    def _joined(self, question: str, found: list[Hit]) -> list[Hit]:
        """`found`, fused with what other wordings of the question find."""
        variants: list[Variant] = []
        if "hops" in self._asked.understand:
            variants += self._hops(question, found)
        if not variants:
            return found
        from ragagent.retrieve import variants as joining

        with self._log.step("variants") as said:
            own = joining.Variant(kind="question", text=question)
            rankings = [(own, found), *((one, self._folded(one.text, self._depth)) for one in variants)]
            joined = joining.fused(rankings, self._settings.rrf_k)[: self._depth]
            before = {hit.chunk.id for hit in found}
            new = sum(hit.chunk.id not in before for hit in joined)
            said += [f"{one.kind} (x {one.weight:g}): {one.text}" for one in variants]
            said.append(f"{new} of {len(joined)} passages are new")
        return joined

    def _hops(self, question: str, found: Sequence[Hit]) -> list[Variant]:
        from ragagent.retrieve import hops
        from ragagent.retrieve.variants import Variant

        return [Variant(kind="hop", text=text, weight=hops.WEIGHT) for text in hops.second(question, found)]

    def _reranked(self, found: list[Hit]) -> list[Hit]:
        """`found` with the best of them judged once more, as far as the time goes."""
        if self._judge is None or not found:
            return found
        from ragagent.retrieve import rerank

        settings, reranker = self._settings, self._judge.reranker
        budget = rerank.Budget(
            depth=settings.rerank_depth, seconds=settings.rerank_seconds, share=settings.rerank_share
        )
        with self._log.step("rerank") as said:
            judged = rerank.reranked(self._asked.query, found, reranker, budget, self._judge.pace)
            count = sum(hit.stages[-1].rank is not None for hit in judged)
            said.append(f"{reranker.name}, the best {count} of {min(len(found), budget.depth)} judged")
            said.append(f"at most {budget.seconds:g} s")
        return judged

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
