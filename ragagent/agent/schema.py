"""The JSON schema of one step: only the permitted tools, only their arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ragagent.tools.arithmetic import SUM_KEY
from ragagent.tools.documents import HANDLE_KEY, short_id
from ragagent.types import Grammar, ToolSpec

FINISH = "final_answer"
CRITIC = "critic"
"""The name of what a critic is asked, and of what it says, among the results of steps."""
NEEDS, FOUND = "needs", "found"
"""The key of the reasoning text, of the first step and of the later ones. Their names lead: asked for its "thought" at
every step, a 1.5B model copies its last one, plans the search that it has just made and makes it again.
"""
MAX_THOUGHT_CHARS = 200
MAX_ANSWER_CHARS = 700
_MAX_SHOWN_DEPTH = 4

FINISH_SPEC = ToolSpec(
    name=FINISH,
    description="Ends the work with the answer to the task.",
    parameters={
        "type": "object",
        "properties": {
            "answer": {
                "type": "string",
                "description": "the complete answer, with the figures found and computed",
                "minLength": 1,
                "maxLength": MAX_ANSWER_CHARS,
            }
        },
        "required": ["answer"],
        "additionalProperties": False,
    },
    effects=(),
)


def with_handles(spec: ToolSpec, documents: Sequence[str]) -> ToolSpec | None:
    """`spec` with its document parameters limited to `documents`; None when it needs one and there is none."""
    properties = spec.parameters.get("properties", {})
    handles = [name for name, schema in properties.items() if HANDLE_KEY in schema]
    if not handles:
        return spec
    if not documents:
        return None
    limited = {name: _limited(schema, documents) for name, schema in properties.items()}
    parameters = {**spec.parameters, "properties": limited}
    return replace(spec, parameters=parameters)


def _limited(schema: Mapping[str, Any], documents: Sequence[str]) -> dict[str, Any]:
    plain = {key: value for key, value in schema.items() if key != HANDLE_KEY}
    if HANDLE_KEY in schema:
        plain["enum"] = list(dict.fromkeys(short_id(document) for document in documents))
    return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The only numbers that may be written: in the final answer, and as operands of sums.

    The thought is left free: kept from writing the result that it has in mind, a 1.5B model writes another figure of
    the passages in its place and goes on with that.
    """

    texts: tuple[str, ...]
    operands: tuple[str, ...]
    constants: tuple[str, ...] = ()
    """May stand in a sum, but not begin it: a model that has 72 in mind, and may not write it, would begin with 7."""


def step_schema(specs: Sequence[ToolSpec], *, first: bool, figures: Figures | None = None) -> dict[str, Any]:
    """Accepts `{"found": ..., "tool": NAME, "arguments": {...}}` for the tools of `specs` and nothing else.

    The `first` step of a run says what it "needs" instead. With `figures`, numbers are limited to those: a model that
    does sums in its head writes their results into its notes and would take them from there.
    """
    return {"anyOf": [_choice(spec, NEEDS if first else FOUND, figures) for spec in specs]}


def _choice(spec: ToolSpec, thought: str, figures: Figures | None) -> dict[str, Any]:
    note: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MAX_THOUGHT_CHARS}
    parameters = dict(spec.parameters)
    if figures is not None:
        parameters["properties"] = {
            name: _figured(spec, schema, figures) for name, schema in spec.parameters.get("properties", {}).items()
        }
    return {
        "type": "object",
        "properties": {thought: note, "tool": {"const": spec.name}, "arguments": parameters},
        "required": [thought, "tool", "arguments"],
        "additionalProperties": False,
    }


