"""The options of a source: what its connector can be told beside the address, as one frozen dataclass a kind."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from ragagent.errors import ConfigError
from ragagent.settings import convert

T = TypeVar("T")
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
SECRET: Mapping[str, bool] = {"secret": True}
"""Metadata of a field whose value is never shown."""


def read_options(kind: type[T], given: Mapping[str, Any], *, source: str) -> T:
    """`given` as an instance of the dataclass `kind`; texts become what the field wants.

    Raises ConfigError for an unknown key, with the known ones, for a wrong value, and for one that must be given and
    is not. A list may be written as texts with commas between them.
    """
    fields = {item.name: item for item in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    values: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise ConfigError(f"{source}: unknown option {key!r}; {_known(name, list(fields))}")
        values[name] = _value(fields[name], hints[name], value, source)
    missing = [name for name, item in fields.items() if name not in values and not _has_default(item)]
    if missing:
        raise ConfigError(f"{source}: needs the option {missing[0]!r}")
    return kind(**values)


def _value(item: dataclasses.Field[Any], hint: Any, value: Any, source: str) -> Any:
    shown = "..." if item.metadata.get("secret") else repr(value)
    try:
        found = _flag(value) if hint is bool else convert(hint, value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{source}: option {item.name} = {shown}: {error}") from None
    minimum = item.metadata.get("minimum")
    if minimum is not None and found is not None and found < minimum:
        raise ConfigError(f"{source}: option {item.name} = {shown}: must be at least {minimum}")
    return found


def _flag(value: Any) -> bool:
    found = value if isinstance(value, bool) else _WORDS.get(str(value).lower())
    if found is None:
        raise ValueError("must be true or false")
    return found


def _has_default(item: dataclasses.Field[Any]) -> bool:
    return item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING


def _known(name: str, fields: list[str]) -> str:
    close = difflib.get_close_matches(name, fields, n=2)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known options: {', '.join(fields)}" if fields else "this kind of source takes none"
