"""Runs of the owner that are on disk, of earlier processes and of the command line, read back from their log."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pydantic

from ragagent.agent.begun import begun
from ragagent.agent.journal import Entry, Journal
from ragagent.agent.schema import FOUND, NEEDS
from ragagent.app.agent import RUNS_FILE
from ragagent.serve.http.runs import Run, State, Wanted
from ragagent.types import AgentEvent, Approval, Observation, ToolCall


def latest(kb_folder: Path, limit: int) -> list[Run]:
    """The latest runs, the newest first, without what they did."""
    with _journal(kb_folder) as journal:
        if journal is None:
            return []
        found = [_run(list(journal.entries(key))) for key in journal.runs()[:limit]]
    return [run for run in found if run is not None]


def find(kb_folder: Path, run_id: str) -> Run | None:
    """The run of that id, with what it did."""
    with _journal(kb_folder) as journal:
        return None if journal is None else _run(list(journal.entries(run_id)))


@contextlib.contextmanager
def _journal(kb_folder: Path) -> Iterator[Journal | None]:
    file = kb_folder / RUNS_FILE
    if not file.is_file():
        yield None
        return
    journal = Journal(file)
    try:
        yield journal
    finally:
        journal.close()


def _run(entries: Sequence[Entry]) -> Run | None:
    start = begun(entries)
    if start is None:
        return None
    wanted = Wanted(
        task=start.task,
        strategy=start.strategy,
        where=start.where,
        always_ask=start.always_ask,
        read_only=start.read_only,
        memory=start.memory,
    )
    events = [event for entry in entries for event in _events(entry)]
    waits = entries[-1].kind == "approval" and events and events[-1].approval is not None
    return Run(
        id=entries[0].run_id,
        client="",
        principal=None,
        wanted=wanted,
        created_at=start.at,
        state="waiting" if waits else _state(entries),
        events=events,
        approval=events[-1].approval if waits else None,
    )


def _state(entries: Sequence[Entry]) -> State:
    ended = next((str(one.body.get("stopped")) for one in reversed(entries) if one.kind == "end"), "")
    if not ended:
        return "interrupted"
    return "failed" if ended == "error" else "done"


def _events(entry: Entry) -> Iterator[AgentEvent]:
    """What the entry tells of the run; a log of another version tells less."""
    with contextlib.suppress(pydantic.ValidationError, KeyError, TypeError, ValueError):
        match entry.kind:
            case "reply":
                yield from _reply(entry.step, entry.body["completion"]["text"])
            case "approval":
                asked = _read(Approval, entry.body["approval"])
                yield AgentEvent(kind="approval", step=entry.step, approval=asked)
            case "outcome":
                seen = _read(Observation, entry.body["observation"])
                yield AgentEvent(kind="observation", step=entry.step, observation=seen)
            case "end":
                yield AgentEvent(kind="answer", step=entry.step, text=str(entry.body["answer"]))


def _reply(step: int, text: str) -> Iterator[AgentEvent]:
    said = json.loads(text)
    thought = said.get(NEEDS) or said.get(FOUND)
    if thought:
        yield AgentEvent(kind="thought", step=step, text=str(thought))
    call = ToolCall(id=f"step-{step}", name=str(said["tool"]), arguments=dict(said["arguments"]))
    yield AgentEvent(kind="call", step=step, call=call)


def _read(kind: Any, value: Any) -> Any:
    return pydantic.TypeAdapter(kind).validate_python(value)
