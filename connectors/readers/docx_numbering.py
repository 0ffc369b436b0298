"""The numbers that Word shows before numbered paragraphs: clause 7.2 of a contract is text nowhere in the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_PLACE = re.compile(r"%([1-9])")
_LEVELS = 9
_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x")),
    *((9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)


@dataclass(slots=True)
class _Level:
    style: str = "decimal"
    text: str = ""
    start: int = 1


@dataclass(slots=True)
class Numbering:
    """Counts the paragraphs of one document as they come. `lists` maps a numId to its abstract list."""

    lists: dict[str, str] = field(default_factory=dict)
    levels: dict[str, dict[int, _Level]] = field(default_factory=dict)
    counts: dict[str, list[int | None]] = field(default_factory=dict)

    def label(self, number_id: str, level: int) -> str | None:
        """What stands before the next paragraph of a list at `level`; empty for a bullet, None for no such list."""
        abstract = self.lists.get(number_id)
        if abstract is None or not 0 <= level < _LEVELS:
            return None
        known = self.levels[abstract]
        own = known.get(level, _Level())
        counts = self.counts.setdefault(abstract, [None] * _LEVELS)
        current = counts[level]
        counts[level] = own.start if current is None else current + 1
        counts[level + 1 :] = [None] * (_LEVELS - level - 1)
        if own.style in {"bullet", "none"}:
            return ""
        return _PLACE.sub(lambda match: self._figure(known, counts, int(match[1]) - 1), own.text)

    def _figure(self, known: dict[int, _Level], counts: list[int | None], level: int) -> str:
        own, count = known.get(level, _Level()), counts[level]
        if count is None:
            count = counts[level] = own.start
        return figured(own.style, count)


def read_numbering(document: Any) -> Numbering:
    """The lists that a document declares; none when it has no numbering part."""
    part = next((rel for rel in document.part.rels.values() if rel.reltype.endswith("/numbering")), None)
    numbering = Numbering()
    if part is None or part.is_external:
        return numbering
    root = part.target_part.element
    for abstract in root.iter(f"{_W}abstractNum"):
        levels = {_int(level.get(f"{_W}ilvl"), 0): _level(level) for level in abstract.iter(f"{_W}lvl")}
        numbering.levels[abstract.get(f"{_W}abstractNumId", "")] = levels
    for number in root.iter(f"{_W}num"):
        reference = number.find(f"{_W}abstractNumId")
        target = reference.get(f"{_W}val", "") if reference is not None else ""
        if target in numbering.levels:
            numbering.lists[number.get(f"{_W}numId", "")] = target
    return numbering


def _level(element: Any) -> _Level:
    def value(tag: str, default: str) -> str:
        found = element.find(f"{_W}{tag}")
        return default if found is None else str(found.get(f"{_W}val", default))

    return _Level(style=value("numFmt", "decimal"), text=value("lvlText", "")[:40], start=_int(value("start", "1"), 1))


def _int(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else default


def figured(style: str, count: int) -> str:
    """A number as letters, Roman or in figures, by the names that Word has for these."""
    if style in {"lowerLetter", "upperLetter"} and 1 <= count <= 26 * 20:
        letter = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1)
        return letter.upper() if style == "upperLetter" else letter
    if style in {"lowerRoman", "upperRoman"} and 1 <= count < 4000:
        return _roman(count).upper() if style == "upperRoman" else _roman(count)
    return f"{count:02d}" if style == "decimalZero" else str(count)


def _roman(count: int) -> str:
    figure = ""
    for value, sign in _ROMAN:
        figure += sign * (count // value)
        count %= value
    return figure
