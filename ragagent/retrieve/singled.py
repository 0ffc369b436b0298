"""Passages that the words of a question single out: nothing done after the search may put others before them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, takewhile

from ragagent.index.fusion import SINGLED_OUT
from ragagent.types import Hit


def leading(hits: Sequence[Hit]) -> int:
    """How many of the first hits are singled out: those that hold the part number or the quoted words asked for."""
    return sum(1 for _ in takewhile(_is_singled, hits))


def not_below(scores: Sequence[float]) -> list[float]:
    """`scores`, each raised to the greatest after it: what stays before others scores no less than they do."""
    return list(accumulate(reversed(scores), max))[::-1]


def _is_singled(hit: Hit) -> bool:
    return any(stage.name == "fusion" and SINGLED_OUT in stage.detail for stage in hit.stages)
