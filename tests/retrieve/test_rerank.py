from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.app import KnowledgeBase
from ragagent.errors import ConfigError, ModelError
from ragagent.retrieve.pace import Pace
from ragagent.retrieve.rerank import Budget, reranked
from ragagent.settings import RetrievalSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Chunk, Document, Hit, Span, Stage

PLENTY = Budget(depth=50, seconds=1e9, share=0.5)


class Clock:
    """Time that passes only when somebody works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Costly:
    """A reranker whose scores are given by text and whose work takes as long as a test says."""

    name = "costly"

    def __init__(self, clock: Clock, scores: Sequence[float], rates: Sequence[float] = (0.0,)) -> None:
        self._clock = clock
        self._scores = scores
        self._rates = list(rates)
        self.blocks: list[int] = []

    def prepare(self) -> None:
        """Nothing to load."""

    def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
        rate = self._rates[len(self.blocks) % len(self._rates)]
        self._clock.now += rate * sum(100 + len(query) + len(hit.text) for hit in hits)
        self.blocks.append(len(hits))
        return [self._scores[int(hit.chunk.id)] for hit in hits]

    def close(self) -> None:
        """Nothing to end."""


def hits_of(fused: Sequence[float], lengths: Sequence[int] | None = None) -> list[Hit]:
    ordered = sorted(fused, reverse=True)
    sizes = lengths or [20] * len(ordered)
    return [
        Hit(
            chunk=Chunk(id=str(at), document_id="d", span=Span(0, size), text="x" * size),
            rank=at + 1,
            score=score,
            via="hybrid",
            title="",
            uri="",
        )
        for at, (score, size) in enumerate(zip(ordered, sizes, strict=True))
    ]


fused = st.lists(st.floats(0, 1), min_size=1, max_size=40)
score = st.floats(-1e6, 1e6)


@given(fused=fused, scores=st.lists(score, min_size=40, max_size=40), depth=st.integers(1, 50), share=st.floats(0, 1))
def test_reranking_orders_what_is_judged_and_leaves_the_rest_below_in_its_order(
    fused: list[float], scores: list[float], depth: int, share: float
) -> None:
    clock, hits = Clock(), hits_of(fused)
    found = reranked("q", hits, Costly(clock, scores), replace(PLENTY, depth=depth, share=share), Pace(), clock)
    assert [hit.rank for hit in found] == list(range(1, len(hits) + 1))
    assert {hit.chunk.id for hit in found[:depth]} == {hit.chunk.id for hit in hits[:depth]}
    assert [hit.chunk.id for hit in found[depth:]] == [hit.chunk.id for hit in hits[depth:]]
    assert all(before.score >= after.score - 1e-9 for before, after in itertools.pairwise(found))
    assert all(hit.stages[-1].name == "rerank" for hit in found)
    assert sorted(hit.stages[-1].rank or 0 for hit in found[:depth]) == list(range(1, len(found[:depth]) + 1))


@given(fused=fused, scores=st.lists(score, min_size=40, max_size=40))
def test_without_a_share_the_fused_order_stays(fused: list[float], scores: list[float]) -> None:
    clock, hits = Clock(), hits_of(fused)
    found = reranked("q", hits, Costly(clock, scores), replace(PLENTY, share=0), Pace(), clock)
    assert [hit.chunk.id for hit in found] == [hit.chunk.id for hit in hits]


@given(fused=fused, scores=st.lists(score, min_size=40, max_size=40), first=st.integers(0, 5), share=st.floats(0, 1))
def test_what_the_words_single_out_stays_before_the_rest(
    fused: list[float], scores: list[float], first: int, share: float
) -> None:
    clock, hits = Clock(), hits_of(fused)
    mark = Stage(name="fusion", rank=1, score=2.0, detail="0.5 + 0.4 + 1 (singled out by its words)")
    hits[:first] = [replace(hit, stages=(mark,)) for hit in hits[:first]]
    found = reranked("q", hits, Costly(clock, scores), replace(PLENTY, share=share), Pace(), clock)
    assert {hit.chunk.id for hit in found[:first]} == {hit.chunk.id for hit in hits[:first]}
    assert all(before.score >= after.score for before, after in itertools.pairwise(found))


@given(fused=fused)
def test_a_reranker_that_agrees_or_finds_all_alike_changes_no_place(fused: list[float]) -> None:
    clock, hits = Clock(), hits_of(fused)
    for scores in ([1.0] * len(hits), [hit.score for hit in hits]):
        found = reranked("q", hits, Costly(clock, scores), PLENTY, Pace(), clock)
        assert [hit.chunk.id for hit in found] == [hit.chunk.id for hit in hits]


def test_a_judgement_that_counts_alone_decides() -> None:
    clock, scores = Clock(), [0.1, 0.9, 0.5]
    found = reranked("q", hits_of([3, 2, 1]), Costly(clock, scores), replace(PLENTY, share=1), Pace(), clock)
    assert [hit.chunk.id for hit in found] == ["1", "2", "0"]
    assert "1.00 x judged" in found[0].stages[-1].detail


@given(
    lengths=st.lists(st.integers(1, 3000), min_size=1, max_size=60),
    rates=st.lists(st.floats(1.0, 1.1), min_size=1, max_size=9),
    seconds=st.floats(0.001, 5000),
    depth=st.integers(1, 60),
)
def test_the_budget_is_kept_within_what_the_cost_of_the_work_varies_by(
    lengths: list[int], rates: list[float], seconds: float, depth: int
) -> None:
    clock, pace, hits = Clock(), Pace(), hits_of([1.0] * len(lengths), lengths)
    reranked("warm up", hits, Costly(clock, [0.0] * 60, rates), replace(PLENTY, depth=1), pace, clock)
    for _ in range(3):
        begin = clock.now
        reranked(
            "q", hits, Costly(clock, [0.0] * 60, rates), Budget(depth=depth, seconds=seconds, share=1), pace, clock
        )
        assert clock.now - begin <= 1.1 * seconds * (1 + 1e-9)


@given(lengths=st.lists(st.integers(1, 3000), min_size=2, max_size=60), depth=st.integers(2, 60))
def test_time_for_all_of_it_judges_all_of_it_in_a_few_blocks(lengths: list[int], depth: int) -> None:
    clock, pace, hits = Clock(), Pace(), hits_of([1.0] * len(lengths), lengths)
    work = sum(101 + length for length in lengths[:depth])
    reranker = Costly(clock, [0.0] * 60, [0.001])
    found = reranked("q", hits, reranker, Budget(depth=depth, seconds=0.0022 * work, share=1), pace, clock)
    assert sum(reranker.blocks) == min(depth, len(hits))
    assert len(reranker.blocks) <= 4
    assert all(hit.stages[-1].rank is not None for hit in found[:depth])


def test_a_share_of_the_candidates_is_judged_when_the_time_ends_and_the_others_say_why() -> None:
    clock, pace, hits = Clock(), Pace(), hits_of([1 / at for at in range(1, 21)])
    budget = Budget(depth=15, seconds=800, share=0.5)
    found = reranked("q", hits, Costly(clock, list(range(20)), [1.0]), budget, pace, clock)
    judged = [hit for hit in found if hit.stages[-1].rank is not None]
    assert len(judged) == 6
    assert found[6].stages[-1].detail == "costly; not within 800 s"
    assert found[-1].stages[-1].detail == "costly; below the 15 that are judged"


def test_no_time_judges_nothing() -> None:
    clock, hits = Clock(), hits_of([3, 2, 1])
    reranker = Costly(clock, [0.0] * 3)
    found = reranked("q", hits, reranker, Budget(depth=9, seconds=0, share=1), Pace(), clock)
    assert not reranker.blocks
    assert [hit.chunk.id for hit in found] == ["0", "1", "2"]


def test_a_stall_is_forgotten_after_a_few_searches() -> None:
    clock, pace, hits = Clock(), Pace(), hits_of([3, 2, 1])
    budget = Budget(depth=9, seconds=1000, share=1)
    stalled = Costly(clock, [0.0] * 3, [1e6])
    reranked("q", hits, stalled, budget, pace, clock)
    assert stalled.blocks == [1]
    judged = []
    for _ in range(9):
        well = Costly(clock, [0.0] * 3, [0.1])
        reranked("q", hits, well, budget, pace, clock)
        judged.append(sum(well.blocks))
    assert judged[-1] == 3


@pytest.mark.parametrize("scores", [[1.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_scores_that_are_none_are_an_error_that_names_the_reranker(scores: list[float]) -> None:
    class Wrong(Costly):
        def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
            return scores[: len(hits)] if len(scores) > 1 else [*scores, 2.0, 3.0]

    clock = Clock()
    with pytest.raises(ModelError, match="costly"):
        reranked("q", hits_of([2, 1]), Wrong(clock, []), PLENTY, Pace(), clock)


DOCUMENTS = [
    Document(text="The lease of the office ends in March. " + "Rent is due monthly. " * 8, uri="a", title="Lease"),
    Document(text="Who may end the lease, and when, is said in part four.", uri="b", title="Terms"),
    Document(text="Copper, tin and lead are metals.", uri="c", title="Metals"),
]


def test_a_knowledge_base_reranks_by_its_settings_or_for_one_search(tmp_path: Path) -> None:
    settings = Settings(retrieval=RetrievalSettings(rerank="late"))
    with KnowledgeBase.open(tmp_path / "kb", settings=settings, embedder=HashEmbedder()) as kb:
        kb.ingest(DOCUMENTS)
        late = kb.search("when does the lease end")
        plain = kb.explain("when does the lease end", rerank="none").hits
        again = kb.explain("when does the lease end", rerank="late", k=2).hits
    assert [hit.stages[-1].name for hit in plain if hit.stages[-1].name == "rerank"] == []
    assert all(hit.stages[-1].name == "rerank" for hit in late)
    assert {hit.chunk.id for hit in late} == {hit.chunk.id for hit in plain}
    assert [hit.chunk.id for hit in again] == [hit.chunk.id for hit in late[:2]]
    assert late[0].stages[-1].detail.startswith("late interaction; 0.50 x fused")


def test_a_reranker_that_is_passed_in_is_used_and_stays_open(tmp_path: Path) -> None:
    class Longest:
        name = "longest"
        closed = False

        def prepare(self) -> None:
            """Nothing to load."""

        def scores(self, query: str, hits: Sequence[Hit]) -> list[float]:
            return [float(len(hit.text)) for hit in hits]

        def close(self) -> None:
            self.closed = True

    settings = Settings(retrieval=RetrievalSettings(rerank_share=1))
    longest = Longest()
    with KnowledgeBase.open(tmp_path / "kb", settings=settings, embedder=HashEmbedder(), reranker=longest) as kb:
        kb.ingest(DOCUMENTS)
        judged, plain = kb.search("metals"), kb.explain("metals", rerank="none").hits
    assert all(hit.stages[-1].detail.startswith("longest; ") for hit in judged)
    assert not any(stage.name == "rerank" for hit in plain for stage in hit.stages)
    assert not longest.closed


def test_a_question_in_a_language_that_the_model_is_not_for_is_not_reranked(tmp_path: Path) -> None:
    class English(HashEmbedder):
        languages = frozenset({"en"})

    with KnowledgeBase.open(tmp_path / "kb", embedder=English()) as kb:
        kb.ingest(DOCUMENTS)
        known = kb.explain("when does the lease of the office end", rerank="late")
        foreign = kb.explain("wann endet der Vertrag über das Büro und die Wohnung", rerank="late")
        plain = kb.explain("wann endet der Vertrag über das Büro und die Wohnung")
    assert known.hits[0].stages[-1].name == "rerank"
    assert foreign.hits == plain.hits
    assert foreign.steps[-1].detail == "late interaction spared: its model is not for the language of the question"


def test_an_unknown_kind_is_an_error_that_names_the_kinds(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        kb.ingest(DOCUMENTS)
        with pytest.raises(ConfigError, match="late"):
            kb.explain("metals", rerank="best")  # type: ignore[arg-type]
