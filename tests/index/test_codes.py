"""A code is a function of its vector alone: of no batch, no machine, no history; and it says what it is said to say."""

from __future__ import annotations

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.index import codes

DIMENSIONS = [1, 3, 32, 63, 64, 65, 100, 384, 500, 513, 700, 1000]


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.standard_normal(shape).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_turn_is_a_rotation_in_whole_numbers(dimension: int) -> None:
    for width in {codes.bits_width(dimension), -(-dimension // 64) * 64}:
        block = width & -width
        turn = codes.rotated(np.eye(dimension), width).astype(np.float64)
        np.testing.assert_array_equal(turn, np.rint(turn))
        np.testing.assert_array_equal(turn @ turn.T, np.eye(dimension) * (2.0**23) ** 2)
        assert np.abs(turn).max() <= 2**23
        assert block >= 64


@pytest.mark.parametrize("dimension", [32, 100, 384, 768, 1024])
def test_no_component_stands_out_after_the_turn(dimension: int) -> None:
    # One component alone is the hardest vector: it must be spread over all.
    width = codes.bits_width(dimension)
    turn = np.abs(codes.rotated(np.eye(dimension), width)) / 2.0**23 * np.sqrt(width)
    assert turn.max() < 6


@settings(deadline=None, max_examples=30)
@given(
    dimension=st.sampled_from(DIMENSIONS),
    seed=st.integers(0, 1000),
    cuts=st.lists(st.integers(0, 200), max_size=3),
    scale=st.sampled_from([1.0, 0.01, 30.0, 0.0]),
)
def test_a_code_does_not_depend_on_what_is_coded_beside_it(
    dimension: int, seed: int, cuts: list[int], scale: float
) -> None:
    vectors = (unit(np.random.default_rng(seed), 200, dimension) * scale).astype(np.float16)
    together = codes.encoded(vectors)
    apart = codes.joined([codes.encoded(piece) for piece in np.split(vectors, sorted(cuts))])
    np.testing.assert_array_equal(together.bits, apart.bits)
    np.testing.assert_array_equal(together.nibbles, apart.nibbles)


def test_codes_are_the_same_on_every_machine() -> None:
    # Written down once: a change of these makes every segment that exists a damaged one in effect.
    found = {}
    for dimension in (32, 384, 700):
        vectors = ((np.arange(20 * dimension) * 2654435761 % 4093) / 4093 - 0.5).reshape(20, dimension)
        one = codes.encoded(vectors.astype(np.float16))
        found[dimension] = xxhash.xxh3_64(one.bits.tobytes() + one.nibbles.tobytes()).hexdigest()
    assert found == {32: "0b1e262b9d26948a", 384: "dc2b12b503b05b28", 700: "1896c172371ab7bf"}


@settings(deadline=None, max_examples=20)
@given(dimension=st.sampled_from(DIMENSIONS), seed=st.integers(0, 1000), data=st.data())
def test_scores_of_codes_are_whole_numbers_whatever_is_scored_beside_them(
    dimension: int, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    nibbles = codes.encoded(unit(rng, 300, dimension).astype(np.float16)).nibbles
    query = codes.of_query(unit(rng, dimension))
    levels = np.stack([nibbles & 15, nibbles >> 4], axis=2).reshape(len(nibbles), -1).astype(np.int64) * 2 - 15
    expected = levels @ query.weights.astype(np.int64)
    which = data.draw(st.lists(st.integers(0, 299), min_size=1, max_size=40))
    np.testing.assert_array_equal(query.scores(nibbles[which]), expected[which])
    assert np.abs(levels).max(axis=0) @ np.abs(query.weights) < 2**24


@pytest.mark.parametrize("dimension", [32, 100, 384, 768])
def test_four_bits_tell_an_inner_product_to_a_hundredth_of_its_spread(dimension: int) -> None:
    rng = np.random.default_rng(5)
    vectors, query = unit(rng, 3000, dimension), unit(rng, dimension)
    scores = codes.of_query(query).scores(codes.encoded(vectors.astype(np.float16)).nibbles)
    assert np.corrcoef(scores, vectors @ query)[0, 1] > 0.99


def test_one_bit_distances_grow_with_the_angle() -> None:
    rng = np.random.default_rng(6)
    base = unit(rng, 384)
    bits = []
    for angle in np.linspace(0, np.pi / 2, 10):
        away = unit(rng, 384)
        away -= (away @ base) * base
        away /= np.linalg.norm(away)
        bits.append(codes.encoded((np.cos(angle) * base + np.sin(angle) * away).astype(np.float16)[None]).bits[0])
    distances = [int(np.unpackbits(bits[0] ^ other).sum()) for other in bits]
    assert distances == sorted(distances)
    # The share of signs that differ is the angle over pi (Charikar, STOC 2002).
    np.testing.assert_allclose(distances, np.linspace(0, 256, 10), atol=40)
    assert np.array_equal(codes.of_query(base).bits[0], bits[0]) or (
        int(np.unpackbits(codes.of_query(base).bits[0] ^ bits[0]).sum()) < 4
    )
