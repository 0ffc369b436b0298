"""A plan: the calls of a run, written before anything that others wrote is read, and fixed from then on.

What documents say can fill a hole of a planned call. It can neither add a call nor change one, put them in another
order or have one made twice: under the plan the grammar admits nothing but the call that is next, with its fixed
arguments as constants, and `ragagent.agent.steps.check` stands behind it. A call that cannot be made ends the plan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ragagent.agent import steps
from ragagent.agent.labels import OWN
from ragagent.agent.policy import consequential
from ragagent.agent.schema import (
    FINISH,
    FINISH_SPEC,
    FOUND,
    MAX_THOUGHT_CHARS,
    Figures,
    step_grammar,
    with_handles,
)
from ragagent.agent.state import AgentState, Planned
from ragagent.tools.arithmetic import SUM_KEY, sums
from ragagent.tools.calling import invalid
from ragagent.tools.documents import HANDLE_KEY
from ragagent.types import Grammar, Observation, Step, ToolCall, ToolSpec

PLAN = "plan"
NEED, THEN = "need", "then"
"""The keys of what a call is for, and of what comes after the calls. A 1.5B model that lists all needs first plans
fewer calls than it has needs, and leaves out a sum that is one more call of the list.
"""
MOST_CALLS = 6
HOLE = "find"
_HOLE_SCHEMA = {
    "type": "object",
    "properties": {HOLE: {"type": "string", "minLength": 1, "maxLength": 120}},
    "required": [HOLE],
    "additionalProperties": False,
}


def planning(state: AgentState) -> bool:
    """Whether the plan is what the next step writes."""
    return not state.plan and not state.forced


def permitted(state: AgentState, specs: Sequence[ToolSpec]) -> tuple[ToolSpec, ...]:
    """The tools that may be planned; once there is a plan, the call that is next in it, or else the final answer."""
    if state.forced or not specs:
        return (FINISH_SPEC,)
    if not state.plan:
        return tuple(spec for spec in specs if spec.max_calls != 0)
    following = upcoming(state, specs)
    spec = next((spec for spec in specs if following is not None and spec.name == following.tool), None)
    left = spec is not None and (spec.max_calls is None or steps.calls(state, spec.name) < spec.max_calls)
    narrowed = with_handles(_narrowed(spec, following), state.documents) if spec and following and left else None
    return (narrowed,) if narrowed is not None else (FINISH_SPEC,)


def upcoming(state: AgentState, specs: Sequence[ToolSpec]) -> Planned | None:
    """The call of the plan that is next; None where none is left, or one of them could not be made.

    What goes into holes may be tried twice, but for a call that does more than read and was begun.
    """
    lasting = {spec.name for spec in specs if consequential(spec)}
    at, again = 0, False
    for step in _since(state):
        if at == len(state.plan):
            break
        if steps.worked(step):
            at, again = at + 1, False
        elif again or not state.plan[at].holes or (step.call is not None and step.call.name in lasting):
            return None
        else:
            again = True
    return state.plan[at] if at < len(state.plan) else None


def _since(state: AgentState) -> tuple[Step, ...]:
    """The steps since the plan was fixed that were to make calls of it."""
    begun = next(
        (number for number, step in enumerate(state.steps, 1) if _named(step) == PLAN and steps.worked(step)),
        len(state.steps),
    )
    return tuple(step for step in state.steps[begun:] if step.call is None or step.call.name != FINISH)


def _named(step: Step) -> str:
    return step.observation.name if step.observation is not None and step.call is None else ""


def _narrowed(spec: ToolSpec, planned: Planned) -> ToolSpec:
    """The tool, with what is fixed as constants and the holes open."""
    schemas = spec.parameters.get("properties", {})
    kept = [name for name in schemas if name in planned.fixed or name in planned.holes]
    properties = {name: {"const": planned.fixed[name]} if name in planned.fixed else schemas[name] for name in kept}
    parameters = {**spec.parameters, "properties": properties, "required": kept, "additionalProperties": False}
    return replace(spec, parameters=parameters)


def fixed(state: AgentState, call: ToolCall) -> tuple[str, ...] | None:
    """The arguments of the call under way that the plan had fixed; None where it is no call of a plan."""
    if not state.plan:
        return None
    at = sum(steps.worked(step) for step in _since(state))
    planned = state.plan[at] if at < len(state.plan) and state.plan[at].tool == call.name else None
    return tuple(planned.fixed) if planned is not None else None


def grammar(state: AgentState, allowed: Sequence[ToolSpec], figures: Figures | None = None) -> Grammar:
    """The constraint of the next step: a plan of these tools, or the call that is next in it."""
    return _plan_grammar(allowed) if planning(state) else step_grammar(allowed, first=False, figures=figures)


def _plan_grammar(specs: Sequence[ToolSpec]) -> Grammar:
    summing = [spec.name for spec in specs if _is_sum(spec)]
    # Where something can be done with a sum, it may have to come before that.
    acting = any(consequential(spec) for spec in specs) or len(summing) == len(specs)
    others = [_choice(spec) for spec in specs if acting or not _is_sum(spec)]
    calls = {"type": "array", "items": {"anyOf": others}, "minItems": 1, "maxItems": MOST_CALLS - 1}
    schema = {
        "type": "object",
        "properties": {PLAN: calls, THEN: {"enum": [*summing, FINISH]}},
        "required": [PLAN, THEN],
        "additionalProperties": False,
    }
    return Grammar(kind="json_schema", source=json.dumps(schema, ensure_ascii=False))


def _choice(spec: ToolSpec) -> dict[str, Any]:
    known = {name: schema for name, schema in spec.parameters.get("properties", {}).items() if not _later(schema)}
    arguments = {
        **spec.parameters,
        "properties": {name: {"anyOf": [schema, _HOLE_SCHEMA]} for name, schema in known.items()},
        "required": [name for name in spec.parameters.get("required", ()) if name in known],
    }
    return {
        "type": "object",
        "properties": {
            NEED: {"type": "string", "minLength": 1, "maxLength": MAX_THOUGHT_CHARS},
            "tool": {"const": spec.name},
            "arguments": arguments,
        },
        "required": [NEED, "tool", "arguments"],
        "additionalProperties": False,
    }


def _is_sum(spec: ToolSpec) -> bool:
    """Whether the tool does nothing but sums: which ones shows when the figures are there."""
    return bool(sums(spec)) and not spec.effects


def _later(schema: Mapping[str, Any]) -> bool:
    """Whether a parameter cannot be known before anything is read: a document that is found, the figures of a sum."""
    return HANDLE_KEY in schema or bool(schema.get(SUM_KEY))


def written(state: AgentState, allowed: Sequence[ToolSpec]) -> str:
    """The reply of a step in which the plan leaves nothing to write, so that no model is asked; else ""."""
    if planning(state) or allowed[0].name == FINISH:
        return ""
    schemas = allowed[0].parameters["properties"]
    if any("const" not in schema for schema in schemas.values()):
        return ""
    arguments = {name: schema["const"] for name, schema in schemas.items()}
    return json.dumps({FOUND: "", "tool": allowed[0].name, "arguments": arguments}, ensure_ascii=False)


def check(state: AgentState, allowed: Sequence[ToolSpec], known: Sequence[ToolSpec]) -> AgentState:
    """`state` with the plan that the reply is, or the call that is next in it, or an observation of what was wrong."""
    return _fixed(state, allowed) if planning(state) else steps.check(state, allowed, known)


def _fixed(state: AgentState, allowed: Sequence[ToolSpec]) -> AgentState:
    call_id = f"{state.run_id}:{len(state.steps)}"
    said = steps.parsed(state.reply)
    if said is None:
        return steps.unreadable(state, call_id)
    calls = said.get(PLAN)
    if not isinstance(calls, list) or not 1 <= len(calls) <= MOST_CALLS:
        return steps.refused(state, call_id, PLAN, f"the plan is not a list of 1 to {MOST_CALLS} calls")
    by_name = {spec.name: spec for spec in allowed}
    problems = [f"call {number}: {why}" for number, call in enumerate(calls, 1) if (why := _wrong(call, by_name))]
    if problems:
        return steps.refused(state, call_id, PLAN, f"the plan cannot be used: {'; '.join(problems[:3])}"[:1000])
    planned = _without_doubles([_planned(call, by_name[call["tool"]]) for call in calls])
    last = by_name.get(str(said.get(THEN)))
    if last is not None and _is_sum(last):
        # In order of name: a log keeps the schemas of tools, and not the order of keys in them.
        holes = dict.fromkeys(sorted(last.parameters["properties"]), "")
        planned = (*planned, Planned(tool=last.name, fixed={}, holes=holes))
    fixed_now = Observation(call_id=call_id, name=PLAN, content=_told(planned), label=OWN)
    thought = json.dumps({PLAN: calls, THEN: str(said.get(THEN, FINISH))}, ensure_ascii=False)
    return replace(state, plan=planned, thought=thought, observation=fixed_now)


def _wrong(call: Any, by_name: Mapping[str, ToolSpec]) -> str:
    """What is wrong with a call of a plan; "" where nothing is."""
    if not isinstance(call, dict) or not isinstance(call.get("arguments"), dict):
        return "it is not an object with tool and arguments"
    spec = by_name.get(str(call.get("tool")))
    if spec is None:
        return f"{str(call.get('tool'))[:80]!r} cannot be used; use one of: {', '.join(by_name)}"
    planned = _planned(call, spec)
    if strange := [name for name in call["arguments"] if name not in spec.parameters.get("properties", {})]:
        return f"{spec.name} takes no {str(strange[0])[:80]!r}"
    if early := [name for name in planned.fixed if _later(spec.parameters["properties"][name])]:
        return f"{early[0]} is filled in when results are there"
    needed = [name for name in spec.parameters.get("required", ()) if name not in planned.holes]
    return invalid({**spec.parameters, "required": needed}, dict(planned.fixed))


def _planned(call: Mapping[str, Any], spec: ToolSpec) -> Planned:
    """The call, with what has to be left open as holes."""
    schemas, given = spec.parameters.get("properties", {}), call["arguments"]
    holes = {name: value[HOLE] for name, value in given.items() if _is_hole(value)}
    needed = [name for name in spec.parameters.get("required", ()) if _later(schemas.get(name, {}))]
    open_later = {name: "" for name in needed if name not in given}
    fixed_now = {name: value for name, value in given.items() if name not in holes}
    return Planned(tool=spec.name, fixed=fixed_now, holes={**holes, **open_later})


def _is_hole(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {HOLE} and isinstance(value[HOLE], str)


def _without_doubles(calls: Sequence[Planned]) -> tuple[Planned, ...]:
    """The calls without those that are wholly fixed and were planned before."""
    return tuple(call for number, call in enumerate(calls) if call.holes or call not in calls[:number])


def _told(planned: Sequence[Planned]) -> str:
    calls = ", ".join(f"{number} {call.tool}" for number, call in enumerate(planned, 1))
    return f"The plan is fixed: {calls}, then final_answer."
