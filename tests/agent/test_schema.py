from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.agent.schema import (
    FINISH_SPEC,
    Figures,
    described,
    step_grammar,
    step_schema,
    sum_pattern,
    text_pattern,
    with_handles,
)
from ragagent.models import grammar
from ragagent.protocols import Tool
from ragagent.tools.builtin import calculate
from ragagent.tools.calling import invalid
from ragagent.tools.documents import read_document, search_documents
from ragagent.types import ToolSpec

CALCULATE = ToolSpec(
    name="calculate",
    description="Computes.",
    parameters={
        "type": "object",
        "properties": {"expression": {"type": "string", "minLength": 1, "maxLength": 9}, "digits": {"type": "integer"}},
        "required": ["expression"],
        "additionalProperties": False,
    },
)
SPECS = (CALCULATE, FINISH_SPEC)

arguments = st.dictionaries(
    st.sampled_from(["expression", "digits", "answer", "more"]),
    st.text(max_size=12) | st.integers() | st.none(),
    max_size=3,
)
steps = st.fixed_dictionaries(
    {"tool": st.sampled_from(["calculate", "final_answer", "delete"]), "arguments": arguments},
    optional={"needs": st.text(max_size=250), "found": st.text(max_size=250), "aside": st.text(max_size=3)},
)


@given(steps, st.booleans())
def test_a_step_is_accepted_exactly_when_its_tool_is_permitted_and_its_arguments_are_valid(
    step: Any, first: bool
) -> None:
    spec = next((spec for spec in SPECS if spec.name == step["tool"]), None)
    fits = spec is not None and not invalid(spec.parameters, step["arguments"])
    key, other = ("needs", "found") if first else ("found", "needs")
    thought = 1 <= len(step.get(key, "")) <= 200 and other not in step
    accepted = jsonschema.Draft202012Validator(step_schema(SPECS, first=first)).is_valid(step)
    assert accepted == (fits and thought and "aside" not in step)


def test_the_schema_of_the_built_in_tools_can_be_enforced_while_decoding(tools: list[Tool]) -> None:
    specs = [with_handles(tool.spec, ["a", "b" * 20]) for tool in tools]
    for first in (False, True):
        grammar.check(step_grammar([spec for spec in specs if spec is not None], first=first))


def test_a_document_parameter_takes_only_documents_that_the_run_has_met() -> None:
    spec = read_document(lambda _: None).spec
    ids = ("0123456789abcdef" * 2, "contract", "0123456789abcdef" * 2)
    limited = with_handles(spec, ids)
    assert limited is not None
    assert limited.parameters["properties"]["document"]["enum"] == ["0123456789ab", "contract"]
    assert "x-handle" not in json.dumps(limited.parameters)
    assert with_handles(spec, ()) is None


def test_a_tool_without_a_document_parameter_is_left_as_it_is() -> None:
    spec = search_documents(lambda query, k: []).spec
    assert with_handles(spec, ()) is spec


@pytest.mark.parametrize("part", ["calculate(expression: string; digits?: integer)", "final_answer(", "Computes."])
def test_the_model_reads_names_parameters_and_descriptions(part: str) -> None:
    assert part in described(SPECS)


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"type": "string", "enum": ["a", "b"]}, "one of a, b"),
        ({"type": "array", "items": {"type": "integer"}}, "list of integer"),
        ({"type": "array", "items": {"enum": [1, 2]}}, "list of one of 1, 2"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"type": ["number", "null"]}, "number or null"),
        (
            {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "string"}}, "required": ["x"]},
            "{x: number; y?: string}",
        ),
        ({"type": "object"}, "object"),
        ({}, "any"),
        (True, "any"),
    ],
)
def test_the_model_reads_what_may_be_chosen_and_what_lists_and_objects_hold(schema: Any, kind: str) -> None:
    tool = ToolSpec(name="f", description="It works.", parameters={"type": "object", "properties": {"a": schema}})
    assert described([tool]) == f"- f(a?: {kind}): It works."


known = st.lists(st.sampled_from(["240", "0.30", "1,370", "12", "7"]), max_size=4, unique=True)
plain = st.sampled_from(["costs ", " euros", ". ", ", ", " and ", "€"])


@given(figures=known, written=st.lists(known.map(" and ".join) | plain, max_size=6).map("".join))
def test_a_text_fits_exactly_when_each_of_its_numbers_is_a_known_one(figures: list[str], written: str) -> None:
    numbers = re.findall(r"\d+(?:[.,]+\d+)*", written)
    assert bool(re.search(text_pattern(figures), written)) == (set(numbers) <= set(figures))


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ("240 * 0.30", True),
        ("round((240 + 7) / 240 * 7, 7)", True),
        ("72 * 0.30", False),
        ("240", False),
        ("2407 + 7", False),
        ("240.7 + 7", False),
        ("240; 7 + 7", False),
        ("", False),
    ],
)
def test_a_sum_fits_when_it_is_made_of_known_operands(expression: str, fits: bool) -> None:
    assert bool(re.search(sum_pattern(["240", "0.30", "7"]), expression)) == fits


@pytest.mark.parametrize(
    ("expression", "fits"),
    [("240 * 7", True), ("(240 + 7) / 7", True), ("7 * 240", False), ("72 * 240", False), ("240 * 72", False)],
)
def test_a_constant_may_stand_in_a_sum_but_not_begin_it(expression: str, fits: bool) -> None:
    assert bool(re.search(sum_pattern(["240", "0.30"], ["7"]), expression)) == fits
    assert re.search(sum_pattern([], ["7"]), "7 * 7")


def test_a_step_with_limited_figures_can_be_enforced_while_decoding(tools: list[Tool]) -> None:
    figures = Figures(texts=("240", "0.30"), operands=("240", "0.30", "1"))
    specs = [calculate().spec, FINISH_SPEC]
    grammar.check(step_grammar(specs, first=False, figures=figures))
    schema = step_schema(specs, first=False, figures=figures)
    validator = jsonschema.Draft202012Validator(schema)

    def step(found: str, tool: str, **arguments: str) -> dict[str, Any]:
        return {"found": found, "tool": tool, "arguments": arguments}

    assert validator.is_valid(step("price: 0.30", "calculate", expression="240 * 0.30"))
    assert not validator.is_valid(step("price: 0.30", "calculate", expression="72 * 0.30"))
    assert validator.is_valid(step("price: 0.30, sum: 72", "calculate", expression="240 * 0.30"))
    assert not validator.is_valid(step("price: 0.30", "final_answer", answer="It costs 72 euros."))
    assert validator.is_valid(step("price: 0.30", "final_answer", answer="A kilometre costs 0.30 euros."))
