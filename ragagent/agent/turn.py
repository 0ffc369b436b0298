"""The moves of one run: the pure steps with the model, the tools, the journal and the clock around them."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ragagent import prompts
from ragagent.agent import consent, receipts, steps, strategies, vote
from ragagent.agent.figures import CONSTANTS, operands, written_figures
from ragagent.agent.graph import Moves, telling
from ragagent.agent.journal import Journal
from ragagent.agent.labels import argument_label, join, of_result
from ragagent.agent.policy import Policy, call_digest, consequential
from ragagent.agent.schema import FINISH, Figures, founded
from ragagent.agent.secrets import Secrets
from ragagent.agent.state import AgentState, to_json
from ragagent.errors import AgentError, ModelError
from ragagent.jsonable import jsonable
from ragagent.protocols import LLM, Cancels, SamplesMany, Tool
from ragagent.settings import AgentSettings
from ragagent.tools import calling
from ragagent.tools.calling import Outcome
from ragagent.tools.documents import Left
from ragagent.tools.remembering import Noted
from ragagent.tools.under_way import Bounded, TellingTool
from ragagent.types import Completion, Decision, Grammar, Hit, Label, Observation, Sampling, ToolCall, ToolSpec, Usage

_MIN_OBSERVATION_TOKENS = 32
_WATCH_S = 0.1
_HANDED_DOWN = Label(trusted=False, sources=("agent",))


class Cancelled(Exception):
    """The user does not want the run to go on; it can be resumed from its last checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What all runs of an agent share."""

    llm: LLM
    tools: Mapping[str, Tool]
    specs: tuple[ToolSpec, ...]
    described: str
    settings: AgentSettings
    sampling: Sampling | None
    policy: Policy
    journal: Journal
    secrets: Secrets
    clock: Callable[[], float] = time.time
    delegated: bool = False
    """Whether the tasks are another agent's and not a user's own."""

    def system(self, state: AgentState) -> str:
        """The instructions of the run's strategy, with the tools."""
        prompt = prompts.load(strategies.way(state).prompt)
        return self.secrets.hidden(prompt.render(tools=self.described))


