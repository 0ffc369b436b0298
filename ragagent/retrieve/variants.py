"""Several rankings for one question, fused by rank: those of its other wordings beside its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ragagent.types import Hit, SearchMode, Stage

STAGE = "variants"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Another wording to search for: what it is, its text, what its ranks count, and how it is searched.

    `mode` None is the mode of the search.
    """

    kind: str
    text: str
    weight: float = 1.0
    mode: SearchMode | None = None


def fused(rankings: Sequence[tuple[Variant, Sequence[Hit]]], rrf_k: int) -> list[Hit]:
    """All hits by the sum of weight / (rrf_k + rank) over the rankings, ranks from 1; of equals the first found.

    Each hit keeps the stages of the first ranking that has it, and gets one with the arithmetic.
    """
    first: dict[str, Hit] = {}
    sums: dict[str, float] = {}
    said: dict[str, list[str]] = {}
    for variant, hits in rankings:
        for hit in hits:
            key = hit.chunk.id
            first.setdefault(key, hit)
            sums[key] = sums.get(key, 0.0) + variant.weight / (rrf_k + hit.rank)
            weight = f"{variant.weight:g}" if variant.weight != 1 else "1"
            said.setdefault(key, []).append(f"{weight}/({rrf_k}+{hit.rank}) {variant.kind}")
    order = sorted(first, key=lambda key: -sums[key])
    return [
        replace(
            first[key],
            rank=rank,
            score=sums[key],
            stages=(
                *first[key].stages,
                Stage(name=STAGE, rank=rank, score=sums[key], detail=" + ".join(said[key])),
            ),
        )
        for rank, key in enumerate(order, 1)
    ]
