"""How sure an answer is."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from ragagent.answer import abstain
from ragagent.types import Claim, Document, Evidence

Library = Callable[..., tuple[Evidence, dict[str, Document]]]

shares = st.floats(0, 1)
logs_below = st.floats(-20, 0)
logs = logs_below | st.none()


@given(covered=shares, fluency=logs, stated=logs)
def test_a_chance_is_between_nothing_and_certain(covered: float, fluency: float | None, stated: float | None) -> None:
    assert 0 < abstain.chance(covered, fluency, stated) < 1


@given(covered=shares, more=shares, fluency=logs_below, stated=logs_below, step=st.floats(0, 3))
def test_it_rises_with_coverage_fluency_and_agreement(
    covered: float, more: float, fluency: float, stated: float, step: float
) -> None:
    here = abstain.chance(covered, fluency, stated)
    assert abstain.chance(max(covered, more), fluency, stated) >= here
    assert abstain.chance(covered, min(0.0, fluency + step), stated) >= here
    assert abstain.chance(covered, fluency, min(0.0, stated + step)) >= here


def test_no_answer_is_surer_than_the_same_with_perfect_fluency() -> None:
    assert abstain.chance(0.5, None, -1.0) <= abstain.chance(0.5, 0.0, -1.0)


def test_coverage_is_the_share_of_the_questions_terms_in_texts_and_titles(library: Library) -> None:
    evidence, _ = library("The oil crisis.")
    assert abstain.coverage("When was the oil crisis?", evidence) == 1.0
    assert abstain.coverage("Which oil tanker?", evidence) == 0.5
    assert abstain.coverage("text", evidence) == 1.0
    assert abstain.coverage("???", evidence) == 1.0


def test_unsupported_claims_lower_the_confidence_and_no_claims_leave_none() -> None:
    good, bad = Claim(text="a", supported=True), Claim(text="b")
    whole = abstain.confidence("oil", [good], -0.1, -0.2)
    assert abstain.confidence("oil", [good, bad], -0.1, -0.2) == whole * 0.75
    assert abstain.confidence("oil", [bad], -0.1, -0.2) == abstain.confidence("oil", [], -0.1, -0.2) == 0.0


def test_a_refusal_has_a_reason_and_the_nearest_passages_but_no_text(library: Library) -> None:
    evidence, _ = library()
    answer = abstain.refusal("Why?", abstain.NOT_ANSWERED, evidence)
    assert (answer.status, answer.text, answer.reason) == ("refused", "", abstain.NOT_ANSWERED)
    assert answer.evidence is evidence
    assert answer.citations == ()
