"""What a docstring says about a function and its parameters, in the three styles in common use."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import NamedTuple

_SECTION = re.compile(
    r"^(Args|Arguments|Parameters|Returns?|Raises|Yields|Examples?|Notes?|See Also|Warns|Attributes):?\s*$"
)
_SPHINX_FIELD = re.compile(r"^:(?:param|parameter|arg)\s+(?:[^:]*\s)?\*{0,2}(\w+):\s*(.*)$")
_GOOGLE_ENTRY = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")
_NUMPY_ENTRY = re.compile(r"^\*{0,2}(\w+)\s*(?::.*)?$")


class Described(NamedTuple):
    """The text before the first section, and the description of each parameter that has one."""

    text: str
    parameters: dict[str, str]


def describe(docstring: str | None) -> Described:
    """Reads the Google, NumPy and Sphinx ways of describing parameters; anything else is plain description."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    begin = next((n for n, line in enumerate(lines) if _SECTION.match(line) or line.startswith(":")), len(lines))
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines[:begin])).strip()
    section = _parameter_section(lines[begin:])
    if any(line.startswith(":") for line in lines[begin:]):
        entries = _entries(lines[begin:], _SPHINX_FIELD)
    elif section and not section[0].startswith(" "):
        entries = _entries(section, _NUMPY_ENTRY)
    else:
        entries = _entries(inspect.cleandoc("\n" + "\n".join(section)).splitlines(), _GOOGLE_ENTRY)
    return Described(text, entries)


def _parameter_section(lines: list[str]) -> list[str]:
    """The lines of the section about parameters, its underline left out."""
    section: list[str] = []
    inside = False
    for line in lines:
        heading = _SECTION.match(line)
        if heading:
            inside = heading[1] in {"Args", "Arguments", "Parameters"}
        elif inside and line.strip() and set(line.strip()) != {"-"}:
            section.append(line)
    return section


def _entries(lines: Iterable[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Lines at the margin that match begin an entry; indented lines go on with it; anything else ends it."""
    found: dict[str, str] = {}
    current: str | None = None
    for line in lines:
        entry = pattern.match(line)
        if entry:
            current = entry[1]
            found[current] = entry[2] if pattern.groups > 1 else ""
        elif current is not None and line.startswith(" "):
            found[current] += " " + line
        else:
            current = None
    return {name: " ".join(text.split()) for name, text in found.items()}
