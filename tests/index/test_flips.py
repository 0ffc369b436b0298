"""A bit that flips in any file: answers are right or errors, or all of an earlier commit, which says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragagent.testing import flips

FLIPS = 24


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> flips.Sound:
    return flips.made(tmp_path_factory.mktemp("sound"))


def test_no_flip_gives_a_wrong_answer_or_a_crash(sound: flips.Sound, tmp_path: Path) -> None:
    verdicts = flips.flips(sound, range(FLIPS), tmp_path)
    assert len(verdicts) == FLIPS
    assert [(seed, one) for seed, one in verdicts if one.outcome in {"wrong", "crash"}] == []
    assert {one.outcome for _, one in verdicts} >= {"right", "error"}


def test_what_is_wrong_or_missing_is_seen(sound: flips.Sound) -> None:
    right = sound.answers
    assert flips.differences(right, right) == []
    assert flips.differences(right, {**right, "documents": right["documents"][1:]}) == ["documents"]
    assert flips.differences(right, {**right, "known": {}}) == ["known"]
    found = right["dense word7 common"]
    assert flips.differences(right, {**right, "dense word7 common": found[:-1]}) == ["dense word7 common"]
    assert len(found) == 7
