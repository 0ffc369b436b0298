"""Filters as expressions: which documents a search may find, by their metadata.

    And((Range("year", ge=2020, lt=2024), Or((Eq("team", "law"), Prefix("uri", "file:/contracts/")))))
    from_json('{"and": [{"key": "year", "ge": 2020}, {"not": {"key": "draft", "eq": true}}]}')

A key is one of the metadata, or id, uri, title, media_type, source, which go before metadata of that name. A document
may have several values for a key (a list): `Eq`, `In`, `Range` and `Prefix` hold when any one of them fits, and none
holds where the key is missing; `Not` turns that round, so `Not(Eq("team", "law"))` holds where there is no team.
Values compare as JSON values do: 1 equals 1.0, true is no number. Numbers are ordered as numbers, exactly; text by code
point, so that dates and times written in one ISO form and one time zone are ordered by time. The two never mix.

A mapping, `{"team": ["law", "tax"], "year": 2020}`, means that every key has (one of) the values.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ragagent.errors import ConfigError
from ragagent.types import Scalar

MOST_VALUES = 100_000
MOST_PARTS = 1000
DEEPEST = 32
_OWN = "key, and one of eq, in, ge/gt/le/lt, prefix, exists; or and, or, not"

Bound: TypeAlias = "int | float | str | datetime.date | None"


@dataclass(frozen=True, slots=True)
class And:
    """All of them hold; true of every document when there are none."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """At least one of them holds; true of no document when there are none."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """It does not hold."""

    part: Expression


@dataclass(frozen=True, slots=True)
class Eq:
    """A value of the key equals `value`."""

    key: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class In:
    """A value of the key is among `values`."""

    key: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A value of the key lies within the bounds, which are all numbers or all text. Dates become ISO text."""

    key: str
    ge: Bound = None
    gt: Bound = None
    le: Bound = None
    lt: Bound = None

    def __post_init__(self) -> None:
        for name, bound in self.bounds().items():
            if isinstance(bound, datetime.date):
                object.__setattr__(self, name, bound.isoformat())
        bounds = self.bounds()
        kinds = {"text" if isinstance(bound, str) else "number" for bound in bounds.values()}
        if not bounds or {"ge", "gt"} <= bounds.keys() or {"le", "lt"} <= bounds.keys():
            raise ConfigError(f"a range of {self.key!r} needs a bound: one of ge and gt, or one of le and lt, or both")
        wrong = [bound for bound in bounds.values() if not _is_bound(bound)]
        if wrong or len(kinds) > 1:
            raise ConfigError(f"the bounds of {self.key!r} are {bounds}; they must be all numbers or all text")

    def bounds(self) -> dict[str, Any]:
        """The bounds that are given, by name."""
        given = {"ge": self.ge, "gt": self.gt, "le": self.le, "lt": self.lt}
        return {name: bound for name, bound in given.items() if bound is not None}


@dataclass(frozen=True, slots=True)
class Prefix:
    """A value of the key is text that begins with `prefix`."""

    key: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Exists:
    """The key has a value other than null."""

    key: str


Expression: TypeAlias = And | Or | Not | Eq | In | Range | Prefix | Exists
Where: TypeAlias = "Mapping[str, Any] | Expression"


def expression(where: Where) -> Expression:
    """`where` as an expression. Raises ConfigError for what is neither a mapping nor an expression, or too large."""
    found = _of_mapping(where) if isinstance(where, Mapping) else where
    parts = values = 0
    waiting: list[tuple[Any, int]] = [(found, 1)]
    while waiting:
        one, depth = waiting.pop()
        parts += 1
        values += len(one.values) if isinstance(one, In) else 0
        if not isinstance(one, And | Or | Not | Eq | In | Range | Prefix | Exists):
            raise ConfigError(f"{one!r} is no filter: use a mapping, or And, Or, Not, Eq, In, Range, Prefix, Exists")
        if parts > MOST_PARTS or depth > DEEPEST or values > MOST_VALUES:
            raise ConfigError(
                f"this filter is too large: it takes at most {MOST_PARTS} parts, {DEEPEST} levels, {MOST_VALUES} values"
            )
        inner = (one.part,) if isinstance(one, Not) else one.parts if isinstance(one, And | Or) else ()
        waiting += [(part, depth + 1) for part in inner]
    return found


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
    """The same, of JSON that has been read already."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"a filter is a JSON object, not {_shown(value)}")
    if not {"and", "or", "not", "key"} & value.keys():
        return value
    found = _parsed(value, 1)
    expression(found)
    return found


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


def _is_bound(bound: Any) -> bool:
    number = isinstance(bound, int | float) and not isinstance(bound, bool) and bound == bound
    return isinstance(bound, str) or number


def _shown(value: Any) -> str:
    text = json.dumps(value, default=repr, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"
