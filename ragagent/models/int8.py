"""Matrix products in 8 bits: the levels of each input channel, and weights to match them.

An input channel c is held as u in 0..255, x = low[c] + step[c] * u, with levels fixed beforehand, so that a text's
vector does not depend on its neighbours. The steps go into the weights, the lows into the bias. Weights are rounded
with one scale for each output; what that rounding does to the mean input is taken out of the bias again (without it
the cosine to float falls from 0.998 to 0.92). No two neighbouring products add up to more than 16 bits, so processors
that add them in 16 bits compute the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

TOP = 255
_MAX_WEIGHT = 127
# Of two neighbouring weights of the same sign together, before each is rounded: 255 * (127 + 1) is within 16 bits.
_MAX_PAIR = 127
# A channel gets at least the range of this quantile of all: one that was quiet on the seen texts may not stay so.
_FLOOR = 0.9
_LEAST = 1e-3
_BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True)
class Seen:
    """What the channels of a product's input held: float32[c] each."""

    low: Floats
    high: Floats
    mean: Floats

    def widened(self, headroom: float) -> Seen:
        """With ranges of that many times the width, around the same middles."""
        added = (self.high - self.low) * np.float32((headroom - 1) / 2)
        return Seen(self.low - added, self.high + added, self.mean)


@dataclass(frozen=True, slots=True)
class Levels:
    """float32[c] each: a value is low + step * u, with u in 0..255."""

    low: Floats
    step: Floats


@dataclass(frozen=True, slots=True)
class Quantised:
    """codes int8[m, c], scale float32[m, 1], bias float32[m]."""

    codes: npt.NDArray[np.int8]
    scale: Floats
    bias: Floats


def levels(seen: Seen) -> Levels:
    """Levels over the range that was seen."""
    middle = (seen.low + seen.high) / 2
    half = np.maximum((seen.high - seen.low) / 2, _LEAST)
    half = np.maximum(half, np.quantile(half, _FLOOR)).astype(np.float32)
    return Levels(middle - half, half * 2 / TOP)


def quantised(weight: Floats, bias: Floats, seen: Seen, held: Levels) -> Quantised:
    """`weight` float32[m, c] and `bias` float32[m] for an input held in those levels."""
    usual = np.clip((seen.mean - held.low) / held.step, 0, TOP)
    middle = held.low + held.step * usual
    found = Quantised(np.empty(weight.shape, np.int8), np.empty((len(weight), 1), np.float32), np.empty_like(bias))
    # In blocks that stay in the cache, and in place: a model is opened in this.
    for start in range(0, len(weight), _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        scaled = weight[rows] * held.step
        scale = _scale(scaled)
        scaled /= scale
        np.rint(scaled, out=scaled)
        found.codes[rows], found.scale[rows] = scaled, scale
        found.bias[rows] = bias[rows] + weight[rows] @ middle - (scaled @ usual) * scale[:, 0]
    return found


def _scale(weight: Floats) -> Floats:
    """The least float32[m, 1] that brings the rows within both bounds."""
    greatest = np.maximum(weight.max(1), -weight.min(1)) / np.float32(_MAX_WEIGHT)
    if weight.shape[1] > 1:
        first, second = weight[:, 0 : weight.shape[1] - 1 : 2], weight[:, 1::2]
        # Of a pair with unlike signs the one that is larger counts, and that is bounded already.
        pairs = np.maximum((first + second).max(1), -(first + second).min(1)) / np.float32(_MAX_PAIR)
        greatest = np.maximum(greatest, pairs)
    scale: Floats = np.maximum(greatest, np.finfo(np.float32).tiny)[:, np.newaxis]
    return scale
