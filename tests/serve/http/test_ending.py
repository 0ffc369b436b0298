"""The server's process is told to end, or killed, in the midst of things: nothing that was acknowledged is lost."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ragagent.serve.http import server
from tests.serve.http.conftest import parsed

FERRY = b"The ferry to the island leaves the harbour at seven in the morning."
NAMES = [f"{number}.txt" for number in range(20)]
TEXTS = [FERRY, *(b"Note number %d says %d." % (number, number * 7919) for number in range(1, len(NAMES)))]
FILES = [("files", (name, text, "text/plain")) for name, text in zip(NAMES, TEXTS, strict=True)]


@dataclass
class Process:
    """The program, and a client of it."""

    popen: subprocess.Popen[str]
    client: httpx.Client

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """The exit code, and what it printed last."""
        self.popen.send_signal(how)
        printed = self.popen.communicate(timeout=30)[0]
        return self.popen.returncode, printed

    def state(self, job: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/jobs/{job}").json()
        return found

    def at_work(self, job: str) -> None:
        """Waits until it has brought in a part of the files."""
        while self.client.get("/api/status").json()["documents"] < 2:
            assert self.state(job)["state"] in {"queued", "running"}
            time.sleep(0.02)

    def done(self, job: str) -> dict[str, Any]:
        with self.client.stream("GET", f"/api/jobs/{job}/events") as answer:
            return list(parsed(answer.iter_lines()))[-1][1]

    def names(self) -> list[str]:
        listed = self.client.get("/api/documents", params={"limit": 200}).json()["documents"]
        return sorted(one["uri"].rpartition("/")[2] for one in listed)


@contextlib.contextmanager
def _running(folder: Path, *, closing_s: float = 20, pieces: int = 0) -> Iterator[Process]:
    started = folder / "port"
    started.unlink(missing_ok=True)
    program = Path(__file__).parent / "slow_server.py"
    command = [sys.executable, str(program), str(folder / "kb"), str(closing_s), str(started), str(pieces)]
    popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        while not (started.exists() and started.read_text()):
            assert popen.poll() is None
            time.sleep(0.02)
        with httpx.Client(base_url=f"http://127.0.0.1:{started.read_text()}", timeout=30) as client:
            yield Process(popen, client)
    finally:
        popen.kill()
        popen.communicate()


def _uploaded(running: Process) -> str:
    answer = running.client.post("/api/uploads", files=FILES)
    assert answer.status_code == 202
    return str(answer.json()["id"])


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_upload_that_is_cut_off_goes_on_at_the_next_start(tmp_path: Path, how: signal.Signals) -> None:
    with _running(tmp_path) as running:
        job = _uploaded(running)
        running.at_work(job)
        there = running.names()
        code, printed = running.end(how)
        assert (code, printed) == ((-9, "") if how == signal.SIGKILL else (0, "closed\n"))
    assert len(there) < len(NAMES)
    with _running(tmp_path) as again:
        assert set(there) <= set(again.names())
        ended = again.done(job)
        assert ended["state"] == "done"
        assert ended["report"]["failed"] == 0
        assert again.names() == sorted(NAMES)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_upload_is_kept_from_the_moment_it_was_acknowledged(tmp_path: Path, how: signal.Signals) -> None:
    with _running(tmp_path) as running:
        job = _uploaded(running)
        running.end(how)
    with _running(tmp_path) as again:
        assert again.done(job)["state"] == "done"
        assert again.names() == sorted(NAMES)


def test_a_cancelled_ingest_ends_soon_keeps_what_it_had_and_stays_cancelled(tmp_path: Path) -> None:
    with _running(tmp_path) as running:
        job, later = _uploaded(running), _uploaded(running)
        running.at_work(job)
        assert running.client.post(f"/api/jobs/{later}/cancel").json()["state"] == "cancelled"
        assert running.client.post(f"/api/jobs/{job}/cancel").status_code == 200
        assert running.done(job)["state"] == "cancelled"
        there = running.names()
        assert 0 < len(there) < len(NAMES)
        running.end(signal.SIGKILL)
    with _running(tmp_path) as again:
        assert [again.state(one)["state"] for one in (job, later)] == ["cancelled", "cancelled"]
        assert again.names() == there


def _asked(running: Process) -> Iterator[tuple[str, dict[str, Any]]]:
    with running.client.stream("POST", "/api/ask/events", json={"question": "When does the ferry leave?"}) as answer:
        yield from parsed(answer.iter_lines())


def test_an_answer_under_way_is_finished_and_nothing_new_is_taken_on(tmp_path: Path) -> None:
    with _running(tmp_path, pieces=10) as running:
        running.done(_uploaded(running))
        events = _asked(running)
        assert any(name == "evidence" for name, _ in events)
        running.popen.send_signal(signal.SIGTERM)
        assert list(events)[-1][0] == "answer"
        assert running.popen.wait(30) == 0


def test_an_answer_that_takes_too_long_is_cancelled_and_its_stream_says_so(tmp_path: Path) -> None:
    with _running(tmp_path, pieces=10_000, closing_s=2) as running:
        running.done(_uploaded(running))
        events = _asked(running)
        assert any(name == "evidence" for name, _ in events)
        running.popen.send_signal(signal.SIGTERM)
        name, body = list(events)[-1]
        assert name == "error"
        assert body["error"]["code"] == "closing"
        assert running.popen.wait(30) == 0


def test_who_connects_before_the_server_is_ready_waits_and_is_not_turned_away() -> None:
    with contextlib.closing(server.listening("127.0.0.1", 0)) as made, socket.create_connection(made.getsockname()):
        pass
