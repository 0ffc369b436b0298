"""A server in a process of its own, slow enough to be ended in the midst of things: KB CLOSING_S STARTED TURNS.

The model writes TURNS pieces, a tenth of a second each, and cites nothing but what it was shown; the embedder takes a
tenth of a second for each batch. STARTED is the file that the port is written to.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragagent import KnowledgeBase
from ragagent.serve.http import server
from ragagent.serve.http.app import build_app
from ragagent.serve.http.limits import Limits
from ragagent.settings import Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Completion, Message, Vector


class SlowEmbedder(HashEmbedder):
    def embed_documents(self, texts: Sequence[str]) -> Vector:
        time.sleep(0.1)
        return super().embed_documents(texts)


class SlowModel(ScriptedLLM):
    def __init__(self, pieces: int) -> None:
        super().__init__(_quoting)
        self._pieces = pieces
        self._cancelled = threading.Event()

    def chat(self, messages: Sequence[Message], **given: Any) -> Completion:
        self._cancelled.clear()
        cancelled = self._cancelled.wait(self._pieces * 0.1)
        completion = super().chat(messages, **given)
        return replace(completion, finish="cancelled") if cancelled else completion

    def cancel(self) -> None:
        self._cancelled.set()


def _quoting(messages: Sequence[Message]) -> str:
    shown = messages[-1].content
    quoted = next((line for line in shown.splitlines() if "ferry" in line), shown[:60])
    return f"{quoted}\n> {quoted}"


def main(kb: str, closing_s: str, started: str, pieces: str) -> None:
    settings = Settings()
    settings = replace(settings, ingest=replace(settings.ingest, batch_chunks=1))
    with KnowledgeBase.open(kb, embedder=SlowEmbedder(), llm=SlowModel(int(pieces)), settings=settings) as opened:
        limits = Limits(closing_s=float(closing_s))
        made = server.listening("127.0.0.1", 0)
        app = build_app(opened, limits=limits)
        Path(started).write_text(str(made.getsockname()[1]))
        server.serve(app, made, limits)
    print("closed")


main(*sys.argv[1:])
