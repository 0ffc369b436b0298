"""JSON by a schema: what comes fits it, and every value in it is supported by a cited quote."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from ragagent.answer import rows, structured
from ragagent.errors import ConfigError
from ragagent.models import grammar
from ragagent.types import Document, Evidence

Library = Callable[..., tuple[Evidence, dict[str, Document]]]

LEASE = (
    "The lease is made between Alder Ltd and Birch GmbH. It begins on 1 July 2021. The monthly rent is 4,200 euros. "
    'Subletting is not allowed. The "key fee" is 45 euros.'
)
STAFF = (
    "Anna Berg is the caretaker. She has worked here since 2011. Tom Reed is the cook and has worked here since 2019."
)
TERMS = {
    "type": "object",
    "properties": {
        "landlord": {"type": "string"},
        "rent": {"type": ["number", "null"]},
        "begins_on": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "subletting_allowed": {"type": "boolean"},
    },
    "required": ["landlord"],
}


class Person(BaseModel):
    name: str
    role: str | None
    since: int | None


class People(BaseModel):
    people: list[Person]


def read(value: Any, schema: Any, text: str, library: Library) -> Any:
    evidence, documents = library(text)
    return structured.read(structured.of(schema), json.dumps(value), "What are the terms?", evidence, documents.get)


leaf = st.sampled_from(
    ["Alder Ltd", "Birch GmbH", "Cedar", "2021-07-01", 4200, 45, 4200.5, 7, True, False, None, "rent"]
)


@settings(max_examples=80)
@given(value=st.fixed_dictionaries({}, optional=dict.fromkeys([*TERMS["properties"], "more"], leaf)) | leaf)  # type: ignore[misc]
def test_what_comes_fits_the_schema_and_every_value_stands_in_a_citation(value: Any, library: Library) -> None:
    found = read(value, TERMS, LEASE, library)
    assert (found.data is None) == (not found.text)
    if found.data is None:
        assert not any(claim.supported for claim in found.claims)
        return
    assert grammar.validated(found.data, TERMS) == json.loads(found.text)
    cited = [one for claim in found.claims if claim.supported for one in claim.citations]
    assert all(one.verified for one in cited)
    for name, one in found.data.items():
        if isinstance(one, bool):
            assert one is False
            assert any("Subletting" in citation.quote for citation in cited)
        elif one is not None:
            assert any(rows.spots(one, citation.quote) for citation in cited), name


@settings(max_examples=40)
@given(
    people=st.lists(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from(["Anna Berg", "Tom Reed", "Ines Faro"]),
                "role": st.sampled_from(["caretaker", "cook", "doctor", None]),
                "since": st.sampled_from([2011, 2019, 1999, None]),
            }
        ),
        max_size=4,
    )
)
def test_no_object_of_a_list_mixes_subjects(people: list[dict[str, Any]], library: Library) -> None:
    true = {"Anna Berg": ("caretaker", 2011), "Tom Reed": ("cook", 2019)}
    found = read({"people": people}, People, STAFF, library)
    for person in (found.data or {"people": []})["people"]:
        assert list(person) == ["name", "role", "since"]
        role, since = true[person["name"]]
        assert person["role"] in (role, None)
        assert person["since"] in (since, None)
        People.model_validate(found.data)
    kept = {
        (one["name"], one["role"], one["since"])
        for one in people
        if (one["role"], one["since"]) == true.get(one["name"])
    }
    assert kept <= {tuple(one.values()) for one in (found.data or {"people": []})["people"]}


def test_a_required_value_that_is_not_said_leaves_no_data_and_is_named(library: Library) -> None:
    found = read({"landlord": "Cedar", "rent": 4200}, TERMS, LEASE, library)
    assert found.data is None
    assert found.reason.startswith(structured.NOT_FILLED)
    assert "landlord" in found.reason


def test_a_row_that_the_question_names_is_the_one_that_is_read(library: Library) -> None:
    text = "Room | Seats\nHall | 220\nLinden Room | 60"
    evidence, documents = library(text)
    schema = {"type": "object", "properties": {"seats": {"type": ["integer", "null"]}}}
    for seats, said in ((60, {"seats": 60}), (220, None)):
        found = structured.read(
            schema, json.dumps({"seats": seats}), "How big is the Linden Room?", evidence, documents.get
        )
        assert found.data == said


def schemas() -> Iterator[Any]:
    yield from (TERMS, People, {"type": "array", "items": {"type": "string"}}, {"enum": ["yes", "no"]})
    yield {"type": "object", "properties": {'a "b"\n': {"type": "integer"}}}


@pytest.mark.parametrize("schema", list(schemas()))
@pytest.mark.parametrize("text", [LEASE, '"', "日本語 |\\", "7"])
def test_every_schema_and_evidence_make_a_grammar_that_is_valid(schema: Any, text: str, library: Library) -> None:
    made = structured.grammar(structured.of(schema), library(text)[0])
    assert grammar.check(made) is made


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (3, "int"),
        ({"type": "object"}, "named properties"),
        ({"type": "object", "properties": {"a": {"type": "array"}}}, r"\$\.a"),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}}, "#/\\$defs/none"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "itself"),
        (
            {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
            "nested too deeply",
        ),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "which of 2 forms"),
    ],
)
def test_a_schema_that_documents_cannot_fill_is_an_error_that_names_the_place(schema: Any, place: str) -> None:
    with pytest.raises(ConfigError, match=place):
        structured.of(schema)


def test_what_is_no_json_is_no_data(library: Library) -> None:
    evidence, documents = library(LEASE)
    for text in ("", "{", "NOT FOUND", "[" * 100_000, '```json\n{"landlord": "Alder Ltd"}\n```'):
        found = structured.read(TERMS, text, "?", evidence, documents.get)
        assert (found.data is None) == ("```" not in text)
