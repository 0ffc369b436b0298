"""Ways of searching are compared on the same questions, each with what it is worth and what it took."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragagent.eval import ways


def test_every_way_is_measured_on_every_question_and_hybrid_differs_from_itself_by_nothing(
    towns: Path, minilm: Path, tmp_path: Path
) -> None:
    compared = ways.ways(["late"])
    found = ways.measured(towns, compared, k=3, kb=tmp_path)
    assert list(found) == ["dense", "BM25", "reciprocal ranks", "hybrid", "hybrid + late"]
    assert len({len(one.worth) for one in found.values()}) == 1
    assert all(len(one.worth) == len(one.seconds) > 1 for one in found.values())
    assert all(0 <= worth <= 1 for one in found.values() for worth in one.worth)
    cells = ways.cells(found)
    assert len(cells) == len(compared)
    assert "(" not in cells[3]
    assert all("[" in cell for number, cell in enumerate(cells) if number != 3)


@pytest.mark.parametrize("figure", ways.FIGURES)
def test_every_figure_that_is_offered_is_known(towns: Path, minilm: Path, tmp_path: Path, figure: str) -> None:
    (only,) = ways.measured(towns, [ways.Way(name="BM25", mode="sparse")], figure=figure, k=2, kb=tmp_path).values()
    assert only.worth
