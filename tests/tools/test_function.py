from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from ragagent.errors import ConfigError, ToolError
from ragagent.protocols import Tool
from ragagent.tools.calling import invalid
from ragagent.tools.function import FunctionTool, tool


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    number: Annotated[int, Field(ge=1)]


@dataclass
class Item:
    name: str
    price: float


@tool
def order(
    item: Item,
    to: Address,
    colours: list[Colour],
    day: date,
    size: Literal["s", "m"] = "m",
    note: str | None = None,
    json: int = 3,
) -> dict[str, Any]:
    """Orders an item.

    Args:
        item: what is ordered
        day (date): when it
            should arrive
    """
    return {"item": item, "to": to, "colours": colours, "day": day, "size": size, "note": note, "json": json}


items = st.builds(Item, name=st.text(max_size=20), price=st.floats(allow_nan=False, allow_infinity=False))
addresses = st.builds(Address, street=st.text(max_size=20), number=st.integers(1, 10**9))


@given(items, addresses, st.lists(st.sampled_from(Colour), max_size=3), st.dates(), st.none() | st.text(max_size=9))
def test_values_that_fit_the_schema_reach_the_function_as_they_were(
    item: Item, to: Address, colours: list[Colour], day: date, note: str | None
) -> None:
    arguments = {
        "item": {"name": item.name, "price": item.price},
        "to": to.model_dump(),
        "colours": [colour.value for colour in colours],
        "day": day.isoformat(),
        "note": note,
    }
    assert invalid(order.spec.parameters, arguments) == ""
    plain = {"item": arguments["item"], "to": arguments["to"], "colours": arguments["colours"]}
    expected = {**plain, "day": day.isoformat(), "size": "m", "note": note, "json": 3}
    assert json.loads(order.call(arguments)) == expected


def test_the_spec_comes_from_the_signature_and_the_docstring() -> None:
    parameters = order.spec.parameters
    assert order.spec.name == "order"
    assert order.spec.description == "Orders an item."
    assert parameters["required"] == ["item", "to", "colours", "day"]
    assert parameters["additionalProperties"] is False
    assert parameters["properties"]["day"] == {
        "type": "string",
        "format": "date",
        "description": "when it should arrive",
    }
    assert parameters["properties"]["item"]["description"] == "what is ordered"
    assert parameters["properties"]["size"] == {"type": "string", "enum": ["s", "m"], "default": "m"}
    assert "$ref" not in json.dumps(parameters)


def test_a_decorated_function_is_a_tool_and_still_a_function() -> None:
    @tool(name="twice", description="Doubles.", effects=("execute",))
    def double(x: int) -> int:
        return 2 * x

    assert isinstance(double, FunctionTool)
    as_tool: Tool = double
    assert (as_tool.spec.name, as_tool.spec.description, as_tool.spec.effects) == ("twice", "Doubles.", ("execute",))
    assert double(4) == 8
    assert as_tool.call({"x": 4}) == "8"


def test_results_become_text_a_model_can_read() -> None:
    def returning(value: Any) -> str:
        @tool
        def give() -> Any:
            return value

        return give.call({})

    assert returning("as it is") == "as it is"
    assert returning(None) == "(no result)"
    assert returning(1.5) == "1.5"
    assert json.loads(returning([Item("a", 1.0)])) == [{"name": "a", "price": 1.0}]


async def later(x: int) -> int:
    """Waits, then doubles."""
    await asyncio.sleep(0)
    return 2 * x


def test_an_async_function_is_run_to_its_end_with_and_without_a_running_loop() -> None:
    waiting = tool(later)

    async def inside() -> str:
        return waiting.call({"x": 4})

    assert waiting.call({"x": 4}) == "8"
    assert asyncio.run(inside()) == "8"


@pytest.mark.parametrize("arguments", [{}, {"x": "4"}, {"x": 4, "y": 1}, {"x": None}, {"x": 11}])
def test_arguments_that_do_not_fit_are_a_tool_error_and_the_function_is_not_called(arguments: dict[str, Any]) -> None:
    called = []

    @tool
    def note(x: Annotated[int, Field(strict=True, le=10)]) -> None:
        called.append(x)

    with pytest.raises(ToolError, match="note was called with wrong arguments"):
        note.call(arguments)
    assert not called
    assert invalid(note.spec.parameters, arguments)


class Tree(BaseModel):
    branches: list[Tree]


def no_hint(x) -> None:  # type: ignore[no-untyped-def]
    pass


def many(*xs: int) -> None:
    pass


def positional(x: int, /) -> None:
    pass


def strange(x: Callable[[], int]) -> None:
    pass


def unknown(x: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    pass


def recursive(x: Tree) -> None:
    pass


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (no_hint, "'x' has no type hint"),
        (many, "cannot be passed by name"),
        (positional, "cannot be passed by name"),
        (strange, "no JSON schema"),
        (unknown, "cannot be resolved"),
        (recursive, "recursive"),
        (lambda: None, "cannot name a tool"),
    ],
)
def test_a_function_that_cannot_be_a_tool_says_why(function: Callable[..., Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        tool(function)
