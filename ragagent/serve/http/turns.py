"""Fair turns at something that serves one at a time: whoever asks for much waits behind whoever asks for little."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future

from ragagent.serve.http.errors import Refusal

_KEPT = 0.8
"""How much of the mean time of a turn an earlier turn still counts."""


class Ticket:
    """A place in the queue. `reached` is done when it is this one's turn; `leave` gives the place or the turn up."""

    def __init__(self, turns: Turns, client: str) -> None:
        self.client = client
        self.reached: Future[None] = Future()
        self.began = 0.0
        self._turns = turns

    @property
    def ahead(self) -> int:
        """How many are served before it, as far as is known now; 0 when it is its turn."""
        return self._turns.ahead(self)

    def wait(self, timeout_s: float | None = None) -> None:
        """Until it is its turn; raises TimeoutError, and keeps the place."""
        self.reached.result(timeout_s)

    def leave(self) -> None:
        """Ends the turn, or the waiting; again does nothing. From any thread."""
        self._turns.leave(self)


class Turns:
    """A queue for each client, served in rotation. Safe for several threads."""

    def __init__(self, *, at_once: int = 1, most_waiting: int = 64, most_of_client: int = 8) -> None:
        """`most_waiting` may wait together, `most_of_client` of one client; who comes then is refused."""
        self._at_once = at_once
        self._most_waiting = most_waiting
        self._most_of_client = most_of_client
        self._waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self._served: set[Ticket] = set()
        self._mean_s = 2.0
        self._lock = threading.Lock()

    def ask(self, client: str, *, insist: bool = False) -> Ticket:
        """A place in the queue. Raises Refusal: 429 when this client has too many there, 503 when all together have.

        `insist` is for work that was taken on already: it is never refused.
        """
        ticket = Ticket(self, client)
        with self._lock:
            own = len(self._waiting.get(client, ()))
            if not insist and own >= self._most_of_client:
                raise Refusal(
                    429,
                    "too_many_waiting",
                    f"{own} requests of this client wait for the model already; wait for one of them",
                    retry_after_s=self._expected_s(own),
                )
            if not insist and self._count() >= self._most_waiting:
                raise Refusal(
                    503,
                    "busy",
                    f"{self._count()} requests wait for the model already; come again later",
                    retry_after_s=self._expected_s(self._count()),
                )
            self._waiting.setdefault(client, deque()).append(ticket)
        self._next()
        return ticket

    @contextlib.contextmanager
    def turn(self, client: str, *, timeout_s: float | None = None) -> Iterator[None]:
        """A turn for a block, in the thread that waits for it; never refused."""
        ticket = self.ask(client, insist=True)
        try:
            ticket.wait(timeout_s)
            yield
        finally:
            ticket.leave()

    def ahead(self, ticket: Ticket) -> int:
        with self._lock:
            if ticket in self._served or ticket.reached.done():
                return 0
            return len(self._served) + self._before(ticket)

    def leave(self, ticket: Ticket) -> None:
        with self._lock:
            if ticket in self._served:
                self._served.discard(ticket)
                self._mean_s = _KEPT * self._mean_s + (1 - _KEPT) * (time.monotonic() - ticket.began)
            else:
                self._take_out(ticket)
        self._next()

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return self._count()

    @property
    def served(self) -> int:
        """How many have their turn."""
        with self._lock:
            return len(self._served)

    def expected_s(self) -> float:
        """About how long whoever comes now would wait."""
        with self._lock:
            return self._expected_s(self._count())

    def _expected_s(self, before: int) -> float:
        return min(120.0, self._mean_s * (before + 1) / self._at_once)

    def _count(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _before(self, ticket: Ticket) -> int:
        """Those of every client that come before it in the rotation."""
        own = self._waiting.get(ticket.client, deque())
        if ticket not in own:
            return 0
        place = own.index(ticket)
        order = list(self._waiting)
        mine = order.index(ticket.client)
        return place + sum(
            min(len(queue), place + (order.index(client) < mine))
            for client, queue in self._waiting.items()
            if client != ticket.client
        )

    def _take_out(self, ticket: Ticket) -> None:
        queue = self._waiting.get(ticket.client)
        if queue is not None and ticket in queue:
            queue.remove(ticket)
            if not queue:
                del self._waiting[ticket.client]

    def _next(self) -> None:
        """Gives free turns to those who wait, one client after another."""
        reached: list[Ticket] = []
        with self._lock:
            while self._waiting and len(self._served) < self._at_once:
                client, queue = self._waiting.popitem(last=False)
                ticket = queue.popleft()
                if queue:
                    self._waiting[client] = queue
                ticket.began = time.monotonic()
                self._served.add(ticket)
                reached.append(ticket)
        for ticket in reached:
            ticket.reached.set_result(None)
