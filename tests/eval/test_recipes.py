"""Ways to an answer side by side, over the same questions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ragagent import Document, KnowledgeBase
from ragagent.eval import recipes
from ragagent.eval.datasets import Question
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Usage

FERRY = "The ferry to the island leaves the harbour at seven in the morning."
QUESTION = Question(id="1", text="When does the ferry leave?", answers=("seven",))


def test_the_plain_way_reads_our_passages_under_the_recipes_prompt_unconstrained(tmp_path: Path) -> None:
    llm = ScriptedLLM(["It leaves at seven."])
    with KnowledgeBase.open(tmp_path, embedder=HashEmbedder(), llm=llm) as kb:
        kb.ingest([Document(uri="n:1", title="Ferry", text=FERRY)])
        record = recipes.plain(kb, QUESTION)
    (request,) = llm.requests
    assert request.grammar is None
    assert FERRY in request.messages[0].content
    assert request.messages[0].content.startswith("You are an assistant for question-answering tasks.")
    assert (record.answer, record.scores["contains"], record.citations) == ("It leaves at seven.", 1.0, ())


def test_a_table_counts_only_what_every_way_has_answered() -> None:
    right = recipes.said(QUESTION, "seven", 1.0, Usage(prompt_tokens=10))
    wrong = recipes.said(QUESTION, "noon", 3.0, Usage(prompt_tokens=30))
    ours = {"1": right, "2": replace(right, id="2"), "3": replace(wrong, id="3")}
    shown = recipes.table("a model", {"ragagent": ours, "plain": {"1": wrong, "2": wrong}})
    assert "a model, 2 questions" in shown
    assert "| ragagent | 1.000 | 1.000 | 1.000 | - | - | 0.000 | 1.00 | 10 |  |" in shown
    assert "| plain | 0.000 | 0.000 | 0.000 | - | - | 0.000 | 3.00 | 30 | -1.000" in shown
