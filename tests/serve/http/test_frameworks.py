"""The OpenAI clients of LangChain and LlamaIndex talk to the server unchanged, over a real small model.

LlamaIndex's asks for openai below version 3, LangChain's does not: its test runs in an environment that has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel

from ragagent import Document, Settings
from ragagent.models.llama import LlamaModel

FERRY = "The ferry to the island leaves the harbour at seven in the morning and comes back at noon."
QUESTION = "When does the ferry leave the harbour?"
EMBEDDER = "hash-64"


class Trip(BaseModel):
    """A trip."""

    harbour: bool
    hour: Literal["seven", "noon"]


class Line(BaseModel):
    """A line of a time table."""

    line: Literal["ferry", "bus"]


def look_up(line: Literal["ferry", "bus"]) -> str:
    """Looks up a time table."""
    return line


@pytest.fixture(scope="module")
def model(small_gguf: Path) -> Iterator[LlamaModel]:
    made = LlamaModel(small_gguf, replace(Settings().llm, context_tokens=2048))
    yield made
    made.close()


@pytest.fixture
def server(tmp_path: Path, serving: Any, model: LlamaModel) -> Iterator[tuple[str, str]]:
    """The address for clients, and the name of the bare model."""
    with serving(tmp_path / "kb", llm=model, documents=[Document(uri="n:f", text=FERRY)]) as served:
        yield f"http://127.0.0.1:{served.port}/v1", model.name


def test_langchain_chats_streams_calls_tools_keeps_schemas_and_embeds(server: tuple[str, str]) -> None:
    langchain_openai = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    url, bare = server
    given = {"base_url": url, "api_key": "none", "max_retries": 0, "timeout": 120}

    answer = langchain_openai.ChatOpenAI(model="ragagent", **given).invoke(QUESTION)
    assert isinstance(answer.content, str)
    assert answer.response_metadata["model_name"] == "ragagent"

    chat = langchain_openai.ChatOpenAI(model=bare, temperature=0, max_tokens=60, **given)
    pieces = [piece.content for piece in chat.stream("Say one word.")]
    assert "".join(pieces) == chat.invoke("Say one word.").content
    assert len(pieces) > 1

    called = chat.bind_tools([look_up], tool_choice="required").invoke(QUESTION)
    (call,) = called.tool_calls
    assert call["name"] == "look_up"
    assert call["args"]["line"] in {"ferry", "bus"}
    said = [("user", QUESTION), called, {"role": "tool", "tool_call_id": call["id"], "content": "at seven"}]
    assert isinstance(chat.bind_tools([look_up]).invoke(said).content, str)

    kept = chat.with_structured_output(Trip, method="json_schema").invoke(QUESTION)
    assert isinstance(kept, Trip)

    embeddings = langchain_openai.OpenAIEmbeddings(model=EMBEDDER, check_embedding_ctx_length=False, **given)
    vectors = embeddings.embed_documents(["the ferry", "the lease"])
    assert [len(one) for one in vectors] == [64, 64]
    assert embeddings.embed_query("the ferry") == pytest.approx(vectors[0], abs=1e-6)


def test_llamaindex_chats_streams_calls_tools_keeps_schemas_and_embeds(server: tuple[str, str]) -> None:
    like = pytest.importorskip("llama_index.llms.openai_like", reason="llama-index-llms-openai-like is not installed")
    embeddings = pytest.importorskip("llama_index.embeddings.openai", reason="its embeddings are not installed")
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool

    url, bare = server
    given = {"api_base": url, "api_key": "none", "max_retries": 0, "timeout": 120}
    asked = [ChatMessage(role="user", content=QUESTION)]

    documents = like.OpenAILike(model="ragagent", is_chat_model=True, **given)
    assert documents.chat(asked).message.content is not None

    chat = like.OpenAILike(
        model=bare, is_chat_model=True, is_function_calling_model=True, temperature=0, max_tokens=60, **given
    )
    pieces = [piece.delta for piece in chat.stream_chat(asked)]
    assert "".join(piece or "" for piece in pieces) == chat.chat(asked).message.content
    assert len(pieces) > 1

    tool = FunctionTool.from_defaults(look_up, fn_schema=Line)
    called = chat.chat_with_tools([tool], user_msg=QUESTION, tool_required=True)
    (call,) = chat.get_tool_calls_from_response(called)
    assert call.tool_name == "look_up"
    assert call.tool_kwargs["line"] in {"ferry", "bus"}

    schema = Trip.model_json_schema()
    form = {"type": "json_schema", "json_schema": {"name": "trip", "schema": schema, "strict": True}}
    kept = chat.chat(asked, response_format=form).message.content
    jsonschema.validate(json.loads(kept), schema)

    embedder = embeddings.OpenAIEmbedding(model_name=EMBEDDER, **given)
    assert len(embedder.get_text_embedding("the ferry")) == 64
