"""The charts of a workbook (.xlsx): their titles, and their figures as a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ragagent.connectors.readers.parsed import TextBuilder, one_line
from ragagent.connectors.readers.xml_tree import local, parse_xml
from ragagent.connectors.readers.zipped import entry_names, read_entries
from ragagent.errors import ReadError

MAX_CHARTS = 500
_MAX_POINTS = 5_000
_PART = re.compile(r"xl/charts/chart\d*\.xml")


def add_charts(builder: TextBuilder, data: bytes) -> None:
    """A heading with its title and a table for each chart: a column a series, a row a category."""
    parts = [name for name in entry_names(data) if _PART.fullmatch(name)][:MAX_CHARTS]
    for name in parts:
        try:
            chart = parse_xml(next(content for _, content in read_entries(data, [name])))
        except ReadError:
            continue  # the cells are what counts; a chart only shows them
        series = [one for one in chart.iter() if local(one) == "ser"]
        title = one_line(" ".join(_title(chart)))
        if not series and not title:
            continue
        builder.add("heading", title or "Chart", level=2)
        columns = [
            (_first(_values(one, "tx")), _values(one, "cat", "xVal"), _values(one, "val", "yVal")) for one in series
        ]
        builder.rows(_rows(columns))


def _column(series: Any) -> tuple[str, list[str], list[str]]:
    return _first(_values(series, "tx")), _values(series, "cat", "xVal"), _values(series, "val", "yVal")


def _rows(columns: list[tuple[str, list[str], list[str]]]) -> Iterator[list[str]]:
    if not columns:
        return
    yield ["", *(name for name, _, _ in columns)]
    categories = max((names for _, names, _ in columns), key=len)
    count = max(len(categories), *(len(values) for _, _, values in columns))
    for place in range(count):
        yield [_at(categories, place), *(_at(values, place) for _, _, values in columns)]


def _at(values: list[str], place: int) -> str:
    return values[place] if place < len(values) else ""


def _first(values: list[str]) -> str:
    return values[0] if values else ""


def _values(series: Any, *kinds: str) -> list[str]:
    """The points of the first of these parts of a series, as the chart remembers them."""
    for child in series:
        if local(child) in kinds:
            found = [one_line(one.text or "") for one in child.iter() if local(one) == "v"]
            return [_short(value) for value in found[:_MAX_POINTS]]
    return []


def _short(value: str) -> str:
    """A figure without the noise of binary fractions."""
    try:
        return format(float(value), ".15g") if "." in value else value
    except ValueError:
        return value


def _title(chart: Any) -> Iterator[str]:
    """The text of the chart's own title; those of its axes are inside other elements."""
    for element in chart.iter():
        if local(element) == "title" and local(element.getparent()) == "chart":
            for one in element.iter():
                if local(one) == "t" and one.text:
                    yield one.text
