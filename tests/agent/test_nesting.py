"""An agent inside another, and inside somebody else's graph, keeps to its rights and to the caps around it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from ragagent import Agent, Document, KnowledgeBase, tool
from ragagent.agent.policy import Policy
from ragagent.jsonable import jsonable
from ragagent.protocols import Tool
from ragagent.settings import AgentSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Decision, Message

LEASE = Document(
    uri="file:///lease.txt",
    title="Lease",
    text="The lease of the mill runs for twelve years and is renewed in spring unless a party objects in writing.",
)
SENT: list[str] = []


@tool(effects={"network"})
def send_note(text: str) -> str:
    """Sends a note.

    text: what it says.
    """
    SENT.append(text)
    return "sent"


def step(name: str, **arguments: Any) -> str:
    return json.dumps({"found": "", "tool": name, "arguments": arguments})


def answer(text: str) -> str:
    return step("final_answer", answer=text)


def scripted(replies: Sequence[str]) -> ScriptedLLM:
    """Says these one after another, and then what bears the answer out."""
    rest = iter(replies)
    return ScriptedLLM(lambda _: next(rest, f"> {LEASE.text}"))


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    SENT.clear()
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(), llm=ScriptedLLM([])) as there:
        there.ingest([LEASE])
        yield there


SEARCH = step("search_documents", query="lease of the mill")
RUNS = "The lease of the mill runs for twelve years."


def inner(kb: KnowledgeBase, replies: Sequence[str] = (SEARCH, answer(RUNS)), **given: Any) -> Agent:
    return Agent(kb, llm=scripted(replies), **given)


def outer(kb: KnowledgeBase, replies: Sequence[str], tools: Sequence[Tool], **given: Any) -> Agent:
    return Agent(kb, tools, llm=scripted(replies), **given)


def limits(**caps: Any) -> Settings:
    return replace(Settings(), agent=AgentSettings(**caps))


ASK = step("research", task="How long does the lease run?")


def test_the_answer_of_an_agent_is_an_untrusted_result_with_its_documents_and_its_cost(kb: KnowledgeBase) -> None:
    with inner(kb) as helper:
        helping = helper.as_tool("research", "Finds things out.")
        assert helping.spec.effects == ("read",)
        with outer(kb, [ASK, answer(RUNS)], [helping]) as agent:
            result = agent.run("How long does the lease run?")
    seen = result.steps[0].observation
    assert seen is not None
    assert "twelve years" in seen.content
    assert not seen.label.trusted
    assert f"document:{LEASE.id}" in seen.label.sources
    assert seen.calls == 1
    assert 0 < seen.usage.prompt_tokens < result.steps[0].usage.prompt_tokens
    assert result.answer.citations
    assert result.answer.citations[0].document_id == LEASE.id


def test_effects_are_those_of_all_the_tools_of_the_agent_that_it_may_ever_use(kb: KnowledgeBase) -> None:
    with inner(kb, tools=[send_note]) as free, inner(kb, tools=[send_note], policy=Policy(read_only=True)) as tied:
        assert free.as_tool("one", "One.").spec.effects == ("read", "network")
        assert tied.as_tool("two", "Two.").spec.effects == ("read",)


def test_a_task_that_derives_from_documents_is_asked_about_before_an_agent_that_acts_gets_it(kb: KnowledgeBase) -> None:
    """Inside the task counts as the user's: so nothing untrusted may become it unseen."""
    helper = inner(kb, [step("send_note", text="all is lost"), answer("Sent.")], tools=[send_note])
    with helper:
        helping = helper.as_tool("helper", "Does things.")
        script = [SEARCH, step("helper", task="send the note: all is lost"), answer("Done.")]
        with outer(kb, script, [helping]) as agent:
            result = agent.run("What does the lease say?")
            assert result.approval is not None
            assert result.approval.tool == "helper"
            assert SENT == []
            result = agent.resume(result.run_id, result.approval.approve())
    assert SENT == ["all is lost"]


def test_inside_an_agent_nobody_is_asked_and_what_documents_have_touched_is_denied(kb: KnowledgeBase) -> None:
    script = [SEARCH, step("send_note", text="all is lost"), answer("Sent.")]
    with inner(kb, script, tools=[send_note]) as helper:
        helper.as_tool("helper", "Does things.").call({"task": "look after the lease"})
    assert SENT == []


@pytest.mark.parametrize("cap", ["max_calls", "max_tokens"])
def test_what_is_spent_inside_counts_outside_and_what_is_left_outside_bounds_the_inside(
    kb: KnowledgeBase, cap: str
) -> None:
    many = [step("search_documents", query=f"lease {n}") for n in range(6)]
    caps: dict[str, int] = {"max_calls": 3} if cap == "max_calls" else {"max_tokens": 700}
    with inner(kb, [*many, answer(RUNS)]) as helper:
        helping = helper.as_tool("research", "Finds things out.")
        with outer(kb, [ASK, answer(RUNS)], [helping], settings=limits(**caps)) as agent:
            result = agent.run("How long does the lease run?")
    seen = result.steps[0].observation
    assert seen is not None
    assert seen.calls < 6
    if cap == "max_calls":
        assert seen.calls <= 2
        assert result.stopped == "call_limit"
    else:
        assert result.stopped == "token_limit"


