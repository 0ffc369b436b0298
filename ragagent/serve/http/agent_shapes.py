"""Runs of agents as the API gives them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from ragagent.serve.http import shapes
from ragagent.serve.http.runs import Run
from ragagent.settings import Strategy
from ragagent.tools.remembering import MAX_CHARS
from ragagent.types import AgentEvent, Approval, Came, Fact, ToolCall

_MOST_OBSERVED = 20_000


class RunRequest(shapes.Given):
    """A task for an agent."""

    task: shapes.Question
    where: shapes.Filter = None
    always_ask: bool = Field(default=False, description="ask before every call that does more than read")
    read_only: bool = Field(default=False, description="allow no call that does more than read")
    strategy: Strategy | None = Field(
        default=None, description="how to go about the task (docs/agent.md); null: as the server's settings say"
    )
    memory: bool | None = Field(
        default=None, description="let it remember facts and recall them; null: as the server's settings say"
    )


class DecisionRequest(shapes.Given):
    """What a human says to an approval."""

    approval_id: str = Field(min_length=1, max_length=200)
    approved: bool


class CallOut(BaseModel):
    """A call of a tool."""

    id: str
    name: str
    arguments: dict[str, Any]


class OriginOut(BaseModel):
    """Where one value of the arguments comes from."""

    path: str
    value: str | int | float | bool | None
    trusted: bool
    sources: list[str]
    why: str


class ApprovalOut(BaseModel):
    """A question to a human: may exactly this call be made?"""

    id: str
    step: int
    kind: Literal["call", "unknown"] = Field(description="unknown: it may have been made already; make it again?")
    tool: str
    arguments: dict[str, Any]
    effects: list[str]
    reason: str
    origins: list[OriginOut]
    asked_at: float
    expires_at: float


class ObservationOut(BaseModel):
    """What a tool returned."""

    name: str
    content: str
    error: bool
    trusted: bool
    sources: list[str]


class ProgressOut(BaseModel):
    """How far a call under way is, as its tool tells."""

    done: float
    total: float | None
    text: str


class AgentEventOut(BaseModel):
    """One event of a run; what does not belong to its kind is null. The `usage` of the answer is that of the run."""

    kind: Literal["thought", "call", "approval", "progress", "observation", "usage", "citation", "answer"]
    step: int
    text: str | None = None
    call: CallOut | None = None
    approval: ApprovalOut | None = None
    progress: ProgressOut | None = None
    observation: ObservationOut | None = None
    usage: shapes.UsageOut | None = None
    citation: shapes.CitationOut | None = None
    answer: shapes.AnswerOut | None = None
    stopped: str | None = None


class RunOut(BaseModel):
    """A run. `waiting` waits for `approval`; `interrupted` and `cancelled` ones of the owner can be gone on with."""

    id: str
    task: str
    strategy: Strategy
    state: Literal["queued", "running", "waiting", "done", "failed", "cancelled", "interrupted"]
    created_at: float
    error: str
    approval: ApprovalOut | None


class RunDetail(RunOut):
    """A run with all its events so far."""

    events: list[AgentEventOut]


class RunList(BaseModel):
    """Runs, the latest first, and what a new one gets that does not say."""

    runs: list[RunOut]
    strategy: Strategy = Field(description="how a new run goes about its task")
    memory: bool | None = Field(description="whether a new run remembers; null: who asks is no user, and has no memory")


class FactRequest(shapes.Given):
    """What is to be remembered, in the words of whoever asks."""

    text: str = Field(min_length=1, max_length=MAX_CHARS, pattern=r"\S")


class FactOut(BaseModel):
    """A fact that is remembered from one run to the next."""

    id: str
    text: str
    came: Came = Field(
        description="user: who it belongs to wrote it; task: a run noted it before it had read anything; derived: after"
    )
    trusted: bool
    sources: list[str]
    run_id: str = Field(description="the run that noted it; empty where none did")
    at: float


class FactList(BaseModel):
    """Facts, the oldest first; those that were searched for the best first. At most `most` are kept."""

    facts: list[FactOut]
    most: int


def run_out(run: Run) -> RunOut:
    """A run as it is listed."""
    return RunOut(
        id=run.id,
        task=run.wanted.task,
        strategy=run.wanted.strategy,
        state=run.state,
        created_at=run.created_at,
        error=run.error,
        approval=None if run.approval is None else approval_out(run.approval),
    )


def run_detail(run: Run) -> RunDetail:
    """A run with its events."""
    return RunDetail(**run_out(run).model_dump(), events=[event_out(one) for one in list(run.events)])


def event_out(event: AgentEvent) -> AgentEventOut:
    """An event as it is given back."""
    seen = event.observation
    usage = event.usage if event.result is None else event.result.usage
    return AgentEventOut(
        kind=event.kind,
        step=event.step,
        text=event.text or None,
        call=None if event.call is None else call_out(event.call),
        approval=None if event.approval is None else approval_out(event.approval),
        progress=None
        if event.progress is None
        else ProgressOut(done=event.progress.done, total=event.progress.total, text=event.progress.text),
        observation=None
        if seen is None
        else ObservationOut(
            name=seen.name,
            content=seen.content[:_MOST_OBSERVED],
            error=seen.error,
            trusted=seen.label.trusted,
            sources=list(seen.label.sources),
        ),
        usage=None if usage is None else shapes.usage_out(usage),
        citation=None if event.citation is None else shapes.citation_out(event.citation, 0),
        answer=None if event.result is None else shapes.answer_out(event.result.answer),
        stopped=None if event.result is None else event.result.stopped,
    )


def fact_out(fact: Fact) -> FactOut:
    """A fact as it is given back."""
    return FactOut(
        id=fact.id,
        text=fact.text,
        came=fact.came,
        trusted=fact.label.trusted,
        sources=list(fact.label.sources),
        run_id=fact.run_id,
        at=fact.at,
    )


def call_out(call: ToolCall) -> CallOut:
    """A call as it is given back."""
    return CallOut(id=call.id, name=call.name, arguments=dict(call.arguments))


def approval_out(asked: Approval) -> ApprovalOut:
    """A question as it is given back."""
    return ApprovalOut(
        id=asked.id,
        step=asked.step,
        kind=asked.kind,
        tool=asked.tool,
        arguments=dict(asked.arguments),
        effects=list(asked.effects),
        reason=asked.reason,
        origins=[
            OriginOut(
                path=one.path,
                value=one.value,
                trusted=one.label.trusted,
                sources=list(one.label.sources),
                why=one.why,
            )
            for one in asked.origins
        ],
        asked_at=asked.asked_at,
        expires_at=asked.expires_at,
    )
