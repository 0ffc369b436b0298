"""Whether a plain search is sure of what it found, so that nothing more need be spent on it."""

from __future__ import annotations

from collections.abc import Sequence

from ragagent.types import Hit


def sure(hits: Sequence[Hit]) -> bool:
    """Whether the best hit is the best one of both searches, by meaning and by words."""
    if not hits:
        return False
    ranks = {stage.name: stage.rank for stage in hits[0].stages}
    return ranks.get("dense") == 1 and ranks.get("sparse") == 1