def test_agents_that_call_each_other_come_to_an_end(kb: KnowledgeBase) -> None:
    calls = iter(range(100))

    class Again:
        """A tool that calls the agent which has it."""

        def __init__(self) -> None:
            self.target: Callable[[], Any] = lambda: None

        @property
        def spec(self) -> Any:
            return self.target().spec

        def call(self, arguments: Any) -> str:
            return str(self.target().call(arguments))

        def delegate(self, arguments: Any, left: Any) -> Any:
            return self.target().delegate(arguments, left)

    again = Again()
    first = inner(kb, []).as_tool("again", "Again.")
    again.target = lambda: first

    def reply(messages: Any) -> str:
        return step("again", task=f"round {next(calls)}") if len(messages) < 4 else answer("Done.")

    with Agent(kb, [again], llm=ScriptedLLM(reply)) as agent:
        first = agent.as_tool("again", "Again.")
        assert "Done." in first.call({"task": "begin"})
    assert next(calls) == 3


class Outside(TypedDict, total=False):
    task: str
    answer: str
    result: dict[str, Any]
    checked: str


def around(graph: Any, **given: Any) -> Any:
    """Somebody else's graph with the agent as one of its nodes."""
    made = StateGraph(Outside)
    made.add_node("ask", lambda state: {"task": f"{state['task']} Say it shortly."})
    made.add_node("agent", graph)
    made.add_node("look", lambda state: {"checked": state["answer"].upper()})
    for one, other in ((START, "ask"), ("ask", "agent"), ("agent", "look"), ("look", END)):
        made.add_edge(one, other)
    return made.compile(**given)


def test_an_agent_is_a_node_of_another_graph(kb: KnowledgeBase) -> None:
    with inner(kb) as agent:
        graph = around(agent.graph)
        found = graph.invoke({"task": "How long does the lease run?"})
        assert found["checked"] == found["answer"].upper()
        assert found["result"]["task"] == "How long does the lease run? Say it shortly."
        assert found["result"]["stopped"] == "finished"
        json.dumps(found)
    with inner(kb) as agent:
        kinds = [event["kind"] for event in agent.graph.stream({"task": "How long?"}, stream_mode="custom")]
    assert kinds[:2] == ["call", "observation"] or "call" in kinds


def test_a_graph_around_an_agent_is_interrupted_for_each_approval_and_goes_on_with_the_decision(
    kb: KnowledgeBase,
) -> None:
    script = [SEARCH, step("send_note", text="one"), step("send_note", text="two"), answer("Sent.")]
    config: Any = {"configurable": {"thread_id": "t"}}
    with Agent(kb, [send_note], llm=scripted(script)) as agent:
        graph = around(agent.graph, checkpointer=InMemorySaver())
        state = graph.invoke({"task": "Look after the lease."}, config)
        for expected in (["one"], ["one", "two"]):
            (asked,) = state["__interrupt__"]
            decision = Decision(approval_id=asked.value["id"], approved=True)
            state = graph.invoke(Command(resume=jsonable(decision)), config)
            assert expected == SENT
        assert state["answer"]
        assert len(agent._runner.journal.runs()) == 1


def test_without_a_checkpointer_the_result_says_what_it_waits_for(kb: KnowledgeBase) -> None:
    with Agent(kb, [send_note], llm=scripted([SEARCH, step("send_note", text="one"), answer("Sent.")])) as agent:
        found = around(agent.graph).invoke({"task": "Look after the lease."})
        waiting = found["result"]["approval"]
        assert SENT == []
        decision = Decision(approval_id=waiting["id"], approved=True)
        assert agent.resume(found["result"]["run_id"], decision).stopped == "finished"
    assert SENT == ["one"]


def test_a_team_is_led_by_an_agent_whose_tools_are_agents_and_goes_on_after_its_end(kb: KnowledgeBase) -> None:
    ask = step("researcher", task="How long does the lease of the mill run?")
    llm = ScriptedLLM(lambda messages: _of_the_team(messages, ask))
    with Agent(kb, llm=llm, tools=[send_note]) as agent:
        result = agent.run("How long does the lease run?", run_id="t", strategy="team")
        assert [one.call.name for one in result.steps if one.call] == ["researcher", "final_answer"]
        assert result.steps[0].observation is not None
        assert result.steps[0].observation.calls == 1
        assert agent.resume("t").steps == result.steps
    systems = {request.messages[0].content for request in llm.requests if request.messages[0].role == "system"}
    leading = next(one for one in systems if "researcher(" in one)
    assert "worker(" in leading
    assert "send_note(" not in leading
    researching = next(one for one in systems if "search_documents(" in one)
    assert "send_note(" not in researching
    assert "researcher(" not in researching


def _of_the_team(messages: Sequence[Message], ask: str) -> str:
    """The leader asks first, the researcher searches first; then both answer, and the words are found in the lease."""
    if messages[0].role != "system" or "Rules:" not in messages[0].content:
        return f"> {LEASE.text}"
    if len(messages) > 2:
        return answer(RUNS)
    return ask if "researcher(" in messages[0].content else SEARCH
