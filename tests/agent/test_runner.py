from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.agent.runner import AgentRunner
from ragagent.errors import AgentError, ConfigError, ModelCrashed
from ragagent.protocols import Tool
from ragagent.settings import AgentSettings
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools.calling import invalid
from ragagent.tools.function import tool
from ragagent.types import Answer, Citation, Hit

SEARCH = {"tool": "search_documents", "arguments": {"query": "room costs"}}


def cite(task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
    """An answer that cites every passage whole and names what was computed."""
    citations = tuple(
        Citation(
            quote=hit.text,
            document_id=hit.document_id,
            uri=hit.uri,
            title=hit.title,
            span=hit.chunk.span,
            verified=True,
        )
        for hit in hits
    )
    reason = f"computed: {', '.join(computed)}"
    return Answer(question=task, text=text, status="grounded", confidence=1.0, reason=reason, citations=citations)


def offered(llm: ScriptedLLM, request: int) -> list[str]:
    """The tools that the grammar of a request admits."""
    grammar = llm.requests[request].grammar
    assert grammar is not None
    return [choice["properties"]["tool"]["const"] for choice in json.loads(grammar.source)["anyOf"]]


def test_a_search_and_a_calculation_end_in_a_cited_answer(
    script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    llm = script(
        say("search_documents", "what does a room cost?", query="room costs"),
        say("calculate", "three nights", expression="3 * 84"),
        say("final_answer", "done", answer="Three nights cost 252 euros."),
    )
    result = AgentRunner(llm, tools, cite=cite).run("What do three nights cost?")
    assert result.stopped == "finished"
    assert result.answer.text == "Three nights cost 252 euros."
    assert [citation.quote for citation in result.answer.citations] == [
        "A room costs 84 euros a night. Breakfast is 14 euros."
    ]
    assert result.answer.reason == "computed: 252, 84"
    assert [step.call.name for step in result.steps if step.call] == ["search_documents", "calculate", "final_answer"]
    assert result.usage.calls == 3
    assert result.usage.completion_tokens == sum(step.usage.completion_tokens for step in result.steps) > 0
    assert [step.thought for step in result.steps] == ["what does a room cost?", "three nights", "done"]


def test_a_rounded_result_counts_as_computed_and_a_rounded_passage_does_not(
    script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    llm = script(
        say("search_documents", query="room costs"),
        say("calculate", expression="84 / 11"),
        say("final_answer", answer="84 euros for 11 nights is 7.64 a night."),
    )
    result = AgentRunner(llm, tools, cite=cite).run("What is that for each of 11 nights?")
    assert result.answer.reason == "computed: 7.63636363636, 7.64, 84"


def test_the_events_tell_the_steps_in_order_and_end_with_the_result(
    script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    llm = script(say("calculate", expression="2*21"), say("final_answer", "", answer="42"))
    events = list(AgentRunner(llm, tools, cite=cite).stream("What is 2 * 21?"))
    assert [(event.kind, event.step) for event in events] == [
        ("thought", 0),
        ("call", 0),
        ("observation", 0),
        ("usage", 0),
        ("call", 1),
        ("usage", 1),
        ("answer", 2),
    ]
    assert events[2].observation is not None
    assert events[2].observation.content == "42"
    assert events[-1].result is not None
    assert events[-1].result.answer.status == "partial"
    assert all(event.result is None for event in events[:-1])


replies = st.sampled_from(
    [
        json.dumps({"found": "t", **SEARCH}),
        json.dumps({"found": "t", "tool": "search_documents", "arguments": {"query": "sauna"}}),
        json.dumps({"found": "t", "tool": "calculate", "arguments": {"expression": "1/0"}}),
        json.dumps({"found": "t", "tool": "note", "arguments": {"text": "x", "times": 2}}),
        json.dumps({"found": "t", "tool": "note", "arguments": {"text": "x", "times": 99}}),
        json.dumps({"found": "t", "tool": "note", "arguments": {"text": "x", "also": 1}}),
        json.dumps({"found": "t", "tool": "delete_everything", "arguments": {}}),
        json.dumps({"found": "t", "tool": "final_answer", "arguments": {"answer": "a"}}),
        json.dumps({"found": "t", "tool": "final_answer", "arguments": {}}),
        '{"found": "unfinished',
        "",
        "Sorry.",
        "[" * 3000,
    ]
)


@given(said=st.lists(replies, min_size=8, max_size=8), max_steps=st.integers(1, 8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_run_ends_within_its_steps_and_runs_only_valid_calls_of_its_tools(
    said: list[str], max_steps: int, script: Callable[..., Any], tools: list[Tool]
) -> None:
    ran: list[dict[str, Any]] = []

    @tool(effects=("read",))
    def note(text: str, times: int) -> None:
        ran.append({"text": text, "times": times})
        if times > 3:
            raise RuntimeError("too often")

    llm = script(*said)
    result = AgentRunner(llm, [*tools, note], cite=cite, settings=AgentSettings(max_steps=max_steps)).run("Do it")
    assert len(result.steps) <= max_steps
    assert len(llm.requests) == len(result.steps)
    assert offered(llm, 0)[-1] == ("final_answer" if max_steps == 1 else "note")
    assert all(invalid(note.spec.parameters, arguments) == "" for arguments in ran)
    asked = [step.call.arguments for step in result.steps if step.call and step.call.name == "note"]
    assert len(ran) == len({json.dumps(dict(arguments)) for arguments in asked})


def test_at_the_last_step_only_the_answer_is_left_and_the_result_says_so(
    script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    llm = script(say("search_documents", query="room"), say("final_answer", answer="84 euros"))
    result = AgentRunner(llm, tools, cite=cite, settings=AgentSettings(max_steps=2)).run("What does a room cost?")
    assert (result.stopped, result.answer.text) == ("step_limit", "84 euros")
    assert offered(llm, -1) == ["final_answer"]


def test_a_run_without_an_answer_is_refused_with_the_reason(script: Callable[..., Any], tools: list[Tool]) -> None:
    result = AgentRunner(script("no", "no"), tools, cite=cite, settings=AgentSettings(max_steps=2)).run("x")
    assert (result.stopped, result.answer.status) == ("step_limit", "refused")
    assert "no answer" in result.answer.reason


def test_a_model_that_crashes_ends_the_run_with_the_reason(
    script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    llm = script(say("calculate", expression="1+1"), ModelCrashed("the model process was ended by SIGKILL"))
    result = AgentRunner(llm, tools, cite=cite).run("x")
    assert (result.stopped, result.answer.status) == ("error", "refused")
    assert result.answer.reason == "ModelCrashed: the model process was ended by SIGKILL"
    assert len(result.steps) == 1


def test_an_answer_that_cites_nothing_is_partial_and_says_why(
    script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    llm = script(say("calculate", expression="1+1"), say("final_answer", answer="2"))
    answer = AgentRunner(llm, tools, cite=lambda *given: Answer(question="", text="2", status="grounded", confidence=1))
    result = answer.run("x")
    assert (result.answer.status, result.answer.reason) == ("partial", "no document was cited for it")


def test_a_result_is_bounded_so_that_all_steps_fit_the_context(
    script: Callable[..., Any], say: Callable[..., str]
) -> None:
    @tool(effects=("read",))
    def shout(times: int) -> str:
        return "word " * 5000 * times

    said = [say("shout", times=times) for times in range(1, 5)]
    llm = script(*said, say("final_answer", answer="loud"), context_tokens=2048)
    limits = AgentSettings(max_steps=5, max_tokens_per_step=64, observation_tokens=700)
    result = AgentRunner(llm, [shout], cite=cite, settings=limits).run("x")
    assert result.stopped == "step_limit"
    contents = [step.observation.content for step in result.steps if step.observation]
    assert len(contents) == 4
    assert all("left out" in content for content in contents)


@pytest.mark.parametrize("names", [("calculate", "calculate"), ("final_answer",)])
def test_two_tools_of_one_name_are_refused(names: Sequence[str], script: Callable[..., Any]) -> None:
    def made(name: str) -> Tool:
        @tool(name=name)
        def anything() -> None: ...

        return anything

    with pytest.raises(ConfigError, match=names[0]):
        AgentRunner(script(), [made(name) for name in names], cite=cite)


def test_an_empty_task_is_refused(script: Callable[..., Any], tools: list[Tool]) -> None:
    with pytest.raises(AgentError, match="empty"):
        AgentRunner(script(), tools, cite=cite).run("  ")


def _limited(llm: Any) -> list[bool]:
    """Of each request, whether it had more patterns to keep than the first, in which no figure is limited."""
    patterns = [request.grammar.source.count('"pattern"') for request in llm.requests]
    return [count > patterns[0] for count in patterns]


def test_figures_are_limited_only_once_a_sum_has_some_from_nowhere(
    script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    llm = script(
        say("search_documents", query="room costs"),
        say("calculate", expression="72 * 3"),
        say("calculate", expression="84 * 3"),
        say("calculate", expression="12 * 84"),
        say("final_answer", answer="A year costs 1008 euros, three nights 252."),
    )
    result = AgentRunner(llm, tools, cite=cite).run("What do three nights and twelve of them cost?")
    assert _limited(llm) == [False, False, True, False, False]
    assert [step.call.name for step in result.steps if step.call] == [
        "search_documents",
        "calculate",
        "calculate",
        "final_answer",
    ]
    assert result.usage.calls == 5


def test_an_answer_with_a_figure_from_nowhere_is_asked_about_before_its_figures_are_limited(
    script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    made_up = say("final_answer", answer="It costs 99 euros.")
    llm = script(
        say("search_documents", query="room costs"), made_up, made_up, say("final_answer", answer="It costs 84 euros.")
    )
    result = AgentRunner(llm, tools, cite=cite).run("What does a room cost?")
    assert _limited(llm) == [False, False, False, True]
    assert result.answer.text == "It costs 84 euros."


@pytest.fixture
def checkpointed(tmp_path: Path, tools: list[Tool], script: Callable[..., Any]) -> Iterator[Callable[..., AgentRunner]]:
    made: list[AgentRunner] = []

    def runner(*replies: str | BaseException) -> AgentRunner:
        made.append(AgentRunner(script(*replies), tools, cite=cite, checkpoints=tmp_path / "runs" / "agent.db"))
        return made[-1]

    yield runner
    for one in made:
        one.close()


def test_a_finished_run_gives_its_result_again_without_the_model(
    checkpointed: Callable[..., AgentRunner], say: Callable[..., str]
) -> None:
    said = (say("search_documents", query="room"), say("final_answer", answer="84 euros"))
    first = checkpointed(*said).run("What does a room cost?", run_id="one")
    assert checkpointed().resume("one") == first
    assert first.answer.citations


def test_a_run_that_was_broken_off_goes_on_where_it_was_with_its_passages(
    checkpointed: Callable[..., AgentRunner], say: Callable[..., str]
) -> None:
    broken = checkpointed(
        say("search_documents", query="room"), say("calculate", expression="2*84"), KeyboardInterrupt()
    )
    with pytest.raises(KeyboardInterrupt):
        broken.run("What do two nights cost?", run_id="two")
    result = checkpointed(say("final_answer", answer="168 euros")).resume("two")
    assert result.stopped == "finished"
    assert [step.call.name for step in result.steps if step.call] == ["search_documents", "calculate", "final_answer"]
    assert result.answer.citations[0].quote.startswith("A room costs 84 euros")
    assert result.answer.reason.startswith("computed: 168, ")


def test_a_run_that_ended_before_its_first_checkpoint_is_begun_again(
    checkpointed: Callable[..., AgentRunner], say: Callable[..., str], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        checkpointed(KeyboardInterrupt()).run("What does a room cost?", run_id="early")
    with sqlite3.connect(tmp_path / "runs" / "agent.db") as connection:
        connection.execute("DELETE FROM checkpoints")
        connection.execute("DELETE FROM writes")
    connection.close()
    said = (say("search_documents", query="room"), say("final_answer", answer="84 euros"))
    result = checkpointed(*said).resume("early")
    assert (result.task, result.answer.text) == ("What does a room cost?", "84 euros")


def test_the_id_of_a_run_names_one_run(checkpointed: Callable[..., AgentRunner], say: Callable[..., str]) -> None:
    said = (say("calculate", expression="1+1"), say("final_answer", answer="2"))
    checkpointed(*said).run("x", run_id="one")
    with pytest.raises(AgentError, match="exists already"):
        checkpointed(*said).run("y", run_id="one")
    with pytest.raises(AgentError, match="no run 'other'"):
        checkpointed(*said).resume("other")


def test_without_checkpoints_nothing_can_be_resumed(script: Callable[..., Any], tools: list[Tool]) -> None:
    with pytest.raises(AgentError, match="no checkpoints"):
        AgentRunner(script(), tools, cite=cite).resume("one")


def test_a_checkpoint_file_that_cannot_be_made_says_so(
    script: Callable[..., Any], tools: list[Tool], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a database, but long enough to be looked at as one " * 9)
    for path in (tmp_path / "file", tmp_path / "file" / "agent.db"):
        with pytest.raises(AgentError, match="cannot be kept"):
            AgentRunner(script(), tools, cite=cite, checkpoints=path).run("x")


CHILD = """
import json, os, signal, sys
from pathlib import Path
from ragagent.agent.runner import AgentRunner
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools.function import tool
from ragagent.types import Answer

@tool(effects=["read"])
def count(to: int) -> int:
    "Counts and dies at the second call."
    with open(sys.argv[2], "a") as file:
        file.write(f"{to}\\n")
    if to == 2 and len(sys.argv) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return to

def say(name, **arguments):
    return json.dumps({"found": "", "tool": name, "arguments": arguments})

said = [say("count", to=1), say("count", to=2), say("final_answer", answer="counted")]
resumed = len(sys.argv) > 3
def cite(task, text, hits, computed):
    return Answer(question=task, text=text, status="partial", confidence=0.0)

llm = ScriptedLLM(said[2:] if resumed else said)
runner = AgentRunner(llm, [count], cite=cite, checkpoints=Path(sys.argv[1]))
result = runner.resume("killed") if resumed else runner.run("Count", run_id="killed")
print(json.dumps([step.call.name for step in result.steps] + [result.answer.text]))
"""


def test_a_run_whose_process_was_killed_in_a_tool_is_finished_by_another_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    given = [sys.executable, "-c", CHILD, str(tmp_path / "agent.db"), str(log)]
    killed = subprocess.run(given, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    finished = subprocess.run([*given, "again"], capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout) == ["count", "count", "final_answer", "counted"]
    # The first call was recorded and not made again; the one that was under way was.
    assert log.read_text().split() == ["1", "2", "2"]
