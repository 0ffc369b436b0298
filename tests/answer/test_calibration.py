"""How sure an answer is, and how that is fitted to what was seen."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.answer import calibration
from ragagent.answer.calibration import Calibration
from ragagent.errors import ConfigError
from ragagent.types import Signals

SHIPPED = calibration.shipped("no model of this name")

logs_below = st.floats(-20, 0)
seen = st.builds(
    Signals,
    stated=logs_below | st.none(),
    confirmed=logs_below | st.none(),
    covered=st.floats(0, 1),
    fluency=logs_below | st.none(),
    supported=st.floats(0.1, 1),
)
outcomes = st.lists(st.tuples(seen, st.booleans()), max_size=30)
numbered = st.lists(st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.booleans()), max_size=40)


@given(signals=seen)
def test_a_chance_is_between_nothing_and_certain_and_no_confidence_is_above_it(signals: Signals) -> None:
    assert 0 < SHIPPED.confidence(signals) <= SHIPPED.chance(signals) < 1


@given(signals=seen, covered=st.floats(0, 1), step=st.floats(0, 3))
def test_it_rises_with_coverage_fluency_agreement_and_support(signals: Signals, covered: float, step: float) -> None:
    known = replace(
        signals,
        stated=signals.stated or -1.0,
        confirmed=signals.confirmed or -1.0,
        fluency=signals.fluency or -1.0,
    )
    here = SHIPPED.confidence(known)
    assert SHIPPED.confidence(replace(known, covered=max(known.covered, covered))) >= here
    assert SHIPPED.confidence(replace(known, fluency=min(0.0, (known.fluency or 0) + step))) >= here
    assert SHIPPED.confidence(replace(known, stated=min(0.0, (known.stated or 0) + step))) >= here
    assert SHIPPED.confidence(replace(known, confirmed=min(0.0, (known.confirmed or 0) + step))) >= here
    assert SHIPPED.confidence(replace(known, supported=1.0)) >= here
    assert SHIPPED.confidence(replace(known, agreed=1.0)) >= SHIPPED.confidence(replace(known, agreed=covered))


def test_half_of_the_claims_left_out_takes_a_quarter() -> None:
    whole = Signals(stated=-0.2, covered=0.5, fluency=-0.1)
    assert SHIPPED.confidence(replace(whole, supported=0.5)) == SHIPPED.confidence(whole) * 0.75


@given(found=outcomes)
def test_what_is_fitted_explains_what_was_seen_no_worse_than_the_prior(found: list[tuple[Signals, bool]]) -> None:
    signals, right = [one for one, _ in found], [hit for _, hit in found]
    assert _loss(calibration.fitted(signals, right, SHIPPED), signals, right) <= _loss(SHIPPED, signals, right) + 1e-6


def _loss(model: Calibration, signals: list[Signals], right: list[bool]) -> float:
    chances = [model.chance(one) for one in signals]
    return -sum(math.log(max(1e-300, sure if hit else 1 - sure)) for sure, hit in zip(chances, right, strict=True))


def test_nothing_seen_leaves_the_prior() -> None:
    assert calibration.fitted([], [], SHIPPED) == SHIPPED


def test_the_weights_that_made_the_outcomes_are_found_again_from_many_of_them() -> None:
    true = Calibration(
        bias=0.5, stated=0.4, confirmed=0.7, covered=-1.0, fluency=2.0, agreed=0.6, threshold=0.3, questions=0
    )
    draw = np.random.default_rng(1)
    signals = [
        Signals(
            stated=float(-draw.exponential(1)),
            confirmed=float(-draw.exponential(1)),
            covered=float(draw.random()),
            fluency=float(-draw.exponential(0.5)),
            agreed=float(draw.integers(1, 7)) / 6,
        )
        for _ in range(20_000)
    ]
    right = [bool(draw.random() < true.chance(one)) for one in signals]
    found = calibration.fitted(signals, right, SHIPPED)
    for name in ("bias", "stated", "confirmed", "covered", "fluency", "agreed"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), abs=0.15)


@given(found=numbered, risk=st.floats(0, 1))
def test_a_threshold_keeps_the_risk_and_no_smaller_confidence_does(
    found: list[tuple[float, bool]], risk: float
) -> None:
    least = calibration.threshold([sure for sure, _ in found], [hit for _, hit in found], risk)
    shown = [hit for sure, hit in found if sure >= least]
    assert not shown or 1 - sum(shown) / len(shown) <= risk + 1e-9
    for lower in {sure for sure, _ in found if sure < least}:
        more = [hit for sure, hit in found if sure >= lower]
        assert 1 - sum(more) / len(more) > risk - 1e-9


@given(found=numbered, risk=st.floats(0, 1), other=st.floats(0, 1))
def test_more_risk_shows_no_less(found: list[tuple[float, bool]], risk: float, other: float) -> None:
    low, high = sorted((risk, other))
    sure, right = [one for one, _ in found], [hit for _, hit in found]
    assert calibration.threshold(sure, right, high) <= calibration.threshold(sure, right, low)


def test_what_is_kept_is_of_its_model_alone_and_is_forgotten_on_request(tmp_path: Path) -> None:
    mine = replace(SHIPPED, bias=3.0)
    assert calibration.kept(tmp_path, "a") is None
    calibration.keep(tmp_path, "a", mine)
    calibration.keep(tmp_path, "b", replace(mine, bias=4.0))
    assert calibration.kept(tmp_path, "a") == mine
    calibration.keep(tmp_path, "a", None)
    assert calibration.kept(tmp_path, "a") is None
    assert calibration.kept(tmp_path, "b") is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a": 3}',
        '{"a": {"bias": 1}}',
        json.dumps({"a": {**asdict(SHIPPED), "bias": "1"}}),
        json.dumps({"a": {**asdict(SHIPPED), "bias": float("nan")}}),
        "[" * 100_000,
    ],
    ids=["empty", "list", "number", "partial", "text", "nan", "deep"],
)
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / calibration.FILE).write_text(text)
    with pytest.raises(ConfigError, match=r"calibration\.json.*ragagent calibrate"):
        calibration.kept(tmp_path, "a")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / calibration.FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"calibration\.json.*ragagent calibrate"):
        calibration.kept(tmp_path, "a")


def test_models_that_hardly_ever_say_yes_are_not_refused_for_it() -> None:
    for name in ("qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"):
        assert calibration.shipped(name).threshold == 0
    assert SHIPPED.threshold > 0