def _figured(spec: ToolSpec, schema: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """The schema of a parameter with its numbers limited, where it is the final answer or a sum."""
    pattern = _pattern(spec, schema, figures)
    # The pattern of a sum bounds its length, too.
    bounds = {"minLength", "maxLength"} if schema.get(SUM_KEY) else set()
    limited = {key: value for key, value in schema.items() if key not in {SUM_KEY, *bounds}}
    return {**limited, "pattern": pattern} if pattern else limited


def founded(reply: str, specs: Sequence[ToolSpec], figures: Figures) -> bool:
    """Whether the figures of `reply` are all of `figures`, in its final answer and its sums; constants may begin a sum.

    True for what is no call of one of `specs`: what is wrong with that is said elsewhere.
    """
    try:
        step = json.loads(reply)
        name, arguments = step["tool"], dict(step["arguments"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return True
    spec = next((spec for spec in specs if spec.name == name), None)
    properties = spec.parameters.get("properties", {}) if spec is not None else {}
    return all(
        re.fullmatch(pattern, str(arguments.get(key, "")))
        for key, schema in properties.items()
        if spec is not None and (pattern := _pattern(spec, schema, figures, begin=figures.constants))
    )


def _pattern(spec: ToolSpec, schema: Mapping[str, Any], figures: Figures, *, begin: Sequence[str] = ()) -> str:
    """The pattern of a parameter that is the final answer or a sum, which may begin with `begin` too; else ""."""
    if schema.get(SUM_KEY):
        return sum_pattern([*figures.operands, *begin], figures.constants)
    return text_pattern(figures.texts) if spec.name == FINISH else ""


def text_pattern(figures: Sequence[str]) -> str:
    """A regular expression of the texts whose numbers are all of `figures`."""
    between = "[^0-9]*[^0-9.,]"
    numbers = _any(figures)
    if not numbers:
        return "^[^0-9]*$"
    return f"^(?:(?:{between})?{numbers}(?:{between}{numbers})*)?[^0-9]*$"


def sum_pattern(operands: Sequence[str], constants: Sequence[str] = ()) -> str:
    """A regular expression of the sums that begin with one of `operands` and go on with those or `constants`.

    They have 2 to 30 numbers, for one is no sum. With no operands at all they may begin with a constant.
    """
    sign = r"(?:[-+*/(),% ]|(?:round|min|max|sum|mean|abs|sqrt)\()"
    first, numbers = _any(operands or constants), _any([*operands, *constants])
    return f"^{sign}{{0,8}}{first}(?:{sign}{{1,8}}{numbers}){{1,29}}{sign}{{0,8}}$"


def _any(numbers: Sequence[str]) -> str:
    """One of some numbers, the longest first."""
    ordered = sorted(dict.fromkeys(numbers), key=lambda number: (-len(number), number))
    return f"(?:{'|'.join(re.escape(number) for number in ordered)})" if ordered else ""


def step_grammar(specs: Sequence[ToolSpec], *, first: bool, figures: Figures | None = None) -> Grammar:
    """The constraint under which a step is decoded."""
    schema = step_schema(specs, first=first, figures=figures)
    return Grammar(kind="json_schema", source=json.dumps(schema, ensure_ascii=False))


def described(specs: Sequence[ToolSpec]) -> str:
    """The tools as the model reads them, one a line: name, parameters with types, what it does."""
    return "\n".join(f"- {spec.name}({_parameters(spec.parameters)}): {spec.description}" for spec in specs)


def _parameters(schema: Mapping[str, Any], depth: int = 0) -> str:
    required = set(schema.get("required", ()))
    shown = []
    for name, inner in schema.get("properties", {}).items():
        said = inner.get("description") if isinstance(inner, Mapping) else None
        about = f" = {said}" if said else ""
        shown.append(f"{name}{'' if name in required else '?'}: {_kind(inner, depth)}{about}")
    return "; ".join(shown)


def _kind(schema: Any, depth: int = 0) -> str:
    """The type of a value in words: what may be chosen, and what lists and objects hold."""
    if not isinstance(schema, Mapping) or depth > _MAX_SHOWN_DEPTH:
        return "any"
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if several := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_kind(one, depth + 1) for one in several))
    kind = schema.get("type", "any")
    if kind == "array" and "items" in schema:
        return f"list of {_kind(schema['items'], depth + 1)}"
    if kind == "object" and schema.get("properties"):
        return f"{{{_parameters(schema, depth + 1)}}}"
    return kind if isinstance(kind, str) else " or ".join(map(str, kind))