@dataclass(slots=True)
class Turn:
    """One run at work: `hits` are the passages behind the chunk ids of its state."""

    parts: Parts
    cancelled: threading.Event = field(default_factory=threading.Event)
    hits: dict[str, Hit] = field(default_factory=dict)
    _resumed_at: float = field(default_factory=time.monotonic)
    _before_s: float | None = None

    def moves(self) -> Moves:
        """The nodes of the graph."""
        limit = self.parts.settings.max_steps
        return Moves(
            decide=self._guarded(self._decide),
            check=self._guarded(self._check),
            authorise=self._guarded(self._authorise),
            settle=self._settle,
            act=self._guarded(self._act),
            advance=lambda state: self._logged(steps.advance(state, limit)),
        )

    def _guarded(self, move: Callable[[AgentState], AgentState]) -> Callable[[AgentState], AgentState]:
        def guarded(state: AgentState) -> AgentState:
            if self.cancelled.is_set():
                raise Cancelled
            return move(state)

        return guarded

    def _permitted(self, state: AgentState) -> tuple[ToolSpec, ...]:
        return strategies.permitted(state, self.parts.specs, self.parts.policy)

    def _check(self, state: AgentState) -> AgentState:
        return strategies.way(state).check(state, self._permitted(state), self.parts.specs)

    def _elapsed(self, state: AgentState) -> float:
        """Seconds that the run has worked, those before it was resumed included."""
        if self._before_s is None:
            self._before_s = state.elapsed_s
        return round(self._before_s + time.monotonic() - self._resumed_at, 3)

    def _decide(self, state: AgentState) -> AgentState:
        """The state with the model's reply."""
        state = steps.capped(replace(state, elapsed_s=self._elapsed(state)), self.parts.settings)
        allowed = self._permitted(state)
        try:
            state = self._fitted(state)
            completion = self._reply(state, allowed)
        except ModelError as error:
            return steps.failed(state, self.parts.secrets.hidden(f"{type(error).__name__}: {error}"))
        completion = replace(completion, text=self.parts.secrets.hidden(completion.text))
        said = {"completion": jsonable(completion), "elapsed_s": state.elapsed_s, "receipts": jsonable(state.receipts)}
        self._note(state, "reply", said)
        return steps.decided(state, completion)

    def _reply(self, state: AgentState, allowed: Sequence[ToolSpec]) -> Completion:
        """What the model says next: first as it likes, and again where that has figures from nowhere.

        A grammar cannot look ahead: a model that may not write 72 begins with a 7 that it may write, and goes on from
        there to a sum that makes no sense. So the figures are limited only where they have to be, and those of an
        answer only once it was asked about them.
        """
        way = strategies.way(state)
        if known := way.written(state, allowed):
            return Completion(text=known, finish="stop", usage=Usage())
        figures = Figures(texts=written_figures(state), operands=operands(state), constants=CONSTANTS)
        grammar = way.grammar(state, allowed, None)
        completion = self._asked(state, grammar)
        if way.samples and vote.worth(completion.text, self.parts.specs):
            more = self._sampled(state, grammar, way.samples)
            completion = vote.elected(state, [completion, *more], allowed, self.parts.specs)
        limited = allowed if steps.asked_before(state) else [spec for spec in allowed if spec.name != FINISH]
        if founded(completion.text, limited, figures):
            return completion
        again = self._asked(state, way.grammar(state, allowed, figures))
        return replace(again, usage=completion.usage + again.usage)

    def _fitted(self, state: AgentState) -> AgentState:
        """`state` with receipts in place of the oldest results where the prompt grows too long."""
        return replace(state, receipts=receipts.chosen(state, self._prompt_tokens, self._most_prompt_tokens()))

    def _prompt_tokens(self, state: AgentState) -> int:
        said = steps.messages(state, self.parts.system(state))
        return self.parts.llm.count_tokens("\n".join(message.content for message in said))

    def _most_prompt_tokens(self) -> int:
        """As much as leaves room for a step, its result, and a step after that."""
        settings = self.parts.settings
        after = 2 * settings.max_tokens_per_step + settings.observation_tokens // 2
        fits = self.parts.llm.context_tokens - after
        return fits if settings.prompt_tokens is None else min(fits, settings.prompt_tokens)

    def _asked(self, state: AgentState, grammar: Grammar) -> Completion:
        limit = self.parts.settings.max_seconds
        left = None if limit is None or state.forced else limit - state.elapsed_s
        with self._stopping(self.parts.llm, left):
            completion = self.parts.llm.chat(
                steps.messages(state, self.parts.system(state)),
                max_tokens=self.parts.settings.max_tokens_per_step * strategies.way(state).length(state),
                sampling=self.parts.sampling,
                grammar=grammar,
            )
        if self.cancelled.is_set():
            raise Cancelled
        return completion

    def _sampled(self, state: AgentState, grammar: Grammar, count: int) -> Sequence[Completion]:
        """So many replies at a temperature, over the prompt that was just read; each alone where the model cannot."""
        llm, messages = self.parts.llm, steps.messages(state, self.parts.system(state))
        most, left = self.parts.settings.max_tokens_per_step, self._left(state).seconds
        with self._stopping(llm, None if state.forced else left):
            if isinstance(llm, SamplesMany):
                found = llm.sample(messages, count=count, max_tokens=most, sampling=vote.SAMPLING, grammar=grammar)
            else:
                seeds = [replace(vote.SAMPLING, seed=vote.SAMPLING.seed + number) for number in range(count)]
                found = [llm.chat(messages, max_tokens=most, sampling=one, grammar=grammar) for one in seeds]
        if self.cancelled.is_set():
            raise Cancelled
        return found

    @contextlib.contextmanager
    def _stopping(self, work: object, left_s: float | None) -> Iterator[None]:
        """Stops the model or tool at work within, once the run is cancelled or its time is over."""
        if not isinstance(work, Cancels):
            yield
            return
        done = threading.Event()
        until = None if left_s is None else time.monotonic() + left_s

        def watch() -> None:
            while not done.wait(_WATCH_S):
                if self.cancelled.is_set() or (until is not None and time.monotonic() > until):
                    work.cancel()
                    return

        watcher = threading.Thread(target=watch, name="ragagent-cancel", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()

    def _authorise(self, state: AgentState) -> AgentState:
        """The state with the policy's verdict; a question to a human is on disk before it is asked."""
        state = consent.authorised(state, self.parts.specs, self.parts.policy, self.parts.clock())
        self._ask(state)
        return state

    def _ask(self, state: AgentState) -> None:
        if state.waiting and state.approval is not None:
            self.parts.journal.asked(state.approval)
            self._note(state, "approval", {"approval": jsonable(state.approval)})

    def _settle(self, state: AgentState, given: Mapping[str, Any]) -> AgentState:
        decision, now = Decision(**given), self.parts.clock()
        settled = consent.settled(state, decision, self.parts.policy, now)
        self._note(state, "decision", {"decision": jsonable(decision), "at": now})
        if settled.waiting:
            self._ask(settled)
        else:
            self.parts.journal.decided(decision)
        return settled

    def _act(self, state: AgentState) -> AgentState:
        if state.call is None or not state.verdict:
            raise AgentError("there is no call that may be made")
        call = steps.expanded(state, self.parts.tools[state.call.name].spec, state.call)
        try:
            outcome = self._once(state, call) if consequential(self._spec(call)) else self._called(state, call)
        except ModelError as error:
            return steps.failed(state, self.parts.secrets.hidden(f"{type(error).__name__}: {error}"))
        if outcome is None:
            doubted = consent.doubted(state, self.parts.specs, self.parts.policy, self.parts.clock())
            self._ask(doubted)
            return doubted
        self.hits.update({hit.chunk.id: hit for hit in outcome.hits})
        self._note(state, "outcome", _stored(outcome))
        return steps.acted(state, outcome)

    def _once(self, state: AgentState, call: ToolCall) -> Outcome | None:
        """The outcome of a call that may be made once; None where it was begun before and nobody knows how it ended."""
        assert state.call is not None
        journal, step, approval = self.parts.journal, len(state.steps), state.approval
        if approval is not None and approval.digest != call_digest(state.call):
            raise AgentError(f"the approval {approval.id!r} is for another call")
        known = journal.intend(
            state.run_id,
            step,
            state.call,
            approval=approval.id if approval is not None else "",
            again=state.verdict == "again",
            harmless=self._spec(call).idempotent,
        )
        if known.kind == "unknown":
            return None
        if known.kind == "done" and known.outcome is not None:
            return restored(known.outcome)
        outcome = self._called(state, call)
        journal.done(state.run_id, step, state.call, _stored(outcome))
        return outcome

    def _called(self, state: AgentState, call: ToolCall) -> Outcome:
        tool, spec = self.parts.tools[call.name], self._spec(call)
        limit = self._observation_tokens(state)
        seconds = self.parts.settings.max_seconds
        around, found = consent.provenance(state, call, spec)
        given = argument_label(found)
        if isinstance(tool, TellingTool):
            tool = tool.begun(Bounded(telling(), self.parts.secrets.hidden))
        with self._stopping(tool, None if seconds is None else seconds - self._elapsed(state)):
            outcome = calling.run(
                tool,
                call,
                count_tokens=self.parts.llm.count_tokens,
                max_tokens=limit,
                hidden=self.parts.secrets.hidden,
                left=self._left(state),
                noted=self._noted(state, join([given, around])),
            )
        label = of_result(spec, call, given, outcome.documents, outcome.bounded, outcome.labels)
        return replace(outcome, observation=replace(outcome.observation, label=label))

    def _noted(self, state: AgentState, given: Label) -> Noted:
        """What is kept with a fact: it derives from all that led to the call, also where its words stand in the task.

        Words of the task can be picked so that they say something else, and a task that another agent gave is not the
        user's.
        """
        label = join([given, *([_HANDED_DOWN] if self.parts.delegated else [])])
        return Noted(label=label, run_id=state.run_id, step=len(state.steps))

    def _left(self, state: AgentState) -> Left:
        """What is left of the caps, this call taken off."""
        limits = self.parts.settings
        return Left(
            calls=None if limits.max_calls is None else max(0, limits.max_calls - steps.calls(state) - 1),
            tokens=None if limits.max_tokens is None else max(1, limits.max_tokens - steps.spent(state)),
            seconds=None if limits.max_seconds is None else max(0.0, limits.max_seconds - self._elapsed(state)),
        )

    def _spec(self, call: ToolCall) -> ToolSpec:
        return self.parts.tools[call.name].spec

    def _observation_tokens(self, state: AgentState) -> int:
        """How long an observation may be: half of the room that is left, so that each later step finds some, too."""
        llm, settings = self.parts.llm, self.parts.settings
        said = [*(message.content for message in steps.messages(state, self.parts.system(state))), state.reply]
        left = llm.context_tokens - llm.count_tokens("\n".join(said))
        room = (left - 2 * settings.max_tokens_per_step) // 2
        return max(_MIN_OBSERVATION_TOKENS, min(settings.observation_tokens, room))

    def _logged(self, state: AgentState) -> AgentState:
        self._note(state, "step", {"state": state_digest(state)})
        return state

    def _note(self, state: AgentState, kind: str, body: Mapping[str, Any]) -> None:
        self.parts.journal.log(state.run_id, len(state.steps), kind, self.parts.secrets.hidden_within(body))


def state_digest(state: AgentState) -> str:
    """A digest of all that a state holds."""
    return hashlib.sha256(to_json(state).encode()).hexdigest()


def _stored(outcome: Outcome) -> dict[str, Any]:
    chunks = [hit.chunk.id for hit in outcome.hits]
    return {"observation": jsonable(outcome.observation), "documents": list(outcome.documents), "chunks": chunks}


def restored(stored: Mapping[str, Any]) -> Outcome:
    """The outcome that was stored, without its passages."""
    said = dict(stored["observation"])
    label, usage = said.pop("label"), Usage(**said.pop("usage", {}))
    readers = label["readers"]
    known = Label(
        trusted=label["trusted"],
        sources=tuple(label["sources"]),
        readers=tuple(readers) if readers is not None else None,
    )
    return Outcome(observation=Observation(**said, label=known, usage=usage), documents=tuple(stored["documents"]))


def named(tools: Sequence[Tool]) -> dict[str, Tool]:
    """Tools by name."""
    return {tool.spec.name: tool for tool in tools}
