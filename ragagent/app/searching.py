"""A query becomes hits, one step after another: understand, search, fold, join, rerank, diversify."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from ragagent.app.embedders import Embedders
from ragagent.app.rerankers import Judge
from ragagent.errors import EmbedderChanged, FingerprintMismatch
from ragagent.protocols import LLM, Embedder, Index, KeepsVectors, KnowsLanguages, SuggestsTerms
from ragagent.retrieve.explanation import Explanation, ReadFilter, Taken
from ragagent.settings import RetrievalSettings, Understanding
from ragagent.text.language import of_question
from ragagent.types import Hit, Message, SearchMode, Vector
from ragagent.where import Where, both

_SWAPS = 8
"""So many swaps may overtake one search; each is the end of a whole migration."""
_PLAIN: tuple[Understanding, ...] = ("spelling", "filters", "follow-up")
"""What is done before the search, and needs no more hits than are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a search is for, and how the question is understood.

    `conversation` is what was said before it, and `without` names the filters not to be read from it.
    """

    query: str
    k: int
    mode: SearchMode
    where: Where | None = None
    understand: tuple[Understanding, ...] = ()
    conversation: tuple[Message, ...] = ()
    without: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a search works with. `embedder` is None where nothing is searched for by its vector."""

    index: Index
    settings: RetrievalSettings
    llm: Callable[[], LLM]
    embedder: Embedder | None = None
    judge: Judge | None = None
    today: Callable[[], datetime.date] = datetime.date.today


