"""Runs of agents: each in a thread, its events kept for whoever follows it, its questions answered by whoever may.

What a run of the owner has done is on disk (`agent.db`), so it outlasts a restart and can be gone on with. A run of a
principal lives as long as the server: what one principal has read is not to be there for another.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from ragagent.agent.policy import Policy
from ragagent.app import Agent
from ragagent.errors import RagAgentError
from ragagent.serve.http import logs
from ragagent.serve.http.errors import Refusal
from ragagent.settings import Strategy
from ragagent.types import AgentEvent, AgentResult, Approval, Decision
from ragagent.where import Where

State = Literal["queued", "running", "waiting", "done", "failed", "cancelled", "interrupted"]
_MOST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a run is to do, and under which policy."""

    task: str
    strategy: Strategy
    where: Where | None = None
    always_ask: bool = False
    read_only: bool = False
    memory: bool | None = None
    """Whether it may remember and recall; None: as `agent.memory` says."""

    @property
    def policy(self) -> Policy:
        """The policy of its calls."""
        return Policy(always_ask=self.always_ask, read_only=self.read_only)


@dataclass(slots=True)
class Run:
    """A run, as it is now. `events` only grows; `changed` is called after each change."""

    id: str
    client: str
    principal: tuple[str, ...] | None
    wanted: Wanted
    created_at: float
    state: State = "queued"
    error: str = ""
    events: list[AgentEvent] = field(default_factory=list)
    approval: Approval | None = None
    result: AgentResult | None = None
    agent: Agent | None = None
    cancelled: bool = False
    listeners: set[Callable[[], None]] = field(default_factory=set)

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more unless somebody acts."""
        return self.state in ("done", "failed", "cancelled", "interrupted")


Opened = Callable[[Run], Agent]


class Runs:
    """The runs of a server. Safe for several threads."""

    def __init__(self, opened: Opened, *, at_once: int, waiting: int) -> None:
        """`opened` makes the agent of a run, which is closed here."""
        self._opened = opened
        self._most_waiting = at_once + waiting
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="agent")
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._lock = threading.RLock()
        self._closing = False

    def begin(self, wanted: Wanted, *, client: str, principal: tuple[str, ...] | None) -> Run:
        """A new run, which begins when a thread is free. Raises Refusal when too many wait."""
        run = Run(id=secrets.token_hex(8), client=client, principal=principal, wanted=wanted, created_at=time.time())
        self._submit(run, lambda agent: agent.stream(wanted.task, run_id=run.id, strategy=wanted.strategy))
        return run

    def go_on(self, run: Run, decision: Decision | None) -> Run:
        """Goes on with a run that waits for that decision, or that was interrupted. Raises Refusal for another one."""
        with self._lock:
            if decision is not None and (run.approval is None or run.approval.id != decision.approval_id):
                raise Refusal(409, "no_approval", "the run does not wait for this approval", param="approval_id")
            if run.state in ("queued", "running") or (decision is None and run.state == "waiting"):
                raise Refusal(409, "agent_state", f"the run is {run.state}")
            run.approval, run.cancelled = None, False
            self._submit(run, lambda agent: agent.resume_stream(run.id, decision))
        return run

    def get(self, identifier: str) -> Run | None:
        """The run of that id, if this server has seen it."""
        with self._lock:
            return self._runs.get(identifier)

    def adopt(self, run: Run) -> Run:
        """Takes in a run that another process began."""
        with self._lock:
            return self._runs.setdefault(run.id, run)

    def list(self) -> list[Run]:
        """Those that this server has seen, the latest first."""
        with self._lock:
            return list(reversed(self._runs.values()))

    def cancel(self, run: Run) -> None:
        """Ends a run at once; one of the owner can be gone on with."""
        with self._lock:
            if run.ended:
                return
            run.cancelled = True
            if run.state == "waiting":
                self._set(run, "cancelled")
            elif run.agent is not None:
                run.agent.cancel(run.id)

    def close(self) -> None:
        """Cancels what is under way; runs of the owner can be gone on with after the next start."""
        with self._lock:
            self._closing = True
            for run in self._runs.values():
                self.cancel(run)
        self._pool.shutdown(wait=True, cancel_futures=True)
        for run in self.list():
            if run.agent is not None:
                run.agent.close()

    def _submit(self, run: Run, events: Callable[[Agent], Iterator[AgentEvent]]) -> None:
        with self._lock:
            under_way = sum(one.state in ("queued", "running") for one in self._runs.values())
            if self._closing:
                raise Refusal(503, "closing", "the server ends; come again when it is back", retry_after_s=10)
            if under_way >= self._most_waiting:
                raise Refusal(503, "busy", f"{under_way} runs are under way; come again later", retry_after_s=30)
            self._runs[run.id] = run
            self._forget()
            self._set(run, "queued")
            self._pool.submit(self._work, run, events)

    def _work(self, run: Run, events: Callable[[Agent], Iterator[AgentEvent]]) -> None:
        """In a thread: follows a run until it ends or asks."""
        if run.cancelled or self._closing:
            self._set(run, "cancelled")
            return
        try:
            if run.agent is None:
                run.agent = self._opened(run)
            self._set(run, "running")
            for event in events(run.agent):
                with self._lock:
                    run.events.append(event)
                    run.approval = event.approval or (None if event.result is None else event.result.approval)
                    run.result = event.result or run.result
                self._tell(run)
            self._set(run, _state(run))
        except RagAgentError as error:
            run.error = str(error)
            self._set(run, "failed")
        except Exception as error:  # noqa: BLE001  # the boundary
            # The boundary of this thread: a run that goes wrong is one that has failed.
            logs.log("fault", run=run.id, where=logs.fault(error))
            run.error = "something went wrong here; the log says where"
            self._set(run, "failed")
        finally:
            if run.agent is not None and run.state != "waiting":
                run.agent.close()
                run.agent = None

    def _set(self, run: Run, state: State) -> None:
        with self._lock:
            run.state = state
        self._tell(run)

    def _tell(self, run: Run) -> None:
        with self._lock:
            listeners = list(run.listeners)
        for listener in listeners:
            listener()

    def _forget(self) -> None:
        ended = [key for key, run in self._runs.items() if run.ended]
        for key in ended[: max(0, len(self._runs) - _MOST)]:
            del self._runs[key]


def _state(run: Run) -> State:
    if run.result is None:
        return "failed"
    stopped = run.result.stopped
    if stopped == "approval":
        return "waiting"
    if stopped == "cancelled":
        return "cancelled"
    return "failed" if stopped == "error" else "done"
