from __future__ import annotations

import contextlib
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.errors import ToolError
from ragagent.tools.arithmetic import evaluate, shown

numbers = st.integers(0, 10**6).map(str) | st.decimals(0, 10**5, places=3, allow_nan=False).map(lambda d: f"{d:f}")


def nested(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(inner, st.sampled_from(["+", "-", "*", "/", " + ", " // "]), inner).map(
        lambda parts: f"({parts[0]}{parts[1]}{parts[2]})"
    ) | inner.map(lambda text: f"-{text}")


expressions = st.recursive(numbers, nested, max_leaves=12)


def by_python(expression: str) -> Fraction:
    """Python's own evaluation, with every number as a Fraction."""
    wrapped = "".join(f"Fraction('{part}')" if part[0].isdigit() else part for part in pieces(expression))
    return Fraction(eval(wrapped, {"Fraction": Fraction}))


def pieces(expression: str) -> list[str]:
    found: list[str] = []
    for character in expression:
        if found and (character.isdigit() or character == ".") and found[-1][0].isdigit():
            found[-1] += character
        else:
            found.append(character)
    return found


@given(expressions)
@settings(max_examples=300)
def test_the_value_is_the_one_of_exact_fractions(expression: str) -> None:
    try:
        expected = by_python(expression)
    except ZeroDivisionError:
        with pytest.raises(ToolError, match="divides by zero"):
            evaluate(expression)
        return
    assert evaluate(expression) == expected


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_what_is_shown_is_the_value_to_twelve_significant_digits(value: float) -> None:
    assert math.isclose(float(shown(value)), value, rel_tol=1e-11)


@given(st.integers(-(10**29), 10**29))
def test_whole_numbers_are_shown_in_full(value: int) -> None:
    assert shown(Fraction(value)) == str(value)


@given(st.text(max_size=80) | st.text(alphabet="0123456789+-*/%().,[]eE ^", max_size=80))
@settings(max_examples=500)
def test_any_text_has_a_value_or_a_tool_error(text: str) -> None:
    with contextlib.suppress(ToolError):
        shown(evaluate(text))


@pytest.mark.parametrize(
    "expression",
    ["9**9**9", "9**9**9**9", "(10**1000)**1000", "1e308*1e308*1e308*1e308*1e308", "((9**999)**99)", "2**-99999999"],
)
def test_values_that_would_fill_the_memory_are_refused_at_once(expression: str) -> None:
    with pytest.raises(ToolError, match="larger than"):
        evaluate(expression)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1,284 - 1,190", "94"),
        ("(1,200 - 950) / 950 * 100", "26.3157894737"),
        ("$1,234.50 * 2 =", "2469"),
        ("15%", "0.15"),
        ("20% of 50", "10"),
        ("100 / 20%", "500"),
        ("(5+5)%", "0.1"),
        ("200 + 10 % 3", "201"),
        ("2^10", "1024"),
        ("0.1 + 0.2", "0.3"),
        ("3 × 4 − 2 ÷ 4", "11.5"),
        ("round(482.6 / 431.2, 3)", "1.119"),
        ("max(1, 234)", "234"),
        ("sum([1, 2, 3]) + min(4, 5) + abs(-6)", "16"),
        ("mean(1, 2, 4)", "2.33333333333"),
        ("sqrt(16) + floor(2.7) + ceil(2.1)", "9"),
        ("10**40", "1e+40"),
        ("1 / 7e10", "1.42857142857e-11"),
        ("-5 / 4", "-1.25"),
    ],
)
def test_ordinary_sums_come_out_as_people_write_them(expression: str, value: str) -> None:
    assert shown(evaluate(expression)) == value


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("max(1,234)", "thousands separators"),
        ("", "not an arithmetic expression"),
        ("1 +", "not an arithmetic expression"),
        ("1/0", "divides by zero"),
        ("revenue * 2", "'revenue'"),
        ("__import__(1)", "__import__"),
        ("(1).real", "real"),
        ("a = 1", "'='"),
        ("3x", "'3x'"),
        ("1e400", "too large"),
        ("(-8)**0.5", "not a real number"),
        ("(" * 300, "not an arithmetic expression"),
        ("-" * 400 + "1", "nests deeper"),
        ("1+" * 400 + "1", "at most 500"),
        ("round(2, 1000)", "at most 100"),
        ("min()", "no value"),
    ],
)
def test_what_cannot_be_computed_says_why(expression: str, reason: str) -> None:
    with pytest.raises(ToolError, match=reason.replace("(", r"\(").replace(")", r"\)")):
        evaluate(expression)
