"""The person who is asked when a server wants to know something in the middle of a call."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

from ragagent.errors import ToolError
from ragagent.tools.mcp_asking import Ask, Form, completed, form, opening

if TYPE_CHECKING:
    from mcp.client import ClientRequestContext
    from mcp.types import ElicitRequestParams, ElicitResult

ANSWER_S = 240.0
"""How long somebody has to answer, in seconds: less than what a stream of the SDK may be silent."""


class Person:
    """Asks one thing at a time, in a thread of its own. What cannot be asked or is not answered is declined."""

    def __init__(self, server: str, ask: Ask) -> None:
        self._server, self._ask = server, ask
        self._one = asyncio.Lock()
        self._busy = 0

    @property
    def busy(self) -> bool:
        """Whether somebody is being asked now."""
        return self._busy > 0

    async def answer(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        """What goes back to the server."""
        from mcp.types import ElicitResult

        self._busy += 1
        try:
            async with self._one, asyncio.timeout(ANSWER_S):
                given = await self._given(_form(self._server, params))
        except (ToolError, TimeoutError):
            return ElicitResult(action="cancel")
        finally:
            self._busy -= 1
        if given is None:
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content=given or None)

    async def _given(self, asked: Form) -> dict[str, Any] | None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[dict[str, Any] | None] = loop.create_future()

        def settle(given: dict[str, Any] | None, error: ToolError | None) -> None:
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(given)

        def ask() -> None:
            given, wrong = None, None
            try:
                said = self._ask(asked)
                given = None if said is None else completed(asked, said)
            except ToolError as error:
                wrong = error
            except BaseException as error:  # noqa: BLE001  # whatever goes wrong in asking is no answer
                wrong = ToolError(f"nobody could be asked: {error}")
            finally:
                loop.call_soon_threadsafe(settle, given, wrong)

        # A daemon: a person who never answers does not keep the program from ending.
        threading.Thread(target=ask, name="ragagent-mcp-ask", daemon=True).start()
        return await done


def _form(server: str, params: ElicitRequestParams) -> Form:
    if params.mode == "url":
        return opening(server, params.message, params.url)
    return form(server, params.message, params.requested_schema)
