"""A bit that flips in any file: answers are right or errors, or all of an earlier commit, which says so."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from ragagent.errors import Corrupt
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


def test_no_flip_in_the_list_of_an_edition_that_was_kept_changes_how_long_it_is(
    sound: flips.Sound, tmp_path: Path
) -> None:
    folder = shutil.copytree(sound.closed, tmp_path / "kb")
    file = folder / flips.DATABASE
    with contextlib.closing(sqlite3.connect(file)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        try:
            (page,) = connection.execute("SELECT pageno FROM dbstat WHERE name = 'built'").fetchone()
        except sqlite3.OperationalError:
            pytest.skip("this SQLite cannot tell which page is whose")
    whole = file.read_bytes()
    kept, found = sound.answers["editions"], []
    for at in range(page * size - 160, page * size, 3):  # where its rows are: five bytes each, from the page's end
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with contextlib.suppress(Corrupt), flips.opened(folder) as index:
            found.append(index.editions.all())
    assert all(one == kept for one in found)
    assert len(found) < 54


def test_an_attribute_whose_key_has_changed_is_missed_by_no_filter(sound: flips.Sound, tmp_path: Path) -> None:
    folder = shutil.copytree(sound.closed, tmp_path / "kb")
    file = folder / flips.DATABASE
    whole, questions = file.read_bytes(), {name: sound.answers[name] for name in sound.answers if "years" in name}
    places = [one.start() for one in re.finditer(b"yearnumber:", whole)]
    outcomes = set()
    for at in places[:: max(1, len(places) // 12)]:
        file.write_bytes(whole[: at + 1] + b"d" + whole[at + 2 :])
        with flips.opened(folder) as index:
            found = flips.answers(index, tuple(questions))
        assert flips.differences(questions, found) == []
        outcomes |= {type(one) for one in found.values()}
    assert Corrupt in outcomes


def test_what_is_wrong_or_missing_is_seen(sound: flips.Sound) -> None:
    right = sound.answers
    assert flips.differences(right, right) == []
    assert flips.differences(right, {**right, "documents": right["documents"][1:]}) == ["documents"]
    assert flips.differences(right, {**right, "known": {}}) == ["known"]
    found = right["dense word7 common"]
    assert flips.differences(right, {**right, "dense word7 common": found[:-1]}) == ["dense word7 common"]
    assert len(found) == 7
