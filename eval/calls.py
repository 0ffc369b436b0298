"""Whether calls of tools are well formed and right, with the constraint and without: the BFCL v4 set in Python.

    python -m ragagent.eval.calls --data DATA/bfcl_v4 --model qwen2.5-coder-0.5b-instruct --limit 20 --out FILE

For each category the model is shown the functions and the question and writes what is asked, and the calls for it, once
under a grammar of the functions' schemas and once as it likes. `readable` counts replies with a list of calls, `valid`
those in which each call is of a function that was offered, with arguments that fit its schema. `right` is by the set's
own rules (`right`), for the questions whose answer is there: in a row's `ground_truth`, in `possible_answer/` beside
the questions, or among those in `call_answers.jsonl` here. These are of the first 25 questions that are drawn of four
categories, and were written by reading the questions, before any reply to them was there. In `irrelevance` the right
answer is no call. Where there are no answers it shows a dash. The shares have their 95 % intervals. With `--out` each
reply is kept in FILE: a run that was killed goes on, and one with a larger limit asks only for what is new, since the
cases of a smaller limit are the first of a larger one's.
"""

from __future__ import annotations

import argparse
import functools
import json
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragagent.agent.schema import described
from ragagent.eval import json_among
from ragagent.eval.call_replies import Replies
from ragagent.eval.statistics import share_interval
from ragagent.models import grammar
from ragagent.protocols import LLM
from ragagent.settings import LlmSettings
from ragagent.tools.calling import invalid
from ragagent.types import Message, Sampling, ToolSpec, digest

CATEGORIES = ("simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance")
_MOST_CALLS = 8
_MAX_NEEDS_CHARS = 400
_MAX_TOKENS = 512
_TYPES = {"dict": "object", "float": "number", "tuple": "array"}
_SIGNS = re.compile(r"[ ,./\-_*^]")
OWN_ANSWERS = Path(__file__).with_name("call_answers.jsonl")
_NEEDS, _CALLS = "needs", "calls"
_NONE = ToolSpec(
    name="no_function",
    description="Says that no other function fits the question.",
    parameters={"type": "object", "properties": {}, "additionalProperties": False},
)
"""What is called where nothing fits: a model that has to choose between calls and an empty list chooses by its habits
of writing JSON, one that has to name what it calls by what is asked.
"""
_SYSTEM = """You answer a question with calls of functions, as one JSON object: "needs" says in words each thing that \
is asked, "calls" has one call for each of them. Optional arguments (name?) are left out unless the question gives them.

Examples, with a function weather(city: string = its name; day?: string = such as Monday):
"Is it warmer in Rome or in Oslo?"
{"needs": "weather in Rome, weather in Oslo", "calls": [{"name": "weather", "arguments": {"city": "Rome"}}, \
{"name": "weather", "arguments": {"city": "Oslo"}}]}
"Will it rain in Bern on Monday?"
{"needs": "weather in Bern on Monday", "calls": [{"name": "weather", "arguments": {"city": "Bern", "day": "Monday"}}]}
"Who wrote Faust?"
{"needs": "author of Faust", "calls": [{"name": "no_function", "arguments": {}}]}

Functions:
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question with the functions that are offered, by name, as JSON schemas; `answers` is None where unknown."""

    id: str
    question: str
    functions: Mapping[str, Mapping[str, Any]]
    about: Mapping[str, str]
    answers: Sequence[Mapping[str, Mapping[str, Sequence[Any]]]] | None


@dataclass(slots=True)
class Tally:
    """What the replies to one category came to."""

    cases: int = 0
    readable: int = 0
    valid: int = 0
    judged: int = 0
    right: int = 0


def read_cases(folder: Path, category: str) -> list[Case]:
    """The cases of a category, in the order of its file."""
    answers = _answers(OWN_ANSWERS)
    for file in sorted((folder / "possible_answer").glob(f"*{category}.json*")):
        answers |= _answers(file)
    rows = map(json.loads, (folder / f"{category}.jsonl").read_text("utf-8").splitlines())
    return [_case(row, answers, category) for row in rows]


def _answers(file: Path) -> dict[str, Any]:
    return {row["id"]: row["ground_truth"] for row in map(json.loads, file.read_text("utf-8").splitlines())}


