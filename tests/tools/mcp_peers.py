"""Servers that others have written against our client: every tool of each is called, and some are killed in a call.

    python tests/tools/mcp_peers.py FOLDER

FOLDER is where `make peers` puts them: those of npm together, each of the others in an environment of its own. They are
read from an `mcp.json`, and their tools are allowed and called as an agent does it; each call has words that its result
has to hold. Prints a table of the calls, one of resources and prompts, and one of the kills.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mcp_peer_calls import CALLS

from ragagent.app import Agent, KnowledgeBase
from ragagent.app.agent import opened_servers
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools import calling
from ragagent.tools.mcp_asking import Field, Form, Value
from ragagent.tools.mcp_tools import Servers
from ragagent.types import Message, ToolCall

IN_TIME_S = 5.0
"""How soon after a server was killed its call has to be an error."""
_PYTHON = ("time", "git", "fetch", "sqlite")
_SERVED = "from mcp_server_{0}.server import create_server as make; make({1}).run('streamable-http', port={2})"
"""A server of Python over HTTP: the very one that it is over pipes."""
_PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000049454e44ae426082")


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What came of the calls of one server."""

    peer: str
    transport: str
    revision: str
    tools: int
    called: int
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """What came of a server that was killed in the middle of a call of a run."""

    peer: str
    transport: str
    seconds: float
    said: str
    answer: str


