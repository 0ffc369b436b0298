"""Runs of an agent that are killed at any moment, and the law that each of their effects happens once.

    python -m ragagent.testing.agent_kills --kills 200

A scripted model counts in a file, writes files and posts to a server on loopback, each several times. The process at it
is killed with SIGKILL at random moments and the run resumed by a new one, which is killed too, and so on. It holds:

- no effect happens twice, whatever the moment;
- a resumed run goes on, or asks about the one call that was under way; asked, it is told the truth;
- at the end every effect has happened once, the answer is there, the log is whole, and the run replays from it.

Every other run asks for an approval of each call as well. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import http.server
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragagent.agent.journal import Journal
from ragagent.agent.policy import Policy
from ragagent.agent.replay import replay
from ragagent.agent.runner import AgentRunner
from ragagent.settings import AgentSettings
from ragagent.testing.llm import ScriptedLLM
from ragagent.tools.function import FunctionTool, tool
from ragagent.types import Answer, Decision, Hit, Message

_TASK = "Do all of it"
_CALLS = [(name, number) for number in range(3) for name in ("count", "write_down", "post")]
_KILLS_A_RUN = 6
_MAX_ATTEMPTS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills runs of an agent at random moments and counts their effects.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sys.stdout.write(json.dumps(kill_runs(arguments.kills, arguments.seed)) + "\n")


def kill_runs(kills: int, seed: int = 0) -> dict[str, int]:
    """Kills so many processes. Raises AssertionError when an effect happened twice or a run did not end right."""
    found: collections.Counter[str] = collections.Counter()
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="agent-kills-") as place, _server(Path(place, "posts")) as address:
        # How long a process works on a run before it ends by itself: all of it, or as far as to the next question.
        seconds = _Round(Path(place, "whole"), address, asks=False).finish(chance, 0, 0.0)["milliseconds"] / 1000
        while found["kills"] < kills:
            round_ = _Round(Path(place, f"run{found['runs']}"), address, asks=found["runs"] % 2 == 1)
            wanted = min(_KILLS_A_RUN, kills - found["kills"])
            found.update(round_.finish(chance, wanted, seconds / 5 if round_.asks else seconds))
            found["runs"] += 1
    del found["milliseconds"]
    return dict(found)


@dataclass
class _Round:
    """One run in a folder of its own, gone on with by one process after another."""

    folder: Path
    address: str
    asks: bool
    counts: collections.Counter[str] = field(default_factory=collections.Counter)

    def finish(self, chance: random.Random, kills: int, seconds: float) -> dict[str, int]:
        """Lets processes work on the run until it has ended, the first `kills` of them killed on the way."""
        self.folder.mkdir()
        decision: Decision | None = None
        begin = time.perf_counter()
        for _ in range(_MAX_ATTEMPTS):
            after = chance.uniform(0.0, seconds) if self.counts["kills"] < kills else None
            said = self._attempt(decision, after)
            self._check_once()
            if said is None:
                self.counts["kills"] += 1
                decision = None
                continue
            if said["stopped"] != "approval":
                break
            decision = self._decide(said)
        assert said is not None, "the run did not end"
        assert (said["stopped"], said["answer"]) == ("finished", "all done"), said
        assert all(self.happened(name, number) == 1 for name, number in _CALLS), "an effect is missing"
        self._check_log()
        self.counts["milliseconds"] = int(1000 * (time.perf_counter() - begin))
        return dict(self.counts)

    def _decide(self, asked: dict[str, Any]) -> Decision:
        """What an honest human says: a call may be made; one that may have been made is looked after first."""
        if asked["kind"] == "unknown":
            self.counts["asked"] += 1
        done = self.happened(asked["tool"], asked["number"])
        return Decision(approval_id=asked["id"], approved=asked["kind"] == "call" or not done, by="program")

    def happened(self, name: str, number: int) -> int:
        """How often an effect has happened."""
        if name == "post":
            file, line = self.folder.parent / "posts", f"{self.folder.name}:{number}"
        else:
            file, line = self.folder / name, str(number)
        return file.read_text().splitlines().count(line) if file.exists() else 0

    def _check_once(self) -> None:
        # The server takes requests in turn: once this one is answered, those of a killed process have been taken.
        with urllib.request.urlopen(f"{self.address}/", timeout=60):
            pass
        for name, number in _CALLS:
            assert self.happened(name, number) <= 1, f"{name} {number} has happened twice"

    def _check_log(self) -> None:
        journal = Journal(self.folder / "agent.db")
        found = replay(journal.entries("r"))
        problem = journal.check() or found.problem
        journal.close()
        assert problem == "", problem
        assert found.answer == "all done"

    def _attempt(self, decision: Decision | None, kill_after_s: float | None) -> dict[str, Any] | None:
        """What a process of its own says at its end; None when it was killed before."""
        said = self.folder / "said"
        said.unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                said.with_suffix(".part").write_text(json.dumps(self._work(decision)))
                os.replace(said.with_suffix(".part"), said)
                code = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(code)
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return None
        assert os.waitstatus_to_exitcode(status) == 0, "the process failed: see what it said above"
        found: dict[str, Any] = json.loads(said.read_text())
        return found

    def _work(self, decision: Decision | None) -> dict[str, Any]:
        """Begins the run, or goes on with it as far as it goes."""
        file = self.folder / "agent.db"
        policy, limits = Policy(untrusted="allow", always_ask=self.asks), AgentSettings(max_steps=len(_CALLS) + 2)
        runner = AgentRunner(
            ScriptedLLM(_reply), self._tools(), cite=_cite, checkpoints=file, policy=policy, settings=limits
        )
        begun = "r" in runner.journal.runs()
        result = runner.resume("r", decision) if begun else runner.run(_TASK, run_id="r")
        asked = result.approval
        return {
            "stopped": result.stopped,
            "answer": result.answer.text,
            "id": asked.id if asked else "",
            "kind": asked.kind if asked else "",
            "tool": asked.tool if asked else "",
            "number": asked.arguments["number"] if asked else 0,
        }

    def _tools(self) -> Sequence[FunctionTool]:
        folder, address = self.folder, self.address

        @tool(effects={"write"})
        def count(number: int) -> str:
            """Counts."""
            with open(folder / "count", "a") as file:
                file.write(f"{number}\n")
            return _slowly("counted")

        @tool(effects={"write"})
        def write_down(number: int) -> str:
            """Writes."""
            with open(folder / "write_down", "a") as file:
                file.write(f"{number}\n")
                file.flush()
                os.fsync(file.fileno())
            return _slowly("written")

        @tool(effects={"network"})
        def post(number: int) -> str:
            """Posts."""
            with urllib.request.urlopen(address, data=f"{folder.name}:{number}".encode(), timeout=60) as answer:
                return _slowly(str(answer.status))

        return [count, write_down, post]


def _slowly(said: str) -> str:
    """Leaves time to be killed in between the effect and the record of it."""
    time.sleep(0.02)
    return said


def _reply(messages: Sequence[Message]) -> str:
    """The next call, by how many have been made: a process that goes on has the same script."""
    made = sum(message.role == "assistant" for message in messages)
    if made >= len(_CALLS):
        return json.dumps({"found": "so", "tool": "final_answer", "arguments": {"answer": "all done"}})
    name, number = _CALLS[made]
    return json.dumps({"found": "so", "tool": name, "arguments": {"number": number}})


def _cite(task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
    return Answer(question=task, text=text, status="partial", confidence=0.0)


@contextlib.contextmanager
def _server(file: Path) -> Iterator[str]:
    """The address of a server in a process of its own, which adds what is posted to the file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with open(file, "ab") as out:
                out.write(body + b"\n")
            self._answer()

        def _answer(self) -> None:
            with contextlib.suppress(OSError):
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    # Not threaded, and in another process: what forks here has one thread alone.
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    child = os.fork()
    if child == 0:
        try:
            server.serve_forever()
        finally:
            os._exit(0)
    server.server_close()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
