"""A run, made again from its log: the same pure steps over what the model and the tools said then, without them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ragagent.agent import consent, steps, strategies
from ragagent.agent.journal import Entry
from ragagent.agent.policy import Policy
from ragagent.agent.state import AgentState
from ragagent.agent.turn import restored, state_digest
from ragagent.errors import AgentError
from ragagent.settings import AgentSettings
from ragagent.types import Approval, Completion, Decision, Step, ToolSpec

_Record = TypeVar("_Record")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What the replay came to. `problem` says where it parts from the run; "" where it is the run."""

    run_id: str
    task: str
    steps: tuple[Step, ...]
    stopped: str
    answer: str
    problem: str = ""


def replay(entries: Iterable[Entry]) -> Replayed:
    """The run of these entries of the log. Raises AgentError when they do not begin with a run's start."""
    kept = list(entries)
    if not kept or kept[0].kind != "start":
        raise AgentError("the log has no such run")
    replaying = _Replaying(kept[0])
    for entry in kept[1:]:
        replaying.take(entry)
    return replaying.result()


class _Replaying:
    """The state of the run, and what it was before the step under way and before its tool had answered."""

    def __init__(self, start: Entry) -> None:
        self._given(start)
        begun = AgentState(run_id=start.run_id, task=start.body["task"], strategy=start.body.get("strategy", "react"))
        self._state = self._begun = self._called = begun
        self._problem = ""

    def take(self, entry: Entry) -> None:
        """Goes on with one entry. What a crash made the run do twice counts as it was the last time."""
        takes = {
            "resume": self._given,
            "reply": self._reply,
            "approval": self._approval,
            "decision": self._decision,
            "outcome": self._outcome,
            "step": self._step,
            "end": self._end,
        }
        if entry.kind in takes and not self._problem:
            takes[entry.kind](entry)

    def result(self) -> Replayed:
        state = self._state
        return Replayed(
            run_id=state.run_id,
            task=state.task,
            steps=state.steps,
            stopped=state.stopped or ("approval" if state.waiting else ""),
            answer=state.answer,
            problem=self._problem,
        )

    def _given(self, entry: Entry) -> None:
        """What the run was started or resumed with."""
        self._specs = tuple(_read(ToolSpec, spec) for spec in entry.body["specs"])
        self._settings = _read(AgentSettings, entry.body["settings"])
        self._policy = _read(Policy, entry.body["policy"])

    def _reply(self, entry: Entry) -> None:
        shown = replace(self._begun, receipts=tuple(map(tuple, entry.body.get("receipts", ()))))
        state = steps.capped(replace(shown, elapsed_s=entry.body["elapsed_s"]), self._settings)
        state = steps.decided(state, _read(Completion, entry.body["completion"]))
        permitted = strategies.permitted(state, self._specs, self._policy)
        state = strategies.way(state).check(state, permitted, self._specs)
        self._state = self._called = state
        if state.call is not None and state.observation is None and not state.answer:
            self._state = self._called = consent.authorised(state, self._specs, self._policy, 0.0)

    def _approval(self, entry: Entry) -> None:
        asked = _read(Approval, entry.body["approval"])
        if self._state.approval is not None and asked.id == self._state.approval.id:
            return
        ask = consent.doubted if asked.kind == "unknown" else consent.authorised
        plain = replace(self._state, verdict="", approval=None)
        self._state = self._called = ask(plain, self._specs, self._policy, asked.asked_at)

    def _decision(self, entry: Entry) -> None:
        decision = _read(Decision, entry.body["decision"])
        self._state = self._called = consent.settled(self._state, decision, self._policy, entry.body["at"])

    def _outcome(self, entry: Entry) -> None:
        state = steps.acted(self._called, restored(entry.body))
        chunks = tuple(dict.fromkeys((*state.chunks, *entry.body["chunks"])))
        self._state = replace(state, chunks=chunks)

    def _step(self, entry: Entry) -> None:
        if entry.step > len(self._state.steps):
            self._state = self._begun = steps.advance(self._state, self._settings.max_steps)
        if state_digest(self._state) != entry.body["state"]:
            self._problem = f"step {entry.step} does not come out as it did: entry {entry.number} of the log"

    def _end(self, entry: Entry) -> None:
        if self._state.stopped and self._state.stopped != entry.body["stopped"]:
            self._problem = f"it stopped as {entry.body['stopped']!r} then, and as {self._state.stopped!r} now"


def _read(kind: type[_Record], value: Any) -> _Record:
    """A record out of the log, checked field by field."""
    import pydantic

    try:
        return pydantic.TypeAdapter(kind).validate_python(value)
    except pydantic.ValidationError as error:
        raise AgentError(f"the log is not one of this version: {error.errors()[0]['msg']}") from error


def transcript(entries: Iterable[Entry]) -> list[str]:
    """A run as people read it, a line for each thing that happened."""
    return list(itertools.chain.from_iterable(_lines(entry) for entry in entries))


def _lines(entry: Entry) -> Iterable[str]:
    body, number = entry.body, entry.step + 1
    match entry.kind:
        case "start":
            yield f"task: {body['task']}"
        case "reply":
            if left_out := ", ".join(str(step + 1) for step, _ in body.get("receipts", ())):
                yield f"step {number} saw receipts of the results of steps {left_out}"
            yield f"step {number}: {body['completion']['text']}"
        case "approval":
            asked = body["approval"]
            yield f"step {number} asks ({asked['id']}): {asked['tool']}: {asked['reason']}"
        case "decision":
            made = body["decision"]
            yield f"step {number}: {'approved' if made['approved'] else 'denied'} by {made['by']}"
        case "outcome":
            seen = body["observation"]
            yield f"step {number} {'failed' if seen['error'] else 'gave'}: {seen['content']}"
        case "end":
            yield f"{body['stopped']} ({body['status']}): {body['answer']}"
