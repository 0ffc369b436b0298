"""kill -9 at random moments of writing, folding and merging: what was acknowledged is there, and nothing by halves."""

from __future__ import annotations

from pathlib import Path

from ragagent.testing import durability

KILLS = 30


def test_a_killed_writer_loses_nothing_that_it_acknowledged(folder: Path) -> None:
    steps = durability.kills(folder, KILLS, seed=20)
    assert steps > KILLS, "the writer was killed before it wrote anything worth losing"