def explained(asked: Asked, parts: Parts, embedders: Embedders) -> Explanation:
    """The search with its hits, for a vector of the very edition that is searched, whatever is swapped meanwhile."""
    if asked.mode == "sparse":
        return Steps(asked, parts).taken()
    for attempt in range(_SWAPS):
        try:
            return Steps(asked, dataclasses.replace(parts, embedder=embedders.current())).taken()
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
    """The steps of one search."""

    def __init__(self, asked: Asked, parts: Parts) -> None:
        self._asked = asked
        self._parts = parts
        self._settings = parts.settings
        self._where = asked.where
        self._log = _Log()

    def taken(self) -> Explanation:
        """All of them: the `k` best hits, best first, ranks 1..k, and how they came about."""
        begin = time.perf_counter()
        meant = self._followed(self._asked.query)
        filters = self._filtered(meant)
        searched = self._mended(meant)
        found = self._searched(searched)
        if filters and not found:
            filters, found = self._unfiltered(searched)
        found = self._joined(searched, found)
        found = self._reranked(meant, found)
        found = self._recent(found)
        found = self._diverse(found)
        return Explanation(
            query=self._asked.query,
            searched=searched,
            steps=tuple(self._log.steps),
            hits=tuple(found[: self._asked.k]),
            filters=filters,
            seconds=time.perf_counter() - begin,
        )

    @property
    def _depth(self) -> int:
        """How many hits the steps after the search look at."""
        settings = self._settings
        widens = self._parts.judge is not None or settings.diversity > 0 or settings.recency_days > 0
        widens = widens or not set(self._asked.understand) <= set(_PLAIN)
        return max(self._asked.k, settings.rerank_depth if widens else 0)

    def _followed(self, question: str) -> str:
        """The question with what it refers to in the conversation put in."""
        if "follow-up" not in self._asked.understand or not self._asked.conversation:
            return question
        from ragagent.retrieve import wordings

        with self._log.step("follow-up") as said:
            meant = wordings.standalone(question, self._asked.conversation, self._parts.llm())
            said.append(f"meant: {meant}" if meant != question else "stands alone")
        return meant

    def _filtered(self, question: str) -> tuple[ReadFilter, ...]:
        """The filters that are read from the question, put to the one that was asked for."""
        if "filters" not in self._asked.understand:
            return ()
        from ragagent.retrieve import asked_filters
        from ragagent.where import written

        with self._log.step("filters") as said:
            read = asked_filters.read(question, self._asked.without)
            shown = tuple(ReadFilter(name=one.name, words=one.words, where=written(one.where)) for one in read)
            said += [f"{one.words!r} means {one.where} (take away: {one.name})" for one in shown]
            wanted = [*([] if self._where is None else [self._where]), *(one.where for one in read)]
            self._where = both(wanted) if read else self._where
        return shown

    def _unfiltered(self, question: str) -> tuple[tuple[ReadFilter, ...], list[Hit]]:
        """What is found without the filters that were read, for with them nothing is."""
        self._where = self._asked.where
        with self._log.step("filters") as said:
            said.append("nothing is left with them; taken away again")
        return (), self._searched(question)

    def _mended(self, question: str) -> str:
        """The question with the nearest known terms for the words that no document has."""
        index = self._parts.index
        wanted = "spelling" in self._asked.understand and self._asked.mode != "dense"
        if not wanted or not isinstance(index, SuggestsTerms):
            return question
        from ragagent.retrieve import spelling

        with self._log.step("spelling") as said:
            embedder = self._parts.embedder
            told = () if embedder is None else (spelling.words_of(embedder.tokenizer),)
            mended = spelling.mended(question, index.similar_terms, *told)
            said += [f"no document has {word!r}; {term!r} is searched too" for word, term in mended.added.items()]
        return mended.text

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
        chosen = self._asked.understand
        if set(chosen) <= set(_PLAIN):
            return found
        from ragagent.app import wording
        from ragagent.retrieve import variants

        with self._log.step("wordings") as said:
            others = wording.variants(question, found, chosen, self._parts.llm, self._folded)
            said += [f"{one.kind} (x {one.weight:g}): {one.text}" for one in others]
            spared = wording.spared(chosen, found)
            said += [f"{', '.join(spared)} spared: both searches agree on the best passage"] if spared else []
        if not others:
            return found
        with self._log.step("join") as said:
            own = variants.Variant(kind="question", text=question)
            rankings = [(own, found), *((one, self._folded(one.text, self._depth, one.mode)) for one in others)]
            joined = variants.fused(rankings)[: self._depth]
            new = {hit.chunk.id for hit in joined} - {hit.chunk.id for hit in found}
            said.append(f"{len(rankings)} rankings fused by score; {len(new)} of {len(joined)} passages are new")
        return joined

    def _reranked(self, question: str, found: list[Hit]) -> list[Hit]:
        """`found` with the best of them judged once more, as far as the time goes."""
        judge = self._parts.judge
        if judge is None or not found:
            return found
        from ragagent.retrieve import rerank

        if _foreign(question, judge.reranker):
            # Late interaction with vectors of English words lost 0.02 of 0.97 nDCG@10 on Chinese questions.
            with self._log.step("rerank") as said:
                said.append(f"{judge.reranker.name} spared: its model is not for the language of the question")
            return found
        settings = self._settings
        budget = rerank.Budget(
            depth=settings.rerank_depth, seconds=settings.rerank_seconds, share=settings.rerank_share
        )
        with self._log.step("rerank") as said:
            judged = rerank.reranked(question, found, judge.reranker, budget, judge.pace)
            count = sum(hit.stages[-1].rank is not None for hit in judged)
            said.append(f"{judge.reranker.name}, the best {count} of {min(len(found), budget.depth)} judged")
            said.append(f"at most {budget.seconds:g} s")
        return judged

    def _recent(self, found: list[Hit]) -> list[Hit]:
        """`found` with newer documents before older ones, as far as the settings want it."""
        settings = self._settings
        if not settings.recency_days or not found:
            return found
        from ragagent.retrieve import recency

        wanted = recency.Recency(half_life_days=settings.recency_days, share=min(1.0, settings.recency_share))
        with self._log.step("recency") as said:
            said.append(f"half-life {wanted.half_life_days:g} days, worth {wanted.share:g} of a score")
            return recency.recent(found, wanted, self._parts.today())

    def _diverse(self, found: list[Hit]) -> list[Hit]:
        """Of `found` those that differ from one another, as far as the settings want it."""
        settings = self._settings
        if not settings.diversity or not found:
            return found
        from ragagent.retrieve import diversity

        with self._log.step("diversity") as said:
            vectors = self._vectors(found)
            if vectors is None:
                return found
            said.append(f"{min(len(found), self._asked.k)} of {len(found)}, likeness counts {settings.diversity:g}")
            return diversity.diverse(found, vectors, self._asked.k, min(1.0, settings.diversity))

    def _vectors(self, hits: Sequence[Hit]) -> Vector | None:
        """float32[n, d]: the vectors of `hits`, as the index has them or made anew; None where neither can be had."""
        index, embedder = self._parts.index, self._parts.embedder
        stored = index.vectors_of([hit.chunk for hit in hits]) if isinstance(index, KeepsVectors) else {}
        if all(hit.chunk.id in stored for hit in hits):
            return np.stack([stored[hit.chunk.id] for hit in hits])
        if embedder is None:
            return None
        from ragagent.models.reranking import passage

        # All of them: what has gone meanwhile may have been of another embedder than what is there.
        return embedder.embed_documents([passage(hit) for hit in hits])

    def _folded(self, query: str, count: int, mode: SearchMode | None = None) -> list[Hit]:
        """What the index finds, without what says what others say already unless the settings want all."""
        vector = self._vector(query)
        find = functools.partial(self._found, query, vector, mode or self._asked.mode, self._dense_weight(query))
        if self._settings.duplicates == "show":
            return find(count)
        from ragagent.retrieve import distinct

        library = distinct.Library(
            by_words=self._by_words,
            neighbours=self._parts.index.neighbours,
            cosines=self._cosines(vector) if vector else None,
        )
        return distinct.found(query, count, find, library, self._settings.candidates)

    def _found(
        self, query: str, vector: Callable[[], Vector] | None, mode: SearchMode, dense_weight: float, count: int
    ) -> list[Hit]:
        embedder = self._parts.embedder
        return self._parts.index.search(
            query,
            vector,
            k=count,
            mode="sparse" if vector is None else mode,
            where=self._where,
            embedder=None if embedder is None else embedder.fingerprint,
            dense_weight=dense_weight,
        )

    def _dense_weight(self, query: str) -> float:
        """What the vectors count: little for a question in a language that the embedder is not for."""
        settings = self._settings
        return settings.foreign_dense_weight if _foreign(query, self._parts.embedder) else settings.dense_weight

    def _vector(self, query: str) -> Callable[[], Vector] | None:
        """Makes the query's vector while the index searches the terms, and once, however often the index is asked."""
        embedder = self._parts.embedder
        return None if embedder is None else functools.cache(functools.partial(embedder.embed_query, query))

    def _by_words(self, text: str, count: int) -> list[Hit]:
        try:
            return self._parts.index.search(text, None, k=count, mode="sparse")
        except FingerprintMismatch:
            # Terms of another version's analyser: until it is migrated this is searched by vectors alone.
            return []

    def _cosines(self, vector: Callable[[], Vector]) -> Callable[[Sequence[str]], list[float]]:
        def cosines(texts: Sequence[str]) -> list[float]:
            assert self._parts.embedder is not None
            return list(map(float, self._parts.embedder.embed_documents(texts) @ vector()))

        return cosines


def _foreign(question: str, model: object) -> bool:
    """Whether `question` is in a language that the model is not for, as far as both are known."""
    known = model.languages if isinstance(model, KnowsLanguages) else frozenset()
    return bool(known) and of_question(question) not in known | {""}
