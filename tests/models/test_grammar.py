"""Grammars are checked before use, and what was written under them again."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.errors import ConfigError, ModelError
from ragagent.models import grammar
from ragagent.types import Completion, Grammar, Usage

POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer"}, "name": {"type": "string"}},
    "required": ["x"],
    "additionalProperties": False,
}


def written(text: str, finish: Any = "stop") -> Completion:
    return Completion(text=text, finish=finish, usage=Usage())


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
@settings(max_examples=60)
def test_json_that_fits_its_schema_comes_back(value: Any) -> None:
    assert grammar.parse(written(json.dumps(value)), {"const": value} if value is not None else {}) == value


@given(VALUES)
@settings(max_examples=60)
def test_parse_accepts_what_an_independent_validator_accepts(value: Any) -> None:
    fits = jsonschema.Draft202012Validator(POINT).is_valid(value)
    try:
        assert grammar.parse(written(json.dumps(value)), POINT) == value
        assert fits
    except ModelError:
        assert not fits


@given(st.integers(0, 60), st.dictionaries(st.sampled_from("abc"), st.integers(), min_size=1))
@settings(max_examples=40)
def test_a_cut_json_object_is_never_accepted(cut: int, value: dict[str, int]) -> None:
    text = json.dumps(value)
    with pytest.raises(ModelError):
        grammar.parse(written(text[: min(cut, len(text) - 1)]), {"type": "object"})


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (written('{"x": 1}', "length"), "raise max_tokens"),
        (written('{"x": 1}', "cancelled"), "cancelled"),
        (written('{"x": 1'), "no valid JSON"),
        (written('{"x": NaN}'), "NaN is not JSON"),
        (written("[" * 100_000), "no valid JSON"),
        (written('{"x": "1"}'), r"at \$\.x"),
        (written("{}"), "'x' is a required property"),
        (written('{"x": 1, "y": 2}'), "'y' was unexpected"),
    ],
)
def test_the_error_says_what_is_wrong(completion: Completion, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        grammar.parse(completion, POINT)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/schema", "file:///etc/passwd", "other.json"])
def test_a_schema_never_fetches_another(address: str) -> None:
    schema = {"$ref": address}
    with pytest.raises(ConfigError):
        grammar.json_schema(schema)
    with pytest.raises(ModelError, match="cannot be applied"):
        grammar.validated({}, schema)


def test_a_schema_that_cannot_be_enforced_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="uniqueItems"):
        grammar.json_schema({"type": "array", "uniqueItems": True})
    with pytest.raises(ConfigError, match="objekt"):
        grammar.json_schema({"type": "objekt"})
    with pytest.raises(ConfigError, match="plain JSON"):
        grammar.json_schema({"const": object()})
    with pytest.raises(ConfigError, match="JSON object"):
        grammar.check(Grammar(kind="json_schema", source="["))


def test_a_lark_fault_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"1.*missing"):
        grammar.lark('start: "a" missing')


def test_a_grammar_has_a_size_limit() -> None:
    with pytest.raises(ConfigError, match="limit"):
        grammar.lark("start: " + '"a" ' * grammar.MAX_GRAMMAR_CHARS)


def test_a_good_grammar_comes_back_as_it_is() -> None:
    rule = grammar.json_schema(POINT)
    assert grammar.check(rule) is rule
    assert json.loads(rule.source) == POINT
    text = 'a "quoted" text \\ with 日本 and\nlines ' * 200
    assert grammar.lark(f"start: %regex {json.dumps({'substring_chars': text})}").kind == "lark"
