"""Dates and quantities in a text, each in one form: a date is the same however it is written, 5 km are not 5 miles."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

Reading = tuple[int, int, int]
"""Year, month and day; day 0 for a month as a whole."""

_NAMES = (
    "january jan januar janvier janv enero ene gennaio gen jänner",
    "february feb februar février févr febrero febbraio feber",
    "march mar märz mrz mars marzo",
    "april apr avril avr abril abr aprile",
    "may mai mayo maggio mag",
    "june jun juni juin junio giugno giu",
    "july jul juli juillet juil julio luglio lug",
    "august aug août agosto ago",
    "september sep sept septembre septiembre settembre set",
    "october oct oktober okt octobre octubre ottobre ott",
    "november nov novembre noviembre",
    "december dec dezember dez décembre déc diciembre dic dicembre",
)
_MONTHS = {name: number for number, names in enumerate(_NAMES, 1) for name in names.split()}
_MONTH = rf"(?:{'|'.join(sorted(_MONTHS, key=len, reverse=True))})"
_DATE = re.compile(
    rf"\b(?P<y1>\d{{4}})[-/](?P<m1>\d{{1,2}})[-/](?P<d1>\d{{1,2}})\b"
    rf"|(?P<y2>\d{{4}})\s?年\s?(?P<m2>\d{{1,2}})\s?月\s?(?P<d2>\d{{1,2}})\s?日"
    rf"|\b(?P<a>\d{{1,2}})(?P<mark>[./-])(?P<b>\d{{1,2}})(?P=mark)(?P<y3>\d{{4}})\b"
    rf"|\b(?P<d4>\d{{1,2}})(?:st|nd|rd|th|\.|er)?\s+(?:of\s+|de\s+)?(?P<m4>{_MONTH})\b\.?,?\s+(?:of\s+|de\s+)?(?P<y4>\d{{4}})\b"
    rf"|\b(?P<m5>{_MONTH})\b\.?\s+(?P<d5>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y5>\d{{4}})\b"
    rf"|\b(?P<m6>{_MONTH})\b\.?,?\s+(?:of\s+|de\s+)?(?P<y6>\d{{4}})\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Date:
    """A date as it stands at `start`..`end`; `readings` are more than one where day and month could be either."""

    start: int
    end: int
    readings: frozenset[Reading]

    def is_in(self, others: frozenset[Reading]) -> bool:
        """Whether one of `others` may be this date, or lies in this month where no day is said."""
        known = others | {(year, month, 0) for year, month, _ in others}
        return bool(self.readings & known)


def dates(text: str) -> list[Date]:
    """The dates in a text, in order, in digits (day first or month first) or with the month's name."""
    found = []
    for match in _DATE.finditer(text):
        readings = frozenset(one for one in _readings(match) if _may_be(one))
        if readings:
            found.append(Date(start=match.start(), end=match.end(), readings=readings))
    return found


def _readings(match: re.Match[str]) -> Iterator[Reading]:
    parts = match.groupdict()
    if parts["y3"]:
        one, other, year = int(parts["a"]), int(parts["b"]), int(parts["y3"])
        yield year, other, one
        # With points the day comes first wherever such dates are written.
        if parts["mark"] != ".":
            yield year, one, other
        return
    for number in "12456":
        if parts.get(f"y{number}"):
            month = parts[f"m{number}"].lower()
            day = parts.get(f"d{number}") or "0"
            yield int(parts[f"y{number}"]), _MONTHS.get(month) or int(month), int(day)


def _may_be(reading: Reading) -> bool:
    return 1 <= reading[1] <= 12 and 0 <= reading[2] <= 31


