"""Calls of tools that work as a task: begun by one request, looked after by others, their result fetched by one more.

Tasks belong to the revision 2025-11-25 of the protocol (https://modelcontextprotocol.io/specification/2025-11-25/basic/
utilities/tasks). The SDK has their types and leaves sending them to its users.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp import Client
    from mcp.types import CallToolResult

_KEPT_MS = 600_000
_POLL_S = (0.05, 5.0)
_CANCEL_S = 0.3
Told = Callable[[float, float | None, str | None], Awaitable[None]]


async def call(client: Client, name: str, arguments: Mapping[str, Any], told: Told) -> CallToolResult:
    """What the tool gives in the end. What the server says of the task meanwhile is told as so many words.

    A call that is cancelled, or that takes too long, cancels the task.
    """
    from mcp import types

    params = types.CallToolRequestParams(name=name, arguments=dict(arguments), task=types.TaskMetadata(ttl=_KEPT_MS))
    begun = await client.session.send_request(types.CallToolRequest(params=params), types.CreateTaskResult)
    try:
        await _followed(client, begun.task, told)
        fetched = types.GetTaskPayloadRequest(params=types.GetTaskPayloadRequestParams(task_id=begun.task.task_id))
        return await client.session.send_request(fetched, types.CallToolResult)
    except asyncio.CancelledError:
        await _cancelled(client, begun.task.task_id)
        raise


async def _followed(client: Client, task: Any, told: Told) -> None:
    """Returns when the result can be fetched, or when fetching it is what the server waits for to ask something."""
    from mcp import types

    said, number = None, 0
    while True:
        if task.status_message and task.status_message != said:
            said, number = task.status_message, number + 1
            await told(number, None, said)
        if task.status != "working":
            return
        await asyncio.sleep(min(max((task.poll_interval or 1000) / 1000, _POLL_S[0]), _POLL_S[1]))
        asked = types.GetTaskRequest(params=types.GetTaskRequestParams(task_id=task.task_id))
        task = await client.session.send_request(asked, types.GetTaskResult)


async def _cancelled(client: Client, task_id: str) -> None:
    from mcp import MCPError, types

    asked = types.CancelTaskRequest(params=types.CancelTaskRequestParams(task_id=task_id))
    with contextlib.suppress(MCPError, TimeoutError):
        async with asyncio.timeout(_CANCEL_S):
            await client.session.send_request(asked, types.CancelTaskResult)


def admitted(result: Any) -> None:
    """Completes the answer to a call that has begun a task, which the SDK takes for a result without content."""
    if isinstance(result, dict) and isinstance(result.get("task"), dict):
        result.setdefault("content", [])
