"""Calls are judged as the set's own rules say, and under the constraint all are well formed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragagent.errors import ConfigError
from ragagent.eval.call_replies import Replies
from ragagent.eval.calls import OWN_ANSWERS, asked, calls_of, drawn, measured, read_cases, right, schema, valid
from ragagent.models.grammar import compiled
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools.calling import invalid

AREA = {
    "name": "area.of",
    "description": "The area.",
    "parameters": {
        "type": "dict",
        "properties": {
            "base": {"type": "float", "description": "its base"},
            "unit": {"type": "string", "description": "cm or m"},
            "points": {"type": "array", "items": {"type": "tuple", "items": {"type": "integer"}}},
            "at": {"type": "dict", "properties": {"city": {"type": "string"}, "zip": {"type": "integer"}}},
            "what": {"type": "any"},
        },
        "required": ["base"],
    },
}
ALLOWED = {
    "base": [6.0],
    "unit": ["square cm", "cm", ""],
    "points": ["", [[1, 2]]],
    "at": ["", {"city": ["Rome"], "zip": ["", 7]}],
}


def written(folder: Path, category: str, answers: Any = None) -> Path:
    row: dict[str, Any] = {
        "id": f"{category}_0",
        "question": [[{"role": "user", "content": "How large?"}]],
        "function": [AREA],
    }
    (folder / f"{category}.jsonl").write_text(json.dumps(row))
    if answers is not None:
        (folder / "possible_answer").mkdir(exist_ok=True)
        known = json.dumps({"id": row["id"], "ground_truth": answers})
        (folder / "possible_answer" / f"BFCL_v4_{category}.json").write_text(known)
    return folder


def call(**arguments: Any) -> dict[str, Any]:
    return {"name": "area.of", "arguments": arguments}


def test_the_types_of_the_set_are_those_of_json_and_nothing_else_is_accepted(tmp_path: Path) -> None:
    (case,) = read_cases(written(tmp_path, "multiple"), "multiple")
    assert schema({"type": "tuple", "items": {"type": "float"}}) == {"type": "array", "items": {"type": "number"}}
    assert valid([call(base=6, points=[[1, 2]], what="x")], case)
    for wrong in (call(), call(base="6"), call(base=6, more=1), call(base=6, at={"planet": "Mars"})):
        assert not valid([wrong], case)
    assert not valid([{"name": "other", "arguments": {}}], case)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([call(base=6)], True),
        ([call(base=6.0, unit="Square-CM")], True),
        ([call(base=6, points=[[1, 2]], at={"city": "rome"})], True),
        ([call(base=6, at={"city": "Rome", "zip": 7})], True),
        ([call(base=7)], False),
        ([call(base=True)], False),
        ([call(base=6, unit="m")], False),
        ([call(base=6, points=[[2, 1]])], False),
        ([call(base=6, at={"zip": 7})], False),
        ([call(base=6, what="not among the answers")], False),
        ([call(base=6), call(base=6)], False),
        ([], False),
    ],
)
def test_a_call_is_right_where_each_value_is_allowed_and_none_is_missing(
    tmp_path: Path, calls: list[dict[str, Any]], expected: bool
) -> None:
    (case,) = read_cases(written(tmp_path, "multiple", [{"area.of": ALLOWED}]), "multiple")
    assert right(calls, case) is expected


def test_parallel_calls_may_come_in_any_order_and_each_answer_counts_once(tmp_path: Path) -> None:
    answers = [{"area.of": {"base": [1]}}, {"area.of": {"base": [2]}}]
    (case,) = read_cases(written(tmp_path, "parallel", answers), "parallel")
    assert right([call(base=2), call(base=1)], case)
    assert not right([call(base=1), call(base=1)], case)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("[]", []),
        ('```json\n[{"name": "a", "arguments": {}}]\n```', [{"name": "a", "arguments": {}}]),
        ('Sure: {"name": "a", "arguments": {"b": [1]}}', [{"name": "a", "arguments": {"b": [1]}}]),
        ("a(b=1) [1, 2]", None),
        ("[" * 5000, None),
        ("no", None),
        ('{"needs": "it", "calls": [{"name": "a", "arguments": {}}]}', [{"name": "a", "arguments": {}}]),
        ('{"needs": "it", "calls": [{"name": "no_function", "arguments": {}}]}', []),
        ('{"needs": "it", "calls": 1}', None),
    ],
)
def test_calls_are_found_in_what_models_write_around_them(reply: str, expected: Any) -> None:
    assert calls_of(reply) == expected


def test_no_call_is_right_where_none_fits_and_unknown_answers_are_not_judged(tmp_path: Path) -> None:
    cases = read_cases(written(tmp_path, "irrelevance"), "irrelevance")
    none = '{"needs": "x", "calls": [{"name": "no_function", "arguments": {}}]}'
    one = '[{"name": "area.of", "arguments": {"base": 1}}]'
    llm = ScriptedLLM(["[]", none, one, one])
    other = replace(cases[0], id="irrelevance_1")
    for tally in measured([*cases, other], lambda: llm).values():
        assert (tally.cases, tally.readable, tally.valid, tally.judged, tally.right) == (2, 2, 2, 2, 1)
    silent = ScriptedLLM(["[]", "[]"])
    (case,) = read_cases(written(tmp_path, "multiple"), "multiple")
    unknown = measured([replace(case, answers=None)], lambda: silent)[False]
    assert (unknown.judged, unknown.right) == (0, 0)


def test_the_constraint_can_be_enforced_and_holds_the_functions_alone(tmp_path: Path) -> None:
    (case,) = read_cases(written(tmp_path, "multiple"), "multiple")
    llm = ScriptedLLM(["[]", "[]"])
    asked(case, llm, constrained=True)
    asked(case, llm, constrained=False)
    one, other = llm.requests
    assert one.grammar is not None
    assert compiled(one.grammar)
    assert "its base" not in one.grammar.source
    assert "its base" in one.messages[0].content
    assert other.grammar is None


def test_the_grammar_admits_calls_or_that_nothing_fits_and_never_both_or_neither(tmp_path: Path) -> None:
    (case,) = read_cases(written(tmp_path, "multiple"), "multiple")
    llm = ScriptedLLM(["[]"])
    asked(case, llm, constrained=True)
    grammar = llm.requests[0].grammar
    assert grammar is not None
    schema, none = json.loads(grammar.source), {"name": "no_function", "arguments": {}}
    for calls, accepted in (([call(base=1)], True), ([none], True), ([], False), ([call(base=1), none], False)):
        assert (not invalid(schema, {"needs": "x", "calls": calls})) is accepted


def test_the_answers_that_were_written_here_are_of_questions_that_are_drawn_first() -> None:
    rows = [json.loads(line) for line in OWN_ANSWERS.read_text("utf-8").splitlines()]
    assert len({row["id"] for row in rows}) == len(rows) == 100
    for row in rows:
        for answer in row["ground_truth"]:
            ((_, arguments),) = answer.items()
            assert all(isinstance(values, list) and values for values in arguments.values())


def test_the_cases_of_a_smaller_limit_are_the_first_of_a_larger_one(tmp_path: Path) -> None:
    (case,) = read_cases(written(tmp_path, "multiple"), "multiple")
    cases = [replace(case, id=str(number)) for number in range(20)]
    assert drawn(cases, 12)[:5] == drawn(cases, 5)
    assert sorted(drawn(cases, None), key=lambda one: int(one.id)) == cases


def test_a_run_that_was_killed_asks_only_for_the_replies_it_lacks(tmp_path: Path) -> None:
    (case,) = read_cases(written(tmp_path, "irrelevance"), "irrelevance")
    file = tmp_path / "replies"
    made_by = {"model": "a"}
    first = Replies(file, made_by)
    assert first.reply(case.id, True, lambda: "[]") == "[]"
    with file.open("ab") as torn:
        torn.write(b'{"id": "irrel')
    free = ScriptedLLM(["words"])
    tallies = measured([case], lambda: free, Replies(file, made_by))
    assert (tallies[True].right, tallies[False].readable) == (1, 0)
    again = Replies(file, made_by)
    assert [again.reply(case.id, how, lambda: "asked anew") for how in (True, False)] == ["[]", "words"]


@pytest.mark.parametrize("content", [b"something else", b"[1]\n", b'{"run": {"model": "b"}}\n'])
def test_a_file_of_something_else_is_refused_and_left_as_it_was(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "replies"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="name another file"):
        Replies(file, {"model": "a"})
    assert file.read_bytes() == content
