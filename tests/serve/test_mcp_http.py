"""The MCP server over HTTP: who gets in, as whom, and what is turned away."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx
import mcp
import pytest
import uvicorn
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from ragagent.access import Principal
from ragagent.app import KnowledgeBase
from ragagent.errors import ConfigError
from ragagent.serve.mcp import Limits, Writes, build_server
from ragagent.serve.mcp.http import METADATA_PATH, Place, app
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Document

LIMITS = Limits(max_body_bytes=20_000)


@dataclass(frozen=True)
class Key:
    id: str
    scopes: tuple[str, ...]
    principal: Principal | None = None

    def sees(self) -> Principal | None:
        return self.principal


KEYS = {
    "of-the-owner": Key("1", ("read", "write")),
    "reads": Key("2", ("read",)),
    "of-ann": Key("3", ("read",), Principal(user="ann")),
    "of-bob": Key("4", ("read",), Principal(user="bob")),
    "of-nothing": Key("5", ("agent",)),
}


class Keys:
    def find(self, text: str) -> Key | None:
        return KEYS.get(text)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with (
        KnowledgeBase.open(tmp_path_factory.mktemp("kb"), embedder=HashEmbedder()) as kb,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        kb.ingest(
            [
                Document(uri=f"n:{name}", title=name, text=f"Of {name}.", acl=(f"user:{name}",))
                for name in ("ann", "bob")
            ]
        )
        place = Place(port=taken.getsockname()[1])
        served = app(
            build_server(kb, writes=Writes(confirm="never"), limits=LIMITS), place, verifier=Keys(), limits=LIMITS
        )
        server = uvicorn.Server(uvicorn.Config(served, log_level="error"))
        thread = threading.Thread(target=lambda: server.run(sockets=[taken]))
        thread.start()
        yield place.resource
        server.should_exit = True
        thread.join(30)


def with_key(url: str, key: str, work: Callable[[mcp.Client], Awaitable[Any]], mode: str = "auto") -> Any:
    async def main() -> Any:
        async with (
            create_mcp_http_client(headers={"Authorization": f"Bearer {key}"}) as http,
            mcp.Client(streamable_http_client(url, http_client=http), mode=mode) as client,
        ):
            return await work(client)

    return anyio.run(main)


def rpc(method: str = "tools/list", **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def post(url: str, body: str, **headers: str) -> httpx.Response:
    given = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"} | headers
    return httpx.post(url, content=body, headers=given)


async def titles(client: mcp.Client) -> list[str]:
    found = await client.call_tool("list_documents", {})
    return [one["title"] for one in found.structured_content["documents"]]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(("key", "seen"), [("of-the-owner", ["ann", "bob"]), ("of-ann", ["ann"]), ("of-bob", ["bob"])])
def test_a_token_sees_what_its_principal_may_read(url: str, key: str, seen: list[str], mode: str) -> None:
    assert with_key(url, key, titles, mode) == seen


def test_a_session_is_of_the_token_that_began_it(url: str) -> None:
    body = rpc("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "c", "version": "1"})
    begun = post(url, body, Authorization="Bearer of-ann")
    session = begun.headers["mcp-session-id"]
    for key, status in (("of-bob", 404), ("of-the-owner", 404), ("of-ann", 200)):
        answer = post(url, rpc(), Authorization=f"Bearer {key}", **{"Mcp-Session-Id": session})
        assert answer.status_code == status, (key, answer.text)


def test_tools_that_write_are_there_for_tokens_that_may_write(url: str) -> None:
    async def names(client: mcp.Client) -> set[str]:
        return {one.name for one in (await client.list_tools()).tools}

    writing = {"ingest", "remove"}
    assert writing <= with_key(url, "of-the-owner", names)
    assert not writing & with_key(url, "reads", names)


def test_a_call_without_its_scope_is_refused_and_told_which_it_needs(url: str) -> None:
    answer = post(url, rpc("tools/call", name="remove", arguments={"document": "x"}), Authorization="Bearer reads")
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert 'scope="write"' in answer.headers["www-authenticate"]
    assert post(url, rpc(), Authorization="Bearer of-nothing").status_code == 403


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer nobody", "Basic of-ann", "of-ann"])
def test_without_a_valid_token_nothing_is_served_and_the_way_to_one_is_named(url: str, key: str) -> None:
    answer = post(url, rpc(), **({"Authorization": key} if key else {}))
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    where = challenge.partition('resource_metadata="')[2].rstrip('"')
    assert httpx.get(where).json()["resource"] == url


def test_the_metadata_names_the_resource_its_scopes_and_who_issues_tokens(url: str) -> None:
    found = httpx.get(url.removesuffix("/mcp") + METADATA_PATH).json()
    assert (found["resource"], found["scopes_supported"]) == (url, ["read", "write"])
    assert "authorization_servers" not in found


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8765", "localhost.", "[::2]"])
def test_another_host_is_turned_away_before_anything_else(url: str, host: str) -> None:
    assert post(url, rpc(), Host=host, Authorization="Bearer of-ann").status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost.evil.example", "file://"])
def test_another_origin_is_turned_away(url: str, origin: str) -> None:
    assert post(url, rpc(), Origin=origin, Authorization="Bearer of-ann").status_code == 403


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1"])
def test_a_page_of_this_machine_is_let_in(url: str, origin: str) -> None:
    body = rpc("initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "c", "version": "1"})
    assert post(url, body, Origin=origin, Authorization="Bearer of-ann").status_code == 200


def test_a_body_over_the_limit_is_refused_unread(url: str) -> None:
    assert post(url, "x" * 20_001, Authorization="Bearer of-ann").status_code == 413


@pytest.mark.parametrize("body", ["", "[]", "null", "{", '{"method": 7}', "[" * 10_000, '{"params": []}'])
def test_a_body_that_is_no_request_is_an_error_of_the_client(url: str, body: str) -> None:
    assert 400 <= post(url, body, Authorization="Bearer of-ann").status_code < 500


def test_an_address_that_others_reach_is_not_served_without_tokens(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path, embedder=HashEmbedder()) as kb:
        for host in ("0.0.0.0", "::", "192.168.1.5", "example.com"):
            with pytest.raises(ConfigError, match="tokens are needed"):
                app(build_server(kb), Place(host=host))


def test_a_token_of_the_command_line_is_asked_for_as_soon_as_there_is_one(tmp_path: Path, minilm: Path) -> None:
    command = [sys.executable, "-m", "ragagent", "--kb", str(tmp_path / "kb")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent)}
    (tmp_path / "a.txt").write_text("The ferry leaves at seven.")
    for arguments in (["ingest", str(tmp_path / "a.txt")], ["token", "create", "mine"]):
        made = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=True)
    (token,) = re.findall(r"rag_\w{8}_[\w-]{43}", made.stdout)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    listing = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
    headers = {"Accept": "application/json, text/event-stream"}
    with subprocess.Popen([*command, "mcp", "--http", "--port", str(port)], env=environment) as process:
        try:
            said = []
            for authorization in ({}, {"Authorization": "Bearer no"}, {"Authorization": f"Bearer {token}"}):
                said.append(_posted(f"http://127.0.0.1:{port}/mcp", listing, {**headers, **authorization}))
            assert said[:2] == [401, 401]
            assert said[2] not in {401, 403}
        finally:
            process.terminate()


def _posted(url: str, body: dict[str, Any], headers: dict[str, str]) -> int:
    """The status of the answer, once there is a server."""
    for _ in range(600):
        try:
            return httpx.post(url, json=body, headers=headers, timeout=30).status_code
        except httpx.ConnectError:
            time.sleep(0.05)
    raise AssertionError("no server came up")
