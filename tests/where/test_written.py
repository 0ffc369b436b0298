"""A filter that is written means what it says, and a value in it is never more than a value."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragagent.errors import ConfigError
from ragagent.where import (
    DEEPEST,
    MOST_CHARACTERS,
    MOST_PARTS,
    And,
    Eq,
    Exists,
    Expression,
    In,
    Not,
    Or,
    Prefix,
    Range,
    as_value,
    expression,
    literal,
    parse,
    written,
)

TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ['"', "'", "`", "\\", '\\"', "and", "x or 1 = 1", "' or true --", ") or (true", "2024-01-01", "null"]
    ),
)
KEYS = st.one_of(st.sampled_from(["a", "media_type", "and", "inf", "not", "a b", "", "`", "dc:title", "ключ"]), TEXTS)
NUMBERS = st.one_of(st.integers(-(10**30), 10**30), st.floats(allow_nan=False))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)


def ranges(bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Range]:
    low, high = st.sampled_from(["ge", "gt"]), st.sampled_from(["le", "lt"])
    one = st.builds(lambda key, side, bound: Range(key, **{side: bound}), KEYS, st.one_of(low, high), bounds)
    both = st.builds(lambda key, a, one, b, two: Range(key, **{a: one, b: two}), KEYS, low, bounds, high, bounds)
    return st.one_of(one, both)


CONDITIONS = st.one_of(
    st.builds(Eq, KEYS, SCALARS),
    st.builds(In, KEYS, st.lists(SCALARS, max_size=4).map(tuple)),
    st.builds(Prefix, KEYS, TEXTS),
    st.builds(Exists, KEYS),
    ranges(TEXTS),
    ranges(NUMBERS),
)
EXPRESSIONS = st.recursive(
    CONDITIONS,
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=10,
)


def plain(one: Expression) -> Expression:
    """The expression without And and Or of a single part, which no text can tell from that part."""
    if isinstance(one, Not):
        return Not(plain(one.part))
    if isinstance(one, And | Or):
        parts = tuple(map(plain, one.parts))
        return parts[0] if len(parts) == 1 else type(one)(parts)
    return one


@given(EXPRESSIONS)
def test_what_is_written_is_read_back_as_the_same_expression(one: Expression) -> None:
    # As JSON as well, so that 1, 1.0 and true are told apart.
    assert parse(written(one)) == plain(one)
    assert repr(as_value(parse(written(one)))) == repr(as_value(plain(one)))
    assert written(parse(written(one))) == written(one)


@example("0'\r'")
@given(st.text(max_size=40) | st.text(alphabet="ab =<>!()[],'\"`\\019.-:\n\r\x85", max_size=30))
def test_any_text_is_read_or_refused_at_a_place_in_it(text: str) -> None:
    try:
        found = parse(text)
    except ConfigError as error:
        first, shown, mark = str(error).splitlines()
        assert first.startswith("the filter is wrong at character ")
        assert mark.strip() == "^"
        assert len(mark) <= len(shown) + 1
    else:
        assert parse(written(found)) == found or "nan" in text


WRAPPED = ("a = {0}", "x = 1 and a = {0} and y = 2", "not (a in ({0}, {0}))", "a starts with {0}", "a >= {0}")


@given(TEXTS)
def test_a_text_that_is_put_in_as_a_literal_is_only_ever_that_text(text: str) -> None:
    value = literal(text)
    assert [parse(one.format(value)) for one in WRAPPED] == [
        Eq("a", text),
        And((Eq("x", 1), Eq("a", text), Eq("y", 2))),
        Not(In("a", (text, text))),
        Prefix("a", text),
        Range("a", ge=text),
    ]


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", And(())),
        (" \n ", And(())),
        ("true", And(())),
        ("false or x = 1", Or((Or(()), Eq("x", 1)))),
        (
            'type = "pdf" and date >= 2024-01-01 and tag in ("a","b")',
            And((Eq("type", "pdf"), Range("date", ge="2024-01-01"), In("tag", ("a", "b")))),
        ),
        ("a = 1 or b = 2 and c = 3", Or((Eq("a", 1), And((Eq("b", 2), Eq("c", 3)))))),
        ("(a = 1 or b = 2) and c = 3", And((Or((Eq("a", 1), Eq("b", 2))), Eq("c", 3)))),
        ("not a = 1 and b = 2", And((Not(Eq("a", 1)), Eq("b", 2)))),
        ("NOT (a = 1) AND b IN (1)", And((Not(Eq("a", 1)), In("b", (1,))))),
        ("team=law", Eq("team", "law")),
        ("type==text/plain", Eq("type", "text/plain")),
        ("acl = user:ann", Eq("acl", "user:ann")),
        ("a != 1", Not(Eq("a", 1))),
        ("a<>1", Not(Eq("a", 1))),
        ("a not in [1, 'x', null, true]", Not(In("a", (1, "x", None, True)))),
        ("a in ()", In("a", ())),
        ('uri starts with "file:/"', Prefix("uri", "file:/")),
        ("a not starts with b", Not(Prefix("a", "b"))),
        ("a exists and not b exists", And((Exists("a"), Not(Exists("b"))))),
        ("a is null or b is not null", Or((Not(Exists("a")), Exists("b")))),
        ("a = null", Eq("a", None)),
        ("2020 <= year < 2024", Range("year", ge=2020, lt=2024)),
        ("2024 > year >= 2020", Range("year", ge=2020, lt=2024)),
        ("2020 < year", Range("year", gt=2020)),
        ("'2024-02' >= date", Range("date", le="2024-02")),
        ("date >= 2024-02", Range("date", ge="2024-02")),
        ("sent < 2024-02-01T10:00:00+01:00", Range("sent", lt="2024-02-01T10:00:00+01:00")),
        ("a = -1.5e3", Eq("a", -1500.0)),
        ("a<-1", Range("a", lt=-1)),
        ("a > -inf", Range("a", gt=-math.inf)),
        ("`a \\`key\\`` = 'it\\'s'", Eq("a `key`", "it's")),
        ('a = "tab\\t\\u00e9\\u{1F41D}\\\\"', Eq("a", "tab\té\U0001f41d\\")),
        ("`and` = `x`", None),
        ("a = b", Eq("a", "b")),
    ],
)
def test_a_text_means_what_it_says(text: str, meaning: Expression | None) -> None:
    if meaning is None:
        with pytest.raises(ConfigError, match="expected a value"):
            parse(text)
    else:
        assert parse(text) == expression(text) == meaning
        assert repr(parse(text)) == repr(meaning)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("date >=", 8, "expected a value: text in quotes, a number"),
        ("year 2024", 6, "expected =, !=, <, <=, >, >=, in, not in, starts with, exists or is null, found 2024"),
        ("a = 1 b = 2", 7, "expected and, or, or the end, found b"),
        ("a = 1 and", 10, "expected a condition such as key = value"),
        ("(a = 1", 7, r"expected and, or, or \) for the \( at character 1, found the end"),
        ("a = 1)", 6, "expected and, or, or the end"),
        ('a = "open', 5, '" is never closed'),
        ("a = 'x' & b = 'y'", 9, "'&' means nothing here"),
        ("a = 007", 5, "007 is neither a number nor a date"),
        ("a = 2024-13-01", 5, "neither a number nor a date"),
        ("a = 1.2.3", 5, "put text into quotes"),
        ('a = "\\q"', 6, r"\\q is no escape"),
        ('"team" = law', 8, "a key goes into `backticks`"),
        ("1 < a > 0", 7, "expected < or <="),
        ("1 < a < x", 9, "a bound of the same kind as the first"),
        ("a > true", 5, "expected a number, a date or text"),
        ("a < nan", 5, "expected a number, a date or text"),
        ("a in 1", 6, r"expected \( and a list of values"),
        ("a in (1 2)", 9, r"expected , or \)"),
        ("a in (1,)", 9, "expected a value"),
        ("a starts with 3", 15, "expected text"),
        ("a is 3", 6, "expected null or not null"),
        ("and = 1", 1, "expected a condition"),
        ("a = or", 5, "expected a value"),
        ("x = 1 and " * 30 + "y", 302, "expected ="),
    ],
)
def test_an_error_shows_the_place_and_what_belongs_there(text: str, place: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        parse(text)
    first, shown, mark = str(raised.value).splitlines()
    assert first.startswith(f"the filter is wrong at character {place}: ")
    assert (shown + " ")[mark.index("^")] == (text + " ")[place - 1]


def test_a_filter_is_bounded_in_length_depth_and_parts() -> None:
    for text, message in (
        ("a" * (MOST_CHARACTERS + 1), "at most 1000000"),
        ("(" * 100_000, "levels of parentheses"),
        ("not " * 100_000 + "a = 1", "levels of parentheses"),
        ("not " * (DEEPEST + 1) + "a = 1", f"{DEEPEST} levels"),
        (" or ".join(["a = 1"] * MOST_PARTS), f"{MOST_PARTS} parts"),
        ("a = 1 or " * 100_000, f"more than {MOST_PARTS} conditions"),
        (f"a in ({','.join(['1'] * 100_001)})", "more than 100000 values"),
        ("a in (1) or " * 2 + f"a in ({','.join(['1'] * 99_999)})", "more than 100000 values"),
        ("a = " + "9" * 5000, "more than 4200 digits"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse(text)
    deep: Expression = Eq("a", 1)
    for _ in range(DEEPEST - 1):
        deep = Or((deep, Eq("b", 2))) if isinstance(deep, And) else And((deep, Eq("b", 2)))
    assert parse(written(deep)) == parse(f"(({written(deep)}))") == deep


def test_what_cannot_be_written_is_refused_in_words() -> None:
    for value in ({"a": 1}, [1], 10**5000):
        with pytest.raises(ConfigError, match="cannot be written"):
            written(Eq("a", value))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is no filter"):
        written("a = 1")  # type: ignore[arg-type]
