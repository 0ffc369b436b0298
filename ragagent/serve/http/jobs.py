"""Ingests, one after another in a thread of their own; each is on disk before it is acknowledged.

A job that the end of the process catches, by SIGTERM or SIGKILL, is found at the next start and begun again: what it
had committed is passed over as unchanged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ragagent.atomic import placed
from ragagent.errors import RagAgentError
from ragagent.jsonable import jsonable
from ragagent.protocols import Progress
from ragagent.serve.http import logs, priority
from ragagent.serve.http.errors import Refusal
from ragagent.types import IngestReport

FOLDER = "serve/jobs"
State = Literal["queued", "running", "done", "failed", "cancelled"]
_ENDED = frozenset(("done", "failed", "cancelled"))
_KEPT = 500
"""How many jobs that have ended are remembered."""
_MOST_FAILURES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An ingest. `client` is who asked for it; `places` are the files of an upload, within the space of `principal`."""

    id: str
    client: str
    created_at: float
    source: str | None = None
    places: tuple[str, ...] = ()
    principal: tuple[str, ...] | None = None
    acl: tuple[str, ...] | None = None
    prune: bool = False
    state: State = "queued"
    stage: str = ""
    done: int = 0
    total: int | None = None
    detail: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    error: str = ""
    report: Mapping[str, Any] | None = None
    version: int = field(default=0, compare=False)

    @property
    def ended(self) -> bool:
        """Whether nothing more comes."""
        return self.state in _ENDED


class Interrupted(BaseException):
    """An ingest is to end. Not an Exception: nothing on the way may take it for a failure of its own."""


class _Told(Progress):
    """Keeps a job's progress, and ends its ingest when that is wished."""

    def __init__(self, tell: Callable[[str, int, int | None, str], None], ends: Callable[[], bool]) -> None:
        self._tell = tell
        self._ends = ends

    def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        if self._ends():
            raise Interrupted
        self._tell(stage, done, total, detail)


Ingest = Callable[[Job, Progress], IngestReport]


