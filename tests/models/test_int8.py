from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ragagent.models.int8 import Floats, Levels, Seen, levels, quantised

seeds = st.integers(0, 2**32 - 1)


def codes(values: Floats, held: Levels) -> Floats:
    found: Floats = np.clip(np.rint((values - held.low) / held.step), 0, 255)
    return found


def product(values: Floats, weight: Floats, bias: Floats, seen: Seen) -> Floats:
    held = levels(seen)
    found = quantised(weight, bias, seen, held)
    assert found.codes.dtype == np.int8
    return codes(values, held) @ (found.codes * found.scale).T + found.bias


def inputs(seed: int, channels: int) -> tuple[Floats, Seen]:
    """Values whose channels differ in size, one of them much larger than the others, and what they hold."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((200, channels)) * rng.uniform(0.3, 1, channels) + rng.uniform(-0.5, 0.5, channels)
    values[:, channels // 2] = rng.standard_normal(200) * 6
    found = values.astype(np.float32)
    return found, Seen(found.min(0), found.max(0), found.mean(0)).widened(1.1)


@given(seed=seeds, channels=st.integers(1, 80), outputs=st.integers(1, 40))
def test_a_product_in_int8_is_nearly_the_float_product(seed: int, channels: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((outputs, channels)).astype(np.float32)
    bias = rng.standard_normal(outputs).astype(np.float32)
    values, seen = inputs(seed, channels)
    found, exact = product(values, weight, bias, seen), values @ weight.T + bias
    assert (found * exact).sum() > 0.999 * np.linalg.norm(found) * np.linalg.norm(exact)


@given(seed=seeds, channels=st.integers(1, 80), outputs=st.integers(1, 40))
def test_the_mean_output_over_the_seen_inputs_is_that_of_float(seed: int, channels: int, outputs: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((outputs, channels)).astype(np.float32)
    values, seen = inputs(seed, channels)
    found = product(values, weight, np.zeros(outputs, np.float32), seen)
    error = np.abs((found - values @ weight.T).mean(0))
    assert error.max() <= 0.1 * levels(seen).step.max() * np.sqrt(channels) * np.abs(weight).max()


@given(seed=seeds, channels=st.integers(1, 80))
def test_every_value_that_was_seen_lies_within_half_a_step_of_its_level(seed: int, channels: int) -> None:
    values, seen = inputs(seed, channels)
    held = levels(seen)
    assert np.all(np.abs(codes(values, held) * held.step + held.low - values) <= held.step * 0.501)


def test_channels_that_held_one_value_only_are_no_division_by_zero() -> None:
    still = Seen(*(np.zeros(32, np.float32) for _ in range(3)))
    weight, bias = np.zeros((8, 32), np.float32), np.ones(8, np.float32)
    np.testing.assert_array_equal(product(np.zeros((3, 32), np.float32), weight, bias, still), np.ones((3, 8)))


@given(seed=seeds, channels=st.integers(1, 80), outputs=st.integers(1, 40))
def test_no_two_neighbouring_products_leave_sixteen_bits(seed: int, channels: int, outputs: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((outputs, channels)).astype(np.float32)
    weight[:, ::2] *= weight[:, ::2] > 0.5  # some rows with two great weights side by side
    _, seen = inputs(seed, channels)
    found = quantised(weight, np.zeros(outputs, np.float32), seen, levels(seen)).codes.astype(np.int64)
    for sign in (1, -1):
        one_sided = np.maximum(sign * found, 0)
        pairs = one_sided[:, 0::2] + np.pad(one_sided[:, 1::2], ((0, 0), (0, channels % 2)))
        assert pairs.max() * 255 < 2**15
