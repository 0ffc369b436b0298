"""How sure an answer is."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from ragagent.answer import abstain
from ragagent.types import Claim, Document, Evidence

Library = Callable[..., tuple[Evidence, dict[str, Document]]]

shares = st.floats(0, 1)
logs = st.floats(-20, 0) | st.none()


@given(covered=shares, fluency=logs, denied=logs)
def test_a_chance_is_between_nothing_and_certain(covered: float, fluency: float | None, denied: float | None) -> None:
    assert 0 < abstain.chance(covered, fluency, denied) < 1


@given(covered=shares, more=shares, fluency=st.floats(-3, 0), denied=st.floats(-3, 0), step=st.floats(0, 3))
def test_it_rises_with_coverage_and_fluency_and_falls_with_the_wish_to_deny(
    covered: float, more: float, fluency: float, denied: float, step: float
) -> None:
    here = abstain.chance(covered, fluency, denied)
    assert abstain.chance(max(covered, more), fluency, denied) >= here
    assert abstain.chance(covered, min(0.0, fluency + step), denied) >= here
    assert abstain.chance(covered, fluency, min(0.0, denied + step)) <= here


def test_no_answer_is_surer_than_the_same_with_perfect_fluency() -> None:
    assert abstain.chance(0.5, None, -1.0) <= abstain.chance(0.5, 0.0, -1.0)


def test_coverage_is_the_share_of_the_questions_terms_in_texts_and_titles(library: Library) -> None:
    evidence, _ = library("The oil crisis.")
    assert abstain.coverage("When was the oil crisis?", evidence) == 1.0
    assert abstain.coverage("Which oil tanker?", evidence) == 0.5
    assert abstain.coverage("text", evidence) == 1.0
    assert abstain.coverage("???", evidence) == 1.0


def test_unsupported_claims_lower_the_confidence_and_no_claims_leave_none(library: Library) -> None:
    evidence, _ = library("The oil crisis.")
    good, bad = Claim(text="a", supported=True), Claim(text="b")
    whole = abstain.confidence("oil", evidence, [good], -0.1, -2.0)
    assert abstain.confidence("oil", evidence, [good, bad], -0.1, -2.0) == whole * 0.75
    assert (
        abstain.confidence("oil", evidence, [bad], -0.1, -2.0)
        == abstain.confidence("oil", evidence, [], -0.1, -2.0)
        == 0.0
    )


def test_a_refusal_has_a_reason_and_the_nearest_passages_but_no_text(library: Library) -> None:
    evidence, _ = library()
    answer = abstain.refusal("Why?", abstain.NOT_ANSWERED, evidence)
    assert (answer.status, answer.text, answer.reason) == ("refused", "", abstain.NOT_ANSWERED)
    assert answer.evidence is evidence
    assert answer.citations == ()
