"""Laws of choosing the next token."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ragagent.models.sampling import REPEAT_WINDOW, choose, configured, log_probability, penalised
from ragagent.settings import LlmSettings
from ragagent.types import Sampling

SIZE = 12
LOGITS = arrays(np.float32, SIZE, elements=st.floats(-20, 20, width=32))
MASKS = arrays(np.bool_, SIZE).filter(lambda mask: bool(mask.any()))
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.floats(0, 3),
    top_k=st.integers(0, SIZE + 2),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
)


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(LOGITS, SAMPLINGS, MASKS, st.integers(0, 9))
def test_a_token_outside_the_mask_is_never_chosen(
    logits: npt.NDArray[np.float32], sampling: Sampling, mask: npt.NDArray[np.bool_], seed: int
) -> None:
    assert mask[choose(logits, sampling, random(seed), mask)]


@given(LOGITS, MASKS)
def test_greedy_takes_the_likeliest_and_of_a_tie_the_lowest_id(
    logits: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]
) -> None:
    chosen = choose(logits, Sampling(), random(), mask)
    best = max(logits[mask])
    assert logits[chosen] == best
    assert not (logits[:chosen][mask[:chosen]] == best).any()


@given(LOGITS, SAMPLINGS, st.integers(0, 9))
def test_equal_seeds_choose_equally(logits: npt.NDArray[np.float32], sampling: Sampling, seed: int) -> None:
    assert choose(logits, sampling, random(seed)) == choose(logits, sampling, random(seed))


@given(LOGITS, st.integers(1, SIZE), st.integers(0, 9))
def test_top_k_keeps_to_the_k_likeliest(logits: npt.NDArray[np.float32], k: int, seed: int) -> None:
    chosen = choose(logits, Sampling(temperature=2, top_k=k, top_p=1, min_p=0), random(seed))
    assert (logits > logits[chosen]).sum() < k


@given(LOGITS, st.floats(0.01, 1), st.integers(0, 9))
def test_min_p_keeps_to_the_likely(logits: npt.NDArray[np.float32], min_p: float, seed: int) -> None:
    chosen = choose(logits, Sampling(temperature=3, top_k=0, top_p=1, min_p=min_p), random(seed))
    assert logits[chosen] >= logits.max() + math.log(min_p) - 1e-4


@given(LOGITS, st.floats(0.01, 0.99), st.integers(0, 9))
def test_top_p_leaves_out_what_the_likelier_ones_already_hold(
    logits: npt.NDArray[np.float32], top_p: float, seed: int
) -> None:
    chosen = choose(logits, Sampling(temperature=3, top_k=0, top_p=top_p, min_p=0), random(seed))
    probabilities = np.exp(logits.astype(np.float64) - logits.max())
    probabilities /= probabilities.sum()
    assert probabilities[logits > logits[chosen]].sum() <= top_p + 1e-6


def test_draws_follow_the_softmax() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.2], dtype=np.float32))
    source = random(1)
    sampling = Sampling(temperature=1, top_k=0, top_p=1, min_p=0)
    draws = np.bincount([choose(logits, sampling, source) for _ in range(4000)], minlength=3) / 4000
    assert draws == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


@given(LOGITS)
def test_probabilities_add_up_to_one(logits: npt.NDArray[np.float32]) -> None:
    total = sum(math.exp(log_probability(logits, token)) for token in range(SIZE))
    assert total == pytest.approx(1, abs=1e-5)


@given(LOGITS, st.lists(st.integers(0, SIZE - 1), max_size=20), st.floats(1, 4))
def test_a_penalty_lowers_what_was_written_and_nothing_else(
    logits: npt.NDArray[np.float32], written: list[int], penalty: float
) -> None:
    before = logits.copy()
    changed = penalised(logits, written, penalty)
    repeated = np.isin(np.arange(SIZE), written)
    assert (changed[repeated] <= logits[repeated]).all()
    assert (changed[~repeated] == logits[~repeated]).all()
    assert (logits == before).all()


def test_what_was_written_long_ago_is_forgotten() -> None:
    logits = np.ones(3, dtype=np.float32)
    assert (penalised(logits, [0] + [1] * REPEAT_WINDOW, 2.0) == [1, 0.5, 1]).all()


def test_settings_become_the_sampling() -> None:
    settings = LlmSettings(temperature=0.5, top_k=3, top_p=0.4, min_p=0.1, repeat_penalty=1.1, seed=9)
    expected = Sampling(temperature=0.5, top_k=3, top_p=0.4, min_p=0.1, repeat_penalty=1.1, seed=9)
    assert configured(settings) == expected
    assert configured(LlmSettings()) == Sampling()
