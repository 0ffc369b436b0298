from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.eval import metrics
from ragagent.eval.answer_figures import figures
from ragagent.eval.answer_records import CitationRecord, QuestionRecord
from ragagent.types import Span


def citation(*, exact: bool = True, verified: bool = True) -> CitationRecord:
    return CitationRecord(
        quote="x", document_id="d", span=Span(0, 1), page=None, verified=verified, exact=exact, contains_gold=exact
    )


def record(number: int, *, impossible: bool = False, refused: bool = False, right: float = 1.0) -> QuestionRecord:
    scores = {"EM": right, "F1": right}
    if not impossible:
        scores |= {"contains": right, "gold cited": right, "gold in evidence": 1.0}
    return QuestionRecord(
        id=str(number),
        question="?",
        golds=() if impossible else ("x",),
        impossible=impossible,
        answer="" if refused else "x",
        status="refused" if refused else "grounded",
        confidence=0.1 if refused else 0.8,
        reason="",
        refused=refused,
        citations=() if refused else (citation(),),
        scores=scores,
        seconds=float(number),
    )


def estimate(records: list[QuestionRecord], name: str) -> float | None:
    found = figures(records)[name]
    return None if found is None else found.estimate


OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans(), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=12)


@settings(max_examples=15, deadline=None)
@given(OUTCOMES)
def test_every_figure_is_what_its_name_says_of_the_records(outcomes: list[tuple[bool, bool, float]]) -> None:
    records = [
        record(number, impossible=impossible, refused=refused, right=right)
        for number, (impossible, refused, right) in enumerate(outcomes)
    ]
    found = {name: None if item is None else item.estimate for name, item in figures(records).items()}
    answerable = [row for row in records if not row.impossible]
    refusals = metrics.refusals([row.refused for row in records], [row.impossible for row in records])
    assert found["refusal precision"] == refusals.precision
    assert found["refusal recall"] == refusals.recall
    assert found["false refusals"] == refusals.false_share
    mean = np.mean([row.scores["F1"] for row in answerable]) if answerable else None
    assert found["F1"] == (None if mean is None else pytest.approx(mean))
    assert found["seconds p50"] == pytest.approx(np.median([row.seconds for row in records]))


@settings(max_examples=10, deadline=None)
@given(OUTCOMES)
def test_an_interval_holds_its_estimate_and_the_same_records_give_the_same_figures(
    outcomes: list[tuple[bool, bool, float]],
) -> None:
    records = [record(i, impossible=a, refused=b, right=c) for i, (a, b, c) in enumerate(outcomes)]
    found = figures(records)
    assert found == figures(records)
    for name in ("EM", "F1 of all", "citations exact", "false refusals"):
        item = found[name]
        assert item is None or item.low - 1e-9 <= item.estimate <= item.high + 1e-9


def test_a_citation_that_is_marked_verified_and_is_not_exact_is_seen() -> None:
    good = record(0)
    bad = dataclasses.replace(record(1), citations=(citation(exact=False), citation(exact=False, verified=False)))
    assert estimate([good, bad], "citations exact") == pytest.approx(1 / 3)
    assert estimate([good, bad], "citations verified") == pytest.approx(2 / 3)
    assert estimate([good, bad], "verified but wrong") == pytest.approx(1 / 2)
    assert estimate([good, bad], "answers cited") == pytest.approx(1 / 2)
    assert estimate([good], "verified but wrong") == 0.0


def test_a_question_that_failed_counts_as_wrong_and_as_failed() -> None:
    failed = dataclasses.replace(record(1, right=0.0), status="failed", answer="", citations=())
    assert estimate([record(0), failed], "EM") == 0.5
    assert estimate([record(0), failed], "failed") == 0.5
    assert estimate([record(0), failed], "refusal precision") is None


def test_a_confidence_outside_0_to_1_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        figures([dataclasses.replace(record(0), confidence=1.2)])
