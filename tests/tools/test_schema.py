from __future__ import annotations

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.errors import ConfigError
from ragagent.tools.schema import plain

SCHEMA = {
    "$defs": {
        "Point": {"title": "Point", "type": "object", "properties": {"title": {"type": "string", "title": "Title"}}},
        "Pair": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
    },
    "type": "object",
    "properties": {"pair": {"$ref": "#/$defs/Pair", "description": "two"}, "kind": {"enum": [{"title": "x"}]}},
    "required": ["pair"],
}

values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["title", "pair", "kind"]), inner),
    max_leaves=8,
)


@given(values)
def test_a_plain_schema_accepts_what_the_original_accepts(value: object) -> None:
    before = jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
    assert jsonschema.Draft202012Validator(plain(SCHEMA)).is_valid(value) == before


def test_references_are_put_in_place_and_generated_titles_go() -> None:
    point = {"type": "object", "properties": {"title": {"type": "string"}}}
    assert plain(SCHEMA)["properties"]["pair"] == {"type": "array", "items": point, "description": "two"}
    assert plain(SCHEMA)["properties"]["kind"] == {"enum": [{"title": "x"}]}


@pytest.mark.parametrize("reference", ["#/$defs/Gone", "https://example.org/schema", "#/properties/pair", "#"])
def test_a_reference_to_elsewhere_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError, match="refers to"):
        plain({"type": "object", "properties": {"x": {"$ref": reference}}})


def test_a_recursive_schema_is_refused() -> None:
    with pytest.raises(ConfigError, match="recursive"):
        plain({"$defs": {"A": {"type": "array", "items": {"$ref": "#/$defs/A"}}}, "$ref": "#/$defs/A"})
