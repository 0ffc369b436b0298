"""The code of docs/agent.md runs as it stands there, one block after another."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import ragagent
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Document, Message

ROOT = Path(__file__).resolve().parent.parent.parent
NOTE = Document(uri="file:///note.txt", title="Delivery note", text="Of article A-17 six pieces are missing.")
SCRIPTS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "two offers": [("", {}), ("", {}), ("final_answer", {"answer": "Nothing is known of two offers."})],
    "delivery note": [
        ("search_documents", {"query": "delivery note"}),
        ("stock", {"article": "A-17"}),
        ("send_order", {"article": "A-17", "pieces": 6}),
        ("final_answer", {"answer": "Six pieces of A-17 are ordered."}),
    ],
    "How much is 2 and 3?": [("peer__add", {"a": 2, "b": 3}), ("final_answer", {"answer": "It is 5."})],
}


def reply(messages: Sequence[Message]) -> str:
    script = next(steps for name, steps in SCRIPTS.items() if name in messages[1].content)
    name, arguments = script[sum(message.role == "assistant" for message in messages)]
    if not name:
        return json.dumps({"needs": "so", "plan": [{"tool": "search_documents", "arguments": {"query": "offers"}}]})
    return json.dumps({"found": "so", "tool": name, "arguments": arguments})


def test_the_how_to_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = ragagent.KnowledgeBase

    class Opened:
        @staticmethod
        def open(folder: str) -> Any:
            kb = real.open(folder, embedder=HashEmbedder(), llm=ScriptedLLM(reply))
            kb.ingest([NOTE])
            return kb

    peer = Path(__file__).parent.parent / "tools" / "mcp_peer.py"
    servers = {"peer": {"command": sys.executable, "args": [str(peer), "stdio"]}}
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    asked: list[str] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ragagent, "KnowledgeBase", Opened)
    monkeypatch.setattr("builtins.input", lambda question: (asked.append(question), "yes")[1])
    names: dict[str, Any] = {}
    page = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    for number, code in enumerate(blocks):
        exec(compile(code, f"docs/agent.md, block {number + 1}", "exec"), names)
    said = capsys.readouterr().out
    assert "off add Adds two numbers." in said
    assert "[] It is 5." in said
    assert asked == ["Make this call? "]
    assert names["result"].answer.text == "Six pieces of A-17 are ordered."
