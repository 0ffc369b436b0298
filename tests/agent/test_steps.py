from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.agent import steps
from ragagent.agent.state import AgentState, from_json, to_json
from ragagent.errors import AgentError
from ragagent.protocols import Tool
from ragagent.settings import AgentSettings
from ragagent.tools.calling import Outcome, invalid
from ragagent.types import Completion, Observation, Step, ToolCall, ToolSpec, Usage

NEW = AgentState(run_id="r", task="What does a room cost?")

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["search_documents", "read_document", "calculate", "final_answer", "delete_all", ""])
likely = st.fixed_dictionaries(
    {},
    optional={
        "query": st.text(max_size=400) | json_values,
        "expression": st.text(max_size=9) | json_values,
        "document": st.sampled_from(["d1", "d2", "elsewhere"]) | json_values,
        "answer": st.text(max_size=9) | json_values,
        "start": st.integers() | json_values,
    },
)
replies = (
    st.text(max_size=60)
    | json_values.map(json.dumps)
    | st.fixed_dictionaries({"found": json_values, "tool": names | json_values, "arguments": likely | json_values}).map(
        json.dumps
    )
)


def reply(text: str, *, cut: bool = False) -> Completion:
    return Completion(text=text, finish="length" if cut else "stop", usage=Usage(completion_tokens=3))


def specs_of(tools: list[Tool]) -> tuple[ToolSpec, ...]:
    return tuple(tool.spec for tool in tools)


@given(text=replies, documents=st.sampled_from([(), ("d1",), ("d1", "d2")]), forced=st.sampled_from(["", "step_limit"]))
def test_whatever_the_model_says_only_a_permitted_and_valid_call_passes(
    text: str, documents: tuple[str, ...], forced: Any, tools: list[Tool]
) -> None:
    state = replace(NEW, documents=documents, forced=forced)
    allowed = steps.permitted(state, specs_of(tools))
    checked = steps.check(steps.decided(state, reply(text)), allowed)
    if checked.call is not None:
        spec = next(spec for spec in allowed if spec.name == checked.call.name)
        assert invalid(spec.parameters, checked.call.arguments) == ""
    else:
        assert checked.answer or (checked.observation is not None and checked.observation.error)


@given(text=replies)
def test_a_state_goes_through_a_checkpoint_unchanged(text: str, tools: list[Tool]) -> None:
    allowed = steps.permitted(NEW, specs_of(tools))
    checked = steps.check(steps.decided(NEW, reply(text)), allowed)
    assert from_json(to_json(checked)) == replace(checked, reply=checked.reply)
    closed = steps.advance(checked, 8)
    assert from_json(to_json(closed)) == closed


@pytest.mark.parametrize("text", ["", "{}", '{"run_id": 3, "task": "x"}', '{"run_id": "r", "task": "x", "steps": [1]}'])
def test_a_checkpoint_that_holds_something_else_is_refused(text: str) -> None:
    with pytest.raises(AgentError, match="not one of this version"):
        from_json(text)


@given(texts=st.lists(replies, min_size=1, max_size=4))
def test_the_conversation_only_grows_at_its_end(texts: list[str], tools: list[Tool]) -> None:
    state, before = NEW, steps.messages(NEW, "system")
    for text in texts:
        state = steps.check(steps.decided(state, reply(text)), steps.permitted(state, specs_of(tools)))
        state = replace(steps.advance(state, 8), stopped="", answer="")
        after = steps.messages(state, "system")
        assert after[: len(before)] == before
        before = after


@given(content=st.text(alphabet="`a\n", max_size=40))
def test_nothing_inside_a_result_can_end_its_fence(content: str) -> None:
    observation = Observation(call_id="r:0", name="search_documents", content=content)
    state = replace(NEW, steps=(Step(index=0, thought="", call=None, observation=observation),))
    shown = steps.messages(state, "")[-1].content
    _, opening, *_, fence, reminder = shown.split("\n")
    assert reminder == "Task: What does a room cost?"
    assert opening == fence
    assert set(fence) == {"`"}
    assert fence not in content


def test_there_is_no_answer_before_a_first_tool_was_tried_and_nothing_else_at_the_end(tools: list[Tool]) -> None:
    specs = specs_of(tools)
    done = Step(index=0, thought="", call=ToolCall(id="r:0", name="calculate", arguments={}), observation=None)

    def named(state: AgentState) -> list[str]:
        return [spec.name for spec in steps.permitted(state, specs)]

    assert named(NEW) == ["search_documents", "calculate"]
    assert named(replace(NEW, steps=(done,))) == ["search_documents", "calculate", "final_answer"]
    assert "read_document" in named(replace(NEW, documents=("d1",)))
    assert named(steps.capped(replace(NEW, steps=(done,)), AgentSettings(max_steps=2))) == ["final_answer"]
    assert [spec.name for spec in steps.permitted(NEW, ())] == ["final_answer"]


