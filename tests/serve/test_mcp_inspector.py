"""The official inspector's command line lists and calls our real tools, where `make conformance` has fetched it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "build" / "conformance" / "node_modules"
INSPECTOR = PACKAGES / "@modelcontextprotocol" / "inspector" / "clients" / "launcher" / "build" / "index.js"
READING = ["search", "ask", "read_document", "list_documents", "status"]


@pytest.fixture
def command(tmp_path: Path, minilm: Path, chat_gguf: Path) -> list[str]:
    """What starts `ragagent` over a knowledge base of one document."""
    if not INSPECTOR.is_file():
        pytest.skip("the inspector is not here; make conformance fetches it (npm)")
    (tmp_path / "plums.txt").write_text("Plums are ripe in August.")
    ours = [sys.executable, "-m", "ragagent", "--kb", str(tmp_path / "kb")]
    subprocess.run([*ours, "ingest", str(tmp_path / "plums.txt")], check=True, capture_output=True)
    return ours


def _inspected(*arguments: str) -> Any:
    program = [str(PACKAGES / ".bin" / "node"), str(INSPECTOR), "--cli", *arguments]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def _lists_and_calls(*target: str) -> None:
    # `--strict` fails where a schema is one that clients do not understand.
    tools = _inspected(*target, "--method", "tools/list", "--strict")["tools"]
    assert [tool["name"] for tool in tools] == READING
    calling = ["--method", "tools/call", "--tool-name", "search", "--tool-arg", "query=plums"]
    found = _inspected(*target, *calling)["structuredContent"]
    assert [one["text"] for one in found["passages"]] == ["Plums are ripe in August."]


def test_the_inspector_lists_and_calls_the_tools_over_standard_input_and_output(command: list[str]) -> None:
    _lists_and_calls(*command, "mcp")


def test_the_inspector_lists_and_calls_the_tools_over_http(command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with _serving([*command, "mcp", "--http", "--port", str(port)]) as address:
        _lists_and_calls(address)


@contextmanager
def _serving(program: list[str]) -> Iterator[str]:
    with subprocess.Popen(program, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            said = next(line for line in server.stderr if "MCP at " in line)
            yield next(word for word in said.split() if word.startswith("http://"))
        finally:
            server.terminate()
