"""Whether the call of a step may be made: the policy's verdict, the question to a human, and what comes of the answer.

Pure functions between `ragagent.agent.steps.check` and the tool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from ragagent.agent import plan
from ragagent.agent.labels import OWN, context, origins
from ragagent.agent.policy import Policy, call_digest, judge
from ragagent.agent.state import AgentState
from ragagent.agent.steps import worked
from ragagent.errors import AgentError
from ragagent.jsonable import canonical
from ragagent.types import Approval, Decision, Label, Observation, Origin, ToolCall, ToolSpec

_KEPT = "Do not try it again. Go on without it, or give the final answer."


def authorised(state: AgentState, specs: Sequence[ToolSpec], policy: Policy, now: float) -> AgentState:
    """`state` with the verdict on its call: it may be made, a human is asked, or an observation says why not."""
    call, spec = _call(state), _spec(state, specs)
    around, found = provenance(state, call, spec)
    made = [step.call for step in state.steps if step.call is not None and worked(step)]
    verdict = judge(call, spec, task=state.task, around=around, found=found, policy=policy, made=made)
    if verdict.kind == "allow":
        return replace(state, verdict="allow")
    if verdict.kind == "deny":
        return _refused(state, f"This call is not allowed: {verdict.reason}. {_KEPT}")
    return _asking(state, spec, policy, now, verdict.reason, "call")


def provenance(state: AgentState, call: ToolCall, spec: ToolSpec) -> tuple[Label, tuple[Origin, ...]]:
    """The label of what the call was decided on from, and where each of its values comes from."""
    fixed = plan.fixed(state, call)
    around = context(state.steps if fixed is None else ())
    return around, origins(call, spec, state.task, state.steps, fixed)


def doubted(state: AgentState, specs: Sequence[ToolSpec], policy: Policy, now: float) -> AgentState:
    """`state` with the question that a call leaves which was under way when its process ended."""
    reason = "the process ended while this call was under way, so it may have been made already; make it again?"
    return _asking(replace(state, verdict=""), _spec(state, specs), policy, now, reason, "unknown")


def settled(state: AgentState, decision: Decision, policy: Policy, now: float) -> AgentState:
    """`state` after a human's decision. One that comes too late counts for nothing: the question is asked anew.

    Raises AgentError for the decision of another question.
    """
    asked = state.approval
    if asked is None or decision.approval_id != asked.id or asked.digest != call_digest(_call(state)):
        raise AgentError(f"the decision is about {decision.approval_id!r}, which is not what the run waits for")
    if now > asked.expires_at:
        return replace(state, approval=_question(state, asked, policy, now))
    if decision.approved:
        return replace(state, verdict="again" if asked.kind == "unknown" else "allow")
    if asked.kind == "unknown":
        return _refused(state, "It is not known whether this call was made; the user decided not to make it again.")
    return _refused(state, f"The user was asked and did not allow this call. {_KEPT}")


def _asking(
    state: AgentState, spec: ToolSpec, policy: Policy, now: float, reason: str, kind: Literal["call", "unknown"]
) -> AgentState:
    call = _call(state)
    asked = Approval(
        id="",
        run_id=state.run_id,
        step=len(state.steps),
        kind=kind,
        tool=call.name,
        arguments=call.arguments,
        digest=call_digest(call),
        effects=spec.effects,
        reason=reason,
        origins=provenance(state, call, spec)[1],
        asked_at=now,
        expires_at=now,
    )
    return replace(state, approval=_question(state, asked, policy, now))


def _question(state: AgentState, about: Approval, policy: Policy, now: float) -> Approval:
    """What `about` asks, asked at `now`. The id changes with the run, the step, the call and the moment."""
    identity = canonical([state.run_id, about.step, about.kind, about.digest, now])
    name = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return replace(about, id=name, asked_at=now, expires_at=now + policy.approval_seconds)


def _refused(state: AgentState, reason: str) -> AgentState:
    call = _call(state)
    observation = Observation(call_id=call.id, name=call.name, content=reason, error=True, label=OWN)
    return replace(state, observation=observation, verdict="")


def _call(state: AgentState) -> ToolCall:
    if state.call is None:
        raise AgentError("there is no call to decide on")
    return state.call


def _spec(state: AgentState, specs: Sequence[ToolSpec]) -> ToolSpec:
    name = _call(state).name
    spec = next((spec for spec in specs if spec.name == name), None)
    if spec is None:
        raise AgentError(f"the tool {name!r} is not there any more, so its call cannot be decided on")
    return spec
