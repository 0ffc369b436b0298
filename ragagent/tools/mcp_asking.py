"""What a server asks a person in the middle of a call (elicitation): a form, or an address to open.

A server is a stranger, so what it asks is bounded before anybody sees it, and what is answered is checked before it
leaves. Nothing here is ever shown to a model, and no model answers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ragagent.errors import ToolError
from ragagent.text import hidden

_MAX_FIELDS = 20
_MAX_OPTIONS = 100
_MAX_CHARS = 2000
_MAX_URL_CHARS = 4000

Value = str | int | float | bool | list[str]
Kind = Literal["text", "integer", "number", "yes or no", "one of", "some of"]
_KINDS: Mapping[str, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "yes or no",
    "array": "some of",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One thing that is asked. `options` are what may be chosen, with what they are called."""

    name: str
    title: str
    kind: Kind
    description: str = ""
    required: bool = False
    default: Value | None = None
    options: tuple[tuple[str, str], ...] = ()
    low: float | None = None
    high: float | None = None

    def checked(self, value: Any) -> Value:
        """`value`, if it may be answered. Raises ToolError, with what may, if not."""
        if not _fits(self, value):
            raise ToolError(f"{self.title}: {value!r} is not {_wanted(self)}")
        kept: Value = value
        return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What a server asks, in its own words. With `url` it asks that a person opens that, and nothing else."""

    server: str
    message: str
    fields: tuple[Field, ...] = ()
    url: str = ""


Ask = Callable[[Form], Mapping[str, Any] | None]
"""Asks a person: gives what they answered by the names of the fields, or None when they do not want to answer."""


def form(server: str, message: str, schema: Mapping[str, Any]) -> Form:
    """The form of an elicitation. Raises ToolError for one that asks for more than the protocol lets it."""
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping) or len(properties) > _MAX_FIELDS:
        raise ToolError(f"{server!r} asks for more than {_MAX_FIELDS} things at once")
    required = schema.get("required") or ()
    fields = tuple(_field(str(name), one, name in required) for name, one in properties.items())
    return Form(server=server, message=_words(message), fields=fields)


def opening(server: str, message: str, url: str) -> Form:
    """The form of a request to open an address. Raises ToolError for one that is no address of the web."""
    if len(url) > _MAX_URL_CHARS or not re.fullmatch(r"https?://[!-~]+", url):
        raise ToolError(f"{server!r} asks to open what is no address of the web")
    return Form(server=server, message=_words(message), url=url)


def completed(asked: Form, given: Mapping[str, Any]) -> dict[str, Value]:
    """What goes back: what was given, checked, and the defaults of the rest. Raises ToolError for what is missing."""
    answer: dict[str, Value] = {}
    for one in asked.fields:
        value = given.get(one.name, one.default)
        if value is not None:
            answer[one.name] = one.checked(value)
        elif one.required:
            raise ToolError(f"{one.title} has to be answered")
    return answer


def _field(name: str, said: Any, required: bool) -> Field:
    if not isinstance(said, Mapping) or said.get("type") not in _KINDS:
        raise ToolError(f"{_words(name)!r} is asked for in a way that the protocol does not know")
    kind = _KINDS[said["type"]]
    options = _options(said.get("items", {}) if kind == "some of" else said)
    field = Field(
        name=name,
        title=_words(said.get("title") or name),
        kind="one of" if options and kind == "text" else kind,
        description=_words(said.get("description") or ""),
        required=required,
        options=options,
        low=_bound(said, "minimum", "minLength", "minItems"),
        high=_bound(said, "maximum", "maxLength", "maxItems"),
    )
    default = said.get("default")
    if default is None or not _fits(field, default):
        return field
    return replace(field, default=default)


def _options(said: Any) -> tuple[tuple[str, str], ...]:
    """The values that may be chosen, with their titles, in each of the ways that the revisions have written them."""
    if not isinstance(said, Mapping):
        return ()
    titled = said.get("oneOf") or said.get("anyOf")
    if isinstance(titled, list):
        pairs = [(one.get("const"), one.get("title")) for one in titled if isinstance(one, Mapping)]
    else:
        values, names = said.get("enum") or [], said.get("enumNames") or []
        pairs = [(value, names[at] if at < len(names) else value) for at, value in enumerate(values)]
    if len(pairs) > _MAX_OPTIONS:
        raise ToolError(f"a choice has more than {_MAX_OPTIONS} options")
    return tuple((value, _words(title or value)) for value, title in pairs if isinstance(value, str))


def _bound(said: Mapping[str, Any], *names: str) -> float | None:
    found = next((said[name] for name in names if name in said), None)
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


def _fits(field: Field, value: Any) -> bool:
    values = [name for name, _ in field.options]
    match field.kind:
        case "yes or no":
            return isinstance(value, bool)
        case "integer" | "number":
            whole = isinstance(value, int) or (field.kind == "number" and isinstance(value, float))
            return whole and not isinstance(value, bool) and math.isfinite(value) and _within(field, value)
        case "one of":
            return value in values
        case "some of":
            known = isinstance(value, list) and all(isinstance(one, str) for one in value)
            return known and (not values or set(value) <= set(values)) and _within(field, len(value))
        case "text":
            return isinstance(value, str) and _within(field, len(value))


def _within(field: Field, size: float) -> bool:
    return (field.low is None or size >= field.low) and (field.high is None or size <= field.high)


def _wanted(field: Field) -> str:
    if field.options:
        return f"{field.kind} {', '.join(value for value, _ in field.options)}"
    bounds = [f"{word} {size:g}" for word, size in (("from", field.low), ("to", field.high)) if size is not None]
    return " ".join([field.kind, *bounds])


def _words(text: Any) -> str:
    """Foreign text as it may be shown: on one line, bounded, with nothing hidden in it."""
    return hidden.without(" ".join(str(text).split()))[:_MAX_CHARS]
