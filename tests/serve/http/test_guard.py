"""Nobody gets past the gate: tokens, principals, other sites, and bodies that are wrong, on every route."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from ragagent import Document
from ragagent.serve.http.app import build_app
from ragagent.serve.http.limits import Limits
from ragagent.serve.http.tokens import SCOPES
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM

OPEN = {"GET /health", "GET /"}
"""What needs no token: it tells nothing."""
SECRET = "zqhidden"


def routes(tmp_path: Path) -> list[tuple[str, str, str]]:
    """(method, path with made-up ids, the scope it needs) of every route that the application has."""
    return [
        (method, re.sub(r"{[^}]*}", "0123456789abcdef", path), scope) for method, path, scope in templates(tmp_path)
    ]


def templates(tmp_path: Path) -> list[tuple[str, str, str]]:
    """The same with the paths as the application has them."""
    from ragagent import KnowledgeBase

    with KnowledgeBase.open(tmp_path / "routes", embedder=HashEmbedder()) as kb:
        found = []
        for route in build_app(kb).routes:
            for path, methods, scope in _routes_of(route):
                found += [(method, path, scope) for method in sorted(methods - {"HEAD", "OPTIONS"})]
        return found


def _routes_of(route: Any) -> Iterator[tuple[str, set[str], str]]:
    for inner in getattr(route, "effective_candidates", lambda: [route])():
        if isinstance(inner, APIRoute) or hasattr(inner, "dependant"):
            scope = next((one for one in _scopes(inner.dependant)), "")
            yield inner.path, set(inner.methods or ()), scope


def _scopes(dependant: Any) -> Iterator[str]:
    for one in dependant.dependencies:
        scope = getattr(one.call, "scope", None)
        if scope:
            yield scope
        yield from _scopes(one)


@pytest.fixture
def guarded(tmp_path: Path, serving: Any) -> Iterator[Any]:
    """A server that wants tokens, over one public document and one of Bob's; `tokens` maps names to headers."""
    documents = [
        Document(uri="n:open", title="Open", text="The ferry leaves at seven.", acl=("public",)),
        Document(uri="n:bob", title=f"{SECRET} title", text=f"The {SECRET} ferry leaves at nine.", acl=("user:bob",)),
    ]
    limits = replace(Limits(), burst=10_000, requests_per_minute=1e6, failures_per_minute=1e6)
    with serving(tmp_path / "kb", documents=documents, limits=limits) as served:
        made = {scope: served.service.tokens.create(scope, scopes=[scope]) for scope in SCOPES}
        for name, whose in {"ann": ["user:ann"], "bob": ["user:bob"], "owner": None}.items():
            made[name] = served.service.tokens.create(name, scopes=["read", "write", "agent"], principal=whose)
        served.headers = {name: {"Authorization": f"Bearer {_secret(one)}"} for name, one in made.items()}
        yield served


def _secret(made: Any) -> str:
    return next(one for one in (made if isinstance(made, tuple) else (made,)) if isinstance(one, str))


def test_every_route_wants_a_token_and_the_scope_that_it_names(tmp_path: Path, guarded: Any) -> None:
    found = routes(tmp_path)
    assert len(found) >= 30
    for method, path, scope in found:
        if f"{method} {path}" in OPEN:
            continue
        assert scope in SCOPES, f"{method} {path} is not guarded by a scope"
        for headers in ({}, {"Authorization": "Bearer rag_aaaaaaaa_" + "A" * 43}, {"Authorization": "Basic YTpi"}):
            answer = guarded.client.request(method, path, headers=headers)
            assert answer.status_code == 401, f"{method} {path} {answer.status_code}"
            assert SECRET not in answer.text
        for other in {*SCOPES} - {scope, "admin"}:
            answer = guarded.client.request(method, path, headers=guarded.headers[other], json={})
            assert answer.status_code == 403, f"{method} {path} as {other}: {answer.status_code}"
            assert answer.json()["error"]["code"] == "missing_scope"


def test_a_revoked_token_and_one_that_has_expired_let_nobody_in(guarded: Any) -> None:
    tokens = guarded.service.tokens
    brief = _secret(tokens.create("brief", scopes=["read"], days=1e-9))
    gone = _secret(tokens.create("gone", scopes=["read"]))
    assert guarded.client.get("/api/status", headers={"Authorization": f"Bearer {gone}"}).status_code == 200
    tokens.revoke(next(one.id for one in tokens.list() if one.name == "gone"))
    for secret in (brief, gone):
        assert guarded.client.get("/api/status", headers={"Authorization": f"Bearer {secret}"}).status_code == 401