def turn(state: AgentState, text: str, tools: list[Tool], *, cut: bool = False) -> AgentState:
    """`state` after a step in which the model says `text` and every tool answers `ok`."""
    state = steps.check(steps.decided(state, reply(text, cut=cut)), steps.permitted(state, specs_of(tools)))
    if state.call is not None and state.observation is None and not state.answer:
        observation = Observation(call_id=state.call.id, name=state.call.name, content="ok")
        state = steps.acted(state, Outcome(observation=observation))
    return steps.advance(state, 8)


def test_a_repeated_call_is_answered_from_the_first_and_then_only_the_answer_is_left(
    tools: list[Tool], say: Callable[..., str]
) -> None:
    once = say("calculate", expression="1+1")
    state = turn(NEW, once, tools)
    state = turn(state, once, tools)
    repeated = state.steps[1].observation
    assert repeated is not None
    assert repeated.error
    assert "already made in step 1" in repeated.content
    assert repeated.content.endswith("ok")
    assert not state.forced
    state = turn(state, once, tools)
    assert state.forced == "repeated_call"
    state = turn(state, say("final_answer", answer="2"), tools)
    assert (state.stopped, state.answer) == ("repeated_call", "2")


@pytest.mark.parametrize(
    ("text", "cut", "reason"),
    [
        ("I think so", False, "not one JSON object"),
        ('["found"]', False, "not one JSON object"),
        ('{"found": "abc', True, "cut off"),
        ('{"tool": "calculate", "arguments": {"expression": NaN}}', False, "not one JSON object"),
        ('{"tool": "delete", "arguments": {}}', False, "'delete' cannot be used now; use one of: search_documents"),
        ('{"tool": "calculate", "arguments": {}}', False, "'expression' is a required property"),
        ('{"tool": "calculate", "arguments": []}', False, "not a JSON object"),
    ],
)
def test_a_step_that_cannot_be_used_is_observed_as_an_error(
    tools: list[Tool], text: str, cut: bool, reason: str
) -> None:
    step = turn(NEW, text, tools, cut=cut).steps[-1]
    assert step.call is None
    assert step.observation is not None
    assert step.observation.error
    assert reason in step.observation.content


def test_what_there_is_of_an_answer_that_was_cut_off_is_taken_when_it_is_the_last_step(tools: list[Tool]) -> None:
    state = replace(NEW, forced="step_limit")
    text = '{"found": "", "tool": "final_answer", "arguments": {"answer": "It costs \\"84 eur'
    closed = turn(state, text, tools, cut=True)
    assert (closed.stopped, closed.answer) == ("step_limit", 'It costs "84 eur')


def test_short_names_of_documents_become_their_ids_before_a_tool_sees_them(tools: list[Tool]) -> None:
    ids = ("0123456789abcdef" * 2, "contract")
    state = replace(NEW, documents=ids)
    call = ToolCall(id="r:0", name="read_document", arguments={"document": "0123456789ab", "start": 3})
    assert steps.expanded(state, tools[1].spec, call).arguments == {"document": ids[0], "start": 3}
    plain = ToolCall(id="r:0", name="calculate", arguments={"expression": "contract"})
    assert steps.expanded(state, tools[2].spec, plain) is plain


def test_an_answer_with_a_figure_from_nowhere_is_asked_about_once(tools: list[Tool], say: Callable[..., str]) -> None:
    state = turn(NEW, say("search_documents", query="room"), tools)
    answer = say("final_answer", answer="A room costs 252 euros.")
    asked = turn(state, answer, tools)
    observation = asked.steps[-1].observation
    assert observation is not None
    assert observation.content.startswith("252 in the answer stands in no result")
    assert not asked.stopped
    assert turn(asked, answer, tools).answer == "A room costs 252 euros."
    assert turn(replace(state, forced="step_limit"), answer, tools).answer == "A room costs 252 euros."


def test_an_answer_that_leaves_the_last_result_out_is_asked_about_once_for_each_new_sum(
    tools: list[Tool], say: Callable[..., str]
) -> None:
    def summed(state: AgentState, expression: str, result: str) -> AgentState:
        allowed = steps.permitted(state, specs_of(tools))
        state = steps.check(steps.decided(state, reply(say("calculate", expression=expression))), allowed)
        assert state.call is not None
        observation = Observation(call_id=state.call.id, name="calculate", content=result)
        return steps.advance(steps.acted(state, Outcome(observation=observation)), 8)

    other = say("final_answer", answer="It costs 3 euros.")
    state = summed(replace(NEW, task="What do 3 and 4 make?"), "3 + 4", "7")
    asked = turn(state, other, tools)
    observation = asked.steps[-1].observation
    assert observation is not None
    assert observation.content.startswith("The last sum gave 7")
    assert turn(asked, other, tools).answer == "It costs 3 euros."
    assert turn(state, say("final_answer", answer="It costs 7.0 euros."), tools).answer
    again = turn(summed(asked, "3 * 4", "12"), other, tools)
    assert not again.answer
