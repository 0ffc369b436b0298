"""The ways an agent can go about a task. Each is the same steps, with some of their parts put in place of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ragagent.agent import plan, policy, refine, steps, vote
from ragagent.agent.schema import Figures, step_grammar
from ragagent.agent.state import AgentState
from ragagent.settings import Strategy
from ragagent.types import Grammar, Step, ToolSpec


def _step_grammar(state: AgentState, allowed: Sequence[ToolSpec], figures: Figures | None = None) -> Grammar:
    return step_grammar(allowed, first=not state.steps, figures=figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What a strategy makes of a step. The model, the tools, the policy and the caps are the same for all.

    `prompt` names the instructions, `permitted` the tools of the next step, `grammar` how its reply is constrained, and
    `check` what becomes of it, given the permitted tools and all of them; `written` is a reply that needs no model, or
    "". `length` is how many times a step's tokens the reply may take, `samples` how often a sum and an answer are
    written beside the first time, to be voted on.
    """

    prompt: str = "agent"
    permitted: Callable[[AgentState, Sequence[ToolSpec]], tuple[ToolSpec, ...]] = steps.permitted
    grammar: Callable[[AgentState, Sequence[ToolSpec], Figures | None], Grammar] = _step_grammar
    check: Callable[[AgentState, Sequence[ToolSpec], Sequence[ToolSpec]], AgentState] = steps.check
    written: Callable[[AgentState, Sequence[ToolSpec]], str] = lambda state, allowed: ""
    length: Callable[[AgentState], int] = lambda state: 1
    samples: int = 0


WAYS: dict[Strategy, Way] = {
    "react": Way(),
    "plan": Way(
        prompt="agent_plan",
        permitted=plan.permitted,
        grammar=plan.grammar,
        check=plan.check,
        written=plan.written,
        length=lambda state: 2 if plan.planning(state) else 1,
    ),
    "refine": Way(permitted=refine.permitted, grammar=refine.grammar, check=refine.check),
    "vote": Way(samples=vote.SAMPLES),
    "team": Way(prompt="agent_team"),
}


def way(state: AgentState) -> Way:
    """How the run of `state` goes about its task."""
    return WAYS[state.strategy]


def permitted(state: AgentState, specs: Sequence[ToolSpec], rules: policy.Policy) -> tuple[ToolSpec, ...]:
    """The tools that the next step may call: what its strategy chooses of those that the policy may let through."""
    read: Sequence[Step] = () if state.strategy == "plan" else state.steps
    return way(state).permitted(state, policy.permitted(specs, read, state.task, rules))
