"""An agent as a tool of another: a task in, an answer with its passages out, within what is left of the caps.

The outer agent's policy decides on the call as on any other: its effects are those of all tools that the inner agent
has. So where these do more than read, the task that is handed over comes from the user, or was approved as it stands,
and the inner run may take it for the user's own. Inside nobody can be asked: what would need an approval is denied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from secrets import token_hex
from typing import Any

from ragagent.agent.runner import AgentRunner
from ragagent.agent.schema import FINISH
from ragagent.errors import ToolError
from ragagent.settings import AgentSettings
from ragagent.tools.documents import Found, Left
from ragagent.types import AgentResult, Chunk, Citation, Effect, Hit, ToolSpec, digest

MAX_TASK_CHARS = 2000
_DEPTH: ContextVar[int] = ContextVar("depth", default=0)
_MAX_DEPTH = 3


class AgentTool:
    """An agent that other agents can call. `opened` makes its runner for the caps of one call."""

    def __init__(
        self,
        opened: Callable[[AgentSettings], AgentRunner],
        settings: AgentSettings,
        *,
        name: str,
        description: str,
        effects: tuple[Effect, ...],
        max_calls: int | None = None,
    ) -> None:
        task = {
            "type": "string",
            "description": "what is to be found out or done, with all that it takes to understand it",
            "minLength": 1,
            "maxLength": MAX_TASK_CHARS,
        }
        self._opened = opened
        self._settings = settings
        self._running: dict[str, AgentRunner] = {}
        self._spec = ToolSpec(
            name=name,
            description=description,
            parameters={
                "type": "object",
                "properties": {"task": task},
                "required": ["task"],
                "additionalProperties": False,
            },
            # What it answers is never as trusted as its task: a model wrote it.
            effects=effects or ("read",),
            max_calls=max_calls,
        )

    @property
    def spec(self) -> ToolSpec:
        return self._spec

    def call(self, arguments: Mapping[str, Any]) -> str:
        """The answer to a task, under the agent's own caps alone."""
        return self.delegate(arguments, Left()).content

    def delegate(self, arguments: Mapping[str, Any], left: Left) -> Found:
        """The answer, the passages it cites, and what it cost. Raises ToolError where there is none."""
        depth = _DEPTH.get()
        if depth >= _MAX_DEPTH:
            raise ToolError(f"agents call one another at most {_MAX_DEPTH} deep")
        run_id, runner = token_hex(8), self._opened(_within(self._settings, left))
        self._running[run_id] = runner
        before = _DEPTH.set(depth + 1)
        try:
            return _found(runner.run(str(arguments["task"]), run_id=run_id))
        finally:
            _DEPTH.reset(before)
            del self._running[run_id]
            runner.close()

    def cancel(self) -> None:
        """Stops what is under way, the model too."""
        for run_id, runner in list(self._running.items()):
            runner.cancel(run_id)


def _within(own: AgentSettings, left: Left) -> AgentSettings:
    return replace(
        own,
        max_calls=_least(own.max_calls, left.calls),
        max_tokens=_least(own.max_tokens, left.tokens),
        max_seconds=_least(own.max_seconds, left.seconds),
    )


def _least(one: Any, other: Any) -> Any:
    return min((value for value in (one, other) if value is not None), default=None)


def _found(result: AgentResult) -> Found:
    answer = result.answer
    calls = sum(
        1 + (step.observation.calls if step.observation is not None else 0)
        for step in result.steps
        if step.call is not None and step.call.name != FINISH
    )
    cited = [one for one in answer.citations if one.verified and one.span is not None]
    hits = tuple(_hit(one, rank) for rank, one in enumerate(cited, 1))
    said = answer.text or f"no answer: {answer.reason}"
    notes = [f"({answer.status}: {answer.reason})"] if answer.text and answer.status != "grounded" else []
    quotes = [f'[{rank}] "{one.quote}" ({one.title or one.uri})' for rank, one in enumerate(cited, 1)]
    documents = {
        source.removeprefix("document:")
        for step in result.steps
        if step.observation is not None
        for source in step.observation.label.sources
        if source.startswith("document:")
    }
    return Found(
        content="\n".join([said, *notes, *quotes]),
        hits=hits,
        documents=tuple(sorted(documents)),
        usage=result.usage,
        calls=calls,
    )


def _hit(citation: Citation, rank: int) -> Hit:
    assert citation.span is not None
    place = f"{citation.span.start}:{citation.span.end}"
    chunk = Chunk(
        id=digest(citation.document_id, place, citation.quote),
        document_id=citation.document_id,
        span=citation.span,
        text=citation.quote,
        page=citation.page,
    )
    return Hit(
        chunk=chunk,
        rank=rank,
        score=0.0,
        via="sparse",
        title=citation.title,
        uri=citation.uri,
        page=citation.page,
    )
