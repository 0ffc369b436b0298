"""Calls that take a while: what is told of them in the events of a run, and that a server may die in one."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ragagent.agent.runner import AgentRunner
from ragagent.tools.mcp_config import Allowances, Server
from ragagent.tools.mcp_tools import Servers
from ragagent.tools.under_way import Bounded, Tell
from ragagent.types import Answer, Hit, ToolProgress, ToolSpec

PEER = Path(__file__).parents[1] / "tools" / "mcp_peer.py"


def cite(task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
    return Answer(question=task, text=text, status="partial", confidence=1.0)


class Counting:
    """Tells from a thread of its own, as the client of a server does."""

    spec = ToolSpec(name="count", description="Counts.", parameters={"type": "object"}, effects=("read",))

    def __init__(self, tell: Tell | None = None) -> None:
        self._tell = tell

    def begun(self, tell: Tell) -> Counting:
        return Counting(tell)

    def call(self, arguments: Mapping[str, Any]) -> str:
        assert self._tell is not None
        told = threading.Thread(target=self._tell, args=(ToolProgress(done=1, total=2, text="the key is hush"),))
        told.start()
        told.join()
        return "counted"


def test_what_a_call_tells_is_an_event_between_the_call_and_its_result_without_secrets(
    script: Callable[..., Any], say: Callable[..., str]
) -> None:
    llm = script(say("count"), say("final_answer", answer="done"))
    events = list(AgentRunner(llm, [Counting()], cite=cite, secrets={"key": "hush"}).stream("Count"))
    assert [event.kind for event in events][:4] == ["thought", "call", "progress", "observation"]
    told = events[2].progress
    assert told is not None
    assert (events[2].step, told.done, told.total) == (0, 1, 2)
    assert "hush" not in told.text


@given(st.lists(st.text(max_size=400), max_size=300))
def test_what_is_told_of_a_call_is_bounded_however_much_is_told(texts: list[str]) -> None:
    seen: list[ToolProgress] = []
    bounded = Bounded(seen.append, clock=iter(range(1000)).__next__)
    for number, text in enumerate(texts):
        bounded(ToolProgress(done=number, text=text))
    assert len(seen) == min(len(texts), 100)
    assert all(len(one.text) <= 200 for one in seen)


def test_a_run_goes_on_when_a_server_dies_in_the_middle_of_a_call(
    tmp_path: Path, script: Callable[..., Any], say: Callable[..., str]
) -> None:
    server = Server(name="peer", command=sys.executable, args=(str(PEER), "stdio"))
    servers = Servers({"peer": server}, Allowances(tmp_path / "allowed.json"))
    servers.allow("peer", ["wait", "die", "add"], ["read"])
    tools, _ = servers.tools()
    replies = [say("peer__wait", seconds=0), say("peer__die"), say("peer__add", a=2, b=3)]
    llm = script(*replies, say("final_answer", answer="It is 5."))
    events = list(AgentRunner(llm, tools, cite=cite).stream("Add"))
    servers.close()
    assert [one.progress for one in events if one.kind == "progress"] == [ToolProgress(done=1, total=2, text="half")]
    waited, died, added = (one.observation for one in events if one.observation is not None)
    assert (waited.content, added.content) == ("waited", "5")
    assert died.error
    assert "may have taken effect" in died.content
    assert not waited.label.trusted
    result = events[-1].result
    assert result is not None
    assert result.answer.text == "It is 5."
