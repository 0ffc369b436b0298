"""Server-sent events: one JSON object each, a sign of life in between, and an end that is said."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import StreamingResponse

from ragagent.errors import RagAgentError
from ragagent.serve.http import logs
from ragagent.serve.http.errors import ErrorBody, Refusal, refusal_of

MEDIA_TYPE = "text/event-stream"
ALIVE_S = 10.0


class EventStream(StreamingResponse):
    """An answer that is a stream of events."""

    media_type = MEDIA_TYPE


# What validators hold each event of a stream against, for OpenAPI 3.1 has no word for streams.
_EVENT = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
    "required": ["data"],
}


def stream_of(schema: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entry of a stream; `schema` says in words what comes."""
    return {200: {"description": schema, "content": {MEDIA_TYPE: {"schema": _EVENT}}}}


def event(name: str, body: BaseModel | dict[str, Any], *, number: int | None = None) -> str:
    """One event as it is sent."""
    data = body.model_dump_json() if isinstance(body, BaseModel) else json.dumps(body)
    # Only "\n" ends a line of JSON, and JSON writes it as an escape; U+2028 is no line end to a browser's parser.
    head = f"id: {number}\n" if number is not None else ""
    return f"{head}event: {name}\ndata: {data}\n\n"


def failed(error: Exception) -> ErrorBody:
    """The body of the event `error`, in which a stream ends that cannot go on."""
    if isinstance(error, RagAgentError):
        error = refusal_of(error)
    if isinstance(error, Refusal):
        return ErrorBody(error=error.body)
    logs.log("fault", where=logs.fault(error))
    return ErrorBody(error=Refusal(500, "fault", "something went wrong here; the log says where").body)


async def kept_alive(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """The events, with a comment when nothing has come for a while, and `error` as the last one if it comes to that."""
    queue: asyncio.Queue[str | None] = asyncio.Queue(maxsize=1)

    async def feed() -> None:
        try:
            async for one in events:
                await queue.put(one)
        except Exception as error:  # noqa: BLE001  # the boundary: the stream has begun, so its end has to say it
            await queue.put(event("error", failed(error)))
        await queue.put(None)

    feeding = asyncio.create_task(feed())
    try:
        while True:
            try:
                async with asyncio.timeout(ALIVE_S):
                    one = await queue.get()
            except TimeoutError:
                yield ": here\n\n"
                continue
            if one is None:
                return
            yield one
    finally:
        feeding.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await feeding


async def either(*events: asyncio.Event) -> None:
    """Returns when one of them is set; nothing waits for the others any more."""
    waits = [asyncio.ensure_future(one.wait()) for one in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()


async def unless_gone(request: Request, events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The items, until the client hangs up; then the iterator is left, which cancels what makes them."""
    gone = asyncio.create_task(_gone(request))
    items = aiter(events)
    try:
        while True:
            following = asyncio.ensure_future(anext(items, None))
            await asyncio.wait({gone, following}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await following
                raise Refusal(499, "gone", "the client hung up")
            item = following.result()
            if item is None:
                return
            yield item
    finally:
        gone.cancel()


async def _gone(request: Request) -> None:
    while not await request.is_disconnected():
        await asyncio.sleep(0.25)
