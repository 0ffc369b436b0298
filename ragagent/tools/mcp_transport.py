"""How messages go to and from a server: over the pipes of a process of ours, or over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, TextIO

from ragagent.tools import mcp_tasks
from ragagent.tools.mcp_config import Server

if TYPE_CHECKING:
    import httpx2


@contextlib.asynccontextmanager
async def transport(
    server: Server, errors: TextIO, gone: asyncio.Event, auth: httpx2.Auth | None = None
) -> AsyncIterator[Any]:
    """The streams to and from a server; `gone` is set when a process of ours has ended."""
    from mcp.client.stdio import StdioServerParameters, stdio_client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    if server.url:
        async with (
            create_mcp_http_client(headers=dict(server.headers), auth=auth) as http,
            streamable_http_client(server.url, http_client=http) as (read, write),
            _heard(read, asyncio.Event()) as heard,
        ):
            yield heard, write
        return
    # The SDK hands on a handful of harmless variables of our own environment, and nothing else.
    parameters = StdioServerParameters(
        command=server.command, args=list(server.args), env=dict(server.env), cwd=server.cwd
    )
    async with stdio_client(parameters, errlog=errors) as (read, write), _heard(read, gone) as heard:
        yield heard, write


@contextlib.asynccontextmanager
async def _heard(read: Any, ended: asyncio.Event) -> AsyncIterator[Any]:
    """The messages of `read`; `ended` is set when there are no more, so that nothing is sent to a dead server."""
    import anyio

    send, receive = anyio.create_memory_object_stream[Any](0)

    async def hand_on() -> None:
        async with send:
            with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
                async for message in read:
                    mcp_tasks.admitted(getattr(getattr(message, "message", None), "result", None))
                    await send.send(message)
        ended.set()

    task = asyncio.ensure_future(hand_on())
    try:
        async with receive:
            yield receive
    finally:
        task.cancel()
        await asyncio.wait({task})
