"""Runs of an agent: a task in, events as they come, and an answer with citations at the end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from ragagent import prompts
from ragagent.agent import steps
from ragagent.agent.figures import CONSTANTS, computed, operands, written_figures
from ragagent.agent.graph import Checkpoints, Moves, compiled, stored, walk
from ragagent.agent.schema import FINISH, FINISH_SPEC, Figures, described, founded, step_grammar
from ragagent.agent.state import AgentState
from ragagent.errors import AgentError, ConfigError, ModelError, ToolError
from ragagent.protocols import LLM, Tool
from ragagent.settings import AgentSettings
from ragagent.tools import calling
from ragagent.tools.documents import DocumentTool
from ragagent.types import AgentEvent, AgentResult, Answer, Completion, Grammar, Hit, Sampling, Step, ToolCall

Cite: TypeAlias = Callable[[str, str, Sequence[Hit], Sequence[str]], Answer]
"""Makes a cited answer of (task, text, the passages the run found, what its tools computed)."""

_MIN_OBSERVATION_TOKENS = 32
_CUT_SHORT = {
    "step_limit": "no step was left, so it was answered from what was known by then",
    "repeated_call": "the same call was made again and again, so it was answered from what was known by then",
}


@dataclass(slots=True)
class _Run:
    """What one run keeps beside its state: the passages behind the chunk ids."""

    hits: dict[str, Hit] = field(default_factory=dict)


class AgentRunner:
    """An agent over a language model and tools. Runs are independent; each needs only its `run_id` to be resumed.

    With `checkpoints` each step is on disk before the next begins, and a run that was killed goes on with `resume`:
    the step that was under way is done again, so a tool with side effects may be called twice.
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
    ) -> None:
        self._llm = llm
        self._tools = {tool.spec.name: tool for tool in tools}
        self._cite = cite
        self._settings = settings or AgentSettings()
        self._sampling = sampling
        self._checkpoints = Checkpoints(checkpoints) if checkpoints is not None else None
        _check_names([tool.spec.name for tool in tools])
        self._specs = tuple(tool.spec for tool in self._tools.values())
        self._system = prompts.load("agent").render(tools=described((*self._specs, FINISH_SPEC)))

    def run(self, task: str, *, run_id: str | None = None) -> AgentResult:
        """The result of a new run. Raises AgentError for an empty task or a `run_id` that was used before.

        A model that fails ends the run with `stopped="error"` and a refused answer that says why.
        """
        return _last(self.stream(task, run_id=run_id))

    def stream(self, task: str, *, run_id: str | None = None) -> Iterator[AgentEvent]:
        """A new run, event by event; the last one carries the result. Closing the iterator abandons the run."""
        if not task.strip():
            raise AgentError("the task is empty: say what is to be found out")
        clean = task.strip().encode("utf-8", "replace").decode()
        return self._events(AgentState(run_id=run_id or secrets.token_hex(8), task=clean), resumed=False)

    def resume(self, run_id: str) -> AgentResult:
        """The result of a run that was interrupted, from its last checkpoint on; of a finished one, the same result."""
        return _last(self.resume_stream(run_id))

    def resume_stream(self, run_id: str) -> Iterator[AgentEvent]:
        """As `resume`, event by event. Raises AgentError when there is no such run."""
        if self._checkpoints is None:
            raise AgentError("no checkpoints are kept, so no run can be resumed; give the agent a checkpoint file")
        return self._events(AgentState(run_id=run_id, task=""), resumed=True)

    def close(self) -> None:
        """Closes the file of checkpoints. The model and the tools belong to the caller."""
        if self._checkpoints is not None:
            self._checkpoints.close()

    def _events(self, state: AgentState, *, resumed: bool) -> Iterator[AgentEvent]:
        run = _Run()
        graph = compiled(self._moves(run), self._checkpoints.saver() if self._checkpoints else None)
        known = stored(graph, state.run_id) if self._checkpoints else None
        state = self._begin(state, known, resumed, run)
        if not state.stopped:
            start = None if resumed else state
            for node, state in walk(graph, start, state.run_id, self._settings.max_steps):  # noqa: B020
                yield from _told(node, state)
        yield AgentEvent(kind="answer", step=len(state.steps), result=self._result(state, run))

    def _begin(self, new: AgentState, known: AgentState | None, resumed: bool, run: _Run) -> AgentState:
        """The state to start from, with the passages of the steps already made found again."""
        if not resumed:
            if known is not None:
                raise AgentError(f"the run {new.run_id!r} exists already; resume it, or leave the id out")
            return new
        if known is None:
            raise AgentError(f"there is no run {new.run_id!r} among the checkpoints")
        for step in known.steps:
            if step.call is not None and step.observation is not None and not step.observation.error:
                self._find_again(known, step.call, run)
        return known

    def _find_again(self, state: AgentState, call: ToolCall, run: _Run) -> None:
        tool = self._tools.get(call.name)
        if not isinstance(tool, DocumentTool):
            return
        try:
            found = tool.find(steps.expanded(state, tool.spec, call).arguments)
        except ToolError:
            # The document went away meanwhile: then it cannot be cited, and everything else still can.
            return
        run.hits.update({hit.chunk.id: hit for hit in found.hits if hit.chunk.id in state.chunks})

    def _moves(self, run: _Run) -> Moves:
        return Moves(
            decide=self._decide,
            check=lambda state: steps.check(state, steps.permitted(state, self._specs)),
            act=lambda state: self._act(state, run),
            advance=lambda state: steps.advance(state, self._settings.max_steps),
        )

    def _decide(self, state: AgentState) -> AgentState:
        """The state with the model's reply: first as it likes, and again where that has figures from nowhere.

        A grammar cannot look ahead: a model that may not write 72 begins with a 7 that it may write, and goes on from
        there to a sum that makes no sense. So the figures are limited only where they have to be, and those of an
        answer only once it was asked about them.
        """
        state = steps.capped(state, self._settings.max_steps)
        allowed = steps.permitted(state, self._specs)
        figures = Figures(texts=written_figures(state), operands=operands(state), constants=CONSTANTS)
        first = not state.steps
        try:
            completion = self._asked(state, step_grammar(allowed, first=first))
            limited = allowed if steps.asked_before(state) else [spec for spec in allowed if spec.name != FINISH]
            if not founded(completion.text, limited, figures):
                again = self._asked(state, step_grammar(allowed, first=first, figures=figures))
                completion = replace(again, usage=completion.usage + again.usage)
        except ModelError as error:
            return steps.failed(state, f"{type(error).__name__}: {error}")
        return steps.decided(state, completion)

    def _asked(self, state: AgentState, grammar: Grammar) -> Completion:
        return self._llm.chat(
            steps.messages(state, self._system),
            max_tokens=self._settings.max_tokens_per_step,
            sampling=self._sampling,
            grammar=grammar,
        )

    def _act(self, state: AgentState, run: _Run) -> AgentState:
        if state.call is None:
            raise AgentError("there is no call to act on")
        tool = self._tools[state.call.name]
        call = steps.expanded(state, tool.spec, state.call)
        try:
            limit = self._observation_tokens(state)
            outcome = calling.run(tool, call, count_tokens=self._llm.count_tokens, max_tokens=limit)
        except ModelError as error:
            return steps.failed(state, f"{type(error).__name__}: {error}")
        run.hits.update({hit.chunk.id: hit for hit in outcome.hits})
        return steps.acted(state, outcome)

    def _observation_tokens(self, state: AgentState) -> int:
        """How long an observation may be: half of the room that is left, so that each later step finds some, too."""
        said = [*(message.content for message in steps.messages(state, self._system)), state.reply]
        left = self._llm.context_tokens - self._llm.count_tokens("\n".join(said))
        room = (left - 2 * self._settings.max_tokens_per_step) // 2
        return max(_MIN_OBSERVATION_TOKENS, min(self._settings.observation_tokens, room))

    def _result(self, state: AgentState, run: _Run) -> AgentResult:
        usage = state.usage
        answer = self._answer(state, run)
        return AgentResult(
            run_id=state.run_id,
            task=state.task,
            answer=answer,
            steps=state.steps,
            stopped=state.stopped or "error",
            usage=usage + answer.usage,
        )

    def _answer(self, state: AgentState, run: _Run) -> Answer:
        if not state.answer:
            reason = state.reason or "the run ended without an answer"
            return Answer(question=state.task, text="", status="refused", confidence=0.0, reason=reason)
        hits = [run.hits[chunk] for chunk in state.chunks if chunk in run.hits]
        answer = self._cite(state.task, state.answer, hits, computed(state, filter(self._computes, state.steps)))
        if answer.status == "grounded" and not answer.citations:
            return replace(answer, status="partial", reason=answer.reason or "no document was cited for it")
        if answer.status == "grounded" and state.forced:
            return replace(answer, status="partial", reason=_CUT_SHORT[state.forced])
        return answer

    def _computes(self, step: Step) -> bool:
        """Whether the step is a call that worked of a tool that reads no documents."""
        worked = step.call is not None and step.observation is not None and not step.observation.error
        tool = self._tools.get(step.call.name) if worked and step.call is not None else None
        return tool is not None and not isinstance(tool, DocumentTool)


def _check_names(names: Sequence[str]) -> None:
    doubled = {name for name in names if names.count(name) > 1} | ({FINISH} & set(names))
    if doubled:
        raise ConfigError(f"tools need names of their own; taken or given twice: {', '.join(sorted(doubled))}")


def _told(node: str, state: AgentState) -> Iterator[AgentEvent]:
    """The events of what `node` did."""
    number = len(state.steps)
    if node == "check" and state.thought:
        yield AgentEvent(kind="thought", step=number, text=state.thought)
    if node == "check" and state.call is not None:
        yield AgentEvent(kind="call", step=number, call=state.call)
    if node == "advance" and state.steps[-1].observation is not None:
        yield AgentEvent(kind="observation", step=number - 1, observation=state.steps[-1].observation)


def _last(events: Iterator[AgentEvent]) -> AgentResult:
    result: AgentResult | None = None
    for event in events:
        result = event.result
    if result is None:
        raise AgentError("the run ended without a result")
    return result
