"""What every run says about itself, so that a figure can be made again and two runs be compared."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragagent.eval.environment import facts, settings_facts, without_folder
from ragagent.settings import Settings
from ragagent.types import IngestReport


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """The set, what was asked of it, and where it ran. Nothing in it names a host, a user or a folder."""

    data: str
    parameters: Mapping[str, Any]
    settings: Mapping[str, Any]
    models: Mapping[str, str]
    documents: int
    chunks: int
    unreadable: tuple[str, ...]
    ingest_seconds: float
    embedded: int
    created: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"))
    environment: Mapping[str, Any] = field(default_factory=facts)


def about(
    data: Path,
    *,
    parameters: Mapping[str, Any],
    settings: Settings,
    models: Mapping[str, str],
    counts: tuple[int, int],
    ingest: IngestReport,
) -> About:
    """The facts of a run over the set in the folder `data`; `counts` are documents and chunks searched."""
    return About(
        data=data.resolve().name,
        parameters=parameters,
        settings=settings_facts(settings),
        models={role: str(without_folder(name)) for role, name in models.items()},
        documents=counts[0],
        chunks=counts[1],
        unreadable=tuple(f"{without_folder(item.uri)}: {item.kind}" for item in ingest.failures),
        ingest_seconds=round(ingest.seconds, 3),
        embedded=ingest.embedded,
    )
