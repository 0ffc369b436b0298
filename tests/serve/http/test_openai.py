"""The `openai` package talks to the server unchanged, over a real small model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openai import APIStatusError, NotFoundError, OpenAI

from ragagent import Document, Settings
from ragagent.models.llama import LlamaModel

FERRY = "The ferry to the island leaves the harbour at seven in the morning and comes back at noon."
SCHEMA = {
    "type": "object",
    "properties": {"harbour": {"type": "boolean"}, "hour": {"enum": [7, 12]}},
    "required": ["harbour", "hour"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks up a time table.",
        "parameters": {
            "type": "object",
            "properties": {"line": {"type": "string", "enum": ["ferry", "bus"]}},
            "required": ["line"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(tmp_path: Path, serving: Any, small_gguf: Path) -> Iterator[OpenAI]:
    model = LlamaModel(small_gguf, replace(Settings().llm, context_tokens=2048))
    with serving(tmp_path / "kb", llm=model, documents=[Document(uri="n:f", text=FERRY)]) as served:
        yield OpenAI(base_url=f"http://127.0.0.1:{served.port}/v1", api_key="none", timeout=120, max_retries=0)
    model.close()


def test_an_unchanged_client_chats_streams_calls_tools_keeps_schemas_and_embeds(client: OpenAI) -> None:
    names = [one.id for one in client.models.list()]
    assert "ragagent" in names
    bare = next(one for one in names if one not in {"ragagent", "hash-64"})
    asked: Any = [{"role": "user", "content": "When does the ferry leave the harbour?"}]

    answer = client.chat.completions.create(model="ragagent", messages=asked)
    assert answer.model_extra is not None
    told = answer.model_extra["ragagent"]
    assert told["status"] in {"grounded", "partial", "refused"}
    assert all(one["quote"] in FERRY and one["verified"] for one in told["citations"])

    said: Any = [{"role": "user", "content": "Say one word."}]
    whole = client.chat.completions.create(model=bare, messages=said, temperature=0, max_tokens=8)
    pieces = list(
        client.chat.completions.create(
            model=bare, messages=said, temperature=0, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(one.choices[0].delta.content or "" for one in pieces if one.choices)
    assert text == whole.choices[0].message.content
    assert whole.usage is not None
    assert pieces[-1].usage is not None
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens > 0

    kept = client.chat.completions.create(
        model=bare,
        messages=said,
        max_tokens=60,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "trip", "schema": SCHEMA, "strict": True},
        },
    )
    jsonschema.validate(json.loads(kept.choices[0].message.content or ""), SCHEMA)

    called = client.chat.completions.create(
        model=bare,
        messages=asked,
        tools=[TOOL],
        tool_choice="required",
        max_tokens=60,  # type: ignore[list-item]
    )
    assert called.choices[0].finish_reason == "tool_calls"
    (call,) = called.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "look_up"
    assert json.loads(call.function.arguments)["line"] in {"ferry", "bus"}

    vectors = client.embeddings.create(model="hash-64", input=["the ferry", "the lease"])
    assert [len(one.embedding) for one in vectors.data] == [64, 64]


def test_what_cannot_be_done_is_said_as_the_client_expects_it(client: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="no model"):
        client.chat.completions.create(model="gpt-none", messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(APIStatusError) as wrong:
        client.chat.completions.create(model="ragagent", messages=[{"role": "user", "content": "Hello"}], n=3)
    assert 400 <= wrong.value.status_code < 500
