"""Answers of other layouts: whatever the model writes, what is shown stands in the documents and is cited."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.answer import spoken, styled, styles
from ragagent.models.grammar import check
from ragagent.settings import AnswerSettings
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Answer, AnswerStyle, Document, Evidence

Library = Callable[..., tuple[Evidence, dict[str, Document]]]
LAID: list[AnswerStyle] = ["full", "list", "table"]
ROOMS = (
    "Room | Seats | Price\nHall | 220 | 85\nLinden Room | 60 | 34\n\nThe house opens at 8:00. Guests bring no candles."
)
PIECES = [
    "Hall",
    "Linden Room",
    "220",
    "60",
    " | ",
    "\n",
    "- ",
    "The house opens at 8:00.",
    "Attic",
    "NOT FOUND",
    "```",
    "-",
]


def asked(reply: str, style: AnswerStyle, library: Library, *, constrains: bool = True, least: float = 0.0) -> Answer:
    evidence, documents = library(ROOMS)
    asking = styled.Asking(
        question="Which rooms are there, with seats and price?",
        evidence=evidence,
        llm=ScriptedLLM(lambda _: reply, constrains=constrains),
        document=documents.get,
        settings=AnswerSettings(min_confidence=least),
    )
    *_, last = styled.answer(asking, style)
    assert last.answer is not None
    return last.answer


@settings(max_examples=60)
@given(
    reply=st.lists(st.sampled_from(PIECES), max_size=14).map("".join), style=st.sampled_from(LAID), held=st.booleans()
)
def test_whatever_the_model_says_every_part_that_is_shown_is_cited_in_the_documents_own_words(
    reply: str, style: AnswerStyle, held: bool, library: Library
) -> None:
    answer = asked(reply, style, library, constrains=held)
    for citation in (*answer.citations, *(one for claim in answer.claims for one in claim.citations)):
        assert citation.verified
        assert citation.span is not None
        assert citation.span.of(ROOMS) == citation.quote
    kept = [claim for claim in answer.claims if claim.supported]
    assert bool(answer.text) == (answer.status != "refused") == bool(kept)
    assert all(claim.citations for claim in kept)
    assert "Attic" not in answer.text
    if answer.status == "grounded":
        assert len(kept) == len(answer.claims)
        assert not any(claim.problems for claim in kept)


@settings(max_examples=20)
@given(found=st.lists(st.text('ab |1.-\n"\\/日é\u200b', min_size=1).filter(str.strip), min_size=1, max_size=3))
def test_every_evidence_makes_grammars_that_are_valid(found: list[str], library: Library) -> None:
    evidence, _ = library(*found)
    for style in LAID:
        grammar = styles.grammar(style, "What is it?", evidence)
        assert check(grammar) is grammar


def test_each_layout_is_as_it_is_documented(library: Library) -> None:
    assert asked("Guests bring no candles.", "full", library).text == "Guests bring no candles."
    assert asked("- Hall\n- Linden Room\n- Hall", "list", library).text == "- Hall\n- Linden Room"
    table = asked("Room | Seats\nHall | 220\nLinden Room | 220", "table", library)
    assert table.text == "| Room | Seats |\n| --- | --- |\n| Hall | 220 |"
    assert table.status == "partial"
    assert [claim.supported for claim in table.claims] == [True, False]


def test_the_name_of_a_column_is_no_invention(library: Library) -> None:
    table = asked("Room | Seats | Owner\nHall | 220 | -", "table", library)
    assert table.text.splitlines()[0] == "| Room | Seats |  |"


@pytest.mark.parametrize("style", LAID)
def test_what_is_not_sure_enough_or_not_found_is_refused(style: AnswerStyle, library: Library) -> None:
    for answer in (asked("NOT FOUND", style, library), asked("- Hall", style, library, least=0.999)):
        assert (answer.status, answer.text, answer.citations) == ("refused", "", ())


def test_styles_never_read_less_than_the_settings_say() -> None:
    for style in get_args(AnswerStyle):
        for given_settings in (AnswerSettings(), AnswerSettings(passages=9, sentences=40)):
            wide = styles.widened(given_settings, style)
            assert wide.passages >= given_settings.passages
            assert wide.sentences >= given_settings.sentences
            assert wide.max_tokens >= given_settings.max_tokens


@pytest.mark.parametrize(
    ("question", "reason", "said"),
    [
        (
            "Wann endet der Vertrag mit der Bank?",
            "the documents disagree: a, b",
            "die Dokumente widersprechen sich: a, b",
        ),
        ("Quand est-ce que le contrat se termine ?", "the time was over", "le temps était écoulé"),
        ("合同什么时候结束？", "the documents disagree", "文档之间互相矛盾"),
        ("When does the contract end?", "the documents disagree", "the documents disagree"),
        ("Wann endet der Vertrag mit der Bank?", "something else", "something else"),
    ],
)
def test_fixed_sentences_come_in_the_language_of_the_question(question: str, reason: str, said: str) -> None:
    answer = Answer(question=question, text="", status="refused", confidence=0.0, reason=reason)
    assert spoken.in_language_of_question(answer).reason == said
