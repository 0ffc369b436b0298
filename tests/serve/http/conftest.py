"""Real servers on loopback, over small honest parts."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from ragagent import Document, KnowledgeBase
from ragagent.protocols import LLM
from ragagent.serve.http import server
from ragagent.serve.http.app import build_app
from ragagent.serve.http.service import Service
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Message

FERRY = "The ferry to the island leaves the harbour at seven in the morning and comes back at noon."
LEASE = "The lease of the mill runs for twelve years and is renewed in spring unless one party objects."


def quoting(messages: Sequence[Message]) -> str:
    """Answers with the first line that was shown about a ferry or a lease, as its own quote."""
    shown = messages[-1].content
    quoted = next((line for line in shown.splitlines() if "ferry" in line or "lease" in line), shown[:60])
    return f"{quoted}\n> {quoted}"


@dataclass
class Served:
    """A running server, and a client of it."""

    client: httpx.Client
    port: int
    kb: KnowledgeBase
    service: Service
    stop: Callable[[], None] = field(repr=False)

    def events(self, method: str, path: str, **given: Any) -> list[tuple[str, dict[str, Any]]]:
        """The whole of a stream: the name and the body of each event."""
        with self.client.stream(method, path, **given) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            return list(parsed(answer.iter_lines()))

    def job(self, identifier: str) -> dict[str, Any]:
        """A job, when it has ended."""
        return self.events("GET", f"/api/jobs/{identifier}/events")[-1][1]


def parsed(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


@contextlib.contextmanager
def _serving(
    folder: Path, *, llm: LLM | None = None, documents: Sequence[Document] = (), **options: Any
) -> Iterator[Served]:
    """A server over a knowledge base in `folder`, until the block ends."""
    with KnowledgeBase.open(folder, embedder=HashEmbedder(), llm=llm or ScriptedLLM(quoting)) as kb:
        kb.ingest(list(documents))
        app = build_app(kb, **options)
        limits = app.state.service.limits
        made = server.listening("127.0.0.1", 0)
        port = made.getsockname()[1]
        config = server.configured(app, limits)
        running = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: running.run(sockets=[made]), name="server")
        thread.start()
        while not running.started and thread.is_alive():
            time.sleep(0.01)

        def stop() -> None:
            running.should_exit = True
            thread.join(30)

        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            try:
                yield Served(client=client, port=port, kb=kb, service=app.state.service, stop=stop)
            finally:
                client.close()
                stop()


@pytest.fixture
def serving() -> Callable[..., contextlib.AbstractContextManager[Served]]:
    """Makes servers: `with serving(folder, documents=..., llm=..., limits=...) as served`."""
    return _serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server with two documents, for the owner."""
    documents = [Document(uri="n:ferry", title="Ferry", text=FERRY), Document(uri="n:lease", title="Lease", text=LEASE)]
    with _serving(tmp_path / "kb", documents=documents) as running:
        yield running
