"""What the routes share: the knowledge base, the queues, the limits; made at the start, closed at the end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ragagent.access import principal_of
from ragagent.app import Agent, KnowledgeBase
from ragagent.errors import RagAgentError
from ragagent.protocols import Cancels, Progress, Tool
from ragagent.serve.http import logs, priority
from ragagent.serve.http.errors import Refusal
from ragagent.serve.http.guard import Caller
from ragagent.serve.http.jobs import Job, Jobs
from ragagent.serve.http.limits import Limits
from ragagent.serve.http.metrics import Metrics, resident_bytes
from ragagent.serve.http.model import TurnTaking
from ragagent.serve.http.runs import Run, Runs
from ragagent.serve.http.tokens import Tokens
from ragagent.serve.http.trash import Trash
from ragagent.serve.http.turns import Ticket, Turns
from ragagent.serve.http.uploads import space_of
from ragagent.serve.http.work import Pump, Stop, Threads
from ragagent.settings import Loaded
from ragagent.types import IngestReport

_Item = TypeVar("_Item")
_LENGTHS = (6, 14, 24, 40)
"""Numbers of words that make the embedder load each of the ways in which it embeds a question."""
_MANY = 32
"""Texts of a document that are embedded at once, so that the engine starts all its threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What an application adds to the server."""

    tools: Sequence[Tool] = ()
    """Tools of agents, beside those that search and read."""
    mcp: Path | None = None
    """An mcp.json with foreign servers, of whose tools agents of the owner may use those that are allowed."""
    web: Path | None = None
    """The folder of the web page; None: there is none."""


@dataclass(frozen=True, slots=True)
class Waits:
    """A request waits for the model; `ahead` come before it."""

    ahead: int


class Service:
    """The parts of a running server."""

    def __init__(self, kb: KnowledgeBase, *, limits: Limits, loaded: Loaded, extras: Extras) -> None:
        self.kb = kb
        self.limits = limits
        self.loaded = loaded
        self.extras = extras
        self.started_at = time.time()
        self.metrics = Metrics()
        self.tokens = Tokens(kb.path)
        self.trash = Trash(kb.path)
        self.turns = Turns(most_waiting=limits.waiting, most_of_client=limits.waiting_of_client)
        self.searching = Threads(
            "search", threads=limits.searches, waiting=limits.searches_waiting, wait_s=limits.searches_wait_s
        )
        self.reading = Threads("read", threads=2, waiting=64, wait_s=30.0)
        self.writing = Threads("write", threads=1, waiting=32, wait_s=30.0)
        self.jobs = Jobs(kb.path, self._ingest, most_waiting=limits.jobs_waiting)
        self.runs = Runs(self._agent, at_once=limits.runs, waiting=limits.runs_waiting)
        self.closing = asyncio.Event()
        self._answering = ThreadPoolExecutor(
            limits.waiting + 1, thread_name_prefix="answer", initializer=priority.of_answers
        )
        self._stops: set[Stop] = set()
        self._lock = threading.Lock()
        self._gauges()

    def seen_by(self, caller: Caller) -> KnowledgeBase:
        """The knowledge base as the caller sees it: the one way from a request to documents."""
        return self.kb if caller.principal is None else self.kb.seen_by(caller.principal)

    async def answered(self, caller: Caller, make: Callable[[Stop], Iterator[_Item]]) -> AsyncIterator[_Item | Waits]:
        """What `make` gives, made when it is the caller's turn at the model; before that how many are ahead.

        Leaving the iterator cancels the model. Raises Refusal when too many wait, or the time is over.
        """
        self.require_open()
        ticket = self.turns.ask(caller.key)
        stop = Stop()
        pump = Pump(lambda: make(stop), stop)
        begun = False
        try:
            async for waits in self._reached(ticket):
                yield waits
            self._answering.submit(self._pumped, pump, ticket, stop)
            begun = True
            try:
                async with asyncio.timeout(self.limits.answer_s):
                    async for item in pump.items():
                        yield item
            except TimeoutError:
                raise Refusal(
                    503, "timeout", f"no answer within {self.limits.answer_s:g} s; ask for less", retry_after_s=5
                ) from None
            if stop.wished:
                raise Refusal(503, "closing", "the server ends; the answer was cancelled", retry_after_s=10)
        finally:
            stop.wish()
            if not begun:
                ticket.leave()

    async def _reached(self, ticket: Ticket) -> AsyncIterator[Waits]:
        """How many are ahead, whenever that has changed, until it is its turn."""
        waited = asyncio.wrap_future(ticket.reached)
        begin, said = time.monotonic(), -1
        while not waited.done():
            ahead = ticket.ahead
            if ahead != said and not waited.done():
                said = ahead
                yield Waits(ahead)
            await asyncio.wait({waited}, timeout=0.5)
            if self.closing.is_set():
                raise Refusal(503, "closing", "the server ends; ask again when it is back", retry_after_s=10)
            if not waited.done() and time.monotonic() - begin > self.limits.queue_s:
                raise Refusal(
                    503, "busy", "the model was not free in time; ask again", retry_after_s=self.turns.expected_s()
                )

    def _pumped(self, pump: Pump[_Item], ticket: Ticket, stop: Stop) -> None:
        """In a thread: makes the items during the turn, and gives the turn back when nothing is made any more."""
        with self._lock:
            self._stops.add(stop)
        try:
            with stop.acting(self._cancel_model):
                pump.work()
        finally:
            with self._lock:
                self._stops.discard(stop)
            ticket.leave()

    def _cancel_model(self) -> None:
        llm = self.kb.llm
        if isinstance(llm, Cancels):
            llm.cancel()

    def require_open(self) -> None:
        """Raises Refusal when the server ends."""
        if self.closing.is_set():
            raise Refusal(503, "closing", "the server ends; come again when it is back", retry_after_s=10)

    def _ingest(self, job: Job, progress: Progress) -> IngestReport:
        """What a job is for, in the thread of jobs."""
        if job.source is not None:
            return self.kb.ingest(job.source, prune=job.prune, progress=progress, acl=job.acl)
        principal = None if job.principal is None else principal_of(job.principal)
        space = space_of(self.kb.path, principal)
        connector = space.connector([space.folder / place for place in job.places], self.kb.settings.ingest)
        return self.kb.ingest(connector, progress=progress, acl=job.acl)

    def begin_closing(self) -> None:
        """From now on nothing new is taken on; answers under way get most of the time that is left, then they end."""
        self.closing.set()
        asyncio.get_running_loop().call_later(self.limits.closing_s * 0.75, self.cancel_answers)

    def cancel_answers(self) -> None:
        """Ends the answers under way, whoever still waits for them."""
        with self._lock:
            stops = list(self._stops)
        for stop in stops:
            stop.wish()

    def close(self) -> None:
        """Ends the threads; what was acknowledged and is not done is on disk."""
        self.cancel_answers()
        self.runs.close()
        self.jobs.close()
        self._answering.shutdown(wait=True, cancel_futures=True)
        for threads in (self.searching, self.reading, self.writing):
            threads.close()

    def start(self) -> None:
        """Begins to work on the ingests that wait, and loads what searches need."""
        threading.Thread(target=self._load, name="load", daemon=True).start()
        self.jobs.start()

    def _load(self) -> None:
        """Embeds texts of a few lengths, for each of which the first costs a third of a second more than the next."""
        # The engine keeps the threads, and the priority, of whoever embeds documents first.
        priority.of_embedding()
        try:
            self.kb.embedder.embed_documents(["word"] * _MANY)
            for words in _LENGTHS:
                self.kb.embedder.embed_query(" ".join(["word"] * words))
        except RagAgentError as error:
            logs.log("not loaded", error=type(error).__name__)

    def _agent(self, run: Run) -> Agent:
        """The agent of a run, which sees what the run's principal sees and takes turns at the model."""
        principal = None if run.principal is None else principal_of(run.principal)
        kb = self.kb if principal is None else self.kb.seen_by(principal)
        return Agent(
            kb,
            self.extras.tools,
            mcp=self.extras.mcp if principal is None else None,
            policy=run.wanted.policy,
            where=run.wanted.where,
            memory=run.wanted.memory,
            llm=TurnTaking(self.kb.llm, self.turns, run.client),
        )

    def _gauges(self) -> None:
        gauge = self.metrics.gauge
        gauge("ragagent_model_waiting", "Requests that wait for the model.", lambda: self.turns.waiting)
        gauge("ragagent_model_busy", "Requests that the model works on.", lambda: self.turns.served)
        gauge("ragagent_searches_inside", "Searches worked on or waiting.", lambda: self.searching.inside)
        gauge("ragagent_ingest_jobs", "Ingests that wait or are worked on.", lambda: self.jobs.waiting)
        gauge("ragagent_documents", "Documents in the knowledge base.", lambda: self.kb.status().documents)
        gauge("ragagent_chunks", "Chunks in the knowledge base.", lambda: self.kb.status().chunks)
        gauge("process_resident_memory_bytes", "Memory that this process holds.", resident_bytes)
        gauge("process_start_time_seconds", "When the process started.", lambda: self.started_at)
