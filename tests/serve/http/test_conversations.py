"""Conversations over HTTP: each is its owner's alone, and kept as soon as an answer is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ragagent import Document
from ragagent.testing.llm import ScriptedLLM

FERRY = Document(
    uri="n:ferry", title="Ferry", text="The ferry to the island leaves the harbour at seven.", acl=("public",)
)


def ask(served: Any, conversation: str, question: str, **given: Any) -> Any:
    return served.client.post("/api/ask", json={"question": question, "conversation": conversation}, **given)


def test_questions_follow_one_another_and_are_there_after_a_restart(tmp_path: Path, serving: Any) -> None:
    with serving(tmp_path / "kb", documents=[FERRY], llm=ScriptedLLM(lambda _: FERRY.text)) as served:
        made = served.client.post("/api/conversations")
        assert made.status_code == 201
        name = made.json()["id"]
        assert ask(served, name, "When does the ferry leave?").json()["status"] == "grounded"
        assert ask(served, name, "And where?").json()["status"] == "grounded"
    with serving(tmp_path / "kb") as served:
        (listed,) = served.client.get("/api/conversations").json()["conversations"]
        assert (listed["id"], listed["title"], listed["turns"]) == (name, "When does the ferry leave?", 2)
        turns = served.client.get(f"/api/conversations/{name}").json()["turns"]
        assert [turn["question"] for turn in turns] == ["When does the ferry leave?", "And where?"]
        assert [turn["citations"][0]["quote"] for turn in turns] == [FERRY.text, FERRY.text]


def test_what_was_cited_is_not_shown_once_it_does_not_stand_there_any_more(tmp_path: Path, serving: Any) -> None:
    with serving(tmp_path / "kb", documents=[FERRY], llm=ScriptedLLM(lambda _: FERRY.text)) as served:
        name = served.client.post("/api/conversations").json()["id"]
        ask(served, name, "When does the ferry leave?")
        served.kb.ingest([Document(uri=FERRY.uri, title="Ferry", text="It was moved to noon.", acl=("public",))])
        (turn,) = served.client.get(f"/api/conversations/{name}").json()["turns"]
        assert turn["citations"] == []


def test_nobody_reads_asks_in_or_deletes_the_conversation_of_another(tmp_path: Path, serving: Any) -> None:
    with serving(tmp_path / "kb", documents=[FERRY], llm=ScriptedLLM(lambda _: FERRY.text)) as served:
        tokens = served.service.tokens
        whose = {"ann": ["user:ann"], "bob": ["user:bob"], "owner": None}
        heads = {
            name: {"Authorization": f"Bearer {tokens.create(name, scopes=('read',), principal=principal)[1]}"}
            for name, principal in whose.items()
        }
        name = served.client.post("/api/conversations", headers=heads["ann"]).json()["id"]
        ask(served, name, "When does the ferry leave?", headers=heads["ann"])
        for other in ("bob", "owner"):
            assert served.client.get("/api/conversations", headers=heads[other]).json()["conversations"] == []
            answers = [
                served.client.get(f"/api/conversations/{name}", headers=heads[other]),
                ask(served, name, "When does the ferry leave?", headers=heads[other]),
                served.client.delete(f"/api/conversations/{name}", headers=heads[other]),
            ]
            assert [(one.status_code, one.json()["error"]["code"]) for one in answers] == [(404, "no_conversation")] * 3
        assert served.client.delete(f"/api/conversations/{name}", headers=heads["ann"]).status_code == 200
        assert served.client.get(f"/api/conversations/{name}", headers=heads["ann"]).status_code == 404


def test_a_name_that_leads_elsewhere_is_no_conversation(tmp_path: Path, serving: Any) -> None:
    with serving(tmp_path / "kb") as served:
        for name in ("..%2F..%2Fetc", "x" * 64, "%00", "nothere"):
            assert served.client.get(f"/api/conversations/{name}").status_code == 404
