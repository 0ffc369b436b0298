"""Conversations: begun, listed, read, forgotten. Their questions are put to /api/ask."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from ragagent.app import KnowledgeBase
from ragagent.app.conversation import Conversation, Mark, Turn
from ragagent.errors import ConfigError
from ragagent.serve.http import shapes
from ragagent.serve.http.access import Session, Shared
from ragagent.serve.http.errors import RESPONSES, Refusal
from ragagent.types import AnswerEvent, AnswerStyle, Citation
from ragagent.where import Where

router = APIRouter(prefix="/api/conversations", tags=["conversations"], responses=RESPONSES)


@router.post("", status_code=201, summary="Begin a conversation")
async def begin(kb: Session, service: Shared) -> shapes.ConversationOut:
    """An empty one. Give its id with each question to /api/ask."""

    def begun() -> Conversation:
        made = kb.conversation()
        made.save()
        return made

    return _listed(await service.writing.run(begun))


@router.get("", summary="List the conversations")
async def list_conversations(
    kb: Session, service: Shared, limit: Annotated[int, Query(ge=1, le=shapes.MOST_PAGE)] = 50
) -> shapes.ConversationList:
    """Those of who asks, the last saved first; none for whoever is no user, who knows only the ids it was given."""
    found = await service.reading.run(lambda: [_listed(kb.conversation(one)) for one in kb.conversations()[:limit]])
    return shapes.ConversationList(conversations=found)


@router.get("/{conversation_id}", summary="One conversation")
async def get_conversation(conversation_id: shapes.ConversationId, kb: Session, service: Shared) -> shapes.TurnList:
    """What was asked and answered, the oldest first, with what was cited as far as it still stands so."""

    def read() -> list[shapes.TurnOut]:
        return [_turn(kb, turn) for turn in opened(kb, conversation_id).turns]

    return shapes.TurnList(id=conversation_id, turns=await service.reading.run(read))


@router.delete("/{conversation_id}", summary="Forget a conversation")
async def forget(conversation_id: shapes.ConversationId, kb: Session, service: Shared) -> shapes.ConversationOut:
    """Removes it from the disk."""

    def forgotten() -> shapes.ConversationOut:
        found = opened(kb, conversation_id)
        listed = _listed(found)
        found.forget()
        return listed

    return await service.writing.run(forgotten)


def asked(
    kb: KnowledgeBase, conversation_id: str, question: str, where: Where | None, style: AnswerStyle | None = None
) -> Iterator[AnswerEvent]:
    """The answer to the next question of a conversation, which is saved before its last event is given."""
    conversation = opened(kb, conversation_id)
    with contextlib.closing(conversation.stream(question, where=where, style=style)) as events:
        for event in events:
            if event.answer is not None:
                conversation.save()
            yield event


def opened(kb: KnowledgeBase, conversation_id: str) -> Conversation:
    """The conversation. Raises Refusal where there is none, or none of who asks: the same, in the same words."""
    try:
        return kb.conversation(conversation_id)
    except ConfigError:
        raise Refusal(404, "no_conversation", "there is no such conversation", param="conversation") from None


def _listed(found: Conversation) -> shapes.ConversationOut:
    return shapes.ConversationOut(
        id=found.id,
        title=found.turns[0].question if found.turns else "",
        turns=len(found.turns),
        saved_at=found.saved_at,
    )


def _turn(kb: KnowledgeBase, turn: Turn) -> shapes.TurnOut:
    return shapes.TurnOut(
        question=turn.question,
        text=turn.text,
        status=turn.status,  # type: ignore[arg-type]  # pydantic holds it against the words there are
        reason=turn.reason,
        citations=[shapes.citation_out(one, number) for number, one in enumerate(_cited(kb, turn.quoted), 1)],
    )


def _cited(kb: KnowledgeBase, marks: Sequence[Mark]) -> Iterator[Citation]:
    """The marks whose words still stand where they stood."""
    for mark in marks:
        document = kb.document(mark.document_id)
        if document is not None and mark.holds(document):
            yield Citation(
                quote=mark.span.of(document.text),
                document_id=document.id,
                uri=document.uri,
                title=document.title,
                span=mark.span,
                verified=True,
                page=document.page_at(mark.span.start),
            )
