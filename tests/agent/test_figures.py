from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.agent.figures import foreign, operands, unfounded, written_figures
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


def test_texts_may_carry_what_was_found_in_each_way_it_may_be_written() -> None:
    written = written_figures(after("What do two rooms cost?", "It is 1,370 euros.", "11.919294990"))
    assert {"2", "1,370", "1370", "11.92", "11.9", "12"} <= set(written)
    assert not {"1371", "11.93", "777"} & set(written)


def test_a_sum_may_start_from_what_was_found_and_from_shares_of_a_whole() -> None:
    state = after("What is it after a raise of 3 percent?", "1,370 euros")
    assert foreign(state, "1370 * 1.03") == ()
    assert foreign(state, "1,370 * (1 + 3 / 100) * 12") == ()
    assert foreign(state, "1411.10 / 12 + 777") == ("1411.10", "777")


def test_a_number_that_a_result_has_as_a_word_may_be_written_in_digits() -> None:
    state = after("What is the deposit?", "The rent is 850 euros, the deposit three of them.")
    assert {"3", "850"} <= set(operands(state))
    assert {"3", "850"} <= set(written_figures(state))
    assert "4" not in operands(state)


def test_what_an_error_says_was_not_found() -> None:
    failed = Observation(call_id="0", name="calculate", content="72 stands nowhere", error=True)
    state = AgentState(run_id="r", task="x", steps=(Step(index=0, thought="", call=None, observation=failed),))
    assert foreign(state, "72 * 2") == ("72",)
    assert "72" not in written_figures(state)
