"""Expressions as the text that people write: the inverse of `ragagent.where.written.parse`."""

from __future__ import annotations

import re
from typing import Any, Literal

from ragagent.errors import ConfigError
from ragagent.types import Scalar
from ragagent.where.expressions import And, Eq, Exists, Expression, In, Not, Or, Prefix, Range, bounded
from ragagent.where.written import BOUNDS, KEYWORDS, MOST_DIGITS, WORD

_MOST_BITS = 13_950
"""A whole number of so many bits has 4200 digits."""


def written(found: Expression) -> str:
    """The text of an expression: `parse` reads it back as one that is equal, but for And and Or of a single part.

    Raises ConfigError for what is no expression, too large, or holds a whole number of thousands of digits.
    """
    return _written(_plain(bounded(found)))


def _plain(found: Expression) -> Expression:
    """The expression with each And and Or of a single part replaced by that part."""
    if isinstance(found, Not):
        return Not(_plain(found.part))
    if not isinstance(found, And | Or):
        return found
    parts = tuple(map(_plain, found.parts))
    return parts[0] if len(parts) == 1 else type(found)(parts)


def _written(found: Expression) -> str:
    if isinstance(found, And):
        return " and ".join(_enclosed(part, And | Or) for part in found.parts) or "true"
    if isinstance(found, Or):
        return " or ".join(_enclosed(part, Or) for part in found.parts) or "false"
    if isinstance(found, Not):
        return _of_condition(found.part, "not ") or f"not {_enclosed(found.part, And | Or)}"
    return _of_condition(found)


def _enclosed(part: Expression, kinds: Any) -> str:
    """The text of a part, in parentheses where it is one of `kinds` and would come apart without."""
    text = _written(part)
    return f"({text})" if isinstance(part, kinds) and part.parts else text


def _of_condition(one: Expression, turned: Literal["", "not "] = "") -> str:
    """The text of a condition on a key, or of its opposite; empty where there is no such text."""
    if isinstance(one, Eq):
        return f"{_as_key(one.key)} {'!=' if turned else '='} {literal(one.value)}"
    if isinstance(one, In):
        return f"{_as_key(one.key)} {turned}in ({', '.join(map(literal, one.values))})"
    if isinstance(one, Prefix):
        return f"{_as_key(one.key)} {turned}starts with {literal(one.prefix)}"
    if isinstance(one, Exists):
        return f"{_as_key(one.key)} {turned}exists"
    return _of_range(one) if isinstance(one, Range) and not turned else ""


def _of_range(one: Range) -> str:
    key, given = _as_key(one.key), one.bounds()
    if len(given) == 1:
        ((name, bound),) = given.items()
        return f"{key} {next(sign for sign, known in BOUNDS.items() if known == name)} {literal(bound)}"
    low, high = ("<=" if "ge" in given else "<"), ("<=" if "le" in given else "<")
    least, most = (literal(bound) for bound in (given.get("ge", given.get("gt")), given.get("le", given.get("lt"))))
    return f"{least} {low} {key} {high} {most}"


def literal(value: Scalar) -> str:
    """A value as it is written in a filter, so that it is nothing but that value, whatever is in it.

    Use it to put a value into a text: f"author = {literal(name)}". Raises ConfigError for what is no scalar.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f'"{_escaped(value, chr(34))}"'
    if isinstance(value, int) and value.bit_length() <= _MOST_BITS:
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    shown = "so large a number" if isinstance(value, int) else f"{value!r:.40}"
    raise ConfigError(
        f"a filter cannot be written with {shown}: use text, numbers of at most {MOST_DIGITS} digits, true, false, null"
    )


def _as_key(key: str) -> str:
    plain = re.fullmatch(WORD, key) and key.lower() not in KEYWORDS | {"inf", "nan"}
    return key if plain else f"`{_escaped(key, '`')}`"


def _escaped(text: str, quote: str) -> str:
    return "".join(_escape(one, quote) for one in text)


def _escape(one: str, quote: str) -> str:
    if one in {"\\", quote}:
        return f"\\{one}"
    return one if one.isprintable() else f"\\u{{{ord(one):x}}}"
