"""Questions with and without an answer, and what refusing below a threshold makes of them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.answer.calibration import shipped
from ragagent.errors import ConfigError
from ragagent.eval import refusal
from ragagent.eval.answer_records import QuestionRecord
from ragagent.eval.refusal import Case
from ragagent.types import Signals


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """A set of 40 articles, each with a question that it answers and one that it does not, and a foreign one."""
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    own.mkdir()
    foreign.mkdir()
    rows = [
        {"id": f"{article}{kind}", "question": f"{kind} {article}?", "answers": [] if kind == "no" else ["x"]}
        | {"is_impossible": kind == "no", "doc_ids": [f"article{article}#0"]}
        for article in range(40)
        for kind in ("yes", "no")
    ]
    (own / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    others = [{"id": f"f{number}", "question": f"foreign {number}?", "answers": ["x"]} for number in range(40)]
    (foreign / "qa.jsonl").write_text("".join(json.dumps(row) + "\n" for row in others))
    return own, foreign


def articles(cases: list[Case]) -> set[str]:
    return {name for case in cases if case.kind != "foreign" for name in case.question.document_ids}


def test_half_have_an_answer_and_no_article_is_in_both_halves(sets: tuple[Path, Path]) -> None:
    halves = {half: refusal.drawn(*sets, half, 16, seed=0) for half in ("fit", "test")}
    for cases in halves.values():
        kinds = [case.kind for case in cases]
        assert [kinds.count(kind) for kind in ("answerable", "impossible", "removed", "foreign")] == [8, 4, 2, 2]
        assert len({case.put.id for case in cases}) == 16
        assert all(case.put.impossible == (case.kind != "answerable") for case in cases)
    assert not articles(halves["fit"]) & articles(halves["test"])
    assert refusal.drawn(*sets, "fit", 16, seed=0) == halves["fit"]


def test_only_of_what_is_removed_the_document_is_kept_out(sets: tuple[Path, Path]) -> None:
    for case in refusal.drawn(*sets, "test", 16, seed=1):
        expected = f'id != "{case.question.document_ids[0]}"' if case.kind == "removed" else None
        assert case.where == expected


def record(
    kind: str, number: int, confidence: float, *, right: bool = False, status: str = "grounded"
) -> QuestionRecord:
    return QuestionRecord(
        id=f"{kind}:{number}",
        question="?",
        golds=("x",),
        impossible=kind != "answerable",
        answer="x",
        status=status,
        confidence=confidence,
        reason="",
        refused=status == "refused",
        citations=(),
        scores={"contains": float(right)},
        seconds=1.0,
    )


def test_the_figures_are_those_of_a_table_counted_by_hand() -> None:
    found = [
        record("answerable", 1, 0.9, right=True),
        record("answerable", 2, 0.2, right=True),
        record("answerable", 3, 0.0, status="failed"),
        record("impossible", 4, 0.1),
        record("removed", 5, 0.8),
        record("foreign", 6, 0.0, status="refused"),
    ]
    figures = refusal.figures(found, 0.3)
    assert figures["refusal precision"] == 0.667
    assert figures["refusal recall"] == 0.667
    assert figures["refused by kind"] == {"foreign": 1.0, "impossible": 1.0, "removed": 0.0}
    assert figures["false refusals"] == 0.333
    assert figures["right answers refused"] == 0.5
    assert figures["answerable and right"] == 0.333
    assert refusal.figures(found, 0.0)["refusal recall"] == 0.333


SVG = "{http://www.w3.org/2000/svg}"
PRIOR = shipped("no model of this name")
logs = st.floats(-6, 0)
answered = st.builds(Signals, stated=logs, confirmed=logs, covered=st.floats(0, 1), fluency=logs, agreed=st.just(0.5))
asked = st.lists(
    st.tuples(answered | st.none(), st.sampled_from(["answerable", "impossible"])), min_size=1, max_size=30
)


@given(asked=asked, recall=st.floats(0.01, 1))
def test_what_is_fitted_refuses_the_wanted_share_of_the_unanswerable_and_no_lower_threshold_does(
    asked: list[tuple[Signals | None, str]], recall: float
) -> None:
    found = [
        replace(record(kind, number, 0.0), signals=asdict(signals) if signals else {})
        for number, (signals, kind) in enumerate(asked)
    ]
    untold = [signals for signals, kind in asked if kind == "impossible"]
    if not untold:
        with pytest.raises(ConfigError, match="without an answer"):
            refusal.fit(found, PRIOR, recall)
        return
    made = refusal.fit(found, PRIOR, recall)
    sure = [made.confidence(signals) if signals else 0.0 for signals in untold]
    assert sum(one < made.threshold for one in sure) >= recall * len(sure)
    lower = [one for one in sure if one < made.threshold]
    assert sum(one < max(lower) for one in sure) < recall * len(sure)
    assert made.questions == (sum(signals is not None for signals, _ in asked) or PRIOR.questions)


def test_signals_that_tell_right_from_wrong_are_given_weight() -> None:
    def signals(sure: bool) -> dict[str, object]:
        return asdict(Signals(stated=-0.1, confirmed=-0.05 if sure else -4.0, covered=0.5, fluency=-0.1, agreed=0.5))

    found = [
        replace(record("answerable" if sure else "impossible", number, 0.0, right=sure), signals=signals(sure))
        for number, sure in enumerate([True, False] * 40)
    ]
    flat = replace(PRIOR, confirmed=0.0)
    assert refusal.fit(found, flat, 0.9).confirmed > 0.5


@given(found=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30), least=st.floats(0, 1))
def test_the_picture_is_whole_and_nothing_is_drawn_outside_its_squares(
    found: list[tuple[float, bool]], least: float
) -> None:
    kinds = [record("answerable", number, sure, right=hit) for number, (sure, hit) in enumerate(found)]
    root = ElementTree.fromstring(refusal.plotted(kinds, least))
    dots = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in root.iter(f"{SVG}circle")]
    assert 2 <= len(dots) <= 11
    assert all(50 <= y <= 310 and (50 <= x <= 310 or 380 <= x <= 640) for x, y in dots)
    drawn, right_way = root.iter(f"{SVG}polyline")
    assert len(str(drawn.get("points")).split()) == len({sure for sure, _ in found})
    assert right_way.get("points") == "380.0,310.0 640.0,50.0"
