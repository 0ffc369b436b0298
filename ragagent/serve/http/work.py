"""Work off the event loop: a few threads, a bounded number that waits for them, and streams out of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from ragagent.serve.http.errors import Refusal

_Result = TypeVar("_Result")
_Item = TypeVar("_Item")


class Threads:
    """A pool for one kind of work. Who comes when too many wait is refused at once, in order, with 503."""

    def __init__(self, name: str, *, threads: int, waiting: int, wait_s: float) -> None:
        self._name = name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._threads = threads
        self._waiting = waiting
        self._wait_s = wait_s
        self._inside = 0

    @property
    def inside(self) -> int:
        """How many are worked on or wait."""
        return self._inside

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """What `work` returns. Once begun it is not interrupted; when nobody waits for it any more, it ends unseen."""
        if self._inside >= self._threads + self._waiting:
            raise Refusal(503, "busy", f"too many requests wait ({self._name}); come again soon", retry_after_s=1)
        begun = threading.Event()

        def noted() -> _Result:
            begun.set()
            return work()

        self._inside += 1
        future = self._pool.submit(noted)
        future.add_done_callback(self._done(asyncio.get_running_loop()))
        waited = asyncio.wrap_future(future)
        done, _ = await asyncio.wait({waited}, timeout=self._wait_s)
        if not done and not begun.is_set() and future.cancel():
            raise Refusal(503, "busy", f"no thread was free in time ({self._name}); come again soon", retry_after_s=2)
        return await waited

    def close(self) -> None:
        """Lets what has begun end; what waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _done(self, loop: asyncio.AbstractEventLoop) -> Callable[[object], None]:
        def leave() -> None:
            self._inside -= 1

        def told(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody counts any more
                loop.call_soon_threadsafe(leave)

        return told


class Stop:
    """The wish that something ends, with what is to be done about it at once. Safe for several threads."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._act: Callable[[], None] | None = None
        self._lock = threading.Lock()

    @property
    def wished(self) -> bool:
        return self._event.is_set()

    def wish(self) -> None:
        """Sets it; the work under way is told, once."""
        with self._lock:
            act = self._act if not self._event.is_set() else None
            self._event.set()
        if act is not None:
            act()

    @contextlib.contextmanager
    def acting(self, act: Callable[[], None]) -> Iterator[None]:
        """Within the block, `act` is called when it is wished."""
        with self._lock:
            self._act = act
        try:
            yield
        finally:
            with self._lock:
                self._act = None


class _End:
    """The end of a stream, with the error that it ended by."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Pump(Generic[_Item]):
    """Items that are made in a thread, read in the event loop.

    What is made is bounded by what makes it (an answer has at most so many tokens), so the thread never waits for a
    slow reader: it would keep the model from others.
    """

    def __init__(self, make: Callable[[], Iterator[_Item]], stop: Stop) -> None:
        self._make = make
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[_Item | _End] = asyncio.Queue()

    def work(self) -> None:
        """Makes the items, in whatever thread this is called; ends early when that is wished."""
        error: BaseException | None = None
        try:
            items = self._make()
            with contextlib.ExitStack() as ended:
                if isinstance(items, Generator):
                    ended.callback(items.close)
                for item in items:
                    if self._stop.wished:
                        break
                    self._put(item)
        except BaseException as raised:  # noqa: BLE001  # whatever it is, it is raised where the items are read
            error = raised
        self._put(_End(error))

    def _put(self, item: _Item | _End) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)

    async def items(self) -> AsyncIterator[_Item]:
        """The items as they come; raises what making them raised."""
        while True:
            item = await self._queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
