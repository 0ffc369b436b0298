"""Documents as resources: listed page by page, read as a whole, in parts, by passage and by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import unquote

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.exceptions import ToolError as ShownError
from mcp.server.mcpserver.resources import ResourceSecurity
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, ListResourcesResult, Resource

from ragagent.errors import RagAgentError, ToolError
from ragagent.serve.mcp import addresses, cursors, results
from ragagent.serve.mcp.limits import MAX_PAGE, Limits, cut
from ragagent.serve.mcp.reading import document_of, page_of, page_span
from ragagent.serve.mcp.sessions import DrawsPages, Served, seen
from ragagent.serve.mcp.working import Workers
from ragagent.types import Citation, Document, Span

_NOTE_TOKENS = 60
_Content = TypeVar("_Content", str, bytes)
# Ids are looked up in an index and never opened as a path; some hold slashes, as addresses do.
_IDS = ResourceSecurity(exempt_params={"id"})


def add_templates(server: MCPServer[Any], kb: Served, workers: Workers, limits: Limits) -> None:
    """Gives `server` the ways to read a document as a resource."""

    async def part(document_id: str, start: int, end: int | None = None) -> str:
        session = seen(kb)
        return await _had(workers, lambda: _part(_document(session, document_id), start, end, limits.max_tokens))

    @server.resource(addresses.WHOLE, title="A document", security=_IDS)
    async def document(id: str) -> str:
        """The text of a document; of a long one its beginning, and where it goes on."""
        return await part(id, 0)

    @server.resource(addresses.FROM, title="A document from a character on", security=_IDS)
    async def document_from(id: str, start: str) -> str:
        """What a document says from a character on, and where it goes on."""
        return await part(id, _number(start))

    @server.resource(addresses.PASSAGE, title="A passage", security=_IDS)
    async def passage(id: str, start: str, end: str) -> str:
        """Exactly the characters of a document from start to end, as citations name them."""
        return await part(id, _number(start), _number(end))

    @server.resource(addresses.PAGE, title="A page of a document", security=_IDS)
    async def page(id: str, page: str) -> str:
        """The text of a page, for documents that have pages."""
        session, number = seen(kb), _number(page)

        def read() -> str:
            found = _document(session, id)
            return _part(found, *page_span(found, number), limits.max_tokens)

        return await _had(workers, read)

    @server.resource(addresses.PAGE_IMAGE, title="A page as a picture", mime_type="image/png", security=_IDS)
    async def page_image(id: str, page: str) -> bytes:
        """A page as it looks, for PDF files and pictures that still lie where they were brought in from."""
        session, number = seen(kb), _number(page)
        return await _had(workers, lambda: _drawn(session, _document(session, id), number))


def _number(given: str) -> int:
    if not (given.isascii() and given.isdecimal() and len(given) <= 12):
        raise ResourceNotFoundError(f"{given[:40]!r} is no number")
    return int(given)


class Listing:
    """Answers resources/list: what the server has of its own, then the documents, page by page.

    A middleware, because the SDK lists what was registered, all at once, and knows nothing of cursors.
    """

    def __init__(self, kb: Served, workers: Workers) -> None:
        self._kb = kb
        self._workers = workers

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """The page that was asked for; any other request goes on."""
        answer = await call_next(ctx)
        if ctx.method != "resources/list" or not isinstance(answer, dict):
            return answer
        given = (ctx.params or {}).get("cursor")
        session = seen(self._kb)
        try:
            after = cursors.text_place("resources", given)
        except ToolError as error:
            raise MCPError(code=INVALID_PARAMS, message=str(error)) from error
        page, more = await self._workers.run(lambda: page_of(session, MAX_PAGE, after))
        found = ListResourcesResult(
            resources=[_listed(one) for one in page],
            next_cursor=cursors.cursor("resources", page[-1].uri) if more and page else None,
        ).model_dump(by_alias=True, mode="json", exclude_none=True)
        fixed = [] if after else answer.get("resources", [])
        return {
            **answer,
            **{key: found[key] for key in found.keys() & {"nextCursor"}},
            "resources": [*fixed, *found["resources"]],
        }


def _listed(one: results.ListedDocument) -> Resource:
    return Resource(
        uri=one.resource,
        name=one.title or one.uri,
        description=one.uri,
        mime_type="text/plain",
        size=one.characters,
    )


async def _had(workers: Workers, work: Callable[[], _Content]) -> _Content:
    """What `work` gives; what cannot be had is an error in words."""
    try:
        return await workers.run(work)
    except ShownError as error:
        if isinstance(error.__cause__, _Missing):
            raise ResourceNotFoundError(str(error)) from error
        raise ResourceError(str(error)) from error


class _Missing(ToolError):
    """There is no such document, or none that may be seen."""


def _document(kb: Served, given: str) -> Document:
    try:
        return document_of(kb, unquote(given) if kb.document(given) is None else given)
    except ToolError as error:
        raise _Missing(str(error)) from error


def _part(source: Document, start: int, end: int | None, budget: int) -> str:
    """The text from `start`, to `end` or as far as the budget goes; what is cut says where it goes on."""
    end = len(source.text) if end is None else end
    if not 0 <= start <= end <= len(source.text):
        raise _Missing(f"the document has {len(source.text)} characters, and none at {start}..{end}")
    text = cut(source.text[start : min(end, start + 4 * budget)], budget - _NOTE_TOKENS)
    left = end - start - len(text)
    note = f"\n\n[{left} characters follow: {addresses.part(source.id, start + len(text))}]" if left else ""
    return text + note


def _drawn(kb: Served, source: Document, page: int) -> bytes:
    if not isinstance(kb, DrawsPages):
        raise ToolError(f"{type(kb).__name__} draws no pages")
    try:
        start, _ = page_span(source, page)
        return kb.page_image(
            Citation(
                quote="",
                document_id=source.id,
                uri=source.uri,
                title=source.title,
                span=Span(start, start),
                page=page,
                verified=True,
            )
        )
    except RagAgentError as error:
        raise ToolError(str(error)) from error
