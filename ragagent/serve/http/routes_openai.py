"""The OpenAI-compatible routes: `ragagent` answers from the documents, the other name is the bare model."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import numpy as np
from fastapi import APIRouter, Request

from ragagent.app import KnowledgeBase
from ragagent.protocols import Embedder
from ragagent.serve.http import chat
from ragagent.serve.http import chat_shapes as shapes
from ragagent.serve.http.access import Reader, Session, Shared
from ragagent.serve.http.errors import RESPONSES, Refusal
from ragagent.serve.http.events import EventStream, failed, kept_alive, stream_of, unless_gone
from ragagent.serve.http.guard import Caller
from ragagent.serve.http.service import Service, Waits
from ragagent.serve.http.shapes import answer_out
from ragagent.types import Answer, AnswerEvent, Completion, Delta, Usage

router = APIRouter(prefix="/v1", tags=["openai"], responses=RESPONSES)

RAG = "ragagent"
_CHUNKS = (
    "With `stream`, `data:` lines of chat.completion.chunk, and [DONE]; the extension field `ragagent` in the last."
)


@router.post(
    "/chat/completions",
    summary="Chat completion",
    response_model=shapes.ChatCompletion,
    responses={200: {**stream_of(_CHUNKS)[200], "model": shapes.ChatCompletion}},
)
async def complete(
    body: shapes.ChatRequest, request: Request, caller: Reader, kb: Session, service: Shared
) -> shapes.ChatCompletion | EventStream:
    """The next message of a conversation, in one piece or as it is written."""
    service.require_open()
    head = _Head(body.model)
    if body.model == RAG:
        items = _answered(service, caller, kb, _question(body))
    elif body.model == await service.reading.run(lambda: kb.llm.name):
        plan = await service.reading.run(lambda: chat.plan_of(body, service.kb.settings.llm))
        items = _replied(service, caller, kb, plan)
    else:
        raise _no_model(body.model)
    if body.stream:
        usage = body.stream_options is not None and body.stream_options.include_usage
        return EventStream(kept_alive(_chunks(head, items, usage=usage)))
    async for item in unless_gone(request, items):
        if isinstance(item, _Whole):
            return head.completion(item)
    raise Refusal(503, "closing", "the answer was cancelled; ask again", retry_after_s=5)


@router.post("/embeddings", summary="Embeddings")
async def embed(body: shapes.EmbeddingRequest, kb: Session, service: Shared) -> shapes.EmbeddingList:
    """The vectors of texts, by the embedder of the knowledge base."""
    texts = [body.input] if isinstance(body.input, str) else body.input
    return await service.searching.run(lambda: _embedded(kb.embedder, body, texts))


@router.get("/models", summary="The models that can be asked for")
async def list_models(caller: Reader, kb: Session, service: Shared) -> shapes.ModelCards:
    """The answer from the documents, the bare chat model, and the embedder."""
    return shapes.ModelCards(data=await service.reading.run(lambda: _cards(service, kb)))


@router.get("/models/{model:path}", summary="One model")
async def get_model(model: str, caller: Reader, kb: Session, service: Shared) -> shapes.ModelCard:
    """The model of that name."""
    cards = await service.reading.run(lambda: _cards(service, kb))
    card = next((card for card in cards if card.id == model), None)
    if card is None:
        raise _no_model(model)
    return card


class _Whole:
    """The end of what is streamed: a reply, its cost, and the answer where there is one."""

    def __init__(self, reply: chat.Reply, usage: Usage, answer: Answer | None = None) -> None:
        self.reply = reply
        self.usage = usage
        self.answer = answer


class _Head:
    """What every piece of one completion says of it."""

    def __init__(self, model: str) -> None:
        self.id = f"chatcmpl-{secrets.token_hex(12)}"
        self.created = int(time.time())
        self.model = model

    def completion(self, whole: _Whole) -> shapes.ChatCompletion:
        """The completion in one piece."""
        reply = whole.reply
        message = shapes.ReplyMessage(
            content=None if reply.call is not None else reply.text,
            tool_calls=None if reply.call is None else [reply.call],
        )
        return shapes.ChatCompletion(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=[shapes.Choice(message=message, finish_reason=reply.finish)],  # type: ignore[arg-type]
            usage=_usage(whole.usage),
            ragagent=None if whole.answer is None else answer_out(whole.answer),
        )

    def chunk(self, delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> str:
        """One piece, as it is sent."""
        choices = [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
        return self.data({"choices": choices, **more})

    def data(self, fields: Mapping[str, Any]) -> str:
        head = {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model}
        return f"data: {json.dumps({**head, **fields})}\n\n"


async def _chunks(head: _Head, items: AsyncIterator[str | _Whole], *, usage: bool) -> AsyncIterator[str]:
    """The pieces of a stream. An error in its midst is a piece, too, as OpenAI's servers send it."""
    try:
        yield head.chunk({"role": "assistant", "content": ""})
        async for item in items:
            if isinstance(item, str):
                yield head.chunk({"content": item})
                continue
            reply = item.reply
            if reply.call is not None:
                yield head.chunk({"tool_calls": [{"index": 0, **reply.call.model_dump()}]})
            answer = {} if item.answer is None else {"ragagent": answer_out(item.answer).model_dump()}
            yield head.chunk({}, reply.finish, **answer)
            if usage:
                yield head.data({"choices": [], "usage": _usage(item.usage).model_dump()})
    except Exception as error:  # noqa: BLE001  # the boundary: the stream has begun, so its end has to say it
        yield f"data: {failed(error).model_dump_json()}\n\n"
    yield "data: [DONE]\n\n"