class Jobs:
    """The queue of ingests. Safe for several threads."""

    def __init__(self, folder: Path, ingest: Ingest, *, most_waiting: int) -> None:
        """`folder` is that of the knowledge base. What was not ended when the process did waits again."""
        self._folder = folder / FOLDER
        self._ingest = ingest
        self._most_waiting = most_waiting
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._waiting: deque[str] = deque()
        self._cancelled: set[str] = set()
        self._closing = False
        self._changed = threading.Condition()
        self._listeners: set[Callable[[Job], None]] = set()
        self._thread: threading.Thread | None = None
        self._load()

    def start(self) -> None:
        """Begins to work on what waits."""
        self._thread = threading.Thread(target=self._work, name="ingest jobs", daemon=True)
        self._thread.start()

    def add(self, client: str, **what: Any) -> Job:
        """A new job, which is on disk when this returns. Raises Refusal when too many wait, or the server ends."""
        job = Job(id=secrets.token_hex(8), client=client, created_at=time.time(), **what)
        with self._changed:
            self._require_room()
            self._store(job)
            self._jobs[job.id] = job
            self._waiting.append(job.id)
            self._forget()
            self._changed.notify_all()
        return job

    def require_room(self) -> None:
        """Raises Refusal when a job would not be taken now."""
        with self._changed:
            self._require_room()

    def get(self, identifier: str) -> Job | None:
        """The job of that id, as it is now."""
        with self._changed:
            return self._jobs.get(identifier)

    def list(self) -> list[Job]:
        """All that are remembered, the latest first."""
        with self._changed:
            return list(reversed(self._jobs.values()))

    def cancel(self, identifier: str) -> Job | None:
        """Ends a job, at once while it waits, else at its next step; what was committed stays."""
        with self._changed:
            job = self._jobs.get(identifier)
            if job is None or job.ended:
                return job
            if job.state == "queued":
                self._waiting.remove(identifier)
                return self._set(job, state="cancelled", ended_at=time.time())
            self._cancelled.add(identifier)
            return job

    @contextlib.contextmanager
    def listening(self, listener: Callable[[Job], None]) -> Iterator[None]:
        """Within the block `listener` is told of each change, in the thread that makes it; it must return at once."""
        with self._changed:
            self._listeners.add(listener)
        try:
            yield
        finally:
            with self._changed:
                self._listeners.discard(listener)

    @property
    def waiting(self) -> int:
        """How many wait or are worked on."""
        with self._changed:
            return sum(not job.ended for job in self._jobs.values())

    def close(self) -> None:
        """Stops the one under way at its next step; it waits on disk for the next start, as all that wait do."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        priority.of_ingests()
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._closing:
                    return
                job = self._jobs[self._waiting.popleft()]
                job = self._set(job, state="running", started_at=time.time())
            self._run(job)

    def _run(self, job: Job) -> None:
        def ends() -> bool:
            return self._closing or job.id in self._cancelled

        def tell(stage: str, done: int, total: int | None, detail: str) -> None:
            name = detail.rsplit("/", 1)[-1]
            with self._changed:
                self._set(self._jobs[job.id], keep=False, stage=stage, done=done, total=total, detail=name)

        outcome: dict[str, Any]
        try:
            report = self._ingest(job, _Told(tell, ends))
            outcome = {"state": "done", "report": _reported(report)}
        except Interrupted:
            outcome = {"state": "queued" if self._closing and job.id not in self._cancelled else "cancelled"}
        except RagAgentError as error:
            outcome = {"state": "failed", "error": str(error)}
        except Exception as error:  # noqa: BLE001  # the boundary
            # The boundary of this thread: one job that goes wrong must not be the last.
            logs.log("fault", job=job.id, where=logs.fault(error))
            outcome = {"state": "failed", "error": "something went wrong here; the log says where"}
        with self._changed:
            self._cancelled.discard(job.id)
            ended = None if outcome["state"] == "queued" else time.time()
            self._set(self._jobs[job.id], ended_at=ended, detail="", **outcome)

    def _set(self, job: Job, *, keep: bool = True, **changes: Any) -> Job:
        """The job with `changes`, told to whoever listens, and on disk if it is to be kept."""
        job = replace(job, version=job.version + 1, **changes)
        self._jobs[job.id] = job
        if keep:
            self._store(job)
        for listener in self._listeners:
            listener(job)
        return job

    def _require_room(self) -> None:
        if self._closing:
            raise Refusal(503, "closing", "the server ends; send it again when it is back", retry_after_s=10)
        if len(self._waiting) >= self._most_waiting:
            raise Refusal(503, "busy", f"{len(self._waiting)} ingests wait already; come again", retry_after_s=30)

    def _store(self, job: Job) -> None:
        with placed(self._folder / f"{job.id}.json") as file:
            file.write(json.dumps(jsonable(job)).encode())

    def _load(self) -> None:
        found = []
        for file in self._folder.glob("*.json") if self._folder.is_dir() else ():
            with contextlib.suppress(OSError, ValueError, TypeError):
                found.append(_job(json.loads(file.read_text("utf-8"))))
        for job in sorted(found, key=lambda job: (job.created_at, job.id)):
            waits = replace(job, state="queued") if job.state == "running" else job
            self._jobs[job.id] = waits
            if not waits.ended:
                self._waiting.append(job.id)

    def _forget(self) -> None:
        ended = [job.id for job in self._jobs.values() if job.ended]
        for identifier in ended[: max(0, len(ended) - _KEPT)]:
            del self._jobs[identifier]
            (self._folder / f"{identifier}.json").unlink(missing_ok=True)


def _job(row: Mapping[str, Any]) -> Job:
    known = {item.name for item in dataclasses.fields(Job)}
    listed = {"places", "principal", "acl"}
    values: dict[str, Any] = {key: value for key, value in row.items() if key in known}
    values |= {key: tuple(values[key]) for key in listed if values.get(key) is not None}
    return Job(**values)


def _reported(report: IngestReport) -> dict[str, Any]:
    """The report as it is kept: the first failures and notes by name, the rest as a number."""
    found: dict[str, Any] = jsonable(
        replace(report, failures=report.failures[:_MOST_FAILURES], notes=report.notes[:_MOST_FAILURES])
    )
    return {key: value for key, value in found.items() if key not in ("duplicates", "stage_seconds")}
