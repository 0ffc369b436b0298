"""The numbers that stand before the items of OpenDocument lists: their styles say how, and nothing in the text does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ragagent.connectors.readers.docx_numbering import figured
from ragagent.connectors.readers.xml_tree import local

_NS = "urn:oasis:names:tc:opendocument:xmlns:"
_TEXT, _STYLE = f"{{{_NS}text:1.0}}", f"{{{_NS}style:1.0}}"
_FORMS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}
_MAX_SIGNS = 20


@dataclass(frozen=True, slots=True)
class _Level:
    """How a level is numbered: what stands around the figure, its form, and the first one."""

    form: str
    before: str
    after: str
    start: int


Styles = Mapping[str, Mapping[int, _Level]]


def read_styles(*roots: Any) -> Styles:
    """The numbered levels of the list styles in these trees, by name; levels with bullets are left out."""
    found: dict[str, dict[int, _Level]] = {}
    for root in roots:
        for style in root.iter(f"{_TEXT}list-style"):
            levels = found.setdefault(style.get(f"{_STYLE}name") or "", {})
            for level in style.iter(f"{_TEXT}list-level-style-number"):
                form = _FORMS.get(level.get(f"{_STYLE}num-format") or "")
                if form:
                    before, after = (level.get(f"{_STYLE}num-{end}") or "" for end in ("prefix", "suffix"))
                    levels[_whole(level.get(f"{_TEXT}level"), 1)] = _Level(
                        form, before[:_MAX_SIGNS], after[:_MAX_SIGNS], _whole(level.get(f"{_TEXT}start-value"), 1)
                    )
    return found


@dataclass(slots=True)
class Lists:
    """Counts the items of the lists of one document as they come."""

    styles: Styles = field(default_factory=dict)
    _last: dict[tuple[str, int], int] = field(default_factory=dict)

    def items(self, node: Any) -> Iterator[tuple[int, str, list[Any]]]:
        """(depth, mark, what the item holds beside lists) for each item of a list and those inside it, in order."""
        yield from self._items(node, 0, "")

    def _items(self, node: Any, depth: int, style: str) -> Iterator[tuple[int, str, list[Any]]]:
        style = node.get(f"{_TEXT}style-name") or style
        level = self.styles.get(style, {}).get(depth + 1)
        place = (style, depth)
        if level is not None and node.get(f"{_TEXT}continue-numbering") != "true":
            self._last.pop(place, None)
        for item in node:
            mark = self._mark(item, level, place) if local(item) == "list-item" else ""
            held: list[Any] = []
            for part in item:
                if local(part) != "list":
                    held.append(part)
                    continue
                if held:
                    yield depth, mark, held
                    mark, held = "", []
                yield from self._items(part, depth + 1, style)
            if held:
                yield depth, mark, held

    def _mark(self, item: Any, level: _Level | None, place: tuple[str, int]) -> str:
        if level is None:
            return "-"
        if all(local(part) == "list" for part in item):
            return ""
        count = _whole(item.get(f"{_TEXT}start-value"), self._last.get(place, level.start - 1) + 1)
        self._last[place] = count
        return f"{level.before}{figured(level.form, count)}{level.after}".strip()


def _whole(text: str | None, default: int) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else default
