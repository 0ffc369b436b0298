"""What runs leave behind: no consequential call with an argument that was read, unless a human allowed that very call.

The tools are drawn at random, and so are the model, which obeys nothing but chance, the human and the policy. What was
read is known by its words: each result of a tool that reads holds one that stands nowhere else, so whether a call
carries something read is seen without a label.
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from hypothesis import event, given, settings
from hypothesis import strategies as st

from ragagent.agent.plan import HOLE, NEED, PLAN, THEN
from ragagent.agent.policy import Policy, consequential
from ragagent.agent.runner import AgentRunner
from ragagent.protocols import Tool
from ragagent.settings import AgentSettings, Strategy
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools.documents import Found
from ragagent.types import EFFECTS, AgentResult, Answer, Hit, Label, ToolSpec

TASK = "Send hello to amy@example.org, then delete notes and save 42"
OWN_WORDS = ("hello", "amy@example.org", "notes", "42")
MARK = re.compile(r"read\d+x")
NAMES = ("look_up", "send_note", "delete_notes", "save_it", "pay", "ponder", "recall_it")
PARAMETERS = ("to", "text")


def cite(task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
    return Answer(question=task, text=text, status="partial", confidence=1.0)


@dataclass(slots=True)
class Told:
    """A tool that notes each call, and gives a word that stands nowhere else; with labels kept for it, or none."""

    spec: ToolSpec
    trusted: bool | None
    calls: list[tuple[str, dict[str, Any]]]
    numbers: Iterator[int]

    def call(self, arguments: Mapping[str, Any]) -> str:
        return self.find(arguments).content

    def find(self, arguments: Mapping[str, Any]) -> Found:
        self.calls.append((self.spec.name, dict(arguments)))
        if not self.spec.effects:
            return Found(content=f"thought about {json.dumps(dict(arguments))}")
        if self.trusted is None:
            return Found(content=f"It says read{next(self.numbers)}x")
        word = "own" if self.trusted else f"read{next(self.numbers)}x"
        return Found(content=f"It says {word}", labels=(Label(trusted=self.trusted, sources=("kept",)),))


@dataclass(slots=True)
class World:
    """One run: the tools it has, how it is judged, and what is said to it."""

    specs: tuple[ToolSpec, ...]
    labels: tuple[bool | None, ...]
    policy: Policy
    strategy: Strategy
    limits: AgentSettings
    picks: tuple[int, ...]
    decisions: tuple[bool, ...]
    made: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@st.composite
def specs(draw: st.DrawFn) -> tuple[ToolSpec, ...]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=3, max_size=4, unique=True))
    found = []
    for name in dict.fromkeys(("look_up", *names)):
        some = draw(st.sets(st.sampled_from(EFFECTS), max_size=2) | st.sampled_from([{"write"}, {"network"}]))
        effects = ("read",) if name == "look_up" else tuple(one for one in EFFECTS if one in some)
        properties = {one: {"type": "string"} for one in draw(st.sets(st.sampled_from(PARAMETERS)))}
        found.append(
            ToolSpec(
                name=name,
                description=name,
                parameters={"type": "object", "properties": properties, "additionalProperties": False},
                effects=effects,
                accepts=tuple(draw(st.sets(st.sampled_from(PARAMETERS), max_size=1))),
            )
        )
    return tuple(found)


worlds = st.builds(
    World,
    specs=specs(),
    labels=st.lists(st.sampled_from([None, True, False]), min_size=5, max_size=5).map(tuple),
    policy=st.builds(
        Policy,
        untrusted=st.sampled_from(["ask", "ask", "deny"]),
        always_ask=st.sampled_from([False, False, False, True]),
        read_only=st.sampled_from([False, False, False, True]),
    ),
    strategy=st.sampled_from([one for one in get_args(Strategy) if one != "team"]),
    limits=st.builds(AgentSettings, max_steps=st.sampled_from([2, 6, 8]), max_calls=st.none() | st.integers(1, 5)),
    picks=st.lists(st.integers(0, 10_000), min_size=80, max_size=80).map(tuple),
    decisions=st.lists(st.booleans(), min_size=12, max_size=12).map(tuple),
)


def picking(world: World, thoughts: Iterator[str]) -> ScriptedLLM:
    """A model that writes any call of any tool, with words of the task, of its own, and of what it has read."""
    dice = itertools.cycle(world.picks)

    def picked(some: Sequence[Any]) -> Any:
        return some[next(dice) % len(some)]

    def call(words: Sequence[str], holes: bool) -> dict[str, Any]:
        spec = picked(world.specs)
        names = [one for one in spec.parameters["properties"] if picked((True, True, False))]
        values = [*words, {HOLE: "x"}, {HOLE: "y"}] if holes else words
        return {"tool": spec.name, "arguments": {name: picked(values) for name in names}}

    def reply(messages: Sequence[Any]) -> str:
        read = MARK.findall(" ".join(message.content for message in messages if message.role == "user"))
        words = [*read, *OWN_WORDS, f" {OWN_WORDS[0]}", "made-up", *read]
        if world.strategy == "plan" and len(messages) == 2:
            plan = [{NEED: next(thoughts), **call(words, True)} for _ in range(picked((1, 3, 5)))]
            return json.dumps({PLAN: plan, THEN: "final_answer"})
        if picked((True,) * 9 + (False,)):
            return json.dumps({"found": next(thoughts), **call(words, False)})
        ending = {"tool": "final_answer", "arguments": {"answer": " ".join(words)}}
        return picked((json.dumps({"found": next(thoughts), **ending}), "{", json.dumps({"unsupported": []})))

    return ScriptedLLM(reply)


def ran(world: World, thoughts: Sequence[str], folder: str) -> tuple[AgentResult, list[tuple[str, dict[str, Any]]]]:
    """The end of the run, and the calls that a human allowed."""
    world.made.clear()
    numbers = itertools.count()
    tools: list[Tool] = [
        Told(spec, label, world.made, numbers) for spec, label in zip(world.specs, world.labels, strict=False)
    ]
    runner = AgentRunner(
        picking(world, itertools.cycle(thoughts)),
        tools,
        cite=cite,
        settings=world.limits,
        checkpoints=Path(folder, "agent.db"),
        policy=world.policy,
        clock=lambda: 1000.0,
    )
    allowed = []
    result = runner.run(TASK, run_id="r", strategy=world.strategy)
    for decision in itertools.cycle(world.decisions):
        asked = result.approval
        if asked is None:
            break
        allowed += [(asked.tool, dict(asked.arguments))] if decision else []
        result = runner.resume("r", asked.approve() if decision else asked.deny())
    assert runner.journal.check() == ""
    runner.close()
    return result, allowed


@given(world=worlds, thoughts=st.lists(st.text(max_size=30), min_size=2, max_size=2))
@settings(max_examples=30, deadline=None)
def test_no_trace_has_a_consequential_call_with_what_was_read_that_nobody_allowed(
    world: World, thoughts: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        result, allowed = ran(world, thoughts[:1], folder)
    specs = {spec.name: spec for spec in world.specs}
    assert result.stopped != "approval"
    assert len(result.steps) <= world.limits.max_steps
    left = list(allowed)
    for name, arguments in world.made:
        spec = specs[name]
        if not consequential(spec):
            continue
        event("a consequential call was made")
        if (name, arguments) in left:
            left.remove((name, arguments))  # each approval serves once
            continue
        assert not world.policy.read_only
        assert not world.policy.always_ask
        assert "money" not in spec.effects
        takes = () if "execute" in spec.effects else spec.accepts
        carried = [parameter for parameter, value in arguments.items() if MARK.search(str(value))]
        assert set(carried) <= set(takes), (name, arguments)
    for step in result.steps:
        if step.call is None or step.call.name not in specs or step.observation is None or step.observation.error:
            continue
        if MARK.search(step.observation.content):
            event("something was read")
            assert not step.observation.label.trusted, step


@given(world=worlds, one=st.text(max_size=40), other=st.text(max_size=40))
@settings(max_examples=8, deadline=None)
def test_what_is_called_asked_and_allowed_is_the_same_whatever_the_model_thinks(
    world: World, one: str, other: str
) -> None:
    seen = []
    for thought in (one, other):
        with tempfile.TemporaryDirectory() as folder:
            result, allowed = ran(world, [thought], folder)
        steps = [(step.call, step.observation and step.observation.error, bool(step.approval)) for step in result.steps]
        seen.append((list(world.made), allowed, steps, result.stopped))
    assert seen[0] == seen[1]
