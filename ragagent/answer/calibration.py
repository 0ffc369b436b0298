"""How sure an answer is: a logistic function of signals that cost next to nothing, its weights kept as data."""

from __future__ import annotations

import functools
import importlib.resources
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent import atomic
from ragagent.errors import ConfigError
from ragagent.types import Signals

FILE = "calibration.json"
BARELY = 1e-9
"""A threshold that refuses next to nothing, so that it is known of every answer whether it would have been right."""
_WEIGHTS = ("bias", "stated", "confirmed", "covered", "fluency", "agreed")
"""In the order of the columns of `_row`."""
_LIMIT = 6.0
_UNKNOWN_STATED = 2.2
_UNKNOWN_CONFIRMED = 2.7
_UNKNOWN_FLUENCY = -0.3
_UNKNOWN_AGREED = -0.4
_LEAST_AGREED = 0.05
_MAX_BYTES = 1 << 20
_STEPS = 50
_SMALL = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Weights of the signals, the confidence below which answers are refused, and how many questions they come from."""

    bias: float
    stated: float
    confirmed: float
    covered: float
    fluency: float
    agreed: float
    threshold: float
    questions: int

    def chance(self, signals: Signals) -> float:
        """How likely an answer is right: sigmoid(bias + stated s + confirmed r + covered c + fluency l + agreed a).

        s is the log-odds, 6 at most either way, that the model takes the cited words for an answer; r those that it
        takes what was said for the right one; c the share of the question's terms that stand in the cited words; l the
        mean log-probability of the answer's tokens, -3 at least; a the logarithm of the share of drafts that say the
        same. An unknown s counts as 2.2, an unknown r as 2.7, an unknown l as -0.3, an unknown a as -0.4.
        """
        return float(1 / (1 + math.exp(-float(_row(signals) @ self._weights()))))

    def confidence(self, signals: Signals) -> float:
        """How likely what is shown of an answer is right: `chance` times (1 + the share of supported claims) / 2."""
        return (1 + signals.supported) / 2 * self.chance(signals)

    def least(self, wanted: float | None) -> float:
        """The confidence below which answers are refused: the one that is `wanted`, or its own threshold."""
        return self.threshold if wanted is None else wanted

    def _weights(self) -> npt.NDArray[np.float64]:
        return np.array([getattr(self, name) for name in _WEIGHTS])


def fitted(
    signals: Sequence[Signals], right: Sequence[bool], prior: Calibration, *, strength: float = 4.0
) -> Calibration:
    """`prior` moved towards what was seen: the weights of the largest posterior of a logistic regression.

    The prior of each weight is normal around that of `prior` with variance 1 / `strength`; nothing seen leaves it as it
    is. Newton's method (McCullagh and Nelder 1989, 4.4), each step halved until it helps.
    """
    if not signals:
        return prior
    rows, hits = np.array([_row(one) for one in signals]), np.array(right, dtype=np.float64)
    start = prior._weights()

    def cost(weights: npt.NDArray[np.float64]) -> float:
        odds = rows @ weights
        return float(np.sum(np.logaddexp(0, odds) - hits * odds) + strength / 2 * np.sum((weights - start) ** 2))

    weights = start
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (chances - hits) + strength * (weights - start)
        bend = (rows.T * (chances * (1 - chances))) @ rows + strength * np.eye(len(weights))
        step = np.linalg.solve(bend, slope)
        while cost(weights - step) > cost(weights) and np.abs(step).max() > _SMALL:
            step = step / 2
        if np.abs(step).max() <= _SMALL:
            break
        weights = weights - step
    return replace(prior, questions=len(signals), **dict(zip(_WEIGHTS, weights.tolist(), strict=True)))


def threshold(confidences: Sequence[float], right: Sequence[bool], risk: float) -> float:
    """The least confidence from which on at most the share `risk` of the answers is wrong.

    The largest one, plus a little, where even the surest answers are wrong more often than that; 0 for no answers.
    """
    order = np.argsort(-np.asarray(confidences, dtype=np.float64), kind="stable")
    sure = np.asarray(confidences, dtype=np.float64)[order]
    wrong = np.cumsum(1 - np.asarray(right, dtype=np.float64)[order])
    last = np.append(sure[1:] != sure[:-1], True) if len(sure) else np.zeros(0, dtype=bool)
    kept = last & (wrong <= risk * np.arange(1, len(sure) + 1))
    if not len(sure):
        return 0.0
    return float(sure[kept].min()) if kept.any() else float(sure[0]) + 1e-6


def shipped(model: str) -> Calibration:
    """What comes with the package for the language model of that name, or for any other."""
    known = _shipped()
    return known.get(model) or known[""]


def kept(folder: Path, model: str) -> Calibration | None:
    """What was fitted to the documents of a knowledge base with that model; None where nothing was.

    Raises ConfigError for a file that is damaged.
    """
    file = folder / FILE
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{file}: more than {_MAX_BYTES} bytes; remove it, or run `ragagent calibrate` again")
        return _parsed(file.read_text(encoding="utf-8"), str(file)).get(model)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not text; remove it, or run `ragagent calibrate` again") from error


def keep(folder: Path, model: str, found: Calibration | None) -> None:
    """Keeps `found` for that model beside a knowledge base; None forgets what was kept for it."""
    file = folder / FILE
    known = _parsed(file.read_text(encoding="utf-8"), str(file)) if file.exists() else {}
    known.pop(model, None)
    if found is not None:
        known[model] = found
    text = json.dumps({name: asdict(one) for name, one in sorted(known.items())}, indent=2)
    atomic.write(file, text + "\n")


def _row(signals: Signals) -> npt.NDArray[np.float64]:
    odds = _UNKNOWN_STATED if signals.stated is None else log_odds(signals.stated)
    right = _UNKNOWN_CONFIRMED if signals.confirmed is None else log_odds(signals.confirmed)
    fluency = _UNKNOWN_FLUENCY if signals.fluency is None else max(signals.fluency, -3.0)
    agreed = _UNKNOWN_AGREED if signals.agreed is None else math.log(max(signals.agreed, _LEAST_AGREED))
    return np.array([1.0, odds, right, signals.covered, fluency, agreed])


def log_odds(log_probability: float) -> float:
    """The log-odds of what has that log-probability, kept within 6 either way."""
    other = -math.expm1(min(log_probability, -1e-3))
    return min(_LIMIT, max(-_LIMIT, log_probability - math.log(other)))


@functools.cache
def _shipped() -> Mapping[str, Calibration]:
    text = importlib.resources.files("ragagent.answer").joinpath(FILE).read_text(encoding="utf-8")
    return _parsed(text, FILE)


def _parsed(text: str, name: str) -> dict[str, Calibration]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{name}: not JSON ({error}); remove it, or run `ragagent calibrate` again") from error
    if not isinstance(entries, dict):
        raise ConfigError(f"{name}: must hold an object by model; remove it, or run `ragagent calibrate` again")
    return {model: _one(entry, f"{name}: {model!r}") for model, entry in entries.items()}


def _one(entry: Any, name: str) -> Calibration:
    if isinstance(entry, dict):
        # What was fitted before drafts were counted, or asked about, knows nothing of them.
        entry = {"agreed": 0.0, "confirmed": 0.0, **entry}
    wanted = [field.name for field in fields(Calibration)]
    if not isinstance(entry, dict) or entry.keys() != set(wanted):
        raise ConfigError(f"{name}: must have {', '.join(wanted)}; remove it, or run `ragagent calibrate` again")
    for key, value in entry.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"{name}: {key} = {value!r} is not a number; run `ragagent calibrate` again")
    return Calibration(**entry)
