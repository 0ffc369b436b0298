"""Self-consistency: a sum and an answer are written several times over the same prompt, and the most frequent counts.

What is no call that may be made, or has figures from nowhere, has no vote (`ragagent.agent.steps.check` is the
verifier). Nothing is called but what wins, so votes cost tokens and change nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ragagent.agent import steps
from ragagent.agent.figures import NUMBER, unfounded
from ragagent.agent.schema import FINISH
from ragagent.agent.state import AgentState
from ragagent.errors import ToolError
from ragagent.jsonable import canonical
from ragagent.tools.arithmetic import evaluate, shown, sums
from ragagent.types import Completion, Sampling, ToolCall, ToolSpec

SAMPLES = 4
SAMPLING = Sampling(temperature=0.7, seed=1)


def worth(reply: str, specs: Sequence[ToolSpec]) -> bool:
    """Whether the reply is a sum or an answer: other calls are seldom written twice in the same words."""
    said = steps.parsed(reply)
    name = said.get("tool") if said is not None else None
    return name == FINISH or any(spec.name == name and sums(spec) for spec in specs)


def elected(
    state: AgentState, replies: Sequence[Completion], allowed: Sequence[ToolSpec], known: Sequence[ToolSpec]
) -> Completion:
    """The first of those replies that most agree with, at the cost of all; the very first where none may be made."""
    votes = [_vote(steps.check(steps.decided(state, reply), allowed, known), known) for reply in replies]
    counted = Counter(vote for vote in votes if vote)
    best = max(counted.values(), default=0)
    winner = next((reply for reply, vote in zip(replies, votes, strict=True) if counted[vote] == best and vote), None)
    usage = sum((reply.usage for reply in replies[1:]), start=replies[0].usage)
    return replace(winner or replies[0], usage=usage)


def _vote(checked: AgentState, known: Sequence[ToolSpec]) -> str:
    """What a reply stands for: replies with the same are one. "" for one that has no vote."""
    call = checked.call
    if call is None or (checked.observation is not None and call.name != FINISH):
        return ""
    if call.name != FINISH:
        return canonical([call.name, _value(call, known)])
    answer = str(call.arguments["answer"])
    if unfounded(checked, answer):
        return ""
    return canonical([FINISH, sorted(set(NUMBER.findall(answer))) or answer.lower().split()])


def _value(call: ToolCall, known: Sequence[ToolSpec]) -> object:
    """What a sum comes to, or else its arguments."""
    written = next((sums(spec) for spec in known if spec.name == call.name), ())
    try:
        return [shown(evaluate(str(call.arguments.get(name, "")))) for name in written] or dict(call.arguments)
    except ToolError:
        return dict(call.arguments)
