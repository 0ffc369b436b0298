"""The figures of `ragagent.eval.perf.scale` as a Markdown table and as curves of cost over size."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
Read = Callable[[Record], Any]

_MIB = 1 << 20
_WIDTH, _HEIGHT, _MARGIN = 640, 400, 60
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b")


def _ms(timing: Record) -> str:
    return f"{timing['median_s'] * 1000:.2f} / {timing['p95_s'] * 1000:.2f}"


_ROWS: tuple[tuple[str, Read], ...] = (
    ("hybrid with query embedding, ms p50 / p95", lambda one: _ms(one["timings"]["hybrid with embedding"])),
    ("of that embedding alone", lambda one: _ms(one["timings"]["embedding"])),
    ("hybrid without embedding", lambda one: _ms(one["timings"]["hybrid"])),
    ("dense", lambda one: _ms(one["timings"]["dense"])),
    ("sparse", lambda one: _ms(one["timings"]["sparse"])),
    ("dense recall@10 against float32", lambda one: f"{one['recall@10']:.4f}"),
    ("sparse questions equal to the formula", lambda one: one["sparse_equal"]),
    ("hybrid, filter 50 %, ms p50 / p95", lambda one: _ms(one["filters"]["50 %"])),
    ("hybrid, filter 1 %", lambda one: _ms(one["filters"]["1 %"])),
    ("hybrid, filter 0.01 %", lambda one: _ms(one["filters"]["0.01 %"])),
    ("least recall@10 under a filter", lambda one: f"{min(f['recall@10'] for f in one['filters'].values()):.4f}"),
    ("add one document, ms p50 / p95", lambda one: _ms(one["update"]["add"])),
    ("query after it", lambda one: _ms(one["update"]["query after add"])),
    ("delete one document", lambda one: _ms(one["update"]["delete"])),
    ("query after it ", lambda one: _ms(one["update"]["query after delete"])),
    ("open to first answer, s", lambda one: f"{one['first']['median_s']:.3f}"),
    ("memory beyond libraries, MiB", lambda one: f"{one['memory']['beyond_libraries_bytes'] / _MIB:.0f}"),
    ("disk beside the text, MiB", lambda one: f"{one['disk']['beside_text'] / _MIB:.0f}"),
    ("of that segments", lambda one: f"{one['disk']['segments'] / _MIB:.0f}"),
    ("text, MiB", lambda one: f"{one['disk']['text'] / _MIB:.0f}"),
    (
        "write everything, s",
        lambda one: f"{one['build']['seconds']['writing'] + one['build']['seconds']['closing']:.0f}",
    ),
    ("segments again from the database, s", lambda one: f"{one['rebuild']['seconds']:.1f}"),
    ("batch of 64, questions/s", lambda one: f"{one['batch']['batch']['per_second']:.0f}"),
    ("one by one, questions/s", lambda one: f"{one['batch']['one by one']['per_second']:.0f}"),
    ("faiss IndexFlatIP, ms p50 / p95", lambda one: _ms(one["reference"]["faiss IndexFlatIP"])),
    ("rank-bm25", lambda one: _ms(one["reference"]["rank-bm25"])),
)

_CURVES: tuple[tuple[str, Read], ...] = (
    ("hybrid with embedding p95, ms", lambda one: one["timings"]["hybrid with embedding"]["p95_s"] * 1000),
    ("dense p50, ms", lambda one: one["timings"]["dense"]["median_s"] * 1000),
    ("sparse p50, ms", lambda one: one["timings"]["sparse"]["median_s"] * 1000),
    ("memory beyond libraries, MiB", lambda one: one["memory"]["beyond_libraries_bytes"] / _MIB),
    ("disk beside the text, MiB", lambda one: one["disk"]["beside_text"] / _MIB),
    ("segments from the database, s", lambda one: one["rebuild"]["seconds"]),
)


def table(records: Sequence[Record]) -> str:
    """A Markdown table with a column for each size; a figure that was not measured is a dash."""
    lines = [
        "| | " + " | ".join(f"{one['chunks']:,}" for one in records) + " |",
        "|---|" + "---|" * len(records),
    ]
    lines += [f"| {name} | " + " | ".join(_read(read, one) for one in records) + " |" for name, read in _ROWS]
    return "\n".join(lines) + "\n"


def svg(records: Sequence[Record]) -> str:
    """The curves of cost over the number of chunks, both axes logarithmic; a figure that is missing is left out."""
    points = {name: _points(read, records) for name, read in _CURVES}
    points = {name: found for name, found in points.items() if found}
    every = [point for found in points.values() for point in found]
    low_x, high_x = _decades(x for x, _ in every)
    low_y, high_y = _decades(y for _, y in every)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low_x) / (high_x - low_x) * (_WIDTH - 2 * _MARGIN)
        up = (math.log10(y) - low_y) / (high_y - low_y) * (_HEIGHT - 2 * _MARGIN)
        return round(_MARGIN + across, 1), round(_HEIGHT - _MARGIN - up, 1)

    drawn = [_grid(place, (low_x, high_x), (low_y, high_y))]
    for number, (name, found) in enumerate(points.items()):
        drawn.append(_curve([place(x, y) for x, y in found], name, number))
    height = _HEIGHT + 18 * len(points)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif"'
        f' font-size="12"><rect width="100%" height="100%" fill="white"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _read(read: Read, record: Record) -> str:
    try:
        return str(read(record))
    except (KeyError, ValueError):
        return "-"


def _points(read: Read, records: Sequence[Record]) -> list[tuple[float, float]]:
    found = []
    for record in records:
        try:
            value = float(read(record))
        except KeyError:
            continue
        if value > 0:
            found.append((float(record["chunks"]), value))
    return found


def _decades(values: Any) -> tuple[int, int]:
    """The powers of ten around the values, at least one decade."""
    found = list(values) or [1.0]
    low, high = math.floor(math.log10(min(found))), math.ceil(math.log10(max(found)))
    return low, max(high, low + 1)


def _grid(place: Callable[[float, float], tuple[float, float]], xs: tuple[int, int], ys: tuple[int, int]) -> str:
    drawn = []
    for power in range(xs[0], xs[1] + 1):
        (x, low), (_, high) = place(10.0**power, 10.0 ** ys[0]), place(10.0**power, 10.0 ** ys[1])
        drawn.append(f'<line x1="{x}" y1="{low}" x2="{x}" y2="{high}" stroke="#ddd"/>')
        drawn.append(f'<text x="{x}" y="{low + 18}" text-anchor="middle">{10**power:,}</text>')
    for power in range(ys[0], ys[1] + 1):
        (left, y), (right, _) = place(10.0 ** xs[0], 10.0**power), place(10.0 ** xs[1], 10.0**power)
        drawn.append(f'<line x1="{left}" y1="{y}" x2="{right}" y2="{y}" stroke="#ddd"/>')
        drawn.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{10.0**power:g}</text>')
    return "\n".join([*drawn, f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 20}" text-anchor="middle">chunks</text>'])


def _curve(points: Sequence[tuple[float, float]], name: str, number: int) -> str:
    colour = _COLOURS[number % len(_COLOURS)]
    line = " ".join(f"{x},{y}" for x, y in points)
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in points)
    at = _HEIGHT + 18 * number
    return (
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'
        f'<rect x="{_MARGIN}" y="{at - 9}" width="12" height="12" fill="{colour}"/>'
        f'<text x="{_MARGIN + 20}" y="{at + 2}">{name}</text>'
    )


def main() -> None:
    """Makes the table and the plot again from kept lines of JSON, one for each size."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("lines", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    records = [json.loads(line) for line in arguments.lines.read_text(encoding="utf-8").splitlines() if line]
    if arguments.plot:
        arguments.plot.write_text(svg(records), encoding="utf-8")
    print(table(records), end="")


if __name__ == "__main__":
    main()
