"""Newer documents before older ones, as far as the settings want it."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ragagent.types import Hit, Metadata, Stage

STAGE = "recency"
KEYS = ("date", "sent", "published", "modified", "created")
"""Where the date of a document is looked for; the first that is there and is a date counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recency:
    """After `half_life_days` half of what being new is worth is lost; `share` is how much of a score it is worth."""

    half_life_days: float
    share: float


def recent(hits: Sequence[Hit], recency: Recency, today: datetime.date) -> list[Hit]:
    """`hits` by score x (1 - share + share x 2^(-age / half-life)), best first; of equals the one before goes first.

    What has no date counts as old, and what is dated later than `today` as of today. Scores must not be negative.
    """
    scored = [_scored(hit, recency, today) for hit in hits]
    ordered = sorted(scored, key=lambda hit: -hit.score)
    return [
        replace(hit, rank=rank, stages=(*hit.stages[:-1], replace(hit.stages[-1], rank=rank)))
        for rank, hit in enumerate(ordered, 1)
    ]


def _scored(hit: Hit, recency: Recency, today: datetime.date) -> Hit:
    date = dated(hit.metadata)
    worth, told = 0.0, "no date"
    if date is not None:
        age = max(0, (today - date).days)
        worth = 2.0 ** (-age / recency.half_life_days)
        told = f"{date.isoformat()}, {age} days old"
    factor = 1 - recency.share + recency.share * worth
    detail = f"{told}: {hit.score:.4g} x ({1 - recency.share:.2f} + {recency.share:.2f} x {worth:.2f})"
    stage = Stage(name=STAGE, rank=None, score=hit.score * factor, detail=detail)
    return replace(hit, score=hit.score * factor, stages=(*hit.stages, stage))


def dated(metadata: Metadata | Mapping[str, object]) -> datetime.date | None:
    """The day in the metadata of a document, in ISO form; None where there is none. A year counts as its first day."""
    for key in KEYS:
        value = metadata.get(key)
        if isinstance(value, str):
            try:
                return datetime.date.fromisoformat(_whole(value.strip()[:10]))
            except ValueError:
                continue
    return None


def _whole(day: str) -> str:
    """A day, or the first one of a month or a year."""
    return day + {4: "-01-01", 7: "-01"}.get(len(day), "")
