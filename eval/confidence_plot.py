"""Two pictures of how far a confidence can be trusted: risk over coverage, and how often what it says comes true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ragagent.eval import metrics
from ragagent.eval.statistics import Floats

_SIDE, _MARGIN, _GAP = 260, 50, 70
_BINS = 10
_LINE, _GREY = "#1f77b4", "#999"

Points = Sequence[tuple[float, float]]


def svg(confidence: Sequence[float], right: Sequence[bool], threshold: float) -> str:
    """Two squares: wrong among the surest answers over how many are shown, and right ones over confidence, in ten bins.

    A dot of the first marks where `threshold` cuts; one of the second is as large as its bin. All answers are in it,
    also those that the threshold refuses; at least one.
    """
    sure, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    coverage, risk = metrics.risk_coverage(confidence, right)
    shown = float(np.mean(sure >= threshold))
    wrong = float(np.mean(1 - hits[sure >= threshold])) if shown else 0.0
    width, height = 2 * (_SIDE + _MARGIN) + _GAP, _SIDE + 2 * _MARGIN
    left = _Panel(_MARGIN)
    second = _Panel(_MARGIN + _SIDE + _GAP)
    drawn = [
        left.frame("Risk over coverage", "share of answers that are shown", "share of them that are wrong"),
        left.line(list(zip(coverage.tolist(), risk.tolist(), strict=True)), _LINE),
        left.dot(shown, wrong, 5.0, f"shown from {threshold:.2f} on"),
        second.frame("Confidence and truth", "confidence", "share that are right"),
        second.line([(0.0, 0.0), (1.0, 1.0)], _GREY),
        *(second.dot(at, share, 2 + 10 * weight) for at, share, weight in _bins(sure, hits)),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        f' font-size="12"><rect width="100%" height="100%" fill="white"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _bins(sure: Floats, hits: Floats) -> list[tuple[float, float, float]]:
    """Mean confidence, share right and share of all answers, of each bin with any; the bins of `calibration_error`."""
    index = np.digitize(sure, np.linspace(0.0, 1.0, _BINS + 1)[1:-1], right=True)
    kinds = [index == number for number in range(_BINS)]
    return [(float(sure[one].mean()), float(hits[one].mean()), float(one.mean())) for one in kinds if one.any()]


class _Panel:
    """A square of the unit interval on both axes, its left edge at `x`."""

    def __init__(self, x: int) -> None:
        self._x = x

    def frame(self, title: str, across: str, up: str) -> str:
        """The grid with its names."""
        middle = self._x + _SIDE / 2
        drawn = [
            f'<text x="{middle}" y="{_MARGIN - 20}" text-anchor="middle" font-weight="bold">{title}</text>',
            f'<text x="{middle}" y="{_MARGIN + _SIDE + 38}" text-anchor="middle">{across}</text>',
            f'<text transform="translate({self._x - 36} {_MARGIN + _SIDE / 2}) rotate(-90)"'
            f' text-anchor="middle">{up}</text>',
        ]
        for tenth in (0, 2, 4, 6, 8, 10):
            (x, y), (right, top) = self._place(tenth / 10, tenth / 10), self._place(1, 1)
            low = _MARGIN + _SIDE
            drawn.append(f'<path d="M{x} {low}V{top}M{self._x} {y}H{right}" stroke="#ddd"/>')
            drawn.append(f'<text x="{x}" y="{low + 16}" text-anchor="middle">{tenth / 10:g}</text>')
            drawn.append(f'<text x="{self._x - 6}" y="{y + 4}" text-anchor="end">{tenth / 10:g}</text>')
        return "\n".join(drawn)

    def line(self, points: Points, colour: str) -> str:
        """A line through points of the unit square."""
        places = " ".join(f"{x},{y}" for x, y in (self._place(*point) for point in points))
        return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'

    def dot(self, across: float, up: float, radius: float, name: str = "") -> str:
        """A dot of that radius in pixels, with its name beside it."""
        x, y = self._place(across, up)
        text = f'<text x="{x}" y="{y + 20}" text-anchor="middle">{name}</text>' if name else ""
        return f'<circle cx="{x}" cy="{y}" r="{radius:.1f}" fill="{_LINE}"/>{text}'

    def _place(self, across: float, up: float) -> tuple[float, float]:
        return round(self._x + across * _SIDE, 1), round(_MARGIN + (1 - up) * _SIDE, 1)
