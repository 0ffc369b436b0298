"""How sure an answer is."""

from __future__ import annotations

from collections.abc import Callable

from ragagent.answer import abstain
from ragagent.types import Citation, Claim, Document, Evidence, Signals, Span

Library = Callable[..., tuple[Evidence, dict[str, Document]]]


def quote(citation: Citation) -> str:
    return citation.quote


def cited(quote: str) -> Citation:
    return Citation(quote=quote, document_id="d", uri="file:d", title="d", span=Span(0, len(quote)), verified=True)


def test_coverage_is_the_share_of_the_questions_terms_in_texts_and_titles(library: Library) -> None:
    evidence, _ = library("The oil crisis.")
    assert abstain.coverage("When was the oil crisis?", evidence) == 1.0
    assert abstain.coverage("Which oil tanker?", evidence) == 0.5
    assert abstain.coverage("text", evidence) == 1.0
    assert abstain.coverage("???", evidence) == 1.0


def test_signals_are_of_the_supported_claims_alone_and_there_are_none_without_one() -> None:
    good = Claim(text="a", supported=True, citations=(cited("the oil crisis"),))
    bad = Claim(text="b", citations=(cited("the tanker"),))
    assert abstain.signals("oil tanker", [good, bad], quote, -0.1, -0.2) == Signals(
        stated=-0.2, covered=0.5, fluency=-0.1, supported=0.5
    )
    assert abstain.signals("oil", [bad], quote, -0.1, -0.2) is None
    assert abstain.signals("oil", [], quote, -0.1, -0.2) is None


def test_a_refusal_has_a_reason_and_the_nearest_passages_but_no_text(library: Library) -> None:
    evidence, _ = library()
    answer = abstain.refusal("Why?", abstain.NOT_ANSWERED, evidence)
    assert (answer.status, answer.text, answer.reason) == ("refused", "", abstain.NOT_ANSWERED)
    assert answer.evidence is evidence
    assert answer.citations == ()
