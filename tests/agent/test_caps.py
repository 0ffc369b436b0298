"""Caps and cancelling: whatever a model says, a run ends, and says what ended it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.agent.runner import AgentRunner
from ragagent.models.llama import LlamaModel
from ragagent.protocols import Tool
from ragagent.settings import AgentSettings, LlmSettings, Strategy
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools.function import tool
from ragagent.types import Answer, Completion, Hit, Message, Usage


def cite(task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
    return Answer(question=task, text=text, status="grounded", confidence=1.0, citations=())


def offered(llm: ScriptedLLM) -> list[list[str]]:
    """The tools that each request's grammar admits."""
    grammars = [json.loads(request.grammar.source) for request in llm.requests if request.grammar is not None]
    return [[choice["properties"]["tool"]["const"] for choice in one.get("anyOf", ())] for one in grammars]


def planned(number: int) -> str:
    search = {"tool": "search_documents", "arguments": {"query": f"room {number}"}}
    return json.dumps({"needs": "so", "plan": [search, {"tool": "calculate", "arguments": {}}]})


caps = st.builds(
    AgentSettings,
    max_steps=st.integers(1, 9),
    max_calls=st.none() | st.integers(0, 4),
    max_tokens=st.none() | st.integers(1, 4000),
    max_seconds=st.none() | st.just(0.0),
    strategy=st.sampled_from(get_args(Strategy)),
)
kinds = st.sampled_from(["search", "sum", "answer", "junk", "plan"])


@given(limits=caps, said=st.lists(kinds, min_size=30, max_size=30))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_run_ends_within_its_caps_and_says_which_one_it_was(
    limits: AgentSettings, said: list[str], script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    written = [
        {
            "search": say("search_documents", query=f"room {number}"),
            "sum": say("calculate", expression=f"{number} + 1"),
            "answer": say("final_answer", answer="so"),
            "junk": "{",
            "plan": planned(number),
        }[one]
        for number, one in enumerate(said)
    ]
    # Several drafts of each step, and a second try of it, read far more replies than there are steps.
    llm = script(*written * 5)
    result = AgentRunner(llm, tools, cite=cite, settings=limits).run("What is it?")
    calls = [step for step in result.steps if step.call is not None and step.call.name != "final_answer"]
    assert len(result.steps) <= limits.max_steps
    assert limits.max_calls is None or len(calls) <= limits.max_calls
    if limits.max_seconds == 0:
        assert len(result.steps) == 1
    if limits.max_tokens is not None:
        before = sum((step.usage for step in result.steps[:-2]), start=Usage())
        assert before.prompt_tokens + before.completion_tokens <= limits.max_tokens
    if result.stopped not in {"finished", "error"}:
        assert offered(llm)[-1] == ["final_answer"]
        assert result.answer.status in {"partial", "refused"}


@pytest.mark.parametrize(
    ("limits", "cap"),
    [
        (AgentSettings(max_calls=1), "call_limit"),
        (AgentSettings(max_tokens=5), "token_limit"),
        (AgentSettings(max_steps=2), "step_limit"),
    ],
)
def test_a_cap_leaves_the_answer_from_what_is_known_and_names_itself(
    limits: AgentSettings, cap: str, script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    llm = script(say("search_documents", query="room"), say("final_answer", answer="84 euros"))
    result = AgentRunner(llm, tools, cite=cite, settings=limits).run("What does a room cost?")
    assert (result.stopped, result.answer.text, result.answer.status) == (cap, "84 euros", "partial")
    assert offered(llm)[-1] == ["final_answer"]


def test_a_tool_has_a_cap_of_its_own(script: Callable[..., Any], say: Callable[..., str]) -> None:
    @tool(effects={"read"}, max_calls=2)
    def peek(at: int) -> int:
        return at

    @tool(effects={"read"})
    def look(at: int) -> int:
        return at

    said = [say("peek", at=1), say("peek", at=2), say("peek", at=3), say("look", at=3), say("final_answer", answer="3")]
    llm = script(*said)
    result = AgentRunner(llm, [peek, look], cite=cite).run("Peek")
    assert [("peek" in names, "look" in names) for names in offered(llm)] == [(True, True)] * 2 + [(False, True)] * 3
    observation = result.steps[2].observation
    assert observation is not None
    assert "'peek' cannot be used now" in observation.content


class Slow(ScriptedLLM):
    """A model that takes its time, and can be stopped."""

    def __init__(self) -> None:
        super().__init__([])
        self.begun = threading.Event()
        self.stopped = threading.Event()

    def chat(self, messages: Sequence[Message], **more: Any) -> Completion:
        self.begun.set()
        assert self.stopped.wait(60)
        return Completion(text="{", finish="cancelled", usage=Usage())

    def cancel(self) -> None:
        self.stopped.set()


def test_a_cancelled_run_stops_its_model_and_can_be_resumed(
    tmp_path: Path, script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    slow = Slow()
    runner = AgentRunner(slow, tools, cite=cite, checkpoints=tmp_path / "agent.db")
    found: list[Any] = []
    worker = threading.Thread(target=lambda: found.append(runner.run("What does a room cost?", run_id="r")))
    worker.start()
    assert slow.begun.wait(60)
    runner.cancel("r")
    worker.join(60)
    assert (found[0].stopped, found[0].answer.status) == ("cancelled", "refused")
    runner.close()
    llm = script(say("search_documents", query="room"), say("final_answer", answer="84 euros"))
    again = AgentRunner(llm, tools, cite=cite, checkpoints=tmp_path / "agent.db")
    assert again.resume("r").answer.text == "84 euros"
    again.close()


def test_time_that_is_over_stops_the_model_in_mid_step(say: Callable[..., str], tools: list[Tool]) -> None:
    class SlowOnce(Slow):
        def chat(self, messages: Sequence[Message], **more: Any) -> Completion:
            if not self.stopped.is_set():
                return super().chat(messages, **more)
            return Completion(text=say("final_answer", answer="so"), finish="stop", usage=Usage())

    result = AgentRunner(SlowOnce(), tools, cite=cite, settings=AgentSettings(max_seconds=0.3)).run("x")
    assert (result.stopped, result.answer.text) == ("time_limit", "so")


@pytest.mark.model
def test_a_real_model_is_stopped_while_it_reads_its_prompt(tiny_gguf: Path) -> None:
    llm = LlamaModel(tiny_gguf, LlmSettings(context_tokens=2048))
    llm.start()
    threading.Timer(0.2, llm.cancel).start()
    begin = time.monotonic()
    asked = [Message(role="user", content="Count to a thousand, one number a line. " * 100)]
    assert llm.chat(asked, max_tokens=700).finish == "cancelled"
    assert time.monotonic() - begin < 60
    llm.close()
