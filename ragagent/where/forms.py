"""The forms in which a filter is given, and from one to another: text, mapping, JSON, expression."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ragagent.errors import ConfigError
from ragagent.where.expressions import (
    DEEPEST,
    And,
    Eq,
    Exists,
    Expression,
    In,
    Not,
    Or,
    Prefix,
    Range,
    Where,
    bounded,
)
from ragagent.where.written import parse

_OWN = "key, and one of eq, in, ge/gt/le/lt, prefix, exists; or and, or, not"


def expression(where: Where) -> Expression:
    """`where` as an expression. Raises ConfigError for what is no filter, not written as one, or too large."""
    if isinstance(where, str):
        return parse(where)
    return bounded(_of_mapping(where) if isinstance(where, Mapping) else where)


def _of_mapping(where: Mapping[str, Any]) -> Expression:
    return And(tuple(In(str(key), _values(value)) for key, value in where.items()))


def _values(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)


def from_json(text: str) -> Where:
    """A filter written as JSON: an expression, or a mapping of keys to values where no operator is used.

    Operators: {"and": [...]}, {"or": [...]}, {"not": {...}}, and for a key {"key": k, "eq": v},
    {"key": k, "in": [...]}, {"key": k, "ge": v, "lt": w}, {"key": k, "prefix": p}, {"key": k, "exists": true}.
    Raises ConfigError, saying what is wrong where.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the filter is not JSON: {error}") from error
    return from_value(value)


def from_value(value: Any) -> Where:
    """The same, of JSON that has been read already; a JSON string is a filter as it is written (`parse`)."""
    if isinstance(value, str):
        return parse(value)
    if not isinstance(value, Mapping):
        raise ConfigError(f"a filter is a JSON object or a string, not {_shown(value)}")
    if not {"and", "or", "not", "key"} & value.keys():
        return value
    found = _parsed(value, 1)
    return bounded(found)


def _parsed(value: Any, depth: int) -> Expression:
    if depth > DEEPEST:
        raise ConfigError(f"a filter takes at most {DEEPEST} levels")
    if not isinstance(value, Mapping):
        raise ConfigError(f"{_shown(value)} is no part of a filter; write an object with {_OWN}")
    if "key" in value:
        return _of_key(value)
    if len(value) != 1:
        raise ConfigError(f"{_shown(value)}: write an object with {_OWN}")
    ((operator, inside),) = value.items()
    if operator == "not":
        return Not(_parsed(inside, depth + 1))
    if operator not in {"and", "or"} or not isinstance(inside, list):
        raise ConfigError(f"{_shown(value)}: write an object with {_OWN}; and, or take a list")
    parts = tuple(_parsed(part, depth + 1) for part in inside)
    return And(parts) if operator == "and" else Or(parts)


def _of_key(value: Mapping[str, Any]) -> Expression:
    key, given = value["key"], {name: one for name, one in value.items() if name != "key"}
    if not isinstance(key, str):
        raise ConfigError(f"{_shown(value)}: the key must be text")
    names = given.keys()
    if names == {"eq"} and not isinstance(given["eq"], list | dict):
        return Eq(key, given["eq"])
    if names == {"in"} and isinstance(given["in"], list):
        return In(key, tuple(given["in"]))
    if names == {"prefix"} and isinstance(given["prefix"], str):
        return Prefix(key, given["prefix"])
    if names == {"exists"} and isinstance(given["exists"], bool):
        return Exists(key) if given["exists"] else Not(Exists(key))
    if names and names <= {"ge", "gt", "le", "lt"}:
        return Range(key, **given)
    raise ConfigError(f"{_shown(value)}: write {_OWN}, each with a value of its kind")


def as_value(where: Where) -> dict[str, Any]:
    """What `from_value` reads back as an equal filter: plain dictionaries, lists and scalars."""
    if isinstance(where, str):
        return as_value(parse(where))
    if isinstance(where, Mapping):
        return dict(where)
    if isinstance(where, And | Or):
        return {type(where).__name__.lower(): [as_value(part) for part in where.parts]}
    if isinstance(where, Not):
        return {"not": as_value(where.part)}
    if isinstance(where, Exists):
        return {"key": where.key, "exists": True}
    if isinstance(where, Range):
        return {"key": where.key, **where.bounds()}
    if isinstance(where, In):
        return {"key": where.key, "in": list(where.values)}
    return {"eq" if name == "value" else name: one for name, one in dataclasses.asdict(where).items()}


def both(filters: Sequence[Where]) -> Where | None:
    """The filter that holds where all of them do; None for none."""
    if len(filters) < 2:
        return filters[0] if filters else None
    return And(tuple(expression(one) for one in filters))


def _shown(value: Any) -> str:
    text = json.dumps(value, default=repr, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"