def _case(row: Mapping[str, Any], answers: Mapping[str, Any], category: str) -> Case:
    none: list[Any] | None = [] if category == "irrelevance" else None
    return Case(
        id=row["id"],
        question="\n".join(message["content"] for message in row["question"][0]),
        functions={one["name"]: schema(one["parameters"]) for one in row["function"]},
        about={one["name"]: one["description"] for one in row["function"]},
        answers=row.get("ground_truth", answers.get(row["id"], none)),
    )


def schema(given: Any) -> Any:
    """A schema of the set, with Python's names of types, as a JSON schema."""
    if isinstance(given, list):
        return [schema(one) for one in given]
    if not isinstance(given, Mapping):
        return given
    found = {key: schema(value) for key, value in given.items() if key != "optional"}
    kind = found.get("type")
    if isinstance(kind, str):
        found["type"] = _TYPES.get(kind, kind)
        if kind == "any":
            del found["type"]
    if found.get("type") == "object" and "properties" in found:
        found["additionalProperties"] = False
    return found


def asked(case: Case, llm: LLM, *, constrained: bool) -> str:
    """What the model answers, under the grammar of the case's functions or as it likes."""
    completion = llm.chat(
        [
            Message(role="system", content=_SYSTEM + described(_specs(case))),
            Message(role="user", content=case.question),
        ],
        max_tokens=_MAX_TOKENS,
        sampling=Sampling(),
        grammar=grammar.json_schema(_constraint(case)) if constrained else None,
    )
    return completion.text


def _specs(case: Case) -> list[ToolSpec]:
    known = [
        ToolSpec(name=name, description=case.about[name], parameters=parameters)
        for name, parameters in case.functions.items()
    ]
    return [*known, _NONE]


def _constraint(case: Case) -> dict[str, Any]:
    *known, none = [_call(spec) for spec in _specs(case)]
    several = {"type": "array", "items": {"anyOf": known}, "minItems": 1, "maxItems": _MOST_CALLS}
    alone = {"type": "array", "items": none, "minItems": 1, "maxItems": 1}
    needs = {"type": "string", "minLength": 1, "maxLength": _MAX_NEEDS_CHARS}
    return {
        "type": "object",
        "properties": {_NEEDS: needs, _CALLS: {"anyOf": [several, alone]}},
        "required": [_NEEDS, _CALLS],
        "additionalProperties": False,
    }


def _call(spec: ToolSpec) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": spec.name}, "arguments": _bare(spec.parameters)},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _bare(value: Any) -> Any:
    """A schema without the words in it, which constrain nothing."""
    if isinstance(value, Mapping):
        return {key: _bare(one) for key, one in value.items() if not (key == "description" and isinstance(one, str))}
    return value


def calls_of(reply: str) -> list[dict[str, Any]] | None:
    """The calls in a reply, which may stand in a fence or between other words; None where there is no list of calls."""
    for found, _ in json_among.values(reply, "[{"):
        found = found.get(_CALLS, [found]) if isinstance(found, dict) else found
        if isinstance(found, list) and all(_is_call(one) for one in found):
            return [one for one in found if one["name"] != _NONE.name]
    return None


def _is_call(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("arguments"), dict)


def valid(calls: Sequence[Mapping[str, Any]], case: Case) -> bool:
    """Whether each call is of a function that is offered, with arguments that its schema accepts."""
    return all(
        call["name"] in case.functions and not invalid(case.functions[call["name"]], call["arguments"])
        for call in calls
    )


def right(calls: Sequence[Mapping[str, Any]], case: Case) -> bool:
    """Whether these are the calls of the answers, in any order: as many, each matching another one."""
    left = list(case.answers or ())
    if len(calls) != len(left) or not valid(calls, case):
        return False
    for call in calls:
        matching = next((one for one in left if _matches(call, one)), None)
        if matching is None:
            return False
        left.remove(matching)
    return True


def _matches(call: Mapping[str, Any], answer: Mapping[str, Mapping[str, Sequence[Any]]]) -> bool:
    ((name, allowed),) = answer.items()
    return call["name"] == name and _fits(call["arguments"], allowed)


