"""Documents that disagree are both quoted, and the conflict is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.answer import abstain, compose, conflict, quote
from ragagent.settings import AnswerSettings
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Answer, Completion, Document, Evidence, Message

Library = Callable[..., tuple[Evidence, dict[str, Document]]]

QUESTION = "What is the notice period of the lease?"
OLD = "This lease is between two companies. The notice period of the lease is 30 days. Rent is due monthly."
NEW = "Amendment to the lease. The notice period of the lease is 60 days from now on."


class Judging(ScriptedLLM):
    """Takes whatever is cited for an answer, unless `doubted` stands in it."""

    doubted = "nothing of this"

    def chat(self, messages: Sequence[Message], **given: Any) -> Completion:
        completion = super().chat(messages, **given)
        unlikely = len(messages) == 1 and self.doubted in messages[0].content
        return replace(completion, mean_logprob=-5.0 if unlikely else -0.05)


def asked(library: Library, said: str, *texts: str, question: str = QUESTION) -> Answer:
    """The answer when the model copies `said`; all that it is asked about cited words is whether they answer."""
    evidence, documents = library(*texts, question=question)
    llm = Judging(lambda messages: "Yes" if len(messages) == 1 else said)
    events = compose.answer(question, evidence, llm, document=documents.get, settings=AnswerSettings())
    answer = list(events)[-1].answer
    assert answer is not None
    return answer


def test_two_documents_that_disagree_are_both_quoted_and_named(library: Library) -> None:
    answer = asked(library, "30 days", OLD, NEW)
    assert answer.status == "partial"
    assert answer.reason == "the documents disagree: Text 0, page 7, Text 1, page 8"
    assert [one.document_id for one in answer.citations] == ["d0", "d1"]
    assert "60 days" in answer.citations[1].quote
    assert all(claim.supported for claim in answer.claims)
    assert "30 days" in answer.text
    assert "60 days" in answer.text


@pytest.mark.parametrize(
    ("said", "texts", "question"),
    [
        ("30 days", (OLD, OLD.replace("lease is between", "contract is among")), QUESTION),
        ("30 days", (OLD,), QUESTION),
        ("30 days", (OLD, "The lease of the garage runs for 60 months."), QUESTION),
        ("Anna Schmidt", ("The director is Anna Schmidt.", "The director is Mrs Schmidt."), "Who is the director?"),
        ("a red door", ("The house has a red door.", "The house has a green door."), "Which door has the house?"),
    ],
    ids=["the same", "alone", "something else", "shorter", "nothing to compare"],
)
def test_what_does_not_contradict_stays_out(said: str, texts: Sequence[str], question: str, library: Library) -> None:
    answer = asked(library, said, *texts, question=question)
    assert answer.status == "grounded"
    assert len(answer.citations) == 1


@pytest.mark.parametrize(
    ("said", "one", "other", "question"),
    [
        (
            "1 March 2025",
            "The plant opens on 1 March 2025.",
            "The plant opens on 1 April 2025.",
            "When does the plant open?",
        ),
        ("Anna Schmidt", "The director is Anna Schmidt.", "The director is Ben Jones.", "Who is the director?"),
        ("30 Tage", "Die Frist beträgt 30 Tage.", "Die Frist beträgt 60 Tage.", "Wie lang ist die Frist?"),
        ("$1,234.50", "The fee is $1,234.50.", "The fee is $1,243.50.", "What is the fee?"),
    ],
)
def test_dates_names_and_amounts_are_compared_in_any_language(
    said: str, one: str, other: str, question: str, library: Library
) -> None:
    answer = asked(library, said, one, other, question=question)
    assert answer.reason.startswith(abstain.CONFLICT)
    assert [citation.quote for citation in answer.citations] == [one, other]


def test_what_the_model_does_not_take_for_an_answer_is_no_conflict(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Judging, "doubted", "60 days")
    assert asked(library, "30 days", OLD, NEW).status == "grounded"


@given(numbers=st.lists(st.integers(1, 10**6), min_size=2, max_size=2, unique=True), filler=st.text(max_size=30))
def test_a_rival_stands_in_another_document_and_says_another_number(
    numbers: list[int], filler: str, library: Library
) -> None:
    first, second = (f"The limit of the pump is {number} litres." for number in numbers)
    evidence, documents = library(f"{filler}\n{first}", second, question="What is the limit of the pump?")
    place = quote.find(str(numbers[0]), evidence)
    assert place is not None
    citation = quote.citation(quote.widened(place), documents.get)
    answer = Answer(
        question=evidence.question, text=str(numbers[0]), status="grounded", confidence=1.0, citations=(citation,)
    )
    rival = conflict.rival(answer, evidence)
    if citation.document_id == "d0":
        assert rival is not None
        assert rival.passage.document_id == "d1"
        assert str(numbers[1]) in rival.text
