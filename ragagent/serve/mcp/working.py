"""Work of a call, off the event loop: bounded in number, telling how far it is, ended when the call is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError as ShownError

from ragagent.errors import RagAgentError
from ragagent.serve.mcp.limits import Limits

_EVERY_S = 0.2
_Result = TypeVar("_Result")
Tell = Callable[[float, float | None, str], None]
"""Told how far the work is: so much, of so much, in words. Ends the work when its call is cancelled."""


class Workers:
    """The threads in which calls work."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turns: anyio.CapacityLimiter | None = None
        self._here = 0

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """What `work` returns; errors that ragagent raises on purpose keep their words.

        Raises the SDK's ToolError when too many calls wait already.
        """
        # A limiter belongs to one event loop, and a server is built before there is one.
        self._turns = self._turns or anyio.CapacityLimiter(self._limits.concurrent)
        if self._here >= self._limits.concurrent + self._limits.waiting:
            raise ShownError("too many calls are waiting already; try again in a while")
        self._here += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._turns)
        except RagAgentError as error:
            raise ShownError(str(error)) from error
        finally:
            self._here -= 1

    async def told(self, context: Context[Any, Any], work: Callable[[Tell], _Result]) -> _Result:
        """As `run`, for work that says how far it is, from whichever thread."""
        telling = _Telling()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(telling.hand_on, context)
                try:
                    result = await self.run(lambda: work(telling))
                finally:
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # There is one at most: handing on ends with its cancellation.
            raise group.exceptions[0] from group.exceptions[0].__cause__
        await telling.send(context)
        return result


class _Cancelled(RagAgentError):
    """The call was cancelled, and nobody waits for what its work would give."""


class _Telling:
    """Takes what a worker tells and hands it to the client, a few times a second at most."""

    def __init__(self) -> None:
        self._latest: tuple[float, float | None, str] | None = None
        self._sent = -1.0
        self._over = threading.Event()

    def __call__(self, done: float, total: float | None, message: str) -> None:
        if self._over.is_set():
            raise _Cancelled("cancelled")
        self._latest = (done, total, message)

    async def hand_on(self, context: Context[Any, Any]) -> None:
        """Goes on until it is cancelled; then the work ends at what it tells next.

        The thread itself cannot be waited for and interrupted at once, so this task is what hears of a cancellation.
        """
        try:
            while True:
                await anyio.sleep(_EVERY_S)
                await self.send(context)
        finally:
            self._over.set()

    async def send(self, context: Context[Any, Any]) -> None:
        """Sends what was told last, if it is more than was sent before, as the specification wants."""
        latest = self._latest
        if latest is not None and latest[0] > self._sent:
            self._sent = latest[0]
            await context.report_progress(*latest)