async def _answered(service: Service, caller: Caller, kb: KnowledgeBase, question: str) -> AsyncIterator[str | _Whole]:
    """An answer from the documents: its text as it is written, then the whole. A refusal says why."""
    said = ""
    async for item in service.answered(caller, lambda _: kb.ask_stream(question)):
        if not isinstance(item, AnswerEvent):
            continue
        if item.kind == "text":
            said += item.text
            yield item.text
        elif item.answer is not None:
            answer = item.answer
            text = answer.text or f"Not answered: {answer.reason}"
            if not said:
                yield text
            yield _Whole(chat.Reply(text=text, call=None, finish="stop"), answer.usage, answer)


async def _replied(service: Service, caller: Caller, kb: KnowledgeBase, plan: chat.Plan) -> AsyncIterator[str | _Whole]:
    """What the bare model says: its text as it is written, then the whole."""
    async for item in service.answered(caller, lambda _: _written(kb, plan)):
        if not isinstance(item, Waits):
            yield item


def _written(kb: KnowledgeBase, plan: chat.Plan) -> Iterator[str | _Whole]:
    last: list[Completion] = []
    deltas = kb.llm.stream(plan.messages, max_tokens=plan.max_tokens, sampling=plan.sampling, grammar=plan.grammar)
    with contextlib.closing(deltas):  # type: ignore[type-var]
        pieces = _pieces(deltas, last)
        if plan.tools:
            # Whether it is a call or a text is known at the end.
            whole = "".join(pieces)
            completion = last[0] if last else Completion(text=whole, finish="stop", usage=Usage())
            reply = chat.reply_of(completion, plan)
            if reply.call is None:
                yield reply.text
            yield _Whole(reply, completion.usage)
            return
        said = ""
        for piece in chat.without_stops(pieces, plan.stops) if plan.stops else pieces:
            said += piece
            if piece:
                yield piece
    completion = last[0] if last else Completion(text=said, finish="stop", usage=_counted(kb, plan, said))
    finish = "length" if completion.finish == "length" and said == completion.text else "stop"
    yield _Whole(chat.Reply(text=said, call=None, finish=finish), completion.usage)


def _pieces(deltas: Iterator[Delta], last: list[Completion]) -> Iterator[str]:
    for delta in deltas:
        if delta.completion is not None:
            last.append(delta.completion)
        elif delta.text:
            yield delta.text


def _counted(kb: KnowledgeBase, plan: chat.Plan, said: str) -> Usage:
    """The cost of a completion that was left at a stop: the model said nothing of it."""
    read = sum(kb.llm.count_tokens(message.content) for message in plan.messages)
    return Usage(prompt_tokens=read, completion_tokens=kb.llm.count_tokens(said) if said else 0, calls=1)


def _question(body: shapes.ChatRequest) -> str:
    """What is asked of the documents: the last message of the user."""
    if body.tools or (body.response_format is not None and body.response_format.type != "text"):
        raise Refusal(
            400,
            "unsupported",
            f"{RAG} answers in the documents' words; tools and response_format go with the bare model (GET /v1/models)",
            param="tools" if body.tools else "response_format",
        )
    question = next((one.text for one in reversed(body.messages) if one.role == "user"), "")
    if not question.strip():
        raise Refusal(400, "invalid_value", "there is no message of the user to answer", param="messages")
    if len(question) > 4000:
        raise Refusal(400, "invalid_value", "the question has more than 4000 characters: shorten it", param="messages")
    return question


def _no_model(name: str) -> Refusal:
    return Refusal(404, "model_not_found", f"no model {name!r:.100}; GET /v1/models lists them", param="model")


def _usage(usage: Usage) -> shapes.ChatUsage:
    return shapes.ChatUsage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    )


def _cards(service: Service, kb: KnowledgeBase) -> list[shapes.ModelCard]:
    names = [RAG, kb.llm.name, service.kb.status().fingerprint.get("embedder_name", "")]
    return [shapes.ModelCard(id=name, created=int(service.started_at)) for name in dict.fromkeys(names) if name]


def _embedded(embedder: Embedder, body: shapes.EmbeddingRequest, texts: list[str]) -> shapes.EmbeddingList:
    if body.model not in (embedder.name, RAG):
        raise _no_model(body.model)
    if body.dimensions not in (None, embedder.dimension):
        raise Refusal(
            400,
            "invalid_value",
            f"the vectors of {embedder.name} have {embedder.dimension} dimensions",
            param="dimensions",
        )
    if body.input_type == "query":
        vectors = np.array([embedder.embed_query(text) for text in texts], np.float32)
    else:
        vectors = embedder.embed_documents(texts)
    coded = body.encoding_format == "base64"
    tokens = sum(len(embedder.tokenizer.offsets(text)) for text in texts)
    rows = [
        shapes.EmbeddingRow(
            index=index,
            embedding=base64.b64encode(row.astype("<f4").tobytes()).decode() if coded else row.tolist(),
        )
        for index, row in enumerate(vectors)
    ]
    usage = shapes.EmbeddingUsage(prompt_tokens=tokens, total_tokens=tokens)
    return shapes.EmbeddingList(data=rows, model=embedder.name, usage=usage)
