"""Do searches stay quick, and answers apart, while many clients ask, search and documents are brought in?

A real `ragagent serve` in a process of its own on loopback. Each client has a token for a principal of its own and a
document that only this principal may read, which holds a code word. For a while every client asks for its code word,
one question after another, and searches beside that with a pause in between, while a folder of files is brought in.
Every other question goes to the bare model, which is told the code word in an earlier message.

Whatever is neither an answer nor an orderly 429 or 503 is an error, and so is another client's code word.

    python -m ragagent.eval.perf.serve --model qwen2.5-coder-0.5b-instruct
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ragagent import Document, KnowledgeBase
from ragagent.errors import RagAgentError
from ragagent.eval.environment import facts
from ragagent.eval.perf.generated import SYLLABLES, texts
from ragagent.eval.perf.loopback import Answer, Connection, memory_of
from ragagent.settings import Settings

QUESTION = "Do searches stay quick, and answers apart, while many clients ask, search and documents are brought in?"
ASKED = "What is the code word of the warehouse?"
_ORDERLY = (429, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who asks. `code` stands in the one document that only it may read."""

    number: int
    token: str
    code: str


@dataclass(slots=True)
class Tally:
    """What came of the requests of one kind: seconds of those that were answered, and the statuses of all."""

    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """The seconds of those that were answered while files were brought in."""
    statuses: Counter[int] = field(default_factory=Counter)
    own: int = 0
    errors: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "answered": len(self.seconds),
            "with_own_code": self.own,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "ms": _percentiles(self.seconds),
            "ms_while_ingesting": _percentiles(self.busy),
            "errors": len(self.errors),
            "first_errors": self.errors[:5],
        }


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{at}": round(1000 * float(np.percentile(seconds, at)), 1) for at in (50, 95, 99, 100) if seconds}


def main() -> None:
    """Prints one line of JSON."""
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clients = _clients(folder / "kb", options.clients, options.embedder)
        owner = _token(folder / "kb", "--scope", "admin")
        (folder / "files").mkdir()
        for number, text in enumerate(texts(options.files, options.words)):
            (folder / "files" / f"{number}.txt").write_text(text, "utf-8")
        with _serving(folder, options) as (port, process):
            load = _Load(port, process.pid, clients, owner, folder / "files", options)
            figures = asyncio.run(load.run())
            process.send_signal(signal.SIGTERM)
            figures["exit_code"] = process.wait(60)
        log = (folder / "log").read_text("utf-8")
        figures["faults"] = [line for line in log.splitlines() if '"fault"' in line or "Traceback" in line][:5]
    print(json.dumps({"question": QUESTION, **figures, "environment": facts()}))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--model", help="as in the setting llm.model")
    parser.add_argument("--embedder", help="as in the setting embedding.model")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--words", type=int, default=400, help="of each file")
    parser.add_argument("--pause", type=float, default=2.0, help="mean seconds between two searches of a client")
    parser.add_argument("--no-asking", action="store_true", help="searches alone")
    return parser.parse_args()


def _clients(folder: Path, count: int, embedder: str | None) -> list[Client]:
    """Clients with a token and a document each, in a new knowledge base."""
    chance = random.Random(7)
    codes = ["".join(chance.choices(SYLLABLES, k=3)).upper() + str(chance.randrange(100, 1000)) for _ in range(count)]
    filler = list(texts(count, 120, seed=1))
    with KnowledgeBase.open(folder, settings=_settings(embedder)) as kb:
        kb.ingest(
            Document(
                uri=f"load:{number}",
                title=f"Notes of client {number}",
                text=f"The warehouse is open.\n\nThe code word of the warehouse is {code}.\n\n{filler[number]}",
                acl=(f"user:c{number}",),
            )
            for number, code in enumerate(codes)
        )
    made = [_token(folder, "--principal", f"user:c{number}") for number in range(count)]
    return [Client(number=number, token=made[number], code=code) for number, code in enumerate(codes)]


def _token(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "ragagent", "token", "create", "load", "--kb", str(folder), "--json", *options]
    return str(json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["token"])


def _settings(embedder: str | None) -> Settings:
    chosen = Settings()
    return replace(chosen, embedding=replace(chosen.embedding, model=embedder)) if embedder else chosen


