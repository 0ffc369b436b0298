"""The worst model there is: it does what it reads, tries every call, and packs whatever it has seen into each.

It knows the grammars of all strategies. A plan is written before anything is read, so even this model plans what an
honest one would that wants to please: it leaves open all that a plan can leave open, and fills it from what it reads.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ragagent.agent.plan import HOLE, MOST_CALLS, NEED, PLAN, THEN
from ragagent.agent.refine import UNSUPPORTED
from ragagent.types import Completion, Grammar, Message, Sampling, ToolSpec, Usage

_FENCED = re.compile(r"^(`{3,})\n(.*?)\n\1", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"""["'“”‘’<`]([^"'“”‘’<>`]{1,80})["'“”‘’>`]""")
_WORD = re.compile(r"[^\s\"'`,;()\[\]{}<>]+")
_ANSWER = "final_answer"


class Obedient:
    """Makes the calls of `first`, in order; then every call that its grammar admits, three times each; then those of
    `specs` that it does not admit; then answers.

    The arguments come from what it has read, from the user's own words, and from the schemas alone: whatever a policy
    may let through. `answer` is made of all that it was shown, and is what it notes at each step too.
    """

    name = "obedient"
    constrains = True
    context_tokens = 1 << 20

    def __init__(
        self,
        first: Sequence[tuple[str, Mapping[str, Any]]],
        answer: str = "Done: {seen}",
        specs: Sequence[ToolSpec] = (),
    ) -> None:
        self._first = list(first)
        self._answer = answer
        self._specs = {spec.name: spec.parameters for spec in specs}
        self._tried: set[str] = set()
        self._lock = threading.Lock()

    def count_tokens(self, text: str) -> int:
        return (len(text) + 3) // 4

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        tools: Sequence[ToolSpec] = (),
        timeout_s: float | None = None,
    ) -> Completion:
        with self._lock:
            step = self._written(messages, json.loads(grammar.source) if grammar is not None else {})
        return Completion(text=json.dumps(step), finish="stop", usage=Usage(calls=1))

    def stream(self, messages: Sequence[Message], **more: Any) -> Iterator[Any]:
        raise NotImplementedError("the agent asks for whole steps")

    def close(self) -> None:
        """Nothing to end."""

    def _written(self, messages: Sequence[Message], schema: Mapping[str, Any]) -> dict[str, Any]:
        properties = schema.get("properties", {})
        if PLAN in properties:
            return self._plan(properties[PLAN]["items"]["anyOf"])
        if UNSUPPORTED in properties:
            return {UNSUPPORTED: [{"statement": _seen(messages)[1][:200] or "x", "why": self._answer[:160]}]}
        choices = schema.get("anyOf", ())
        admitted = {one["properties"]["tool"]["const"]: one["properties"]["arguments"] for one in choices}
        return self._step(messages, admitted)

    def _plan(self, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The first call of `first` as it is, and the tools of the others with holes for all that they take."""
        calls = []
        offered = {one["properties"]["tool"]["const"]: one["properties"]["arguments"] for one in choices}
        for number, (name, arguments) in enumerate(self._first):
            taken = offered.get(name, {}).get("properties", {})
            if number == 0 and name in offered:
                calls.append({NEED: "so", "tool": name, "arguments": dict(arguments)})
            elif taken:
                calls.append({NEED: "so", "tool": name, "arguments": {one: {HOLE: "what it says"} for one in taken}})
        self._first = self._first[1:]
        return {PLAN: calls[: MOST_CALLS - 1], THEN: _ANSWER}

    def _step(self, messages: Sequence[Message], admitted: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        key = "found" if any(message.role == "assistant" for message in messages) else "needs"
        task, read = _seen(messages)
        noted = self._answer.replace("{seen}", read)[:200]
        if self._first and (not admitted or self._first[0][0] in {*admitted, *self._specs}):
            name, arguments = self._first.pop(0)
            return {key: noted, "tool": name, "arguments": {**arguments, **_fixed(admitted.get(name, {}))}}
        for name, schema in {**self._specs, **admitted}.items():
            if name == _ANSWER:
                continue
            for number, arguments in enumerate(_attempts(schema, task, read)):
                if _once(self._tried, f"{name} {number}", json.dumps([name, arguments])):
                    return {key: noted, "tool": name, "arguments": arguments}
        said = self._answer.replace("{seen}", " ".join(read.split())[:300])
        return {key: "so", "tool": _ANSWER, "arguments": {"answer": said[:700]}}


def _once(tried: set[str], attempt: str, call: str) -> bool:
    """Whether neither the attempt was made before, nor its call."""
    known = attempt in tried or call in tried
    tried |= {attempt, call}
    return not known


def _fixed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a plan has fixed."""
    return {name: one["const"] for name, one in schema.get("properties", {}).items() if "const" in one}


def _seen(messages: Sequence[Message]) -> tuple[str, str]:
    """The task, and everything that results have said."""
    task = next((message.content for message in messages if message.role == "user"), "").removeprefix("Task: ")
    texts = [match[2] for message in messages if message.role == "user" for match in _FENCED.finditer(message.content)]
    # What was read last first, and nothing twice: a call holds only so much.
    return task, "\n".join(dict.fromkeys(reversed(texts)))


def _attempts(schema: Mapping[str, Any], task: str, read: str) -> Iterator[dict[str, Any]]:
    """Arguments out of what was read, out of the task, and as few as there may be."""
    for source in (f"{read} {task}", task):
        values = itertools.cycle([*_QUOTED.findall(source), *_WORD.findall(source)] or ["x"])
        yield _object(schema, values, whole=source)
    yield _object(schema, itertools.cycle(["x"]), whole="x", required_only=True)


def _object(
    schema: Mapping[str, Any], values: Iterator[str], *, whole: str, required_only: bool = False
) -> dict[str, Any]:
    required = set(schema.get("required", ()))
    properties = schema.get("properties", {})
    return {
        name: _value(inner, values, whole)
        for name, inner in properties.items()
        if name in required or not required_only
    }


def _value(schema: Mapping[str, Any], values: Iterator[str], whole: str) -> Any:
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    if kind in {"integer", "number"}:
        low = int(schema.get("minimum", 1))
        numbers = [int(number) for number in re.findall(r"\b\d{1,6}\b", whole)]
        return next((number for number in numbers if number >= low), low)
    if kind == "boolean":
        return True
    if kind == "array":
        return [_value(schema.get("items", {}), values, whole)]
    if kind == "object":
        return {next(values): next(values)}
    # A long text takes everything along.
    longest = int(schema.get("maxLength", 4000))
    shortest = int(schema.get("minLength", 0))
    text = whole if longest > 300 and shortest <= 1 else next(values)
    return _fitting(schema, text[:longest] or "x")


def _fitting(schema: Mapping[str, Any], text: str) -> str:
    pattern = schema.get("pattern")
    return text if pattern is None or re.search(pattern, text) else "sum"
