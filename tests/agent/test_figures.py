from __future__ import annotations

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
