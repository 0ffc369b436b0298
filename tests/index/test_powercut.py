"""A power cut at any moment: what was acknowledged is there, nothing is by halves, and the disk is an honest one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.testing import disk, durability

CUTS = 60
FEW = 20

pytestmark = pytest.mark.skipif(bool(disk.missing()), reason=disk.missing() or "-")


def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    assert durability.power_cuts(tmp_path, CUTS, seed=3, a_life=FEW) > 0


def test_on_a_disk_that_only_says_it_syncs_the_loss_is_seen(tmp_path: Path) -> None:
    recording = durability.recorded(tmp_path, disk.library(tmp_path), 0, None)
    durability.require_complete(recording)
    lying = [one for one in recording.operations if one.kind not in "SF"]
    lost = 0
    for moment, content in disk.cuts(lying, recording.folder, None, [len(lying) - one for one in range(12)], seed=1):
        image = tmp_path / f"image{moment}"
        disk.lay_out(content, image, random.Random(moment))
        try:
            durability.require(image, durability.STEPS_A_LIFE, under_way=True)
        except (AssertionError, durability.RagAgentError):
            lost += 1
    assert lost > 6


WRITES = st.one_of(
    st.tuples(st.just("W"), st.integers(0, 3000), st.binary(min_size=1, max_size=1500)),
    st.tuples(st.just("T"), st.integers(0, 3000), st.just(b"")),
)


def operation(kind: str, offset: int = 0, data: bytes = b"", path: str = "/d/file") -> disk.Operation:
    return disk.Operation(kind, 7, offset, path, data)


@given(before=st.lists(WRITES, max_size=5), after=st.lists(WRITES, max_size=5), seed=st.integers(0, 10**6))
def test_after_a_cut_each_sector_is_one_that_it_was_since_the_last_sync(before, after, seed: int) -> None:
    synced = [operation("C"), *(operation(*one) for one in before), operation("S"), operation("F", path="/d")]
    operations = [*synced, *(operation(*one) for one in after)]
    states = []
    for length in range(len(synced), len(operations) + 1):
        follower = disk.Disk(Path("/d"), None)
        for one in operations[:length]:
            follower.follow(one)
        states.append(follower.now()["file"] or b"")
    ((_, content),) = disk.cuts(operations, Path("/d"), None, [len(operations)], seed)
    found = content["file"]
    assert found is not None
    assert len(found) in {len(state) for state in states}
    for start in range(0, len(found), disk.SECTOR):
        piece = found[start : start + disk.SECTOR]
        were = [state[start : start + disk.SECTOR].ljust(len(piece), b"\0") for state in states]
        # A piece that was cut and grown again may have its zeros from either.
        assert any(one == piece or cut_short(one, piece) for one in were), start


def cut_short(one: bytes, piece: bytes) -> bool:
    """Whether `piece` is `one` up to some length (or `one` is longer), and zeros from there."""
    kept = len(piece.rstrip(b"\0"))
    return one[:kept] == piece[:kept]


@given(seed=st.integers(0, 10**6))
def test_a_name_outlives_a_cut_once_its_folder_was_synced(seed: int) -> None:
    made = [operation("C", path="/d/new"), operation("W", 0, b"words"), operation("S", path="/d/new")]
    renamed = [operation("R", path="/d/new\0/d/file"), operation("F", path="/d")]
    whole = [*made, *renamed]
    for moment, content in disk.cuts(whole, Path("/d"), None, range(len(whole) + 1), seed):
        if moment == len(whole):
            assert content == {"file": b"words"}
        else:
            assert len(content) <= 1
            assert moment < 3 or set(content.values()) <= {b"words"}
