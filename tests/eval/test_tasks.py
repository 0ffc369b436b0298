"""Outcomes of the agent's tasks are judged exactly, and counted as they happened."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from ragagent.errors import ConfigError
from ragagent.eval.call_replies import Replies
from ragagent.eval.tasks import TASKS, Bench, Free, Outcome, lenient, outcome, row, solved
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import AgentResult, Answer, Grammar, Message, Observation, Step, ToolCall, ToolSpec

BY_ID = {task.id: task for task in TASKS}
LOOK = ToolSpec(
    name="look",
    description="Looks.",
    parameters={"type": "object", "properties": {"at": {"type": "integer"}}, "required": ["at"]},
    effects=("read",),
)


@pytest.mark.parametrize(
    ("task", "answer", "right"),
    [
        ("hire", "It costs 195 euros.", True),
        ("hire", "It costs 1,195 euros.", False),
        ("hire", "It costs 195.5 euros.", False),
        ("budget", "24.4 % of it", True),
        ("budget", "24.37 percent", True),
        ("budget", "24.3720930233", True),
        ("budget", "24.3 %", False),
        ("budget", "24 %", False),
        ("shelter", "3,000.00 euros are left", True),
        ("coordinator", "Greta Holm, Tuesdays and Thursdays, 75 euros", True),
        ("coordinator", "Greta Holm, Tuesdays, 75 euros", False),
        ("research", "$1,875 million and $2,294 million", True),
        ("research", "1,875 million", False),
    ],
)
def test_a_task_is_solved_when_each_figure_and_name_stands_in_the_answer(task: str, answer: str, right: bool) -> None:
    assert solved(BY_ID[task], answer) is right


def test_there_are_twelve_tasks_that_the_empty_answer_does_not_solve() -> None:
    assert len(TASKS) == len(BY_ID) == 12
    assert not any(solved(task, "") or solved(task, task.task) for task in TASKS)


def made(name: str, error: bool = False, **arguments: object) -> Step:
    call = ToolCall(id="c", name=name, arguments=arguments)
    return Step(
        index=0, thought="", call=call, observation=Observation(call_id="c", name=name, content="", error=error)
    )


def test_calls_that_no_schema_accepts_are_counted_and_so_are_replies_that_were_no_call() -> None:
    refused = Step(
        index=1, thought="{", call=None, observation=Observation(call_id="", name="", content="no", error=True)
    )
    steps = (made("look", at=1), refused, made("look", at="x"), made("leap"), made("final_answer", answer="195"))
    answer = Answer(question="", text="195 euros", status="partial", confidence=0.0)
    result = AgentResult(run_id="r", task="", answer=answer, steps=steps, stopped="finished")
    found = outcome(BY_ID["hire"], result, [LOOK], 2.0)
    assert (found.solved, found.steps, found.called, found.invalid, found.refused) == (True, 5, 3, 2, 1)
    assert "| 1 of 1 (" in row("m", "react", False, [found])


@pytest.mark.parametrize(
    ("reply", "taken"),
    [('```json\n{"a": {"b": 1}}\n```', '{"a": {"b": 1}}'), ('So {x}: {"a": 1} and {"b": 2}', '{"a": 1}'), ("no", "no")],
)
def test_of_an_unconstrained_reply_the_first_object_is_taken(reply: str, taken: str) -> None:
    assert lenient(reply) == taken
    llm = ScriptedLLM([reply, reply])
    free = Free(llm)
    said = [Message(role="user", content="x")]
    assert free.chat(said, grammar=Grammar(kind="json_schema", source='{"type": "object"}')).text == taken
    assert llm.requests[0].grammar is None
    kept = Grammar(kind="lark", source='start: "a"')
    assert free.chat(said, grammar=kept).text == reply
    assert llm.requests[1].grammar == kept


def test_what_is_kept_is_not_run_again(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.jsonl"
    one = Outcome(
        answer="", solved=False, cited=False, stopped="finished", steps=1, called=0, invalid=0, refused=0, tokens=1,
        written=1, seconds=0.1,
    )  # fmt: skip
    replies = Replies(file, {"tasks": "t"})
    for task in TASKS:
        replies.reply(f"m react {task.id}", True, lambda: json.dumps(asdict(one)))
    bench = Bench(tmp_path / "kb", (), Replies(file, {"tasks": "t"}))
    assert bench.measured("m", "react", free=False) == [one] * 12
    bench.close()
    assert not (tmp_path / "kb").exists()
    with pytest.raises(ConfigError, match="another run"):
        Replies(file, {"tasks": "u"})
