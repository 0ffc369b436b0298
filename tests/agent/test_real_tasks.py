"""The default chat model on tasks that need a search and a calculation, checked exactly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragagent.app import Agent, KnowledgeBase
from ragagent.models.llama import LlamaModel
from ragagent.settings import LlmSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import AgentResult, Document

DOCUMENTS = [
    Document(
        uri="file:///inn.txt",
        title="Price list of the Lakeside Inn, 2025",
        text="A standard room costs 84 euros per night. A family room costs 132 euros per night. Breakfast is 14 euros "
        "for each guest and day. Dogs are welcome for 12 euros per stay.",
    ),
    Document(
        uri="file:///report.txt",
        title="Annual report 2024 of Nordwind Energy",
        text="Revenue was 482.6 million euros in 2024, after 431.2 million euros in 2023. Operating profit was 57.9 "
        "million euros. The company had 1,284 employees at the end of the year.",
    ),
    Document(
        uri="file:///policy.txt",
        title="Travel policy",
        text="The daily allowance is 28 euros for a full day. Mileage in a private car is paid at 0.30 euros per "
        "kilometre. Flights in business class need approval by the head of finance.",
    ),
]


@pytest.fixture(scope="module")
def agent(chat_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    llm = LlamaModel(chat_gguf, LlmSettings(context_tokens=4096))
    folder = tmp_path_factory.mktemp("tasks")
    with KnowledgeBase.open(folder, settings=Settings(), embedder=HashEmbedder(), llm=llm) as kb:
        kb.ingest(DOCUMENTS)
        with Agent(kb) as made:
            yield made
    llm.close()


TASKS = [
    ("What do 3 nights in a family room at the Lakeside Inn cost?", r"396", "132 euros per night"),
    ("By how many percent did the revenue of Nordwind Energy grow from 2023 to 2024?", r"11\.92\d*", "482.6 million"),
    ("How much is paid for a trip of 240 kilometres in a private car?", r"72(?:\.00?)?", "0.30 euros"),
    ("How many euros are paid for 240 kilometres in a private car?", r"72(?:\.00?)?", "0.30 euros"),
    ("What is paid for a trip of 240 kilometres in a private car?", r"72(?:\.00?)?", "0.30 euros"),
]


@pytest.mark.model
@pytest.mark.parametrize(("task", "number", "quoted"), TASKS)
def test_a_task_that_needs_a_search_and_a_sum_ends_in_the_right_cited_figure(
    agent: Agent, task: str, number: str, quoted: str
) -> None:
    assert _wrong(agent.run(task), number, quoted) == ""


def _wrong(result: AgentResult, number: str, quoted: str) -> str:
    """What is wrong with a run; nothing when the figure is exact, computed, cited and verified."""
    called = {step.call.name for step in result.steps if step.call is not None}
    sound = {
        "the figure": re.search(rf"(?<![\d.,])(?:{number})(?![\d]|[.,]\d)", result.answer.text),
        "how it stopped": result.stopped == "finished",
        "the tools it called": {"search_documents", "calculate"} <= called,
        "the citation": any(quoted in one.quote and one.verified for one in result.answer.citations),
        "the reuse of the prompt": result.usage.reused_tokens > 0,
    }
    failed = [name for name, holds in sound.items() if not holds]
    return f"{result.task}: {', '.join(failed)}: {result.answer.text}" if failed else ""
