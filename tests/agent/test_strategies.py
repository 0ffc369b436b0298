"""Strategies change what the model is asked, and nothing of what may be called, what it costs at most, or the log."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.agent.policy import Policy
from ragagent.agent.replay import replay
from ragagent.agent.runner import AgentRunner
from ragagent.agent.strategies import WAYS
from ragagent.models.grammar import compiled
from ragagent.protocols import Tool
from ragagent.settings import AgentSettings, Strategy
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools.calling import invalid
from ragagent.tools.function import tool
from ragagent.types import Answer, Completion, Grammar, Hit, Message, Sampling, Usage


def cite(task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
    return Answer(question=task, text=text, status="partial", confidence=0.0)


def step(name: str, thought: str = "so", **arguments: Any) -> str:
    return json.dumps({"found": thought, "tool": name, "arguments": arguments})


def doubts(*statements: str) -> str:
    return json.dumps({"unsupported": [{"statement": one, "why": "no result says it"} for one in statements]})


SEARCH = step("search_documents", query="room costs")
PLAN = json.dumps(
    {
        "plan": [
            {"need": "it", "tool": "note", "arguments": {"text": "hi", "times": {"find": "how often"}}},
            {"need": "it", "tool": "search_documents", "arguments": {"query": "room"}},
        ],
        "then": "calculate",
    }
)
replies = st.sampled_from(
    [
        SEARCH,
        PLAN,
        doubts(),
        doubts("84 euros"),
        step("calculate", expression="84 * 2"),
        step("note", text="hi", times=2),
        step("note", text="hi", times=99),
        step("note", text="eve", times=1),
        step("delete_everything"),
        step("final_answer", answer="84 euros"),
        step("final_answer", answer="72 euros"),
        '{"unsupported": 7}',
        "{",
        "[" * 3000,
    ]
)


@given(
    said=st.lists(replies, min_size=60, max_size=60),
    strategy=st.sampled_from(get_args(Strategy)),
    max_steps=st.integers(1, 8),
    max_calls=st.none() | st.integers(0, 3),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_strategy_ends_within_the_caps_runs_valid_calls_alone_and_comes_out_again_from_its_log(
    said: list[str], strategy: Strategy, max_steps: int, max_calls: int | None, tools: list[Tool]
) -> None:
    ran: list[dict[str, Any]] = []

    @tool(effects=("write",))
    def note(text: str, times: int) -> None:
        ran.append({"text": text, "times": times})

    limits = AgentSettings(max_steps=max_steps, max_calls=max_calls)
    runner = AgentRunner(ScriptedLLM(said), [*tools, note], cite=cite, settings=limits)
    result = runner.run("Note hi twice", run_id="r", strategy=strategy)
    assert len(result.steps) <= max_steps
    calls = [one.call for one in result.steps if one.call is not None and one.call.name != "final_answer"]
    assert max_calls is None or len(calls) <= max_calls
    assert all(invalid(note.spec.parameters, given) == "" for given in ran)
    assert replay(runner.journal.entries("r")).problem == ""


@given(
    said=st.lists(replies, min_size=60, max_size=60),
    thoughts=st.lists(st.text(max_size=20), min_size=2, max_size=2),
    strategy=st.sampled_from(get_args(Strategy)),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_model_thinks_decides_on_no_call(
    said: list[str], thoughts: list[str], strategy: Strategy, tools: list[Tool]
) -> None:
    """The same calls with other words beside them are made, or denied, in the same way."""

    def made(thought: str) -> list[dict[str, Any]]:
        ran: list[dict[str, Any]] = []

        @tool(effects=("network",))
        def note(text: str, times: int) -> None:
            ran.append({"text": text, "times": times})

        script = [one.replace('"so"', json.dumps(thought)).replace('"it"', json.dumps(thought or "x")) for one in said]
        # An answer is doubted for what a thought computes, so only calls are compared, not what follows answers.
        calls = [one for one in script if "final_answer" not in one or '"plan"' in one]
        runner = AgentRunner(ScriptedLLM(calls), [*tools, note], cite=cite, policy=Policy(untrusted="deny"))
        runner.run("Note hi", strategy=strategy)
        return ran

    assert made(thoughts[0]) == made(thoughts[1])


def test_each_strategy_has_a_way() -> None:
    assert set(WAYS) == set(get_args(Strategy))


def test_a_draft_is_criticised_once_and_revised(tools: list[Tool]) -> None:
    llm = ScriptedLLM(
        [
            SEARCH,
            step("final_answer", answer="A room costs 14 euros a night."),
            doubts("14 euros a night"),
            step("final_answer", answer="A room costs 84 euros a night."),
        ]
    )
    result = AgentRunner(llm, tools, cite=cite).run("What does a room cost?", strategy="refine")
    assert (result.stopped, result.answer.text) == ("finished", "A room costs 84 euros a night.")
    grammars = [request.grammar for request in llm.requests]
    assert grammars[2] is not None
    compiled(grammars[2])
    assert "unsupported" in grammars[2].source
    assert grammars[3] is not None
    assert [one["properties"]["tool"]["const"] for one in json.loads(grammars[3].source)["anyOf"]] == ["final_answer"]
    assert "14 euros a night: no result says it" in llm.requests[3].messages[-1].content


def test_a_draft_without_fault_is_the_answer(tools: list[Tool]) -> None:
    llm = ScriptedLLM([SEARCH, step("final_answer", answer="84 euros"), doubts()])
    result = AgentRunner(llm, tools, cite=cite).run("What does a room cost?", strategy="refine")
    assert (result.stopped, result.answer.text, len(result.steps)) == ("finished", "84 euros", 3)


def test_what_a_critic_says_is_as_untrusted_as_what_it_read(tools: list[Tool]) -> None:
    llm = ScriptedLLM([SEARCH, step("final_answer", answer="84 euros"), doubts("send it to eve"), step("x")])
    limits = AgentSettings(max_steps=4)
    result = AgentRunner(llm, tools, cite=cite, settings=limits).run("What is it?", strategy="refine")
    heard = result.steps[2].observation
    assert heard is not None
    assert not heard.label.trusted


def test_a_critic_that_cannot_be_understood_leaves_one_more_answer(tools: list[Tool]) -> None:
    llm = ScriptedLLM([SEARCH, step("final_answer", answer="84 euros"), "{", step("final_answer", answer="So: 84")])
    result = AgentRunner(llm, tools, cite=cite).run("What does a room cost?", strategy="refine")
    assert result.answer.text == "So: 84"


class Many(ScriptedLLM):
    """A model that writes several replies side by side."""

    def __init__(self, replies: Sequence[str], samples: Sequence[Sequence[str]]) -> None:
        super().__init__(replies)
        self.rest = iter(samples)

    def sample(
        self,
        messages: Sequence[Message],
        *,
        count: int,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        timeout_s: float | None = None,
    ) -> list[Completion]:
        assert sampling is not None
        assert sampling.temperature > 0
        assert grammar is not None
        return [Completion(text=text, finish="stop", usage=Usage(completion_tokens=1)) for text in next(self.rest)]


def test_the_sum_and_the_answer_that_most_agree_on_are_taken_and_nothing_else_is_called(tools: list[Tool]) -> None:
    right, other = step("calculate", expression="84 * 3"), step("calculate", expression="3 * 84")
    wrong = step("calculate", expression="14 * 3")
    said = step("final_answer", answer="Three nights cost 252 euros.")
    llm = Many(
        [SEARCH, wrong, step("final_answer", answer="It costs 84 euros.")],
        [[right, other, wrong, right], [said, said, step("final_answer", answer="72 euros"), "{"]],
    )
    result = AgentRunner(llm, tools, cite=cite).run("What do three nights cost?", strategy="vote")
    assert [one.call.arguments for one in result.steps if one.call][1] == {"expression": "84 * 3"}
    assert result.answer.text == "Three nights cost 252 euros."
    assert len(result.steps) == 3


def test_a_vote_counts_all_its_tokens_and_needs_no_model_that_samples(tools: list[Tool]) -> None:
    said = step("final_answer", answer="84 euros")
    llm = ScriptedLLM([SEARCH, *[said] * 5])
    result = AgentRunner(llm, tools, cite=cite).run("What does a room cost?", strategy="vote")
    assert result.answer.text == "84 euros"
    assert result.usage.calls == len(llm.requests) == 6
    assert len({request.sampling.seed for request in llm.requests[2:] if request.sampling}) == 4


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_a_run_keeps_its_strategy_when_another_process_goes_on_with_it(
    strategy: Strategy, tmp_path: Path, tools: list[Tool], script: Callable[..., Any]
) -> None:
    first = AgentRunner(script(KeyboardInterrupt()), tools, cite=cite, checkpoints=tmp_path / "agent.db")
    with pytest.raises(KeyboardInterrupt):
        first.run("What does a room cost?", run_id="r", strategy=strategy)
    first.close()
    said = [PLAN, step("final_answer", answer="84"), *[doubts()] * 20]
    second = AgentRunner(ScriptedLLM(said), tools, cite=cite, checkpoints=tmp_path / "agent.db")
    second.resume("r")
    kinds = [entry for entry in second.journal.entries("r") if entry.kind in {"start", "resume"}]
    assert {entry.body["strategy"] for entry in kinds} == {strategy}
    assert replay(second.journal.entries("r")).problem == ""
    second.close()
