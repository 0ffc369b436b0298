from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.agent import steps
from ragagent.agent.quantities import quantities, unused
from ragagent.agent.schema import FINISH_SPEC
from ragagent.agent.state import AgentState
from ragagent.tools.builtin import calculate
from ragagent.types import Observation, Step, ToolCall

SPECS = (calculate().spec, FINISH_SPEC)


def after(task: str, *made: tuple[str, dict[str, str], str]) -> AgentState:
    """A run of calls: name, arguments, result."""
    done = tuple(
        Step(
            index=index,
            thought="so",
            call=ToolCall(id=str(index), name=name, arguments=arguments),
            observation=Observation(call_id=str(index), name=name, content=result),
        )
        for index, (name, arguments, result) in enumerate(made)
    )
    return AgentState(run_id="r", task=task, steps=done)


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ("What do 3 nights in a family room cost?", ["3 nights"]),
        ("What do 4 lost books and 2 lost games cost?", ["4 lost books", "2 lost games cost"]),
        ("What do three nights for two guests cost?", ["three nights", "two guests cost"]),
        ("What is 1,250.50 euros after a raise of 3 percent?", ["1,250.50 euros", "3 percent"]),
        ("How much was used between 31 March 2024 and 30 September 2024?", []),
        ("How did revenue grow from 2023 to 2024 in phase 2 of the plan?", []),
        ("What does 1 night cost in room B12 nights?", []),
        ("What do volumes 2 and 4 of the atlas cost?", []),
        ("What do rent and charges of Elm Street 9 come to?", []),
        ("What do rooms at the Inn cost? Three guests stay 4 nights there.", ["4 nights"]),
    ],
)
def test_quantities_are_numbers_of_things_not_dates_or_names(task: str, named: list[str]) -> None:
    assert [str(one) for one in quantities(task)] == named


@given(st.integers(2, 1899), st.integers(2, 10**6))
def test_a_quantity_is_used_once_a_sum_that_worked_holds_it(number: int, other: int) -> None:
    task = f"What do {number} nights in it cost?"
    assert [str(one) for one in unused(after(task), SPECS)] == [f"{number} nights"]
    made = after(task, ("calculate", {"expression": f"{number:,} * 0.5"}, "1"))
    assert unused(made, SPECS) == ()
    if other != number:
        assert unused(after(task, ("calculate", {"expression": f"{other} * 0.5"}, "1")), SPECS)


@pytest.mark.parametrize("expression", ["1370 * 3 / 100", "1370 * 0.03", "1370 * 1.03", "1370 * 0.97"])
def test_a_percentage_may_be_written_as_a_share(expression: str) -> None:
    state = after("What is it after a raise of 3 percent?", ("calculate", {"expression": expression}, "1"))
    assert unused(state, SPECS) == ()


def test_what_a_result_names_was_to_be_looked_up() -> None:
    looked_up = after("What is the price for 3 nights?", ("search_documents", {"query": "x"}, "3 nights: 200 euros"))
    assert unused(looked_up, SPECS) == ()
    searched = after("What is the price for 3 nights?", ("search_documents", {"query": "3 nights"}, "84 euros a night"))
    assert [str(one) for one in unused(searched, SPECS)] == ["3 nights"]


def test_an_answer_without_a_quantity_of_the_task_is_asked_about_once() -> None:
    reply = json.dumps({"found": "fee", "tool": "final_answer", "arguments": {"answer": "The fee is 0.6 euros."}})
    state = after("What is the fee for 3 books that are 10 days late?", ("calculate", {"expression": "3 * 0.2"}, "0.6"))
    first = steps.check(replace(state, reply=reply), SPECS)
    assert first.observation is not None
    assert "No sum has used 10 days late. Calculate one sum with all of: 3 books, 10 days" in first.observation.content
    again = steps.check(replace(steps.advance(first, 8), reply=reply), SPECS)
    assert again.answer == "The fee is 0.6 euros."
