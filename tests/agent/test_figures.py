from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.agent.figures import unfounded
from ragagent.agent.state import AgentState
from ragagent.types import Observation, Step


def after(task: str, *results: str) -> AgentState:
    steps = tuple(
        Step(
            index=index,
            thought="it is 777",
            call=None,
            observation=Observation(call_id=str(index), name="calculate", content=content),
        )
        for index, content in enumerate(results)
    )
    return AgentState(run_id="r", task=task, steps=steps)


@given(st.decimals(min_value=0, max_value=10**9, places=6, allow_nan=False), st.integers(0, 5))
def test_a_result_may_be_rounded_to_any_number_of_places(value: Decimal, places: int) -> None:
    rounded = value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
    assert unfounded(after("x", f"{value:f}"), f"It is {rounded:f}.") == ()


@pytest.mark.parametrize(
    ("answer", "doubtful"),
    [
        ("It costs 84 euros for 3 nights.", ()),
        ("It costs 1,234.50 euros.", ()),
        ("It costs 1234.5 euros.", ()),
        ("It costs 252 euros.", ("252",)),
        ("It is 777, or 85, or 1234.4.", ("777", "85", "1234.4")),
        ("No figures at all.", ()),
    ],
)
def test_a_figure_stands_in_the_task_or_a_result_or_is_doubtful(answer: str, doubtful: tuple[str, ...]) -> None:
    assert unfounded(after("What do 3 nights cost?", "84 euros", "1234.50"), answer) == doubtful


@pytest.mark.parametrize(
    ("thought", "doubtful"),
    [
        ("Together 396 + 27 = 423 euros.", ()),
        ("Together 396+27=423.", ()),
        ("Together 396 euros + 27 euros = 423 euros.", ()),
        ("Together $396.00 + $27 = $423.", ()),
        ("Together 396 + 27 = 424 euros.", ("423",)),
        ("Together 400 + 23 = 423 euros.", ("423",)),
        ("Together 423 euros.", ("423",)),
        ("It is 1 / 0 = 423.", ("423",)),
    ],
)
def test_a_right_sum_over_known_figures_accounts_for_its_result(thought: str, doubtful: tuple[str, ...]) -> None:
    state = replace(after("What do 3 nights cost?", "396", "27"), thought=thought)
    assert unfounded(state, "They cost 423 euros.") == doubtful


@given(st.text(alphabet="0123456789.,+-*/= ", max_size=60))
def test_no_sum_is_too_strange(text: str) -> None:
    state = replace(after("What?", text), thought=text)
    assert len(unfounded(state, text)) <= len(text)
