"""What a language model makes of a question, and that nothing it writes can do harm."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.app import KnowledgeBase
from ragagent.retrieve import wordings
from ragagent.settings import Understanding
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Document, Message

TALK = (Message(role="user", content="Who tested the vaccine?"), Message(role="assistant", content="Anna Berg did."))


def said(**values: object) -> ScriptedLLM:
    return ScriptedLLM([json.dumps(values)] * 4)


def test_a_follow_up_is_put_with_what_was_said_before() -> None:
    llm = said(question="Where was Anna Berg born?")
    assert wordings.standalone("Where was she born?", TALK, llm) == "Where was Anna Berg born?"
    (request,) = llm.requests
    assert "user: Who tested the vaccine?\nassistant: Anna Berg did." in request.messages[0].content
    assert request.grammar is not None


def test_without_a_conversation_the_model_is_not_asked() -> None:
    llm = ScriptedLLM([])
    assert wordings.standalone("Where was she born?", (), llm) == "Where was she born?"
    assert wordings.standalone("Where?", [Message(role="system", content="Be brief.")], llm) == "Where?"


def test_other_wordings_are_few_and_each_another_one() -> None:
    llm = said(questions=["b", "a", "b", " c\nd ", "", "e", "f"])
    assert wordings.variants("a", llm) == ["b", "c d"]


def test_each_wording_is_the_line_that_the_model_wrote() -> None:
    assert wordings.hypothetical("q", said(passage="It ends\nin March.")) == "It ends in March."
    assert wordings.step_back("q", said(question="more general")) == "more general"
    assert wordings.first_part("q", said(question="first")) == "first"
    assert wordings.next_part("q", [], said(question="next")) == "next"


@given(reply=st.text(max_size=400) | st.sampled_from(['{"question": 1}', "[]", "null", '{"question": "', "{}"]))
def test_whatever_a_model_writes_gives_short_lines_or_none(reply: str) -> None:
    llm = ScriptedLLM(lambda _: reply)
    found = [wordings.step_back("q", llm), wordings.hypothetical("q", llm), *wordings.variants("q", llm)]
    assert all(len(one) <= 300 and one == " ".join(one.split()) for one in found)
    assert wordings.standalone("q", TALK, llm)


def test_a_long_conversation_is_cut() -> None:
    llm = said(question="x")
    wordings.standalone("q", [Message(role="user", content="word " * 5000)] * 50, llm)
    assert len(llm.requests[0].messages[0].content) < 5000


DOCUMENTS = [
    Document(text="The vaccine was tested by Anna Berg in Malta.", uri="a", title="Trial"),
    Document(text="Anna Berg was born in the town of Visby.", uri="b", title="Berg"),
    Document(text="Copper, tin and lead are metals.", uri="c", title="Metals"),
]


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        kb.ingest(DOCUMENTS)
    return tmp_path / "kb"


def explained(folder: Path, llm: ScriptedLLM, query: str, understand: Sequence[Understanding], **options: object):  # type: ignore[no-untyped-def]
    with KnowledgeBase.open(folder, embedder=HashEmbedder(), llm=llm) as kb:
        return kb.explain(query, understand=understand, **options)  # type: ignore[arg-type]


def test_a_follow_up_is_searched_as_it_is_meant(filled: Path) -> None:
    llm = said(question="Where was Anna Berg born?")
    found = explained(filled, llm, "and where was she?", ["follow-up"], mode="sparse", conversation=TALK)
    assert found.searched == "Where was Anna Berg born?"
    assert found.steps[0].detail == "meant: Where was Anna Berg born?"
    assert found.hits[0].title == "Berg"


def test_the_steps_of_a_question_are_searched_one_after_the_other(filled: Path) -> None:
    llm = ScriptedLLM(['{"question": "Who tested the vaccine?"}', '{"question": "Where was Anna Berg born?"}'])
    found = explained(filled, llm, "birthplace of the vaccine tester", ["decompose"], mode="sparse")
    assert "The vaccine was tested by Anna Berg" in llm.requests[1].messages[0].content
    assert {hit.title for hit in found.hits} == {"Trial", "Berg"}
    assert "0.5 x 1.00 first step" in found.hits[0].stages[-1].detail


def test_other_wordings_are_spared_where_both_searches_agree(filled: Path) -> None:
    llm = ScriptedLLM([])
    found = explained(filled, llm, "Copper tin and lead are metals", ["variants", "hypothetical", "step-back"])
    assert found.hits[0].title == "Metals"
    assert "spared: both searches agree" in found.steps[-1].detail
    assert not llm.requests


def test_other_wordings_are_searched_where_they_do_not(filled: Path) -> None:
    replies = ['{"questions": ["who tried it out"]}', '{"passage": "Tin is a metal."}', '{"question": "metals"}']
    llm = ScriptedLLM(replies)
    found = explained(filled, llm, "qwertz", ["variants", "hypothetical", "step-back"])
    assert len(llm.requests) == 3
    assert "hypothetical passage (x 0.5): Tin is a metal." in next(
        s.detail for s in found.steps if s.name == "wordings"
    )
    assert found.hits[0].title == "Metals"


def test_filters_of_the_question_are_told_and_taken_away_by_name_or_where_nothing_is_left(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        kb.ingest(
            [
                Document(text="Rent rises.", uri="a", metadata={"date": "2020-05-01"}),
                Document(text="Rent falls.", uri="b", metadata={"date": "2022-05-01"}),
            ]
        )
        found = kb.explain("rent in reports from 2022", understand=["filters"])
        assert [hit.uri for hit in found.hits] == ["b"]
        assert [(one.name, one.words) for one in found.filters] == [("date", "reports from 2022")]
        assert "2022" in found.filters[0].where
        assert len(kb.explain("rent in reports from 2022", understand=["filters"], without=["date"]).hits) == 2
        both = kb.explain("rent in reports from 2022", understand=["filters"], where='uri = "a"')
        assert [hit.uri for hit in both.hits] == ["a"]
        assert [step.name for step in both.steps] == ["filters", "search", "filters", "search"]
        assert both.filters == ()
