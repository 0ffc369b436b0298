"""What one client may ask for: requests a minute, the size of a body, and how slowly it may come."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Message, Receive

from ragagent.serve.http.errors import Refusal

_MOST_CLIENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of a server."""

    requests_per_minute: float = 1200
    """Of one client, on average."""
    burst: int = 200
    """How many requests may come at once."""
    failures_per_minute: float = 30
    """Wrong tokens of one address."""
    body_bytes: int = 1024 * 1024
    """The most a body may have, but for uploads."""
    upload_bytes: int = 512 * 1024 * 1024
    """The most that one upload may have, all its files together."""
    upload_files: int = 1000
    body_wait_s: float = 20.0
    """How long the next piece of a body may take."""
    body_bytes_per_s: float = 4096
    """How fast a body has to come on average, once `body_wait_s` are over."""
    header_s: float = 20.0
    """How long the head of a request may take."""
    answer_s: float = 300.0
    """How long an answer may take, once it is its turn."""
    queue_s: float = 120.0
    """How long a request may wait for the model."""
    waiting: int = 64
    """How many may wait for the model together."""
    waiting_of_client: int = 8
    """How many requests of one client may."""
    searches: int = 2
    """How many searches are worked on at once."""
    searches_waiting: int = 32
    searches_wait_s: float = 5.0
    """How long a search may wait for its turn."""
    jobs_waiting: int = 1000
    """How many ingests may wait."""
    runs: int = 2
    """How many runs of agents are worked on at once."""
    runs_waiting: int = 32
    closing_s: float = 20.0
    """How long what is under way may take to end when the server is told to."""


class Rates:
    """A bucket of tokens for each client. Safe for several threads."""

    def __init__(self, per_minute: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_minute / 60.0
        self._burst = float(burst)
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str, *, take: bool = True) -> float:
        """0 when the client may go on, which takes one token; else how long until it may."""
        now = self._clock()
        with self._lock:
            level, at = self._buckets.pop(client, (self._burst, now))
            level = min(self._burst, level + (now - at) * self._rate)
            free = level >= 1
            self._buckets[client] = (level - 1 if free and take else level, now)
            while len(self._buckets) > _MOST_CLIENTS:
                self._buckets.popitem(last=False)
        return 0.0 if free else (1 - level) / self._rate


def bounded(receive: Receive, limits: Limits, *, most: int, length: int | None) -> Receive:
    """`receive` that raises Refusal for a body that is too large (413) or comes too slowly (408)."""
    if length is not None and length > most:
        raise _too_large(most)
    state = {"bytes": 0, "done": False}
    begin = time.monotonic()

    async def next_piece() -> Message:
        if state["done"]:
            # The body is here; what still comes is the end of the connection, whenever that is.
            return await receive()
        try:
            async with asyncio.timeout(limits.body_wait_s):
                message = await receive()
        except TimeoutError:
            raise _too_slow() from None
        state["bytes"] += len(message.get("body", b""))
        state["done"] = message["type"] != "http.request" or not message.get("more_body", False)
        if state["bytes"] > most:
            raise _too_large(most)
        late = time.monotonic() - begin - limits.body_wait_s
        if not state["done"] and late > 0 and state["bytes"] < late * limits.body_bytes_per_s:
            raise _too_slow()
        return message

    return next_piece


def _too_large(most: int) -> Refusal:
    return Refusal(413, "too_large", f"the body has more than {most} bytes: send less", headers={"Connection": "close"})


def _too_slow() -> Refusal:
    return Refusal(408, "too_slow", "the body came too slowly: send it again", headers={"Connection": "close"})
