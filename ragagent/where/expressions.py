"""The expressions of filters, and how large they may be."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ragagent.errors import ConfigError
from ragagent.types import Scalar

MOST_VALUES = 100_000
MOST_PARTS = 1000
DEEPEST = 32

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
Where: TypeAlias = "str | Mapping[str, Any] | Expression"
"""A filter in any of its forms but JSON: written, as a mapping, or as an expression."""


def bounded(found: Any) -> Expression:
    """`found`, if it is an expression that is not too large. Raises ConfigError otherwise."""
    parts = values = 0
    waiting: list[tuple[Any, int]] = [(found, 1)]
    while waiting:
        one, depth = waiting.pop()
        parts += 1
        values += len(one.values) if isinstance(one, In) else 0
        if not isinstance(one, And | Or | Not | Eq | In | Range | Prefix | Exists):
            raise ConfigError(
                f"{one!r} is no filter: use text, a mapping, or And, Or, Not, Eq, In, Range, Prefix, Exists"
            )
        if parts > MOST_PARTS or depth > DEEPEST or values > MOST_VALUES:
            raise ConfigError(
                f"this filter is too large: it takes at most {MOST_PARTS} parts, {DEEPEST} levels, {MOST_VALUES} values"
            )
        inner = (one.part,) if isinstance(one, Not) else one.parts if isinstance(one, And | Or) else ()
        waiting += [(part, depth + 1) for part in inner]
    return found  # type: ignore[no-any-return]


def _is_bound(bound: Any) -> bool:
    number = isinstance(bound, int | float) and not isinstance(bound, bool) and bound == bound
    return isinstance(bound, str) or number
