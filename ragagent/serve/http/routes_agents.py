"""Agents: begun, followed, asked about, cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query

from ragagent.serve.http import agent_shapes as out
from ragagent.serve.http import runs_kept, shapes
from ragagent.serve.http.access import Operator, Shared
from ragagent.serve.http.errors import RESPONSES, Refusal
from ragagent.serve.http.events import EventStream, either, event, kept_alive, stream_of
from ragagent.serve.http.filters import where_of
from ragagent.serve.http.guard import Caller
from ragagent.serve.http.runs import Run, Wanted
from ragagent.serve.http.service import Service
from ragagent.types import Decision

router = APIRouter(prefix="/api", tags=["agents"], responses=RESPONSES)

_MOST_LISTED = 200


@router.post("/agents", status_code=202, summary="Begin a run")
async def begin(body: out.RunRequest, caller: Operator, service: Shared) -> out.RunOut:
    """Sets an agent to a task. Follow it by its events; a call that a human has to allow makes it wait."""
    service.require_open()
    if body.memory:
        # Raises AccessDenied for who is no user; told here, and not by a run that fails.
        _ = service.seen_by(caller).memory
    wanted = Wanted(
        task=body.task,
        strategy=body.strategy or service.kb.settings.agent.strategy,
        where=where_of(body.where),
        always_ask=body.always_ask,
        read_only=body.read_only,
        memory=body.memory,
    )
    names = None if caller.principal is None else caller.principal.names
    return out.run_out(service.runs.begin(wanted, client=caller.key, principal=names))


@router.get("/agents", summary="List the runs")
async def list_runs(
    caller: Operator, service: Shared, limit: Annotated[int, Query(ge=1, le=_MOST_LISTED)] = 50
) -> out.RunList:
    """Those of who asks, the latest first; for the owner also those of earlier processes and of the command line."""
    own = [run for run in service.runs.list() if _own(caller, run)]
    if caller.principal is None:
        known = {run.id for run in own}
        stored = await service.reading.run(lambda: runs_kept.latest(service.kb.path, limit))
        own += [run for run in stored if run.id not in known]
    own.sort(key=lambda run: -run.created_at)
    settings = service.kb.settings.agent
    return out.RunList(
        runs=[out.run_out(run) for run in own[:limit]],
        strategy=settings.strategy,
        memory=settings.memory if _remembers(caller) else None,
    )


@router.get("/agents/{run_id}", summary="One run")
async def get_run(run_id: shapes.Identifier, caller: Operator, service: Shared) -> out.RunDetail:
    """A run with what it has done so far."""
    return out.run_detail(await _found(service, caller, run_id))


@router.get(
    "/agents/{run_id}/events",
    summary="Follow a run",
    response_class=EventStream,
    responses=stream_of(
        "`step` (AgentEventOut), numbered from 0 by its id, and `state` (RunOut) when that changes; ends when the run "
        "ends or waits"
    ),
)
async def run_events(
    run_id: shapes.Identifier,
    caller: Operator,
    service: Shared,
    after: Annotated[int, Query(ge=-1, le=2**31, description="the id of the last event that is known")] = -1,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{1,9}$")] = None,
) -> EventStream:
    """The events from the first one on, or those after the one that is named."""
    run = await _found(service, caller, run_id)
    begin = int(last_event_id) if last_event_id is not None else after
    return EventStream(kept_alive(_followed(service, run, begin + 1)))


@router.post("/agents/{run_id}/decision", status_code=202, summary="Approve or deny")
async def decide(run_id: shapes.Identifier, body: out.DecisionRequest, caller: Operator, service: Shared) -> out.RunOut:
    """Answers the approval that a run waits for, once; it goes on."""
    service.require_open()
    run = await _found(service, caller, run_id)
    decision = Decision(approval_id=body.approval_id, approved=body.approved, by=caller.name)
    return out.run_out(service.runs.go_on(run, decision))


@router.post("/agents/{run_id}/resume", status_code=202, summary="Go on with a run")
async def resume(run_id: shapes.Identifier, caller: Operator, service: Shared) -> out.RunOut:
    """Goes on with a run that was cancelled or interrupted, from its last step."""
    service.require_open()
    run = await _found(service, caller, run_id)
    return out.run_out(service.runs.go_on(run, None))


@router.post("/agents/{run_id}/cancel", summary="Cancel a run")
async def cancel(run_id: shapes.Identifier, caller: Operator, service: Shared) -> out.RunOut:
    """Stops it, the model too. One that has ended stays as it is."""
    run = await _found(service, caller, run_id)
    await service.reading.run(lambda: service.runs.cancel(run))
    return out.run_out(run)


async def _followed(service: Service, run: Run, begin: int) -> AsyncIterator[str]:
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def told() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    run.listeners.add(told)
    try:
        said = ""
        while True:
            changed.clear()
            state = run.state
            while begin < len(run.events):
                yield event("step", out.event_out(run.events[begin]), number=begin)
                begin += 1
            if state != said:
                said = state
                yield event("state", out.run_out(run))
            if run.ended or state == "waiting" or service.closing.is_set():
                return
            await either(changed, service.closing)
    finally:
        run.listeners.discard(told)


def _remembers(caller: Caller) -> bool:
    return caller.principal is None or caller.principal.user is not None


def _own(caller: Caller, run: Run) -> bool:
    return caller.principal is None or run.principal == caller.principal.names


async def _found(service: Service, caller: Caller, run_id: str) -> Run:
    run = service.runs.get(run_id)
    if run is None and caller.principal is None:
        stored = await service.reading.run(lambda: runs_kept.find(service.kb.path, run_id))
        run = None if stored is None else service.runs.adopt(stored)
    if run is None or not _own(caller, run):
        raise Refusal(404, "no_run", "there is no such run", param="run_id")
    return run
