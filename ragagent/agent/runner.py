"""Runs of an agent: a task in, events as they come, and an answer with citations at the end."""

from __future__ import annotations

import secrets as randomness
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from ragagent.agent import outgoing, steps
from ragagent.agent.begun import begun
from ragagent.agent.figures import computed
from ragagent.agent.graph import Checkpoints, compiled, prune, stored, walk
from ragagent.agent.journal import Journal
from ragagent.agent.policy import Policy, consequential
from ragagent.agent.schema import FINISH, FINISH_SPEC, described
from ragagent.agent.secrets import Secrets
from ragagent.agent.state import AgentState
from ragagent.agent.strategies import WAYS
from ragagent.agent.turn import Cancelled, Parts, Turn, named
from ragagent.errors import AgentError, ConfigError, ToolError
from ragagent.jsonable import jsonable
from ragagent.protocols import LLM, Tool
from ragagent.settings import AgentSettings, Strategy
from ragagent.tools.documents import ComputingTool, DocumentTool
from ragagent.tools.function import NeedsSecrets
from ragagent.tools.remembering import RecallingTool
from ragagent.types import (
    EFFECTS,
    AgentEvent,
    AgentResult,
    Answer,
    Decision,
    Effect,
    Hit,
    Sampling,
    Step,
    ToolCall,
    ToolProgress,
    ToolSpec,
)

Cite: TypeAlias = Callable[[str, str, Sequence[Hit], Sequence[str]], Answer]
"""Makes a cited answer of (task, text, the passages the run found, what its tools computed)."""

_CUT_SHORT = {
    "step_limit": "no step was left, so it was answered from what was known by then",
    "call_limit": "no call was left, so it was answered from what was known by then",
    "token_limit": "no token was left, so it was answered from what was known by then",
    "time_limit": "no time was left, so it was answered from what was known by then",
    "repeated_call": "the same call was made again and again, so it was answered from what was known by then",
}


