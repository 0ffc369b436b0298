from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.errors import ToolError
from ragagent.tools.builtin import calculate
from ragagent.tools.calling import bounded, run
from ragagent.tools.function import tool
from ragagent.types import Observation, ToolCall


def words(text: str) -> int:
    return len(text.split())


@given(st.text(max_size=400), st.integers(8, 40))
def test_a_bounded_text_fits_and_says_what_it_left_out(text: str, limit: int) -> None:
    short = bounded(text, words, limit)
    kept, note, left = short.partition("\n\n[left out: ")
    assert words(short) <= limit
    assert text.startswith(kept)
    if note:
        missing, _, of = left.partition(" of ")
        assert of == f"{len(text)} characters]"
        assert 0 < int(missing) <= len(text)
        assert kept == text[: len(text) - int(missing)].rstrip()
    else:
        assert short == text


def test_a_text_is_cut_between_paragraphs_where_that_keeps_half_of_it() -> None:
    text = "\n\n".join("word " * 30 for _ in range(4)).strip()
    short = bounded(text, words, 70)
    assert short.startswith(text[:300].strip())
    assert words(short) == 66


def test_a_huge_text_is_cut_without_being_counted_whole() -> None:
    counted = []

    def count(text: str) -> int:
        counted.append(len(text))
        return len(text)

    assert len(bounded("x" * 10**7, count, 100)) <= 100
    assert max(counted) < 10_000


@dataclass
class Failing:
    error: Exception

    @property
    def spec(self) -> Any:
        return calculate().spec

    def call(self, arguments: Mapping[str, Any]) -> str:
        raise self.error


def call(**arguments: Any) -> ToolCall:
    return ToolCall(id="r:0", name="calculate", arguments=arguments)


@pytest.mark.parametrize(
    ("error", "content"),
    [
        (ToolError("too far"), "too far"),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (KeyError("k"), "KeyError: 'k'"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
def test_whatever_a_tool_raises_becomes_an_observation(error: Exception, content: str) -> None:
    outcome = run(Failing(error), call(expression="1"), count_tokens=words, max_tokens=50)
    assert outcome.observation == Observation(call_id="r:0", name="calculate", content=content, error=True)


def test_an_interrupt_is_not_an_observation() -> None:
    @tool
    def stop(expression: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(stop, call(expression="1"), count_tokens=words, max_tokens=50)


@pytest.mark.parametrize("arguments", [{}, {"expression": 1}, {"expression": ""}, {"expression": "1", "more": 2}])
def test_a_tool_is_not_called_with_arguments_against_its_schema(arguments: dict[str, Any]) -> None:
    outcome = run(Failing(AssertionError("called")), call(**arguments), count_tokens=words, max_tokens=50)
    assert outcome.observation.error
    assert outcome.observation.content.startswith("wrong arguments: ")


def test_a_result_that_is_no_valid_text_is_repaired() -> None:
    @tool
    def half() -> str:
        return "a\ud800b"

    outcome = run(half, ToolCall(id="1", name="half", arguments={}), count_tokens=words, max_tokens=50)
    assert outcome.observation.content == "a?b"


def test_a_call_that_works_is_observed_as_it_is() -> None:
    outcome = run(calculate(), call(expression="6 * 7"), count_tokens=words, max_tokens=50)
    assert outcome.observation == Observation(call_id="r:0", name="calculate", content="42")
    assert (outcome.hits, outcome.documents) == ((), ())
