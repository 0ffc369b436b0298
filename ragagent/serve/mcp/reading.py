"""The tools that read: search, ask, read_document, list_documents, status."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field

from ragagent.errors import ToolError
from ragagent.serve.mcp import addresses, content, cursors, parameters, results
from ragagent.serve.mcp.limits import Limits, cut, tokens_of
from ragagent.serve.mcp.sessions import Served, seen
from ragagent.serve.mcp.working import Tell, Workers
from ragagent.types import Answer, AnswerStyle, Document, SearchMode, digest
from ragagent.where import Where, from_value

_ENVELOPE_TOKENS = 120
"""What a result takes beside its items: the names of its fields and a cursor."""


def add_tools(server: MCPServer[Any], kb: Served, workers: Workers, limits: Limits, *, writes: bool) -> None:
    """Gives `server` the tools. `writes` is only what status says."""
    reads = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)

    @server.tool(title="Search the documents", annotations=reads)
    async def search(
        query: parameters.Query,
        k: parameters.HitCount = 10,
        mode: parameters.Mode = "hybrid",
        where: parameters.Filter = None,
        max_tokens: parameters.Budget = None,
        cursor: parameters.Cursor = None,
    ) -> Annotated[CallToolResult, results.SearchResult]:
        """Finds the passages of the documents that fit a query best, with their places."""
        session, budget = seen(kb), max_tokens or limits.max_tokens
        found = await workers.run(lambda: _searched(session, query, k, mode, where, budget, cursor))
        return content.result(found, ((one.resource, one.title or one.uri) for one in found.passages))

    @server.tool(title="Ask the documents", annotations=reads)
    async def ask(
        question: parameters.Question,
        ctx: Context[Any, Any],
        where: parameters.Filter = None,
        style: parameters.Style = None,
        max_tokens: parameters.Budget = None,
    ) -> Annotated[CallToolResult, results.AskResult]:
        """Answers a question from the documents with verified quotes, or refuses and says why."""
        session = seen(kb)
        answer = await workers.told(ctx, lambda tell: _answered(session, question, _filter(where), style, tell))
        found = _within(answer, max_tokens or limits.max_tokens)
        return content.result(found, ((one.resource, one.title or one.uri) for one in found.citations))

    @server.tool(title="Read a document", annotations=reads)
    async def read_document(
        document: parameters.DocumentName,
        start: Annotated[int, Field(ge=0, description="the character to read from")] = 0,
        page: Annotated[int | None, Field(ge=1, description="the page to read from, where there are pages")] = None,
        max_tokens: parameters.Budget = None,
        cursor: parameters.Cursor = None,
    ) -> Annotated[CallToolResult, results.ReadResult]:
        """Reads the text of a document, part by part."""
        session, budget = seen(kb), max_tokens or limits.max_tokens
        found = await workers.run(lambda: _read(session, document, start, page, budget, cursor))
        address = addresses.passage(found.document_id, found.start, found.end)
        return content.result(found, [(address, found.title or found.uri)])

    @server.tool(title="List the documents", annotations=reads)
    async def list_documents(
        limit: parameters.PageSize = 20, max_tokens: parameters.Budget = None, cursor: parameters.Cursor = None
    ) -> Annotated[CallToolResult, results.DocumentsResult]:
        """Lists the documents in the order of their uri, page by page."""
        session, budget = seen(kb), max_tokens or limits.max_tokens
        found = await workers.run(lambda: _listed(session, limit, budget, cursor))
        return content.result(found, ((one.resource, one.title or one.uri) for one in found.documents))

    @server.tool(title="Say what there is", annotations=reads)
    async def status() -> Annotated[CallToolResult, results.StatusResult]:
        """Counts the documents and passages that can be searched here."""
        session = seen(kb)
        return content.result(await workers.run(lambda: results.status(session.status(), writes=writes)))


def _filter(where: dict[str, Any] | str | None) -> Where | None:
    return from_value(where) if where else None


def _searched(
    kb: Served,
    query: str,
    k: int,
    mode: SearchMode,
    where: dict[str, Any] | str | None,
    budget: int,
    cursor: str | None,
) -> results.SearchResult:
    call = f"search:{digest(query, str(k), mode, repr(where))[:12]}"
    first = cursors.number_place(call, cursor)
    found = [results.passage(hit) for hit in kb.search(query, k=k, mode=mode, where=_filter(where))][first:]
    fit = content.fitting(found, budget - _ENVELOPE_TOKENS, each=content.LINK_TOKENS)
    if found and not fit:
        fit = [_shortened(found[0], budget - _ENVELOPE_TOKENS - content.LINK_TOKENS)]
    more = len(found) > len(fit)
    return results.SearchResult(passages=fit, next_cursor=cursors.cursor(call, first + len(fit)) if more else None)


def _shortened(passage: results.FoundPassage, budget: int) -> results.FoundPassage:
    bare = passage.model_copy(update={"text": "", "also_in": [], "shortened": True})
    text = cut(passage.text, budget - tokens_of(bare.model_dump_json()))
    return bare.model_copy(update={"text": text})


def _answered(kb: Served, question: str, where: Where | None, style: AnswerStyle | None, tell: Tell) -> Answer:
    """The answer; the model is cancelled when the call is."""
    tell(0, None, "searching")
    events = kb.ask_stream(question, where=where, style=style)
    try:
        for done, event in enumerate(events, start=1):
            if event.answer is not None:
                return event.answer
            passages = len(event.evidence.passages) if event.evidence is not None else 0
            tell(done, None, f"reading {passages} passages" if event.evidence is not None else event.text)
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()
    raise AssertionError("a stream of answer events ends with the answer")


def _within(answer: Answer, budget: int) -> results.AskResult:
    quotes = [results.quote(number, one) for number, one in enumerate(answer.citations, start=1)]
    text = cut(answer.text, budget - _ENVELOPE_TOKENS)
    left = budget - _ENVELOPE_TOKENS - tokens_of([text, answer.reason])
    fit = content.fitting(quotes, left, each=content.LINK_TOKENS)
    return results.asked(answer, fit).model_copy(update={"text": text})


def document_of(kb: Served, given: str) -> Document:
    """The document of an id or an address. Raises ToolError when there is none that may be seen."""
    found = kb.document(addresses.document_id(given))
    if found is None:
        raise ToolError(f"there is no document {given[:200]!r}; search or list the documents to see their ids")
    return found


def _read(kb: Served, given: str, start: int, page: int | None, budget: int, cursor: str | None) -> results.ReadResult:
    source = document_of(kb, given)
    call = f"read:{source.id[:64]}"
    if cursor:
        start = cursors.number_place(call, cursor)
    elif page is not None:
        start = page_span(source, page)[0]
    if start > len(source.text):
        raise ToolError(f"the document has {len(source.text)} characters; start={start} is behind its end")
    end = start + len(cut(source.text[start : start + 4 * budget], budget - _ENVELOPE_TOKENS - content.LINK_TOKENS))
    return results.ReadResult(
        document_id=source.id,
        uri=source.uri,
        title=source.title,
        page=source.page_at(start),
        start=start,
        end=end,
        characters=len(source.text),
        text=source.text[start:end],
        next_cursor=cursors.cursor(call, end) if end < len(source.text) else None,
    )


def page_span(source: Document, page: int) -> tuple[int, int]:
    """From where to where a page's text goes. Raises ToolError for a page that the document does not have."""
    pages = [block for block in source.blocks if block.kind == "page"]
    for block in pages:
        if block.number == page:
            return block.span.start, block.span.end
    there = f"it has {len(pages)} pages" if pages else "its format has none"
    raise ToolError(f"there is no page {page}: {there}")


def _listed(kb: Served, limit: int, budget: int, cursor: str | None) -> results.DocumentsResult:
    """The page after `cursor`, which stands for the last uri of the page before: changes in between lose nothing."""
    page, after = page_of(kb, limit, cursors.text_place("list", cursor))
    fit = content.fitting(page, budget - _ENVELOPE_TOKENS, each=content.LINK_TOKENS) or page[:1]
    more = after or len(fit) < len(page)
    return results.DocumentsResult(
        documents=fit, next_cursor=cursors.cursor("list", fit[-1].uri) if more and fit else None
    )


def page_of(kb: Served, limit: int, after: str | None) -> tuple[list[results.ListedDocument], bool]:
    """The first `limit` documents behind the uri `after`, in the order of uri, and whether there are more."""
    known = sorted((one.uri, one.id) for one in kb.known().values() if after is None or one.uri > after)
    page = [kb.document(document_id) for _, document_id in known[:limit]]
    return [results.listed(document) for document in page if document is not None], len(known) > limit
