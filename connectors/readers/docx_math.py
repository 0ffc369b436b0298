"""Formulas of Word (Office MathML) as TeX on one line, the form in which the other readers have formulas too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MAX_DEPTH = 40
_NEXT = " \\\\ "
_ACCENTS = {
    "\u0300": "grave",
    "\u0301": "acute",
    "\u0302": "hat",
    "\u0303": "tilde",
    "\u0304": "bar",
    "\u0306": "breve",
}
_ACCENTS |= {"\u0307": "dot", "\u0308": "ddot", "\u030c": "check", "\u20d7": "vec"}
# Properties, and deleted text, are not said.
_SILENT = frozenset({f"{_W}del", f"{_W}rPr", f"{_M}rPr", f"{_M}ctrlPr"})


def tex(formula: Any) -> str:
    """The formula of an `m:oMath` or `m:oMathPara`; symbols stay the characters that they are."""
    return " ".join(_inside(formula, 0).split())


def _inside(element: Any, depth: int) -> str:
    return "".join(_said(child, depth) for child in element)


def _said(element: Any, depth: int) -> str:
    tag = element.tag
    if not isinstance(tag, str) or tag in _SILENT or tag.endswith("Pr"):
        return ""
    if tag in {f"{_M}t", f"{_W}t"}:
        return element.text or ""
    if depth >= _MAX_DEPTH:
        return "".join(one.text or "" for one in element.iter(f"{_M}t"))
    form = _FORMS.get(tag.removeprefix(_M)) if tag.startswith(_M) else None
    return form(_Parts(element, depth + 1)) if form else _inside(element, depth + 1)


class _Parts:
    """The parts of one construction, by their names."""

    def __init__(self, element: Any, depth: int) -> None:
        self._element = element
        self._depth = depth

    def __getitem__(self, name: str) -> str:
        part = self._element.find(f"{_M}{name}")
        return _inside(part, self._depth).strip() if part is not None else ""

    def all(self, name: str) -> list[str]:
        """Every part of that name."""
        return [_inside(part, self._depth).strip() for part in self._element.findall(f"{_M}{name}")]

    def rows(self) -> list[str]:
        """The rows of a matrix, their cells parted by `&`."""
        lines = self._element.findall(f"{_M}mr")
        return [" & ".join(_inside(cell, self._depth).strip() for cell in line.findall(f"{_M}e")) for line in lines]

    def stated(self, name: str, default: str) -> str:
        """A property of the construction; one that stands there without a value is empty."""
        for properties in self._element:
            if isinstance(properties.tag, str) and properties.tag.endswith("Pr"):
                found = properties.find(f"{_M}{name}")
                if found is not None:
                    return str(found.get(f"{_M}val", ""))[:8]
        return default

    @property
    def base(self) -> str:
        """What an index belongs to, held together where it is more than a run of characters."""
        base, part = self["e"], self._element.find(f"{_M}e")
        whole = part is None or all(child.tag in {f"{_M}r", f"{_M}ctrlPr"} for child in part)
        return base if whole else f"{{{base}}}"


def _index(sign: str, text: str) -> str:
    return f"{sign}{{{text}}}" if text else ""


def _fraction(parts: _Parts) -> str:
    above, below = parts["num"], parts["den"]
    return f"{above}/{below}" if parts.stated("type", "bar") == "lin" else f"\\frac{{{above}}}{{{below}}}"


def _root(parts: _Parts) -> str:
    degree = parts["deg"]
    return f"\\sqrt{f'[{degree}]' if degree else ''}{{{parts['e']}}}"


def _delimited(parts: _Parts) -> str:
    between = parts.stated("sepChr", "|")
    return f"{parts.stated('begChr', '(')}{between.join(parts.all('e'))}{parts.stated('endChr', ')')}"


def _sum(parts: _Parts) -> str:
    return f"{parts.stated('chr', '∫')}{_index('_', parts['sub'])}{_index('^', parts['sup'])} {parts['e']}"


def _accent(parts: _Parts) -> str:
    name = _ACCENTS.get(parts.stated("chr", "\u0302"), "hat")
    return f"\\{name}{{{parts['e']}}}"


def _bar(parts: _Parts) -> str:
    return f"\\{'overline' if parts.stated('pos', 'bot') == 'top' else 'underline'}{{{parts['e']}}}"


_FORMS: Mapping[str, Callable[[_Parts], str]] = {
    "f": _fraction,
    "rad": _root,
    "sSup": lambda parts: parts.base + _index("^", parts["sup"]),
    "sSub": lambda parts: parts.base + _index("_", parts["sub"]),
    "sSubSup": lambda parts: parts.base + _index("_", parts["sub"]) + _index("^", parts["sup"]),
    "sPre": lambda parts: "{}" + _index("_", parts["sub"]) + _index("^", parts["sup"]) + parts["e"],
    "nary": _sum,
    "d": _delimited,
    "func": lambda parts: f"{parts['fName']} {parts['e']}",
    "limLow": lambda parts: parts["e"] + _index("_", parts["lim"]),
    "limUpp": lambda parts: parts["e"] + _index("^", parts["lim"]),
    "acc": _accent,
    "bar": _bar,
    "m": lambda parts: f"\\begin{{matrix}} {_NEXT.join(parts.rows())} \\end{{matrix}}",
    "eqArr": lambda parts: _NEXT.join(parts.all("e")),
}