@dataclass(slots=True)
class World:
    """A folder with what the servers work on, and a page for them to fetch."""

    packages: Path
    folder: Path
    page: str = ""
    asked: threading.Event = field(default_factory=threading.Event)
    """Set when the page that never comes was asked for."""

    def program(self, peer: str) -> str:
        inside = f"env-{peer}/bin" if peer in _PYTHON else "node_modules/.bin"
        return str(self.packages / inside / f"mcp-server-{peer}")

    def python(self, peer: str) -> str:
        return str(self.packages / f"env-{peer}" / "bin" / "python")

    def over_pipes(self) -> dict[str, dict[str, Any]]:
        """The servers of an mcp.json that are started here. Each writes its process id first."""
        given: dict[str, Sequence[str]] = {
            "everything": ["stdio"],
            "filesystem": [str(self.folder / "files")],
            "memory": [],
            "time": ["--local-timezone", "UTC"],
            "git": ["--repository", str(self.folder / "repository")],
            "fetch": ["--allow-private-ips", "--ignore-robots-txt"],
            "sqlite": ["--db-path", str(self.folder / "test.db")],
        }
        env = {"MEMORY_FILE_PATH": str(self.folder / "memory.jsonl"), "TZ": "UTC"}
        env |= {f"GIT_{who}_{what}": "a@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        started = 'echo $$ > "$0"; exec "$@"'
        return {
            peer: {
                "command": "sh",
                "args": ["-c", started, str(self.folder / f"{peer}.pid"), self.program(peer), *arguments],
                "env": env,
            }
            for peer, arguments in given.items()
        }

    def over_http(self, peer: str, port: int) -> list[str]:
        """What is run so that a server listens there."""
        if peer == "everything":
            return [self.program(peer), "streamableHttp"]
        made = {
            "time": "'UTC'",
            "git": f"__import__('pathlib').Path({str(self.folder / 'repository')!r})",
            "fetch": "ignore_robots_txt=True, allow_private_ips=True",
        }
        return [self.python(peer), "-c", _SERVED.format(peer, made[peer], port)]

    def words(self, value: Any) -> Any:
        """Arguments and expected words with the places of this world."""
        if isinstance(value, str):
            return value.replace("FOLDER", str(self.folder)).replace("PAGE", self.page)
        if isinstance(value, list):
            return [self.words(one) for one in value]
        return {key: self.words(one) for key, one in value.items()} if isinstance(value, dict) else value


@contextlib.contextmanager
def world(packages: Path) -> Iterator[World]:
    with tempfile.TemporaryDirectory() as place:
        made = World(packages=packages, folder=Path(place).resolve())
        with _page(made) as address:
            made.page = address
            yield made


def prepare(made: World) -> None:
    """What the servers work on, as it is before they do."""
    files, repository = made.folder / "files", made.folder / "repository"
    for folder in (files, repository):
        folder.mkdir()
    (files / "plums.txt").write_text("Plums are ripe in August.\n")
    (files / "dot.png").write_bytes(_PNG)
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for arguments in (["init", "-q", "-b", "main"], [*who, "commit", "-q", "--allow-empty", "-m", "Begin"]):
        subprocess.run(["git", *arguments], cwd=repository, check=True)
    (repository / "plums.txt").write_text("Plums are ripe.\n")
    subprocess.run(["git", "add", "."], cwd=repository, check=True)
    subprocess.run(["git", *who, "commit", "-q", "-m", "Add plums"], cwd=repository, check=True)
    (repository / "plums.txt").write_text("Plums are ripe in August.\n")


@contextlib.contextmanager
def _page(made: World) -> Iterator[str]:
    """The address of a page on loopback; below `never` nothing ever comes."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/never"):
                made.asked.set()
                over.wait()
                return
            body = b"<html><title>Plums</title><body><h1>Plums</h1><p>Plums are ripe in August.</p></body></html>"
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    over = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def listening(made: World, peer: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server over HTTP, once it listens."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    env = {**os.environ, "PORT": str(port)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(made.over_http(peer, port), env=env, **quiet) as process:  # type: ignore[call-overload]
        try:
            _until_it_listens(process, port)
            yield f"http://127.0.0.1:{port}/mcp", process
        finally:
            process.kill()


def _until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the server has ended"
        time.sleep(0.1)
    raise AssertionError("the server does not listen")


def opened(made: World, folder: Path, servers: Mapping[str, Any]) -> Servers:
    """Our client of these servers, by way of an mcp.json."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    return opened_servers(folder, file, ask=answered)


def answered(asked: Form) -> Mapping[str, Value]:
    """What a patient person answers."""
    return {one.name: _answer(one) for one in asked.fields if one.default is None and one.required}


def _answer(one: Field) -> Value:
    if one.options:
        first = one.options[0][0]
        return [first] if one.kind == "some of" else first
    by_kind: dict[str, Value] = {"yes or no": True, "integer": int(one.low or 1), "number": one.low or 1.0}
    return by_kind.get(one.kind, "Ann")


def call_all(servers: Servers, made: World, peer: str, transport: str) -> Called:
    """Allows all tools of a server, and makes the calls there are for it."""
    offered = [offer.tool.name for offer in servers.offers(peer)]
    servers.allow(peer, offered, ["read"])
    tools, problems = servers.tools()
    by_name = dict(zip(offered, tools, strict=True)) if len(tools) == len(offered) else {}
    failed = list(problems)
    done = set()
    for name, arguments, expected in made.words([list(one) for one in CALLS[peer]]):
        if name not in by_name:
            failed.append(f"{name}: it is not offered")
            continue
        call = ToolCall(id="1", name=by_name[name].spec.name, arguments=arguments)
        said = calling.run(by_name[name], call, count_tokens=len, max_tokens=20_000).observation
        done.add(name)
        if said.error or expected not in said.content:
            failed.append(f"{name}: {said.content[:200]!r} where {expected!r} was expected")
    failed += [f"{name}: there is no call of it" for name in offered if name not in done]
    return Called(
        peer=peer,
        transport=transport,
        revision=servers.connection(peer).revision(),
        tools=len(offered),
        called=len(done),
        failed=tuple(failed),
    )


def kill_in_a_run(made: World, peer: str, transport: str) -> Killed:
    """A run whose first call is of a server that is killed meanwhile, and that goes on."""
    with contextlib.ExitStack() as stack:
        if transport == "http":
            url, process = stack.enter_context(listening(made, peer))
            said: dict[str, Any] = {"url": url}
            kill: Callable[[], None] = process.kill
        else:
            said = made.over_pipes()[peer]
            pid = made.folder / f"{peer}.pid"
            kill = lambda: os.kill(int(pid.read_text()), signal.SIGKILL)  # noqa: E731
        return _killed(made, peer, transport, said, kill)


def _killed(made: World, peer: str, transport: str, said: Mapping[str, Any], kill: Callable[[], None]) -> Killed:
    long = {
        "everything": ("trigger-long-running-operation", {"duration": 600, "steps": 600}),
        "fetch": ("fetch", {"url": f"{made.page}never"}),
    }
    name, arguments = long[peer]
    folder = made.folder / f"killed-{peer}-{transport}"
    servers = opened(made, folder, {peer: said})
    replies = [_said(f"{peer}__{name.replace('-', '_')}", arguments), _said("calculate", {"expression": "6 * 7"})]
    llm = ScriptedLLM(functools.partial(_reply, replies))
    made.asked.clear()
    with KnowledgeBase.open(folder / "kb", embedder=HashEmbedder(), llm=llm) as kb:
        servers.allow(peer, [name], ["read"])
        with Agent(kb, mcp=servers) as agent:
            seconds, seen, answer = _run(agent, made, kill)
    servers.close()
    return Killed(peer=peer, transport=transport, seconds=seconds, said=seen, answer=answer)


def _run(agent: Agent, made: World, kill: Callable[[], None]) -> tuple[float, str, str]:
    """Seconds from the kill to the error, what that said, and the answer of the run."""
    killed = 0.0
    seconds, said, answer = -1.0, "", ""

    def killing() -> None:
        nonlocal killed
        made.asked.wait(60)
        killed = time.monotonic()
        kill()

    thread = threading.Thread(target=killing)
    thread.start()
    for event in agent.stream("How much is 6 times 7?"):
        if event.kind == "progress":
            made.asked.set()
        if event.observation is not None and seconds < 0:
            seconds, said = time.monotonic() - killed, event.observation.content
        if event.result is not None:
            answer = event.result.answer.text
    thread.join()
    return seconds, said, answer


def _said(name: str, arguments: Mapping[str, Any]) -> str:
    return json.dumps({"found": "so", "tool": name, "arguments": arguments})


def _reply(replies: Sequence[str], messages: Sequence[Message]) -> str:
    made = sum(message.role == "assistant" for message in messages)
    return replies[made] if made < len(replies) else _said("final_answer", {"answer": "It is 42."})


def calls(made: World) -> Iterator[Called]:
    """The calls over pipes, and then over HTTP on what is there anew."""
    prepare(made)
    over_pipes = made.over_pipes()
    for peer, said in over_pipes.items():
        servers = opened(made, made.folder / "pipes" / peer, {peer: said})
        yield call_all(servers, made, peer, "stdio")
        servers.close()


def calls_over_http(made: World) -> Iterator[Called]:
    prepare(made)
    for peer in ("everything", "time", "git", "fetch"):
        with listening(made, peer) as (url, _):
            servers = opened(made, made.folder / "http" / peer, {peer: {"url": url}})
            yield call_all(servers, made, peer, "http")
            servers.close()


def main() -> int:
    packages = Path(sys.argv[1]).resolve()
    wrong = 0
    print(f"{'peer':<12} {'transport':<10} {'revision':<12} tools called failed")
    for some in (calls, calls_over_http):
        with world(packages) as made:
            for one in some(made):
                wrong += len(one.failed)
                print(
                    f"{one.peer:<12} {one.transport:<10} {one.revision:<12} "
                    f"{one.tools:>5} {one.called:>6} {len(one.failed):>6}",
                    flush=True,
                )
                for problem in one.failed:
                    print(f"  FAIL {problem}")
    with world(packages) as made:
        for peer in ("everything", "fetch"):
            for transport in ("stdio", "http"):
                killed = kill_in_a_run(made, peer, transport)
                right = 0 <= killed.seconds <= IN_TIME_S and killed.answer == "It is 42."
                wrong += not right
                print(
                    f"{'ok  ' if right else 'FAIL'} {peer} over {transport} killed in a call: "
                    f"{killed.seconds:.1f} s to {killed.said!r}; the run went on to {killed.answer!r}",
                    flush=True,
                )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