ASKS = f"When does the {SECRET} ferry leave?"
GIVEN: dict[str, dict[str, Any]] = {
    "POST /api/search": {"json": {"query": ASKS, "explain": True}},
    "POST /api/ask": {"json": {"question": ASKS}},
    "POST /api/ask/events": {"json": {"question": ASKS}},
    "POST /api/uploads": {"files": {"files": ("mine.txt", b"The ferry is late.")}},
    "POST /api/ingest": {"json": {"source": "/nowhere"}},
    "POST /api/agents": {"json": {"task": ASKS}},
    "POST /api/agents/{run_id}/decision": {"json": {"approval_id": "none", "approved": True}},
    "POST /api/memory": {"json": {"text": "The ferry is late."}},
    "GET /api/memory": {"params": {"query": ASKS}},
    "PUT /api/memory/{fact_id}": {"json": {"text": "The ferry is late."}},
    "GET /api/documents/{document_id}/page.png": {"params": {"page": 1}},
    "GET /api/documents/{document_id}/page": {"params": {"page": 1}},
    "POST /v1/chat/completions": {"json": {"model": "ragagent", "messages": [{"role": "user", "content": ASKS}]}},
    "POST /v1/embeddings": {"json": {"model": "hash-64", "input": [ASKS]}},
}
"""What routes are called with; a new one that needs something is to say so here."""


def things_of(served: Any, headers: dict[str, str], name: str) -> dict[str, str]:
    """Something of each kind that has an id, made by whom the headers are of, and what names it in paths."""

    def done(method: str, path: str, **given: Any) -> Any:
        answer = served.client.request(method, path, headers=headers, **given)
        assert answer.is_success, answer.text
        return answer.json()

    text = f"The {SECRET} ferry of {name} leaves at nine.".encode()
    files = [("files", (f"{SECRET}-{name}-{what}.txt", text)) for what in ("kept", "gone")]
    job = done("POST", "/api/uploads", files=files)["id"]
    served.events("GET", f"/api/jobs/{job}/events", headers=headers)
    listed = done("GET", "/api/documents", params={"name": f"{SECRET}-{name}-"})["documents"]
    found = {one["uri"].rpartition("-")[2]: one["id"] for one in listed}
    conversation = done("POST", "/api/conversations")["id"]
    done("POST", "/api/ask", json={"question": ASKS, "conversation": conversation})
    run = done("POST", "/api/agents", json={"task": ASKS})["id"]
    served.events("GET", f"/api/agents/{run}/events", headers=headers)
    return {
        "document_id": found["kept.txt"],
        "removed_id": done("DELETE", f"/api/documents/{found['gone.txt']}")["id"],
        "job_id": job,
        "conversation_id": conversation,
        "run_id": run,
        "fact_id": done("POST", "/api/memory", json={"text": f"The {SECRET} of {name}."})["id"],
    }


