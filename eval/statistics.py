"""How sure a figure is: bootstrap intervals of a mean, of a difference and of any figure of paired observations.

The percentile bootstrap (Efron and Tibshirani 1993, chapter 13) over questions: resample the questions with
replacement, compute the figure again, and take the middle of what comes out. Everything is a function of its
arguments; the generator is seeded by `seed`, so a report can be made again to the digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_CELLS = 4_000_000  # numbers drawn at a time: 32 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with the interval that holds it at `level`, from `count` observations."""

    estimate: float
    low: float
    high: float
    count: int
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`second - first` with its interval. `share_not_above` is the share of resamples in which it is not above 0."""

    interval: Interval
    share_not_above: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.interval.low > 0 or self.interval.high < 0


def mean_interval(
    values: Sequence[float], *, level: float = 0.95, samples: int = 10_000, seed: int = 0
) -> Interval | None:
    """The mean of `values` with its bootstrap interval; None for no values."""
    data = np.asarray(values, dtype=np.float64)
    if not data.size:
        return None
    means = _resampled(data, samples, seed)
    return _interval(float(data.mean()), means, data.size, level)


def share_interval(successes: int, count: int, *, level: float = 0.95) -> Interval | None:
    """The share of `count` trials that succeeded, with its Wilson interval; None for no trials.

    Unlike the bootstrap it has a width where all succeeded or none: 0 errors in 15 may still be 20 % of them.
    """
    if not count:
        return None
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, slack = successes / count, z * z / count
    middle = (share + slack / 2) / (1 + slack)
    half = z / (1 + slack) * math.sqrt(share * (1 - share) / count + slack / (4 * count))
    low, high = min(share, middle - half), max(share, middle + half)
    return Interval(estimate=share, low=max(0.0, low), high=min(1.0, high), count=count, level=level)


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, level: float = 0.95, samples: int = 10_000, seed: int = 0
) -> Difference:
    """The mean of `second[i] - first[i]` with its interval, the pairs resampled together.

    Raises ValueError when the two differ in length or are empty.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or not a.size:
        raise ValueError(f"pairs are needed, not {a.shape} and {b.shape}")
    gaps = b - a
    means = _resampled(gaps, samples, seed)
    return Difference(
        interval=_interval(float(gaps.mean()), means, gaps.size, level),
        share_not_above=float(np.mean(means <= 0)),
    )


def figure_interval(
    rows: Floats,
    figure: Callable[[Floats], Floats],
    *,
    level: float = 0.95,
    samples: int = 2_000,
    seed: int = 0,
) -> Interval | None:
    """A figure of `rows`, float64[n, m], with its interval; None for no rows or when the figure is not a number.

    `figure` takes many resamples at once, float64[s, n, m], and returns float64[s]. Resamples for which it is not a
    number (a share of nothing) are left out. For ratios and percentiles, whose spread the mean does not give.
    """
    if not len(rows) or np.isnan(estimate := float(figure(rows[np.newaxis])[0])):
        return None
    drawn = np.concatenate([figure(rows[index]) for index in _indices(len(rows), samples, seed, rows.shape[1])])
    return _interval(estimate, drawn[~np.isnan(drawn)], len(rows), level)


def _resampled(data: Floats, samples: int, seed: int) -> Floats:
    """float64[samples]: the mean of each resample."""
    return np.concatenate([data[index].mean(axis=1) for index in _indices(data.size, samples, seed)])


def _indices(count: int, samples: int, seed: int, width: int = 1) -> Iterator[npt.NDArray[np.int64]]:
    """int64[s, count], `samples` rows in all: which observations each resample takes."""
    random = np.random.default_rng(seed)
    step = max(1, _CELLS // (count * width))
    for begin in range(0, samples, step):
        yield random.integers(0, count, (min(step, samples - begin), count))


def _interval(estimate: float, drawn: Floats, count: int, level: float) -> Interval:
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn, [tail, 1.0 - tail])
    return Interval(estimate=estimate, low=float(low), high=float(high), count=count, level=level)
