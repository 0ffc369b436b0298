"""Self-refinement: a draft of the answer, a critic that lists what nothing supports, and one revision.

The critic is the same model over the same steps, so that the prompt before stays in the cache; what it writes is held
to a grammar, counts as untrusted as all that it was shown, and its figures account for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ragagent import prompts
from ragagent.agent import steps
from ragagent.agent.labels import OWN, context
from ragagent.agent.schema import CRITIC, FINISH_SPEC, Figures, step_grammar
from ragagent.agent.state import AgentState
from ragagent.types import Grammar, Observation, ToolSpec

UNSUPPORTED = "unsupported"
_MOST_DOUBTS = 3
_DOUBT = {
    "type": "object",
    "properties": {
        "statement": {"type": "string", "minLength": 1, "maxLength": 200},
        "why": {"type": "string", "minLength": 1, "maxLength": 160},
    },
    "required": ["statement", "why"],
    "additionalProperties": False,
}
_SCHEMA = {
    "type": "object",
    "properties": {UNSUPPORTED: {"type": "array", "items": _DOUBT, "maxItems": _MOST_DOUBTS}},
    "required": [UNSUPPORTED],
    "additionalProperties": False,
}


def criticising(state: AgentState) -> bool:
    """Whether the next step is the critic's: the last one left a draft."""
    last = state.steps[-1] if state.steps else None
    asked = last is not None and last.observation is not None and last.observation.name == CRITIC
    return asked and last is not None and last.call is not None and not state.forced


def _criticised(state: AgentState) -> bool:
    """Whether there was a draft before."""
    return any(step.observation is not None and step.observation.name == CRITIC for step in state.steps)


def permitted(state: AgentState, specs: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
    """What every step may call; once the critic has spoken, the final answer alone."""
    return (FINISH_SPEC,) if _criticised(state) else steps.permitted(state, specs)


def grammar(state: AgentState, allowed: Sequence[ToolSpec], figures: Figures | None = None) -> Grammar:
    """The constraint of the next step, or of the critic."""
    if criticising(state):
        return Grammar(kind="json_schema", source=json.dumps(_SCHEMA))
    return step_grammar(allowed, first=not state.steps, figures=figures)


def check(state: AgentState, allowed: Sequence[ToolSpec], known: Sequence[ToolSpec]) -> AgentState:
    """As every step is checked; the first answer becomes a draft, and what the critic says decides on it."""
    if criticising(state):
        return _judged(state)
    checked = steps.check(state, allowed, known)
    if not checked.answer or state.forced or _criticised(state):
        return checked
    asked = _said(state, prompts.load("critic").render())
    return replace(checked, answer="", observation=asked)


def _judged(state: AgentState) -> AgentState:
    said = steps.parsed(state.reply)
    doubts = [one for one in said.get(UNSUPPORTED, ()) if _is_doubt(one)] if said is not None else None
    if doubts is None:
        return steps.unreadable(state, _id(state))
    if not doubts:
        call = state.steps[-1].call
        return replace(state, answer=str(call.arguments["answer"]).strip() if call is not None else "")
    listed = "\n".join(f"- {one['statement']}: {one['why']}" for one in doubts[:_MOST_DOUBTS])
    heard = _said(state, f"Nothing supports this:\n{listed}\nAnswer again, with what the results say.")
    return replace(state, observation=replace(heard, label=context(state.steps)))


def _is_doubt(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("statement", "why"))


def _said(state: AgentState, content: str) -> Observation:
    # An error, so that the figures in it are not taken for found.
    return Observation(call_id=_id(state), name=CRITIC, content=content, error=True, label=OWN)


def _id(state: AgentState) -> str:
    return f"{state.run_id}:{len(state.steps)}"