@contextlib.contextmanager
def _serving(folder: Path, options: argparse.Namespace) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The port and the process of a server over `folder / "kb"`, which is killed if it is still there at the end."""
    command = [sys.executable, "-m", "ragagent", "serve", "--port", "0", "--kb", str(folder / "kb")]
    command += ["--model", options.model] if options.model else []
    command += ["--embedder", options.embedder] if options.embedder else []
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
    try:
        yield _port(folder / "log", process), process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _port(log: Path, process: subprocess.Popen[bytes]) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text("utf-8").splitlines():
            if line.startswith("serving ") and line.endswith("/"):
                return int(line.rstrip("/").rpartition(":")[2])
        time.sleep(0.05)
    raise RagAgentError(f"the server did not start: {log.read_text('utf-8')[-500:]}")


class _Load:
    """The clients, for as long as they go on."""

    def __init__(
        self, port: int, pid: int, clients: Sequence[Client], owner: str, files: Path, options: argparse.Namespace
    ) -> None:
        self._port, self._pid, self._clients, self._files, self._options = port, pid, clients, files, options
        self._owner = Connection(port, owner)
        self._codes = {client.code for client in clients}
        self._queries = [" ".join(text.split()[:6]) for text in texts(500, 12, seed=2)]
        self._searches, self._asks = Tally(), Tally()
        self._memory: list[tuple[int, int]] = []
        self._ingesting = True

    async def run(self) -> dict[str, Any]:
        """The figures."""
        await self._warm()
        before = memory_of(self._pid)
        begin = time.monotonic()
        self._end = begin + self._options.seconds
        asked = {"source": str(self._files), "acl": ["public"]}
        job = (await self._owner.send("POST", "/api/ingest", asked)).json()["id"]
        asking = [] if self._options.no_asking else [asyncio.create_task(self._ask(one)) for one in self._clients]
        watching = asyncio.create_task(self._watch(job, begin))
        await asyncio.gather(*(self._search(one) for one in self._clients))
        _, unanswered = await asyncio.wait(asking, timeout=0.1) if asking else (set(), set())
        for task in unanswered:
            task.cancel()
        ended = await watching
        await asyncio.sleep(3)
        return {
            "clients": len(self._clients),
            "seconds": round(time.monotonic() - begin, 1),
            "searches": self._searches.figures(),
            "asks": self._asks.figures() | {"waiting_at_the_end": len(unanswered)},
            "ingest": ended,
            "resident_mib": {
                "before": _mib(before),
                "during": [_mib(one) for one in self._memory],
                "after": _mib(memory_of(self._pid)),
            },
        }

    async def _warm(self) -> None:
        """Loads the models: one search and one question of the first client."""
        connection = Connection(self._port, self._clients[0].token)
        await connection.send("POST", "/api/search", {"query": ASKED})
        if not self._options.no_asking:
            await connection.send("POST", "/api/ask", {"question": ASKED})
        connection.close()

    async def _search(self, client: Client) -> None:
        chance = random.Random(client.number)
        connection = Connection(self._port, client.token)
        await asyncio.sleep(chance.random() * self._options.pause)
        while time.monotonic() < self._end:
            query = ASKED if chance.random() < 0.2 else chance.choice(self._queries)
            await self._sent(connection, client, self._searches, "/api/search", {"query": query, "k": 10})
            await asyncio.sleep(chance.expovariate(1 / self._options.pause) if self._options.pause else 0)
        connection.close()

    async def _ask(self, client: Client) -> None:
        connection = Connection(self._port, client.token)
        with contextlib.closing(connection):
            model = (await connection.send("GET", "/v1/models")).json()["data"]
            bare = next(one["id"] for one in model if one["id"] != "ragagent")
            for turn in range(client.number, sys.maxsize):
                path, body = ("/api/ask", {"question": ASKED}) if turn % 2 else _chat(bare, client)
                await self._sent(connection, client, self._asks, path, body)

    async def _sent(self, connection: Connection, client: Client, tally: Tally, path: str, body: Any) -> None:
        """Sends one request and judges the answer; who is told to come later comes then."""
        try:
            answer = await connection.send("POST", path, body)
        except (OSError, EOFError) as error:
            tally.errors.append(f"{path}: {type(error).__name__}: {error}")
            connection.close()
            return
        tally.statuses[answer.status] += 1
        if answer.status in _ORDERLY and answer.headers.get("retry-after", "").isdecimal():
            left = self._end - time.monotonic()
            await asyncio.sleep(max(0.0, min(left, float(answer.headers["retry-after"]))))
        elif answer.status != 200:
            tally.errors.append(f"{path}: {answer.status} {answer.text[:200]}")
        else:
            self._judge(answer, client, tally, path)

    def _judge(self, answer: Answer, client: Client, tally: Tally, path: str) -> None:
        tally.seconds.append(answer.seconds)
        if self._ingesting:
            tally.busy.append(answer.seconds)
        there = {code for code in self._codes if code in answer.text}
        tally.own += client.code in there
        if there - {client.code}:
            tally.errors.append(f"{path}: client {client.number} was told {sorted(there - {client.code})}")

    async def _watch(self, job: str, begin: float) -> dict[str, Any]:
        """Follows the ingest and the memory to the end of both."""
        ended: dict[str, Any] = {}
        while time.monotonic() < self._end or not ended:
            self._memory.append(memory_of(self._pid))
            found = (await self._owner.send("GET", f"/api/jobs/{job}")).json()
            if not ended and found["state"] not in ("queued", "running"):
                self._ingesting = False
                ended = {"state": found["state"], "seconds": round(time.monotonic() - begin, 1), "done": found["done"]}
            if time.monotonic() > self._end + 60:
                return {"state": found["state"], "done": found["done"], "total": found["total"]}
            await asyncio.sleep(2)
        return ended


def _chat(model: str, client: Client) -> tuple[str, dict[str, Any]]:
    said = [
        {"role": "user", "content": f"My code word is {client.code}."},
        {"role": "assistant", "content": "I keep it in mind."},
        {"role": "user", "content": "Say my code word."},
    ]
    return "/v1/chat/completions", {"model": model, "messages": said, "max_tokens": 24, "temperature": 0}


def _mib(memory: tuple[int, int]) -> list[int]:
    """Of the server, and of the processes that it started."""
    return [round(one / 2**20) for one in memory]


if __name__ == "__main__":
    main()
