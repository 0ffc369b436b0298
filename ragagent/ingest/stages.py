"""Stages that run beside each other, each in threads of its own, with a bounded buffer behind it.

    with Line() as line:
        found = line.beside(names, read, threads=4, room=8)      # names are taken, and read, by these threads
        for one in line.overlapped(found, embed, ahead=1): ...   # embed runs in one more, the block itself here

A full buffer holds back the stage before it, so memory is bounded by the rooms, however long the line is fed. An error
of a stage is raised where its results are taken from, and so on to the end of the line. Leaving the block, by an error
too, ends all stages and waits for them.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

Taken = TypeVar("Taken")
Made = TypeVar("Made")

_PATIENCE_S = 30.0
"""How long the end of a line waits for a stage that does not ask whether it should go on."""
_END = object()


class Stopped(BaseException):
    """The line ends. Not an Exception: nothing on the way may take it for a failure of its own."""


class Line:
    """Stages that begin when their results are asked for and end together."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._workers: list[ThreadPoolExecutor] = []

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(_PATIENCE_S)
        for worker in self._workers:
            worker.shutdown(cancel_futures=True)

    def stopped(self) -> bool:
        """Whether the line ends; work that takes long asks now and then."""
        return self._stopped

    def go_on(self) -> None:
        """Raises Stopped when the line ends."""
        if self._stopped:
            raise Stopped

    def beside(
        self,
        source: Iterable[Taken],
        work: Callable[[Taken], Iterable[Made]] | None = None,
        *,
        room: int,
        weight: Callable[[Any], int] = lambda _: 1,
        threads: int = 1,
        name: str = "stage",
    ) -> Iterator[Made]:
        """What `work` makes of each item of `source` (without it, the items), made ahead of whoever takes it.

        With one thread the order is kept; with several, what one item gives stays together, and no more. The buffer
        takes in items while the weight of those in it is under `room`, so it may hold one item more than fits.
        """
        buffer: _Buffer = _Buffer(self._changed, self.stopped, room=room, weight=weight, makers=threads)
        feed = _Feed(source)

        def run() -> None:
            try:
                for item in feed:
                    for made in (item,) if work is None else work(item):
                        buffer.put(made)
            except Stopped:
                pass
            except BaseException as error:  # noqa: BLE001  # whoever takes from the buffer raises it
                buffer.fail(error)
            finally:
                buffer.leave()

        return self._taken(
            buffer, [threading.Thread(target=run, name=f"ragagent-{name}", daemon=True) for _ in range(threads)]
        )

    def overlapped(self, source: Iterable[Taken], work: Callable[[Taken], Made], *, ahead: int) -> Iterator[Made]:
        """`work` of each item, in order, done in a thread of its own while whoever takes it makes the next `ahead`.

        The source is taken from by the taker's own thread.
        """
        worker = ThreadPoolExecutor(1, thread_name_prefix="ragagent-beside")
        self._workers.append(worker)
        under_way: deque[Future[Made]] = deque()
        for item in source:
            under_way.append(worker.submit(work, item))
            if len(under_way) > ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()

    def _taken(self, buffer: _Buffer, threads: list[threading.Thread]) -> Iterator[Made]:
        self._threads += threads
        for thread in threads:
            thread.start()
        while (item := buffer.take()) is not _END:
            yield item


class _Feed:
    """An iterator that several threads may take from."""

    def __init__(self, source: Iterable[Any]) -> None:
        self._items = iter(source)
        self._lock = threading.Lock()
        self._ended = False

    def __iter__(self) -> Iterator[Any]:
        while True:
            with self._lock:
                item = _END if self._ended else next(self._items, _END)
                self._ended = item is _END
            if item is _END:
                return
            yield item


class _Buffer:
    """What is made and not taken yet."""

    def __init__(
        self,
        changed: threading.Condition,
        stopped: Callable[[], bool],
        *,
        room: int,
        weight: Callable[[Any], int],
        makers: int,
    ) -> None:
        self._changed = changed
        self._stopped = stopped
        self._room = room
        self._weight = weight
        self._makers = makers
        self._held: deque[tuple[Any, int]] = deque()
        self._full = 0
        self._error: BaseException | None = None

    def put(self, item: Any) -> None:
        weight = self._weight(item)
        with self._changed:
            while self._full >= self._room and not self._stopped():
                self._changed.wait()
            if self._stopped():
                raise Stopped
            self._held.append((item, weight))
            self._full += weight
            self._changed.notify_all()

    def take(self) -> Any:
        """The next item; _END when nobody makes any more. Raises what a maker failed with, before anything else."""
        with self._changed:
            while not (self._held or self._error or self._stopped() or not self._makers):
                self._changed.wait()
            if self._error is not None:
                raise self._error
            if self._stopped():
                raise Stopped
            if not self._held:
                return _END
            item, weight = self._held.popleft()
            self._full -= weight
            self._changed.notify_all()
            return item

    def fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def leave(self) -> None:
        with self._changed:
            self._makers -= 1
            self._changed.notify_all()
