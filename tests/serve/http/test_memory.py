"""What agents remember over HTTP: each user's alone, and trusted only as far as what led to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ragagent import Document
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Message

PRICES = "Prices are to be given in euros."


def heads(served: Any, **principals: Sequence[str] | None) -> dict[str, dict[str, str]]:
    """For each name the headers of a token of that principal."""
    create = served.service.tokens.create
    made = {name: create(name, scopes=("agent",), principal=whose)[1] for name, whose in principals.items()}
    return {name: {"Authorization": f"Bearer {token}"} for name, token in made.items()}


def texts(served: Any, **given: Any) -> list[str]:
    return [one["text"] for one in served.client.get("/api/memory", **given).json()["facts"]]


def test_a_fact_is_written_found_changed_and_forgotten(served: Any) -> None:
    client = served.client
    assert client.get("/api/memory").json() == {"facts": [], "most": 1000}
    made = client.post("/api/memory", json={"text": PRICES})
    assert made.status_code == 201
    fact = made.json()
    assert (fact["text"], fact["came"], fact["trusted"], fact["run_id"]) == (PRICES, "user", True, "")
    assert client.post("/api/memory", json={"text": PRICES}).json() == fact
    client.post("/api/memory", json={"text": "The harbour master is called Ida."})
    assert texts(served, params={"query": "prices in euros", "k": 1}) == [PRICES]
    path = f"/api/memory/{fact['id']}"
    changed = client.put(path, json={"text": "Prices are to be given in dollars."}).json()
    assert (changed["id"], changed["text"]) == (fact["id"], "Prices are to be given in dollars.")
    assert client.delete(path).json()["text"] == changed["text"]
    assert texts(served) == ["The harbour master is called Ida."]
    for answer in (client.delete(path), client.put(path, json={"text": "Something."})):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_fact")
    assert client.post("/api/memory", json={"text": "\u200b"}).status_code == 400
    assert client.post("/api/memory", json={"text": "x" * 501}).status_code == 422


def test_nobody_sees_changes_or_forgets_the_facts_of_another(served: Any) -> None:
    head = heads(served, ann=["user:ann", "group:law"], bob=["user:bob", "group:law"], owner=None)
    fact = served.client.post("/api/memory", json={"text": PRICES}, headers=head["ann"]).json()
    path = f"/api/memory/{fact['id']}"
    for other in ("bob", "owner"):
        assert texts(served, headers=head[other]) == []
        assert texts(served, headers=head[other], params={"query": PRICES}) == []
        assert served.client.put(path, json={"text": "No."}, headers=head[other]).status_code == 404
        assert served.client.delete(path, headers=head[other]).status_code == 404
    assert texts(served, headers=head["ann"]) == [PRICES]


def test_who_is_no_user_has_no_memory_and_no_run_that_remembers(served: Any) -> None:
    head = heads(served, law=["group:law"])["law"]
    answers = [
        served.client.get("/api/memory", headers=head),
        served.client.post("/api/memory", json={"text": PRICES}, headers=head),
        served.client.post("/api/agents", json={"task": "Remember it.", "memory": True}, headers=head),
    ]
    assert [(one.status_code, one.json()["error"]["code"]) for one in answers] == [(403, "access_denied")] * 3
    assert served.client.get("/api/agents", headers=head).json() == {"runs": [], "strategy": "react", "memory": None}


def remembering(messages: Sequence[Message]) -> str:
    """Notes the prices where it is asked to, else recalls them; then answers with what came back."""
    if messages[-1].role == "user" and len(messages) < 3:
        noting = "Remember" in messages[-1].content
        arguments = {"text": PRICES} if noting else {"query": "prices"}
        return json.dumps({"needs": "it", "tool": "remember" if noting else "recall", "arguments": arguments})
    return json.dumps({"found": "so", "tool": "final_answer", "arguments": {"answer": PRICES}})


def test_a_run_remembers_for_whom_it_works_and_a_later_one_recalls_it(tmp_path: Path, serving: Any) -> None:
    documents = [Document(uri="n:1", text="The ferry leaves at seven.", acl=("public",))]
    with serving(tmp_path / "kb", llm=ScriptedLLM(remembering), documents=documents) as served:
        head = heads(served, ann=["user:ann"], bob=["user:bob"], owner=None)

        def observed(who: str, task: str, memory: bool | None) -> list[str]:
            body = {"task": task, "memory": memory}
            run = served.client.post("/api/agents", json=body, headers=head[who])
            assert run.status_code == 202
            events = served.events("GET", f"/api/agents/{run.json()['id']}/events", headers=head[who])
            return [one["observation"]["content"] for _, one in events if one.get("observation")]

        for who in ("ann", "owner"):
            observed(who, "Remember that prices are in euros.", True)
            (fact,) = served.client.get("/api/memory", headers=head[who]).json()["facts"]
            assert (fact["text"], fact["came"]) == (PRICES, "task")
            assert PRICES in observed(who, "What are prices given in?", True)[0]
        assert PRICES not in observed("bob", "What are prices given in?", True)[0]
        assert "recall" in observed("ann", "What are prices given in?", None)[0]
        assert PRICES not in observed("ann", "What are prices given in?", None)[0]
