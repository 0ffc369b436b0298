"""JSON schemas of tool arguments, in the plain form that both the decoder and the validator take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragagent.errors import ConfigError

_MAX_DEPTH = 24
# Keys whose values map names to schemas: "title" is a name there, not an annotation.
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_VERBATIM = frozenset({"const", "enum", "default", "examples", "required"})


def plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` with local references put in place and generated titles dropped: it can be nested anywhere.

    Raises ConfigError for a reference that is recursive, dangling or not local.
    """
    definitions = {**schema.get("definitions", {}), **schema.get("$defs", {})}
    body = {key: value for key, value in schema.items() if key not in {"$defs", "definitions", "$schema"}}
    result: dict[str, Any] = _plain(body, definitions, 0)
    return result


def _plain(value: Any, definitions: Mapping[str, Any], depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise ConfigError(f"the argument schema nests deeper than {_MAX_DEPTH} or is recursive; use a flat type")
    if isinstance(value, list):
        return [_plain(item, definitions, depth + 1) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "$ref" in value:
        rest = {key: item for key, item in value.items() if key != "$ref"}
        return _plain({**_target(value["$ref"], definitions), **rest}, definitions, depth + 1)
    return {
        key: _entry(key, item, definitions, depth)
        for key, item in value.items()
        if not (key == "title" and isinstance(item, str))
    }


def _entry(key: str, item: Any, definitions: Mapping[str, Any], depth: int) -> Any:
    if key in _VERBATIM:
        return item
    if key in _NAMED and isinstance(item, Mapping):
        return {name: _plain(schema, definitions, depth + 1) for name, schema in item.items()}
    return _plain(item, definitions, depth + 1)


def _target(reference: str, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    name = reference.rpartition("/")[2]
    if reference not in {f"#/$defs/{name}", f"#/definitions/{name}"} or name not in definitions:
        raise ConfigError(f"the argument schema refers to {reference!r}; only its own $defs can be referred to")
    target: Mapping[str, Any] = definitions[name]
    return target
