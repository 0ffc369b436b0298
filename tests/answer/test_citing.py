"""Citations for a text that was written elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.answer import compose
from ragagent.settings import AnswerSettings
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Answer, Document, Evidence

Library = Callable[..., tuple[Evidence, dict[str, Document]]]


def cited(
    text: str, library: tuple[Evidence, dict[str, Document]], reply: str | None = None, computed: tuple[str, ...] = ()
) -> Answer:
    """The answer for `text`; a model that is asked without a `reply` fails the test."""
    evidence, documents = library
    llm = ScriptedLLM([] if reply is None else [reply])
    return compose.cite(
        "What happened?", text, evidence, llm, document=documents.get, settings=AnswerSettings(), computed=computed
    )


def test_a_sentence_with_the_numbers_and_names_is_found_without_the_model(library: Library) -> None:
    answer = cited("Tesla was born in 1856.", library())
    assert answer.status == "grounded"
    assert [citation.quote for citation in answer.citations] == ["Nikola Tesla was born in Smiljan in 1856."]
    assert answer.citations[0].page == 8


def test_facts_from_two_documents_have_two_citations(library: Library) -> None:
    answer = cited("Tesla was born in 1856, and OAPEC acted in October 1973.", library())
    assert answer.status == "grounded"
    assert {citation.document_id for citation in answer.citations} == {"d0", "d1"}


def test_a_text_without_numbers_and_names_is_cited_by_the_models_choice(library: Library) -> None:
    answer = cited("he stayed a bachelor", library(), reply="He never married.")
    assert answer.status == "grounded"
    assert [citation.quote for citation in answer.citations] == ["He never married."]


def test_what_the_model_does_not_find_is_refused(library: Library) -> None:
    answer = cited("it was fine", library(), reply="NOT FOUND")
    assert (answer.status, answer.text) == ("refused", "")
    assert answer.reason


def test_a_number_that_stands_nowhere_makes_the_answer_partial_and_is_named(library: Library) -> None:
    answer = cited("Tesla was born in 1857.", library())
    assert answer.status == "partial"
    assert "1857" in answer.reason
    assert not answer.claims[0].supported


def test_a_computed_number_needs_no_document_and_its_parts_are_cited(library: Library) -> None:
    answer = cited("It rose by 9 dollars.", library(), computed=("12 - 3 = 9",))
    assert answer.status == "grounded"
    assert [citation.quote for citation in answer.citations] == ["The price of a barrel rose from US$3 to nearly $12."]


def test_a_computed_answer_stands_without_evidence() -> None:
    answer = cited("The sum is 42.", (Evidence(question="q"), {}), computed=("42",))
    assert (answer.status, answer.citations) == ("grounded", ())


def test_without_evidence_and_computation_the_text_is_refused() -> None:
    assert cited("The sum is 42.", (Evidence(question="q"), {})).status == "refused"


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=30), reply=st.text(max_size=30) | st.sampled_from(["He never married.", "NOT FOUND"]))
def test_whatever_is_said_only_the_documents_own_words_are_cited(text: str, reply: str, library: Library) -> None:
    evidence, documents = library()
    answer = cited(text, (evidence, documents), reply=reply)
    for citation in answer.citations:
        assert citation.verified
        assert citation.span is not None
        assert citation.span.of(documents[citation.document_id].text) == citation.quote


@pytest.mark.parametrize("gone", [True, False])
def test_a_document_that_is_gone_is_not_cited(gone: bool, library: Library) -> None:
    evidence, documents = library()
    answer = cited("Tesla was born in 1856.", (evidence, {} if gone else documents))
    assert (answer.status == "refused") == gone
