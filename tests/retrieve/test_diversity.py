"""Hits that differ, and newer ones first."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.app import KnowledgeBase
from ragagent.retrieve.diversity import diverse
from ragagent.retrieve.recency import Recency, dated, recent
from ragagent.settings import RetrievalSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Chunk, Document, Hit, Metadata, Span

TODAY = datetime.date(2026, 1, 1)


def hits_of(scores: Sequence[float], metadata: Sequence[Metadata] = ()) -> list[Hit]:
    ordered = sorted(scores, reverse=True)
    chunk = Chunk(id="", document_id="d", span=Span(0, 0), text="")
    known = list(metadata) + [{}] * len(ordered)
    return [
        Hit(
            chunk=replace(chunk, id=str(at)),
            rank=at + 1,
            score=score,
            via="hybrid",
            title="",
            uri="",
            metadata=known[at],
        )
        for at, score in enumerate(ordered)
    ]


def by_hand(scores: Sequence[float], vectors: np.ndarray, count: int, diversity: float) -> list[int]:
    spread = max(scores) - min(scores)
    relevance = [(score - min(scores)) / spread if spread else 1.0 for score in scores]
    taken: list[int] = []
    while len(taken) < min(count, len(scores)):
        left = [at for at in range(len(scores)) if at not in taken]
        worth = {
            at: (1 - diversity) * relevance[at]
            - diversity * max([0.0, *(float(vectors[at] @ vectors[one]) for one in taken)])
            for at in left
        }
        taken.append(max(left, key=lambda at: (round(worth[at], 9), -at)))
    return taken


@given(
    scores=st.lists(st.integers(0, 20).map(float), min_size=1, max_size=12),
    count=st.integers(1, 12),
    diversity=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    seed=st.integers(0, 99),
)
def test_each_next_hit_is_the_best_by_relevance_less_likeness(
    scores: list[float], count: int, diversity: float, seed: int
) -> None:
    hits = hits_of(scores)
    vectors = np.random.default_rng(seed).standard_normal((len(hits), 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = diverse(hits, vectors, count, diversity)
    assert [hit.rank for hit in found] == list(range(1, len(found) + 1))
    assert [int(hit.chunk.id) for hit in found] == by_hand([hit.score for hit in hits], vectors, count, diversity)
    if diversity == 0:
        assert [hit.chunk.id for hit in found] == [hit.chunk.id for hit in hits[:count]]


def test_a_likeness_of_a_better_hit_goes_behind_one_that_differs() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    found = diverse(hits_of([1.0, 0.9, 0.5]), vectors, 3, 0.5)
    assert [hit.chunk.id for hit in found] == ["0", "2", "1"]
    assert found[2].stages[-1].detail == "0.50 x relevance 0.80 - 0.50 x likeness 1.00"
    assert diverse([], np.zeros((0, 2), np.float32), 3, 0.5) == []


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=10),
    ages=st.lists(st.none() | st.integers(-50, 5000), min_size=10, max_size=10),
    share=st.floats(0, 1),
    half=st.floats(1, 1000),
)
def test_recency_takes_from_a_score_what_its_age_costs(
    scores: list[float], ages: list[int | None], share: float, half: float
) -> None:
    dates = [None if age is None else (TODAY - datetime.timedelta(days=age)).isoformat() for age in ages]
    hits = hits_of(scores, [{} if date is None else {"date": date} for date in dates])
    found = recent(hits, Recency(half_life_days=half, share=share), TODAY)
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert [hit.rank for hit in found] == [hit.stages[-1].rank for hit in found] == list(range(1, len(hits) + 1))
    for hit in found:
        age = ages[int(hit.chunk.id)]
        worth = 0.0 if age is None else 0.5 ** (max(age, 0) / half)
        assert hit.score == pytest.approx(hits[int(hit.chunk.id)].score * (1 - share + share * worth))


@pytest.mark.parametrize(
    ("metadata", "date"),
    [
        ({"date": "2024-05-06"}, datetime.date(2024, 5, 6)),
        ({"date": "2024-05-06T10:00:00Z"}, datetime.date(2024, 5, 6)),
        ({"date": "2024-05"}, datetime.date(2024, 5, 1)),
        ({"date": "2024"}, datetime.date(2024, 1, 1)),
        ({"date": "soon", "sent": "2020-01-02"}, datetime.date(2020, 1, 2)),
        ({"date": 2024}, None),
        ({}, None),
    ],
)
def test_a_date_is_read_in_iso_form(metadata: Metadata, date: datetime.date | None) -> None:
    assert dated(metadata) == date


def test_hits_are_told_apart_by_the_vectors_that_the_index_has(tmp_path: Path) -> None:
    """Nothing is embedded for it, so that it is done for a search by words alone too."""
    chosen = Settings(retrieval=RetrievalSettings(duplicates="show", diversity=0.8))
    texts = ["the lease ends in March", "the lease ends in March or April", "a cat on the lease"]
    with KnowledgeBase.open(tmp_path / "kb", settings=chosen, embedder=HashEmbedder()) as kb:
        kb.ingest([Document(text=text, uri=f"n:{at}") for at, text in enumerate(texts)])
        found = kb.explain("lease March", k=2, mode="sparse")
    assert [hit.uri for hit in found.hits] == ["n:0", "n:2"]


def test_a_knowledge_base_shows_differing_and_newer_hits_where_the_settings_want_it(tmp_path: Path) -> None:
    texts = ["the lease ends in March", "the lease ends in March or April", "a cat on the lease", "a dog"]
    documents = [
        Document(text=text, uri=f"n:{at}", metadata={"date": f"20{10 + at}-01-01"}) for at, text in enumerate(texts)
    ]
    chosen = RetrievalSettings(duplicates="show", diversity=0.8)
    with KnowledgeBase.open(tmp_path / "kb", settings=Settings(retrieval=chosen), embedder=HashEmbedder()) as kb:
        kb.ingest(documents)
        found = kb.explain("when the lease ends in March", k=2)
    assert [hit.uri for hit in found.hits] == ["n:0", "n:3"]
    assert found.steps[-1].name == "diversity"
    newer = RetrievalSettings(recency_days=100, recency_share=1)
    with KnowledgeBase.open(tmp_path / "kb", settings=Settings(retrieval=newer), embedder=HashEmbedder()) as kb:
        found = kb.explain("when the lease ends in March")
    # The newest of all has nothing of the question: its score is 0, of which any share is 0.
    assert [hit.uri for hit in found.hits] == ["n:2", "n:1", "n:0", "n:3"]
    assert "days old" in found.hits[0].stages[-1].detail