class AgentRunner:
    """An agent over a language model and tools. Runs are independent; each needs only its `run_id` to be resumed.

    With `checkpoints` each step is on disk before the next begins, a run that was killed goes on with `resume`, and
    one that waits for a human's approval can be gone on with by any process. Without, nobody can be asked: what would
    need an approval is denied. A call that changes something is made once, or not again before a human was asked.
    """

    def __init__(
        self,
        llm: LLM,
        tools: Sequence[Tool],
        *,
        cite: Cite,
        settings: AgentSettings | None = None,
        sampling: Sampling | None = None,
        checkpoints: Path | None = None,
        policy: Policy | None = None,
        secrets: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.time,
        delegated: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        """`secrets` are values by name for the tools that declare them; nothing else ever sees them.

        `delegated` says that the tasks come from another agent: what is remembered of them is not the user's word.
        `about` is what the log says of how runs begin beside that (`ragagent.agent.begun`).
        """
        kept = Secrets(secrets)
        tools = [
            tool.with_secrets(kept.chosen(tool.spec.secrets)) if isinstance(tool, NeedsSecrets) else tool
            for tool in tools
        ]
        _check_names([tool.spec.name for tool in tools])
        chosen = policy or Policy()
        self._checkpoints = Checkpoints(checkpoints) if checkpoints is not None else None
        self._journal = Journal(checkpoints, clock=clock)
        self._cite = cite
        self._about = dict(about or {})
        self._cancels: dict[str, threading.Event] = {}
        specs = tuple(tool.spec for tool in tools)
        offered = [spec for spec in specs if not (chosen.read_only and consequential(spec))]
        self._parts = Parts(
            llm=llm,
            tools=named(tools),
            specs=specs,
            described=described((*offered, FINISH_SPEC)),
            settings=settings or AgentSettings(),
            sampling=sampling,
            policy=chosen if self._checkpoints else _unasked(chosen),
            journal=self._journal,
            secrets=kept,
            clock=clock,
            delegated=delegated,
        )

    def follow(self, task: str, run_id: str, decision: Decision | None) -> Iterator[AgentEvent]:
        """The run of that id, event by event: begun with `task`, or gone on with where it was begun before."""
        known = self._checkpoints is not None and run_id in self._journal.runs()
        return self.resume_stream(run_id, decision) if known else self.stream(task, run_id=run_id)

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What calls of the tools that its policy ever permits can do, all together."""
        offered = [spec for spec in self._parts.specs if not (self._parts.policy.read_only and consequential(spec))]
        return tuple(effect for effect in EFFECTS if any(effect in spec.effects for spec in offered))

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools that it has."""
        return self._parts.specs

    def strategy(self, run_id: str) -> Strategy:
        """The one that the run was begun with; for a run that there is not, that of the settings."""
        known = begun(self._journal.entries(run_id))
        return self._parts.settings.strategy if known is None else known.strategy

    @property
    def journal(self) -> Journal:
        """What the runs have done."""
        return self._journal

    def run(self, task: str, *, run_id: str | None = None, strategy: Strategy | None = None) -> AgentResult:
        """The result of a new run; `strategy` is how it goes about its task, whatever `agent.strategy` says.

        Raises AgentError for an empty task or a `run_id` that was used before.

        A model that fails ends the run with `stopped="error"` and a refused answer that says why. A call that a human
        has to approve leaves it with `stopped="approval"`; `resume` goes on with the decision.
        """
        return _last(self.stream(task, run_id=run_id, strategy=strategy))

    def stream(self, task: str, *, run_id: str | None = None, strategy: Strategy | None = None) -> Iterator[AgentEvent]:
        """A new run, event by event; the last one carries the result. Closing the iterator abandons the run."""
        if not task.strip():
            raise AgentError("the task is empty: say what is to be found out")
        clean = self._parts.secrets.hidden(task.strip().encode("utf-8", "replace").decode())
        chosen = strategy or self._parts.settings.strategy
        if chosen not in WAYS:
            raise ConfigError(f"there is no strategy {chosen!r}; there are {', '.join(WAYS)}")
        state = AgentState(run_id=run_id or randomness.token_hex(8), task=clean, strategy=chosen)
        return self._events(state, resumed=False)

    def resume(self, run_id: str, decision: Decision | None = None) -> AgentResult:
        """The result of a run that was interrupted, from its last checkpoint on; of a finished one, the same result.

        A run that waits for an approval goes on with the `decision`, and waits on without. Raises AgentError for a
        decision on something else than what it waits for.
        """
        return _last(self.resume_stream(run_id, decision))

    def resume_stream(self, run_id: str, decision: Decision | None = None) -> Iterator[AgentEvent]:
        """As `resume`, event by event. Raises AgentError when there is no such run."""
        if self._checkpoints is None:
            raise AgentError("no checkpoints are kept, so no run can be resumed; give the agent a checkpoint file")
        return self._events(AgentState(run_id=run_id, task=""), resumed=True, decision=decision)

    def cancel(self, run_id: str) -> None:
        """Stops a run that is under way in another thread, the model too; it can be resumed. Returns at once."""
        self._cancels.setdefault(run_id, threading.Event()).set()

    def close(self) -> None:
        """Closes the files of checkpoints and the journal. The model and the tools belong to the caller."""
        self._journal.close()
        if self._checkpoints is not None:
            self._checkpoints.close()

    def _events(self, state: AgentState, *, resumed: bool, decision: Decision | None = None) -> Iterator[AgentEvent]:
        turn = Turn(self._parts, cancelled=self._cancels.setdefault(state.run_id, threading.Event()))
        graph = compiled(turn.moves(), self._checkpoints.saver() if self._checkpoints else None)
        known = stored(graph, state.run_id) if self._checkpoints else None
        state = self._begin(state, known, resumed, turn)
        _check_decision(state, decision)
        cancelled = False
        try:
            if state.waiting and decision is None:
                yield AgentEvent(kind="approval", step=len(state.steps), approval=state.approval)
            elif not state.stopped:
                start = state if known is None else None
                given = jsonable(decision) if decision is not None else None
                limit = self._parts.settings.max_steps
                for said in walk(graph, start, state.run_id, limit, given):
                    if isinstance(said, ToolProgress):
                        shown = replace(said, text=outgoing.shown(said.text, self._parts.settings.allowed_hosts))
                        yield AgentEvent(kind="progress", step=len(state.steps), progress=shown)
                        continue
                    node, state = said
                    yield from _told(node, state, self._parts.settings.allowed_hosts)
            prune(graph, state.run_id)
        except Cancelled:
            cancelled = True
        finally:
            self._cancels.pop(state.run_id, None)
        yield from self._ended(state, turn, cancelled)

    def _begin(self, new: AgentState, known: AgentState | None, resumed: bool, turn: Turn) -> AgentState:
        """The state to start from, with the passages of the steps already made found again."""
        if not resumed:
            if known is not None:
                raise AgentError(f"the run {new.run_id!r} exists already; resume it, or leave the id out")
            self._journal.log(new.run_id, 0, "start", self._said(new))
            return new
        if known is None:
            # Ended before its first checkpoint: nothing was done, and it is begun again.
            started = begun(self._journal.entries(new.run_id))
            if started is None:
                raise AgentError(f"there is no run {new.run_id!r} among the checkpoints")
            return replace(new, task=started.task, strategy=started.strategy)
        if not known.stopped:
            self._journal.log(known.run_id, len(known.steps), "resume", self._said(known))
        for step in known.steps:
            if step.call is not None and step.observation is not None and not step.observation.error:
                self._find_again(known, step.call, turn)
        return known

    def _said(self, state: AgentState) -> dict[str, Any]:
        """What a run starts from, for the log: all that its steps depend on beside the model and the tools."""
        parts = self._parts
        return {
            "task": state.task,
            "strategy": state.strategy,
            "specs": jsonable(parts.specs),
            "settings": jsonable(parts.settings),
            "policy": jsonable(parts.policy),
            "model": parts.llm.name,
            **self._about,
        }

    def _find_again(self, state: AgentState, call: ToolCall, turn: Turn) -> None:
        tool = self._parts.tools.get(call.name)
        if not isinstance(tool, DocumentTool) or consequential(tool.spec):
            return
        try:
            found = tool.find(steps.expanded(state, tool.spec, call).arguments)
        except ToolError:
            # The document went away meanwhile: then it cannot be cited, and everything else still can.
            return
        turn.hits.update({hit.chunk.id: hit for hit in found.hits if hit.chunk.id in state.chunks})

    def _ended(self, state: AgentState, turn: Turn, cancelled: bool) -> Iterator[AgentEvent]:
        """The events at the end: the citations, and the result."""
        result = self._result(state, turn, cancelled)
        if state.stopped:
            said = {"stopped": result.stopped, "answer": result.answer.text, "status": result.answer.status}
            self._journal.log(state.run_id, len(state.steps), "end", said)
        for citation in result.answer.citations:
            yield AgentEvent(kind="citation", step=len(state.steps), citation=citation)
        yield AgentEvent(kind="answer", step=len(state.steps), result=result)

    def _result(self, state: AgentState, turn: Turn, cancelled: bool) -> AgentResult:
        usage = state.usage
        answer = self._answer(state, turn, cancelled)
        waiting = state.approval if state.waiting else None
        return AgentResult(
            run_id=state.run_id,
            task=state.task,
            answer=answer,
            steps=state.steps,
            stopped=state.stopped or ("approval" if waiting else "cancelled" if cancelled else "error"),
            usage=usage + answer.usage,
            approval=waiting,
        )

    def _answer(self, state: AgentState, turn: Turn, cancelled: bool) -> Answer:
        if not state.answer:
            why = _without(state, cancelled)
            return self._shown(Answer(question=state.task, text="", status="refused", confidence=0.0, reason=why))
        hits = [turn.hits[chunk] for chunk in state.chunks if chunk in turn.hits]
        said = self._parts.secrets.hidden(state.answer)
        answer = self._cite(state.task, said, hits, computed(state, filter(self._computes, state.steps)))
        answer = self._shown(answer)
        if answer.status == "grounded" and not answer.citations:
            return replace(answer, status="partial", reason=answer.reason or "no document was cited for it")
        if answer.status == "grounded" and state.forced:
            return replace(answer, status="partial", reason=_CUT_SHORT[state.forced])
        return answer

    def _shown(self, answer: Answer) -> Answer:
        """The answer without links to hosts that the user did not list; quotes stay what the documents say."""
        hosts = self._parts.settings.allowed_hosts
        claims = tuple(replace(claim, text=outgoing.shown(claim.text, hosts)) for claim in answer.claims)
        return replace(
            answer,
            text=outgoing.shown(answer.text, hosts),
            reason=outgoing.shown(answer.reason, hosts),
            claims=claims,
        )

    def _computes(self, step: Step) -> bool:
        """Whether the step is a call that worked of a tool that does not only read documents.

        So is one that recalled nothing but what the user said: that needs no document, and what a run noted does.
        """
        if step.call is None or step.observation is None or step.observation.error:
            return False
        tool = self._parts.tools.get(step.call.name)
        if isinstance(tool, RecallingTool):
            return step.observation.label.trusted
        return tool is not None and (not isinstance(tool, DocumentTool) or isinstance(tool, ComputingTool))


def _unasked(policy: Policy) -> Policy:
    """The policy where nobody can be asked: no question is allowed to stand in for an answer."""
    untrusted = "deny" if policy.untrusted == "ask" else policy.untrusted
    return replace(policy, untrusted=untrusted, read_only=policy.read_only or policy.always_ask)


def _check_decision(state: AgentState, decision: Decision | None) -> None:
    """Raises AgentError for a decision on something that the run does not wait for."""
    asked = state.approval if state.waiting else None
    if decision is not None and (asked is None or asked.id != decision.approval_id):
        what = f"waits for the approval {asked.id!r}" if asked is not None else "waits for no approval"
        raise AgentError(f"the run {state.run_id!r} {what}, and not for {decision.approval_id!r}")


def _without(state: AgentState, cancelled: bool) -> str:
    """Why there is no answer."""
    if state.waiting and state.approval is not None:
        return f"it waits for an approval: {state.approval.tool}: {state.approval.reason}"
    if cancelled:
        return "it was cancelled; resume goes on with it"
    return state.reason or "the run ended without an answer"


def _check_names(names: Sequence[str]) -> None:
    doubled = {name for name in names if names.count(name) > 1} | ({FINISH} & set(names))
    if doubled:
        raise ConfigError(f"tools need names of their own; taken or given twice: {', '.join(sorted(doubled))}")


def _told(node: str, state: AgentState, hosts: Sequence[str]) -> Iterator[AgentEvent]:
    """The events of what `node` did. What the model notes is shown as an answer is: with links to `hosts` alone."""
    number = len(state.steps)
    if node == "check" and state.thought:
        yield AgentEvent(kind="thought", step=number, text=outgoing.shown(state.thought, hosts))
    if node == "check" and state.call is not None:
        yield AgentEvent(kind="call", step=number, call=state.call)
    if state.waiting:
        yield AgentEvent(kind="approval", step=number, approval=state.approval)
    if node == "advance":
        step = state.steps[-1]
        if step.observation is not None:
            yield AgentEvent(kind="observation", step=step.index, observation=step.observation)
        yield AgentEvent(kind="usage", step=step.index, usage=step.usage)


def _last(events: Iterator[AgentEvent]) -> AgentResult:
    result: AgentResult | None = None
    for event in events:
        result = event.result
    if result is None:
        raise AgentError("the run ended without a result")
    return result