def _fits(given: Mapping[str, Any], allowed: Mapping[str, Sequence[Any]]) -> bool:
    """Each value is one of those allowed; "" among these means that it may be left out."""
    if any(name not in allowed or not _one_of(value, allowed[name]) for name, value in given.items()):
        return False
    return all("" in values for name, values in allowed.items() if name not in given)


def _one_of(value: Any, allowed: Sequence[Any]) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(one, Mapping) and _fits(value, one) for one in allowed)
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        return any(isinstance(one, list) and _each_fits(value, one) for one in allowed)
    return any(_plain(value) == _plain(one) for one in allowed)


def _each_fits(values: Sequence[Mapping[str, Any]], allowed: Sequence[Any]) -> bool:
    pairs = list(zip(values, allowed, strict=False))
    return len(values) == len(allowed) and all(isinstance(one, Mapping) and _fits(value, one) for value, one in pairs)


def _plain(value: Any) -> Any:
    """A value as it is compared: texts without case, spaces and signs; whole and broken numbers alike."""
    if isinstance(value, str):
        return _SIGNS.sub("", value).lower().replace("'", '"')
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return (type(value) is bool, value)


def drawn(cases: Sequence[Case], limit: int | None) -> list[Case]:
    """So many of the cases at random, always the same; those of a smaller limit come first. None: all of them."""
    return random.Random(0).sample(cases, len(cases))[:limit]


def measured(cases: Sequence[Case], ask: Callable[[], LLM], replies: Replies | None = None) -> dict[bool, Tally]:
    """What the replies to these cases come to, constrained (True) and free (False). `ask` gives the model, and is
    called for what `replies` lacks. The two are asked for one after the other, so that a prompt is read once.
    """
    kept = replies or Replies(None, {})
    tallies = {True: Tally(), False: Tally()}
    for case in cases:
        for constrained, tally in tallies.items():
            _count(tally, case, kept.reply(case.id, constrained, functools.partial(_asked, case, ask, constrained)))
    return tallies


def _count(tally: Tally, case: Case, reply: str) -> None:
    calls = calls_of(reply)
    tally.cases += 1
    tally.readable += calls is not None
    tally.valid += calls is not None and valid(calls, case)
    if case.answers is not None:
        tally.judged += 1
        tally.right += calls is not None and right(calls, case)


def _asked(case: Case, ask: Callable[[], LLM], constrained: bool) -> str:
    return asked(case, ask(), constrained=constrained)


def _row(category: str, constrained: bool, tally: Tally) -> str:
    how = "constrained" if constrained else "free"
    counts = ((tally.readable, tally.cases), (tally.valid, tally.cases), (tally.right, tally.judged))
    shares = "  ".join(f"{share_interval(*each) or '-'!s:<22}" for each in counts)
    return f"{category:<18} {how:<12} {tally.cases:>5}  {shares}".rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures calls of tools with the constraint and without.")
    parser.add_argument("--data", type=Path, required=True, help="folder with simple_python.jsonl and its like")
    parser.add_argument("--model", required=True, help="a GGUF file or catalogue name")
    parser.add_argument("--limit", type=int, help="so many cases of each category, drawn at random")
    parser.add_argument("--categories", default=",".join(CATEGORIES), help="with commas between")
    parser.add_argument("--out", type=Path, help="keep the replies in this file, and take from it those that are there")
    arguments = parser.parse_args()
    made_by = {"model": Path(arguments.model).name, "prompt": digest(_SYSTEM), "tokens": str(_MAX_TOKENS)}
    replies = Replies(arguments.out, made_by)
    model = functools.cache(lambda: _model(arguments.model))
    sys.stdout.write(f"{'category':<18} {'decoding':<12} cases  {'readable':<22}  {'valid':<22}  right\n")
    for category in arguments.categories.split(","):
        cases = drawn(read_cases(arguments.data, category), arguments.limit)
        for constrained, tally in measured(cases, model, replies).items():
            sys.stdout.write(_row(category, constrained, tally))
            sys.stdout.flush()
    return 0


def _model(name: str) -> LLM:
    from ragagent.models.llama import LlamaModel
    from ragagent.models.store import ModelStore

    file = Path(name) if name.endswith(".gguf") else ModelStore().resolve(name)
    return LlamaModel(file, LlmSettings(context_tokens=8192))


if __name__ == "__main__":
    sys.exit(main())