NUMBER = re.compile(r"\d+(?:[.,\u00a0\u202f]\d+)*")
"""A number in digits, its marks and spaces between groups of them included."""
_SCALES = {
    **dict.fromkeys("thousand thousands tausend mille".split(), 3),  # noqa: SIM905
    **dict.fromkeys("million millions mio millionen mn".split(), 6),  # noqa: SIM905
    **dict.fromkeys("billion billions mrd milliarde milliarden milliard milliards bn".split(), 9),  # noqa: SIM905
    **dict.fromkeys("trillion trillions billionen".split(), 12),  # noqa: SIM905
}
# By what is measured: each unit with how many of the first it is. What cannot be told exactly in the first is its own.
_UNITS: dict[str, dict[str, str]] = {
    "length": {
        "1": "m metre metres meter meters",
        "1000": "km kilometre kilometres kilometer kilometers",
        "0.01": "cm centimetre centimetres centimeter centimeters zentimeter",
        "0.001": "mm millimetre millimetres millimeter millimeters",
        "1609.344": "mile miles mi meile meilen",
        "0.3048": "ft foot feet",
        "0.0254": "inch inches zoll",
        "0.9144": "yard yards yd",
    },
    "mass": {
        "1": "kg kilogram kilograms kilogramm kilo kilos",
        "0.001": "gram grams gramm",
        "0.000001": "mg milligram milligrams milligramm",
        "1000": "tonne tonnes tonnen",
        "0.45359237": "lb lbs",
        "0.028349523125": "oz ounce ounces",
    },
    "time": {
        "1": "sec second seconds sekunde sekunden",
        "60": "minute minutes minuten",
        "3600": "h hr hour hours stunde stunden",
        "86400": "day days tag tage tagen",
        "604800": "week weeks woche wochen",
    },
    "months": {"1": "month months monat monate monaten", "12": "year years jahr jahre jahren"},
    "share": {"1": "% percent prozent"},
    "dollars": {"1": "$ us$ usd dollar dollars"},
    "euros": {"1": "€ eur euro euros"},
    "sterling": {"1": "£ gbp"},
    "yen": {"1": "¥ jpy yen"},
    "celsius": {"1": "°c celsius"},
    "fahrenheit": {"1": "°f fahrenheit"},
    "memory": {"1": "kb kilobytes", "1000": "mb megabytes", "1000000": "gb gigabytes", "1000000000": "tb terabytes"},
}
_UNIT = {
    name: (kind, Decimal(factor))
    for kind, units in _UNITS.items()
    for factor, names in units.items()
    for name in names.split()
}
_WORDS = "|".join(re.escape(name) for name in sorted(_UNIT, key=len, reverse=True))
_SCALE = "|".join(sorted(_SCALES, key=len, reverse=True))
_QUANTITY = re.compile(
    rf"(?:(?P<before>us\$|[$€£¥]|\b(?:usd|eur|gbp|jpy))\s?)?(?<![\w.,])(?P<number>{NUMBER.pattern})"
    rf"(?:[\s-]?(?P<scale>{_SCALE})\b\.?)?(?:[\s\u00a0\u202f-]?(?P<after>{_WORDS})(?!\w))?(?!\w)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number at `start`..`end`, its scale counted in; `kind` is what is measured, "" where no known unit stands by.

    `value` is in the first unit of its kind, `number` as it is written, in one form; `scale` is the power of
    ten of a word such as million that is counted in, 0 for none.
    """

    start: int
    end: int
    number: str
    value: Decimal
    kind: str
    scale: int


def quantities(text: str) -> list[Quantity]:
    """The numbers in a text, in order, with their units and words such as million."""
    return list(itertools.chain.from_iterable(map(_quantity, _QUANTITY.finditer(text))))


def _quantity(match: re.Match[str]) -> Iterator[Quantity]:
    number, scale = normal(match["number"]), _SCALES.get((match["scale"] or "").lower(), 0)
    try:
        value = Decimal(number).scaleb(scale)
    except InvalidOperation:
        return
    kind, factor = _UNIT.get((match["before"] or match["after"] or "").lower(), ("", Decimal(1)))
    yield Quantity(start=match.start(), end=match.end(), number=number, value=value * factor, kind=kind, scale=scale)


def normal(text: str) -> str:
    """A number in one form: 1,234.50 and 1.234,50 and 1234.50 are equal, and so are 3,5 and 3.5, 1,234 and 1234."""
    text = unicodedata.normalize("NFKC", text).replace(" ", ",")
    groups = re.split(r"[.,]", text)
    marks = set(text) & {".", ","}
    fraction = groups.pop() if len(marks) == 2 or (len(groups) == 2 and len(groups[1]) != 3) else ""
    grouped = len(groups[0]) <= 3 and all(len(group) == 3 for group in groups[1:])
    return ("" if grouped else ".").join(groups) + (f".{fraction}" if fraction else "")