def test_on_every_route_a_principal_is_told_and_changes_nothing_of_others(tmp_path: Path, guarded: Any) -> None:
    ann = guarded.headers["ann"]
    others = {name: things_of(guarded, guarded.headers[name], name) for name in ("bob", "owner")}
    hidden = [one for things in others.values() for one in things.values()]
    found = templates(tmp_path)
    assert GIVEN.keys() <= {f"{method} {path}" for method, path, _ in found}
    for method, path, _ in found:
        route = f"{method} {path}"

        def asked(of: dict[str, str], route: str = route, method: str = method, path: str = path) -> Any:
            address = re.sub(r"{(\w+)[^}]*}", lambda one: {**of, "model": "none-such"}[one[1]], path)
            answer = guarded.client.request(method, address, headers=ann, **GIVEN.get(route, {}))
            assert answer.status_code < 500, f"{route}: {answer.text}"
            assert answer.status_code not in {400, 422}, f"say in GIVEN what {route} is called with: {answer.text}"
            assert SECRET not in answer.text.replace(ASKS, ""), f"{route}: {answer.text}"
            assert not [one for one in hidden if one in answer.text], f"{route}: {answer.text}"
            return answer

        if "{" not in path:
            asked({})
            continue
        made_up = asked(dict.fromkeys(others["bob"], "f" * 16))
        assert made_up.status_code in {403, 404}, f"{route}: {made_up.text}"
        for things in others.values():
            answer = asked(things)
            assert (answer.status_code, answer.text) == (made_up.status_code, made_up.text), route
    for name, things in others.items():
        for path in ("documents/{document_id}", "jobs/{job_id}", "conversations/{conversation_id}", "agents/{run_id}"):
            there = guarded.client.get(f"/api/{path.format(**things)}", headers=guarded.headers[name])
            assert there.status_code == 200, f"{path} of {name} is still there: {there.text}"
        facts = guarded.client.get("/api/memory", headers=guarded.headers[name]).json()["facts"]
        assert [(one["id"], one["text"]) for one in facts] == [(things["fact_id"], f"The {SECRET} of {name}.")]
        removed = guarded.client.get("/api/removed", headers=guarded.headers[name]).json()["removed"]
        assert things["removed_id"] in {one["id"] for one in removed}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_pages_of_other_sites_and_rebound_names_are_refused_before_anything_else(
    served: Any, headers: dict[str, str]
) -> None:
    for method, path in (("GET", "/api/status"), ("POST", "/api/search"), ("POST", "/v1/chat/completions")):
        answer = served.client.request(method, path, headers=headers, json={"query": "ferry"})
        assert answer.status_code in {400, 403, 421}, f"{path} {answer.status_code}"
        assert "access-control-allow-origin" not in answer.headers


def test_every_answer_carries_the_security_headers(served: Any) -> None:
    for path in ("/", "/health", "/api/status", "/nothing/here", "/openapi.json"):
        headers = served.client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_a_body_that_is_too_large_or_too_slow_is_refused_and_the_next_request_is_answered(
    tmp_path: Path, serving: Callable[..., contextlib.AbstractContextManager[Any]]
) -> None:
    limits = replace(Limits(), body_bytes=2000, body_wait_s=0.5)
    with serving(tmp_path / "kb", limits=limits) as served:
        answer = served.client.post("/api/search", json={"query": "x" * 5000})
        assert answer.status_code == 413
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as slow:
            slow.sendall(
                b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\n\r\n{"
            )
            begin = time.monotonic()
            told = slow.recv(4096)
            assert time.monotonic() - begin < 9
            assert told == b"" or told.startswith(b"HTTP/1.1 408")
        assert served.client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "name", ["../../evil.txt", "/etc/evil.txt", "a/../../../evil.txt", "..\\..\\evil.txt", "evil\0.txt", ".evil"]
)
def test_an_upload_lands_in_its_own_folder_whatever_its_name(served: Any, tmp_path: Path, name: str) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    answer = served.client.post("/api/uploads", files={"files": (name, b"The gate is green.", "text/plain")})
    assert answer.status_code in {202, 400, 422}, answer.text
    if answer.status_code == 202:
        served.job(answer.json()["id"])
    new = {path for path in tmp_path.rglob("*") if path.is_file() and "evil" in path.name} - before
    assert all(path.is_relative_to(tmp_path / "kb" / "uploads") for path in new), new
    assert not Path("/etc/evil.txt").exists()


def test_more_than_can_wait_is_turned_away_in_order_and_taken_again_later(tmp_path: Path, serving: Any) -> None:
    gate = threading.Event()

    def reply(_: Any) -> str:
        gate.wait(30)
        return '{"found": "", "tool": "final_answer", "arguments": {"answer": "At seven."}}'

    limits = replace(Limits(), runs=1, runs_waiting=1)
    with serving(tmp_path / "kb", limits=limits, llm=ScriptedLLM(reply)) as served:
        task = {"task": "When does the ferry leave?"}
        answers = [served.client.post("/api/agents", json=task) for _ in range(5)]
        statuses = [one.status_code for one in answers]
        assert statuses[0] == 202
        assert statuses[-1] == 503
        assert statuses == sorted(statuses)
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert answers[-1].json()["error"]["code"] == "busy"
        assert served.client.post("/api/search", json={"query": "ferry"}).status_code == 200
        gate.set()
        for one in answers[: statuses.index(503)]:
            served.events("GET", f"/api/agents/{one.json()['id']}/events")
        assert served.client.post("/api/agents", json=task).status_code == 202
