"""How runs of agents go about their tasks over HTTP: as they were begun, whatever process goes on with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ragagent import Document, tool
from ragagent.agent.strategies import WAYS
from ragagent.serve.http.service import Extras
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Message

MILLS = [Document(uri=f"n:{n}", title=f"Mill {n}", text=f"Mill {n} was built in {1800 + n}.") for n in (1, 2)]


def answering(messages: Sequence[Message]) -> str:
    said = {"found": "so", "tool": "final_answer", "arguments": {"answer": "Mill 1 was built in 1801."}}
    return json.dumps(said)


@pytest.mark.parametrize("strategy", [None, *WAYS])
def test_a_run_goes_about_its_task_as_it_was_told_to_and_says_so(
    tmp_path: Path, serving: Any, strategy: str | None
) -> None:
    with serving(tmp_path / "kb", llm=ScriptedLLM(answering), documents=MILLS) as served:
        run = served.client.post("/api/agents", json={"task": "When was it built?", "strategy": strategy})
        assert run.status_code == 202
        assert run.json()["strategy"] == (strategy or "react")
        events = served.events("GET", f"/api/agents/{run.json()['id']}/events")
        assert events[-1][1]["state"] == "done"
        (listed,) = served.client.get("/api/agents").json()["runs"]
        assert listed["strategy"] == (strategy or "react")
    with serving(tmp_path / "kb") as served:
        (listed,) = served.client.get("/api/agents").json()["runs"]
        assert listed["strategy"] == (strategy or "react")


def test_a_strategy_that_there_is_not_is_refused(served: Any) -> None:
    refused = served.client.post("/api/agents", json={"task": "When?", "strategy": "guess"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (422, "strategy")


def test_a_run_that_another_process_goes_on_with_keeps_its_filter_and_its_rights(tmp_path: Path, serving: Any) -> None:
    @tool(effects=("network",))
    def send(text: str) -> str:
        """Sends a text."""
        return "sent"

    steps = (
        {"needs": "it", "tool": "send", "arguments": {"text": "hello"}},
        {"needs": "it", "tool": "search_documents", "arguments": {"query": "When was the mill built?"}},
        {"needs": "it", "tool": "send", "arguments": {"text": "hello again"}},
    )

    def stepping(messages: Sequence[Message]) -> str:
        return json.dumps(steps[sum(one.role == "assistant" for one in messages)])

    given = {"llm": ScriptedLLM(stepping), "extras": Extras(tools=[send])}
    wanted = {"task": "Tell them.", "strategy": "vote", "where": {"title": "Mill 2"}, "always_ask": True}
    with serving(tmp_path / "kb", documents=MILLS, **given) as served:
        run = served.client.post("/api/agents", json=wanted).json()
        served.events("GET", f"/api/agents/{run['id']}/events")
    with serving(tmp_path / "kb", **given) as served:
        path = f"/api/agents/{run['id']}"
        asked = served.client.get(path).json()["approval"]
        served.client.post(f"{path}/decision", json={"approval_id": asked["id"], "approved": True})
        events = served.events("GET", f"{path}/events")
        (found,) = [
            one["observation"]["content"]
            for _, one in events
            if (one.get("observation") or {}).get("name") == "search_documents"
        ]
        assert "1802" in found
        assert "1801" not in found
        assert events[-1][1]["state"] == "waiting"
        assert events[-1][1]["approval"]["arguments"] == {"text": "hello again"}
