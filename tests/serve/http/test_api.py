"""The routes of the page, over a real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ragagent import Document
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools.function import tool


def test_a_search_gives_hits_with_their_places_and_explains_them_when_asked(served: Any) -> None:
    found = served.client.post("/api/search", json={"query": "When does the ferry leave?", "k": 1}).json()
    (hit,) = found["hits"]
    text = served.client.get(f"/api/documents/{hit['document_id']}/text").json()["text"]
    assert text[hit["start"] : hit["end"]] == hit["text"]
    assert not hit["stages"]
    assert not found["steps"]
    explained = served.client.post("/api/search", json={"query": "ferry", "explain": True}).json()
    assert explained["steps"]
    assert {stage["name"] for stage in explained["hits"][0]["stages"]} >= {"dense", "sparse"}


def test_an_answer_comes_whole_or_as_events_and_is_the_same(served: Any) -> None:
    question = {"question": "When does the ferry leave?"}
    whole = served.client.post("/api/ask", json=question).json()
    assert whole["status"] == "grounded"
    (citation,) = whole["citations"]
    document = served.kb.document(citation["document_id"])
    assert document.text[citation["start"] : citation["end"]] == citation["quote"]
    assert whole["claims"][0]["citations"] == [1]
    events = served.events("POST", "/api/ask/events", json=question)
    names = [name for name, _ in events]
    assert names[-1] == "answer"
    assert set(names) <= {"queued", "evidence", "text", "answer"}
    assert names.index("evidence") < names.index("text")
    timeless = [{**one, "usage": None} for one in (events[-1][1], whole)]
    assert timeless[0] == timeless[1]


def test_a_filter_narrows_and_one_that_is_wrong_is_told(served: Any) -> None:
    where = {"query": "ferry lease", "where": {"title": "Lease"}}
    assert {hit["title"] for hit in served.client.post("/api/search", json=where).json()["hits"]} <= {"Lease"}
    wrong = served.client.post("/api/ask/events", json={"question": "ferry", "where": "date >= >="})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "where")


def test_documents_are_paged_without_losing_or_doubling_any(tmp_path: Path, serving: Any) -> None:
    made = [Document(uri=f"n:{number:02}", text=f"Paper {number}.") for number in range(11)]
    with serving(tmp_path / "kb", documents=made) as served:
        seen: list[str] = []
        cursor = None
        while True:
            given = {"limit": 3, **({"cursor": cursor} if cursor else {})}
            page = served.client.get("/api/documents", params=given).json()
            assert page["total"] == 11
            seen += [one["uri"] for one in page["documents"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == [f"n:{number:02}" for number in range(11)]
        assert served.client.get("/api/documents", params={"cursor": "nonsense!"}).status_code == 400


@pytest.mark.parametrize("marks", [["0-3"], ["4-9", "6-12"], ["0-0"], ["80-4000"], ["9-4"]])
def test_marked_text_is_the_same_text_in_pieces(served: Any, marks: list[str]) -> None:
    (first, *_) = served.client.get("/api/documents").json()["documents"]
    path = f"/api/documents/{first['id']}/text"
    page = served.client.get(path, params={"mark": marks, "start": 2, "length": 30}).json()
    assert "".join(piece["text"] for piece in page["pieces"]) == page["text"]
    spans = [tuple(map(int, mark.split("-"))) for mark in marks]
    marked = [any(start <= at < end for start, end in spans) for at in range(page["start"], page["end"])]
    assert [piece["marked"] for piece in page["pieces"] for _ in piece["text"]] == marked


def test_an_upload_is_brought_in_and_replaced_by_one_of_the_same_name(served: Any) -> None:
    for text in ("The quokka sleeps.", "The quokka wakes."):
        files = [("files", ("animals/small/quokka.txt", text.encode())), ("files", ("empty.pdf", b"%PDF-nothing"))]
        answer = served.client.post("/api/uploads", files=files)
        assert answer.status_code == 202
        job = served.job(answer.json()["id"])
        assert job["state"] == "done"
        (failure,) = job["report"]["failures"]
        assert failure["name"] == "empty.pdf"
        assert failure["reason"]
        (hit, *_) = served.client.post("/api/search", json={"query": "quokka", "mode": "sparse"}).json()["hits"]
        assert hit["text"] == text
    assert served.client.get("/api/documents", params={"name": "QUOKKA"}).json()["total"] == 1
    assert [job["state"] for job in served.client.get("/api/jobs").json()["jobs"]] == ["done", "done"]


def test_what_was_removed_can_be_restored_as_it_was(served: Any) -> None:
    answer = served.client.post("/api/uploads", files=[("files", ("quokka.txt", b"The quokka sleeps."))])
    served.job(answer.json()["id"])
    for document in served.client.get("/api/documents").json()["documents"]:
        before = served.kb.document(document["id"])
        removed = served.client.delete(f"/api/documents/{document['id']}").json()
        assert served.client.get(f"/api/documents/{document['id']}").status_code == 404
        assert [one["id"] for one in served.client.get("/api/removed").json()["removed"]] == [removed["id"]]
        assert served.client.post(f"/api/removed/{removed['id']}/restore").status_code == 200
        assert served.kb.document(document["id"]) == before
        assert served.client.post(f"/api/removed/{removed['id']}/restore").status_code == 404


def test_a_removed_upload_does_not_come_back_with_the_next_one(served: Any) -> None:
    def upload(name: str) -> None:
        served.job(served.client.post("/api/uploads", files=[("files", (name, b"Some text."))]).json()["id"])

    upload("first.txt")
    (document,) = served.client.get("/api/documents", params={"name": "first"}).json()["documents"]
    served.client.delete(f"/api/documents/{document['id']}")
    upload("second.txt")
    assert served.client.get("/api/documents", params={"name": "first"}).json()["total"] == 0


def _steps(*steps: dict[str, Any]) -> ScriptedLLM:
    said = iter([json.dumps(step) for step in steps])
    return ScriptedLLM(lambda messages: next(said, "Done.\n> Done."))


def test_an_agent_waits_for_an_approval_and_goes_on_with_the_decision(tmp_path: Path, serving: Any) -> None:
    from ragagent.serve.http.service import Extras

    sent: list[str] = []

    @tool(effects=("network",))
    def send(text: str) -> str:
        """Sends a text."""
        sent.append(text)
        return "sent"

    for approved in (True, False):
        llm = _steps(
            {"needs": "to send it", "tool": "send", "arguments": {"text": "hello"}},
            {"found": "it is sent", "tool": "final_answer", "arguments": {"answer": "It was sent."}},
        )
        with serving(tmp_path / str(approved), llm=llm, extras=Extras(tools=[send])) as served:
            run = served.client.post("/api/agents", json={"task": "Send hello.", "always_ask": True})
            assert run.status_code == 202
            path = f"/api/agents/{run.json()['id']}"
            events = served.events("GET", f"{path}/events")
            assert events[-1][0] == "state"
            assert events[-1][1]["state"] == "waiting"
            asked = events[-1][1]["approval"]
            assert (asked["tool"], asked["arguments"]) == ("send", {"text": "hello"})
            assert asked["origins"]
            other = served.client.post(f"{path}/decision", json={"approval_id": "another", "approved": True})
            assert other.status_code == 409
            decision = {"approval_id": asked["id"], "approved": approved}
            assert served.client.post(f"{path}/decision", json=decision).status_code == 202
            later = served.events("GET", f"{path}/events", params={"after": len(events) - 2})
            assert later[-1][1]["state"] == "done"
            assert sent == (["hello"] if approved else [])
            assert served.client.post(f"{path}/decision", json=decision).status_code == 409
            shown = served.client.get(path).json()
            assert "observation" in {event["kind"] for event in shown["events"]}
            sent.clear()


def test_runs_of_an_earlier_process_are_listed_and_can_be_decided_on(tmp_path: Path, serving: Any) -> None:
    from ragagent.serve.http.service import Extras

    @tool(effects=("network",))
    def send(text: str) -> str:
        """Sends a text."""
        return "sent"

    extras = Extras(tools=[send])
    call = {"needs": "to send it", "tool": "send", "arguments": {"text": "hello"}}
    with serving(tmp_path / "kb", llm=_steps(call), extras=extras) as served:
        run = served.client.post("/api/agents", json={"task": "Send hello.", "always_ask": True}).json()
        served.events("GET", f"/api/agents/{run['id']}/events")
    end = {"found": "sent", "tool": "final_answer", "arguments": {"answer": "It was sent."}}
    with serving(tmp_path / "kb", llm=_steps(end), extras=extras) as served:
        (listed,) = served.client.get("/api/agents").json()["runs"]
        assert (listed["id"], listed["state"], listed["task"]) == (run["id"], "waiting", "Send hello.")
        shown = served.client.get(f"/api/agents/{run['id']}").json()
        assert [event["kind"] for event in shown["events"]] == ["thought", "call", "approval"]
        decision = {"approval_id": shown["approval"]["id"], "approved": True}
        assert served.client.post(f"/api/agents/{run['id']}/decision", json=decision).status_code == 202
        events = served.events("GET", f"/api/agents/{run['id']}/events")
        assert events[-1][1]["state"] == "done"


def test_the_server_tells_of_itself_and_shows_no_secret(tmp_path: Path, serving: Any) -> None:
    with serving(tmp_path / "kb") as served:
        assert served.client.get("/health").json() == {"status": "ok"}
        assert served.client.get("/api/status").json()["documents"] == 0
        assert any(model["kind"] == "chat" for model in served.client.get("/api/models").json()["models"])
        settings = {one["key"]: one for one in served.client.get("/api/settings").json()["settings"]}
        assert settings["retrieval.k"] == {"key": "retrieval.k", "value": "10", "origin": "default"}
        text = served.client.get("/metrics").text
        assert 'ragagent_http_requests_total{method="GET",route="/health",status="200"} 1' in text
