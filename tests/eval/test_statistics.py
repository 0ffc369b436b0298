from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from ragagent.eval.statistics import Interval, figure_interval, mean_interval, paired_difference, share_interval

VALUES = st.lists(st.floats(-5, 5, allow_subnormal=False), min_size=1, max_size=30)


@settings(max_examples=40)
@given(VALUES)
def test_an_interval_lies_between_the_extremes_and_its_bounds_are_in_order(values: list[float]) -> None:
    found = mean_interval(values, samples=200)
    assert found is not None
    slack = 1e-9
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    assert found.estimate == pytest.approx(np.mean(values))


@settings(max_examples=40)
@given(VALUES)
def test_the_interval_of_values_that_lie_evenly_around_their_mean_contains_it(values: list[float]) -> None:
    found = mean_interval([*values, *(-value for value in values)], samples=500)
    assert found is not None
    assert found.low - 1e-9 <= 0.0 <= found.high + 1e-9


@settings(max_examples=30)
@given(VALUES, st.integers(0, 5))
def test_the_same_seed_gives_the_same_interval(values: list[float], seed: int) -> None:
    assert mean_interval(values, samples=100, seed=seed) == mean_interval(values, samples=100, seed=seed)


@settings(max_examples=30)
@given(VALUES, st.floats(-3, 3, allow_subnormal=False))
def test_a_constant_gain_has_an_interval_without_width(values: list[float], gain: float) -> None:
    found = paired_difference(values, [value + gain for value in values], samples=200).interval
    assert (found.low, found.high) == (pytest.approx(gain, abs=1e-9), pytest.approx(gain, abs=1e-9))


@settings(max_examples=30)
@given(VALUES)
def test_exchanging_the_runs_turns_the_difference_round(values: list[float]) -> None:
    other = [value * 0.5 + 0.1 for value in values]
    there, back = paired_difference(values, other, samples=200), paired_difference(other, values, samples=200)
    assert there.interval.estimate == pytest.approx(-back.interval.estimate)
    assert there.interval.low == pytest.approx(-back.interval.high)
    assert there.clear == back.clear


def test_the_interval_is_that_of_scipy() -> None:
    values = np.random.default_rng(3).beta(0.5, 0.5, 300)
    ours = mean_interval(values.tolist(), samples=20_000)
    assert ours is not None
    random = np.random.default_rng(4)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=random).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.03 * width)


def test_a_paired_difference_is_that_of_scipy() -> None:
    random = np.random.default_rng(5)
    first = random.random(120)
    second = first + random.normal(0.02, 0.1, 120)
    ours = paired_difference(first.tolist(), second.tolist(), samples=20_000).interval
    theirs = bootstrap(
        (first, second), lambda a, b: np.mean(b - a), paired=True, vectorized=False, n_resamples=5_000,
        method="percentile", rng=np.random.default_rng(6),
    ).confidence_interval  # fmt: skip
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * width)


def test_95_of_100_intervals_hold_the_true_mean() -> None:
    random = np.random.default_rng(7)
    found = [mean_interval(random.random(60).tolist(), samples=600) for _ in range(300)]
    held = np.mean([item is not None and item.low <= 0.5 <= item.high for item in found])
    assert 0.90 <= held <= 0.99


def test_large_and_small_drawing_steps_together_give_every_resample() -> None:
    values = np.linspace(0, 1, 3_000_000).tolist()  # one resample at a time
    found = mean_interval(values, samples=3)
    assert found is not None
    assert found.low <= 0.5 <= found.high or found.high - found.low < 0.01


def test_a_ratio_is_resampled_as_a_whole() -> None:
    rows = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]] * 20)

    def ratio(data: np.ndarray) -> np.ndarray:
        return data[:, :, 0].sum(axis=1) / data[:, :, 1].sum(axis=1)

    found = figure_interval(rows, ratio)
    assert found is not None
    assert found.estimate == pytest.approx(2 / 3)
    assert 0.45 < found.low < 2 / 3 < found.high < 0.85


def test_resamples_that_have_no_ratio_are_left_out() -> None:
    rows = np.array([[1.0, 1.0], [0.0, 0.0]])  # a quarter of the resamples has nothing to take a share of

    def ratio(data: np.ndarray) -> np.ndarray:
        whole = data[:, :, 1].sum(axis=1)
        return np.divide(data[:, :, 0].sum(axis=1), whole, out=np.full(len(whole), np.nan), where=whole > 0)

    found = figure_interval(rows, ratio)
    assert found is not None
    assert (found.estimate, found.low, found.high) == (1.0, 1.0, 1.0)


def test_nothing_has_no_interval() -> None:
    assert mean_interval([]) is None
    assert figure_interval(np.empty((0, 2)), lambda data: np.ones(len(data))) is None
    assert figure_interval(np.ones((3, 1)), lambda data: np.full(len(data), np.nan)) is None


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [1.0, 2.0])])
def test_runs_that_cannot_be_paired_are_refused(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="pairs are needed"):
        paired_difference(first, second)


def test_an_interval_reads_as_a_figure_with_its_bounds() -> None:
    assert str(Interval(estimate=0.5, low=0.25, high=0.75, count=4)) == "0.500 [0.250, 0.750]"


@given(st.integers(1, 500).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count))))
def test_the_interval_of_a_share_is_wilsons(trials: tuple[int, int]) -> None:
    found = share_interval(*trials)
    known = binomtest(*trials).proportion_ci(method="wilson")
    assert found is not None
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-9)
    assert share_interval(0, 0) is None
