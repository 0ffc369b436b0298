"""The JSON schema of one step: only the permitted tools, only their arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ragagent.tools.documents import HANDLE_KEY, short_id
from ragagent.types import Grammar, ToolSpec

FINISH = "final_answer"
NEEDS, FOUND = "needs", "found"
"""The key of the reasoning text, of the first step and of the later ones. Their names lead: asked for its "thought" at
every step, a 1.5B model copies its last one, plans the search that it has just made and makes it again.
"""
MAX_THOUGHT_CHARS = 200
MAX_ANSWER_CHARS = 700

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
    return ToolSpec(name=spec.name, description=spec.description, parameters=parameters, effects=spec.effects)


def _limited(schema: Mapping[str, Any], documents: Sequence[str]) -> dict[str, Any]:
    plain = {key: value for key, value in schema.items() if key != HANDLE_KEY}
    if HANDLE_KEY in schema:
        plain["enum"] = list(dict.fromkeys(short_id(document) for document in documents))
    return plain


def step_schema(specs: Sequence[ToolSpec], *, first: bool) -> dict[str, Any]:
    """Accepts `{"found": ..., "tool": NAME, "arguments": {...}}` for the tools of `specs` and nothing else.

    The `first` step of a run says what it "needs" instead.
    """
    return {"anyOf": [_choice(spec, NEEDS if first else FOUND) for spec in specs]}


def _choice(spec: ToolSpec, thought: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            thought: {"type": "string", "minLength": 1, "maxLength": MAX_THOUGHT_CHARS},
            "tool": {"const": spec.name},
            "arguments": dict(spec.parameters),
        },
        "required": [thought, "tool", "arguments"],
        "additionalProperties": False,
    }


def step_grammar(specs: Sequence[ToolSpec], *, first: bool) -> Grammar:
    """The constraint under which a step is decoded."""
    return Grammar(kind="json_schema", source=json.dumps(step_schema(specs, first=first), ensure_ascii=False))


def described(specs: Sequence[ToolSpec]) -> str:
    """The tools as the model reads them, one a line: name, parameters with types, what it does."""
    return "\n".join(f"- {spec.name}({_parameters(spec)}): {spec.description}" for spec in specs)


def _parameters(spec: ToolSpec) -> str:
    required = set(spec.parameters.get("required", ()))
    shown = []
    for name, schema in spec.parameters.get("properties", {}).items():
        kind = schema.get("type") or ("one of " + ", ".join(map(str, schema["enum"])) if "enum" in schema else "any")
        about = f" = {schema['description']}" if schema.get("description") else ""
        shown.append(f"{name}{'' if name in required else '?'}: {kind}{about}")
    return "; ".join(shown)
