"""Searching and asking."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from fastapi import APIRouter, Request

from ragagent.app import KnowledgeBase
from ragagent.errors import ConfigError
from ragagent.serve.http import routes_conversations, shapes
from ragagent.serve.http.access import Reader, Session, Shared
from ragagent.serve.http.errors import RESPONSES, Refusal
from ragagent.serve.http.events import EventStream, event, kept_alive, stream_of, unless_gone
from ragagent.serve.http.filters import where_of
from ragagent.serve.http.guard import Caller
from ragagent.serve.http.service import Service, Waits
from ragagent.serve.http.work import Stop
from ragagent.types import AnswerEvent

router = APIRouter(prefix="/api", tags=["ask"], responses=RESPONSES)

_ANSWER_EVENTS = (
    "`queued` {ahead}, then `evidence` (EvidenceOut), `text` {text} as it is written, `answer` (AnswerOut) last; "
    "or `error` (ErrorBody)"
)


@router.post("/search", summary="Find passages")
async def search(body: shapes.SearchRequest, kb: Session, service: Shared) -> shapes.SearchResult:
    """The passages that fit a query best, best first."""
    where = where_of(body.where)
    found = await service.searching.run(
        lambda: kb.explain(
            body.query,
            body.k,
            body.mode,
            where,
            rerank=body.rerank,
            understand=body.understand,
            without=body.without,
        )
    )
    return shapes.search_result(found, explain=body.explain)


@router.post("/ask", summary="Ask the documents")
async def ask(
    body: shapes.AskRequest, request: Request, caller: Reader, kb: Session, service: Shared
) -> shapes.AnswerOut:
    """The answer from the documents, each claim with its citations, or a refusal with the reason.

    With a `conversation` it is the next answer of that, which is saved.
    """
    async for item in unless_gone(request, asked(service, caller, kb, body)):
        if isinstance(item, AnswerEvent) and item.answer is not None:
            return shapes.answer_out(item.answer)
    raise Refusal(503, "closing", "the answer was cancelled; ask again", retry_after_s=5)


@router.post(
    "/ask/events", summary="Ask, and follow the answer", response_class=EventStream, responses=stream_of(_ANSWER_EVENTS)
)
async def ask_events(body: shapes.AskRequest, caller: Reader, kb: Session, service: Shared) -> EventStream:
    """As /api/ask, event by event. Hanging up cancels the model."""
    service.require_open()
    where_of(body.where)
    return EventStream(kept_alive(_told(asked(service, caller, kb, body))))


async def asked(
    service: Service, caller: Caller, kb: KnowledgeBase, body: shapes.AskRequest
) -> AsyncIterator[AnswerEvent | Waits]:
    """The events of an answer, once it is the caller's turn."""
    where, conversation = where_of(body.where), body.conversation
    if conversation is not None and body.answer_schema is not None:
        raise ConfigError("answer_schema goes with a question by itself, not with a conversation")

    def made(_: Stop) -> Iterator[AnswerEvent]:
        if conversation is None:
            return kb.ask_stream(body.question, where=where, style=body.style, schema=body.answer_schema)
        return routes_conversations.asked(kb, conversation, body.question, where, body.style)

    async for item in service.answered(caller, made):
        yield item


async def _told(items: AsyncIterator[AnswerEvent | Waits]) -> AsyncIterator[str]:
    async for item in items:
        if isinstance(item, Waits):
            yield event("queued", {"ahead": item.ahead})
        elif item.evidence is not None and item.kind == "evidence":
            yield event("evidence", shapes.evidence_out(item.evidence))
        elif item.kind == "text":
            yield event("text", {"text": item.text})
        elif item.answer is not None:
            yield event("answer", shapes.answer_out(item.answer))
