"""Choosing the next token from a model's logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ragagent.settings import LlmSettings
from ragagent.types import Sampling

Logits = npt.NDArray[np.float32]
Allowed = npt.NDArray[np.bool_]

REPEAT_WINDOW = 64


def configured(settings: LlmSettings) -> Sampling:
    """How tokens are chosen where a request does not say."""
    return Sampling(
        temperature=settings.temperature,
        top_k=settings.top_k,
        top_p=settings.top_p,
        min_p=settings.min_p,
        repeat_penalty=settings.repeat_penalty,
        seed=settings.seed,
    )


def log_probability(logits: Logits, token: int) -> float:
    """The natural logarithm of the softmax of `logits` at `token`."""
    highest = logits.max()
    return float(logits[token] - highest - np.log(np.exp(logits - highest).sum(dtype=np.float64)))


def penalised(logits: Logits, written: Sequence[int], penalty: float) -> Logits:
    """`logits` with the tokens among the last 64 of `written` made less likely (Keskar et al. 2019, CTRL).

    Only what the model wrote counts, not its prompt: words of the evidence must stay quotable.
    """
    recent = np.unique(np.asarray(written[-REPEAT_WINDOW:], dtype=np.int64))
    if penalty == 1.0 or not recent.size:
        return logits
    changed = logits.copy()
    values = changed[recent]
    changed[recent] = np.where(values > 0, values / penalty, values * penalty)
    return changed


def choose(logits: Logits, sampling: Sampling, random: np.random.Generator, allowed: Allowed | None = None) -> int:
    """The next token: the likeliest at temperature 0 (the lowest id of a tie), else drawn.

    Drawing keeps the `top_k` likeliest (0: all), of those the fewest that hold `top_p` of the probability, of those
    the ones with at least `min_p` times the likeliest's, and applies the temperature to what is left. Tokens outside
    `allowed` are never chosen; at least one must be allowed.
    """
    if allowed is not None:
        logits = np.where(allowed, logits, np.float32(-np.inf))
    if sampling.temperature <= 0:
        return int(np.argmax(logits))
    order = _best(logits, sampling.top_k)
    probabilities = _softmax(logits[order])
    kept = _kept(probabilities, sampling)
    weights = _softmax(logits[order[:kept]], sampling.temperature)
    return int(random.choice(order[:kept], p=weights))


def _best(logits: Logits, k: int) -> npt.NDArray[np.int64]:
    """Ids of the `k` highest finite logits, the highest first; equal ones by id."""
    candidates = np.flatnonzero(np.isfinite(logits))
    if 0 < k < candidates.size:
        lowest = np.partition(logits[candidates], -k)[-k]
        candidates = candidates[logits[candidates] >= lowest]
    order = candidates[np.argsort(-logits[candidates], kind="stable")]
    return order[:k] if k else order


def _kept(probabilities: npt.NDArray[np.float64], sampling: Sampling) -> int:
    """How many of the descending `probabilities` pass top-p and min-p; at least one."""
    nucleus = int(np.searchsorted(np.cumsum(probabilities), sampling.top_p)) + 1
    likely = int((probabilities >= sampling.min_p * probabilities[0]).sum())
    return max(1, min(nucleus, likely))


def _softmax(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    with np.errstate(over="ignore"):  # a tiny temperature makes everything but the likeliest impossible
        weights: npt.NDArray[np.float64] = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    weights /= weights.sum()
    return weights
