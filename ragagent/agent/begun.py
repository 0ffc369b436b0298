"""How a run was begun, read back from its log, so that whoever goes on with it keeps its rights and its filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ragagent.agent.journal import Entry
from ragagent.settings import Strategy
from ragagent.where import Where, as_value, expression, from_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What a run was begun with; `memory` is none where the log does not say."""

    at: float
    task: str
    strategy: Strategy
    where: Where | None = None
    memory: bool | None = None
    always_ask: bool = False
    read_only: bool = False


def about(where: Where | None, memory: bool) -> dict[str, Any]:
    """What an application adds to the log's first entry of a run."""
    return {"where": None if where is None else as_value(expression(where)), "memory": memory}


def begun(entries: Iterable[Entry]) -> Begun | None:
    """How the run of these entries was begun; None where they do not say. Raises ConfigError for a damaged filter."""
    start = next((one for one in entries if one.kind == "start"), None)
    if start is None:
        return None
    policy: Mapping[str, Any] = start.body.get("policy", {})
    where = start.body.get("where")
    return Begun(
        at=start.at,
        task=str(start.body.get("task", "")),
        # Logs of the time when there was one strategy do not name it.
        strategy=cast(Strategy, start.body.get("strategy", "react")),
        where=None if where is None else from_value(where),
        memory=start.body.get("memory"),
        always_ask=bool(policy.get("always_ask")),
        read_only=bool(policy.get("read_only")),
    )
