"""What a chat request asks of the model: its messages, its tools and its schema, as the model takes them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ragagent import prompts
from ragagent.errors import ConfigError, ModelError
from ragagent.models import grammar
from ragagent.models.sampling import configured
from ragagent.serve.http import chat_shapes as shapes
from ragagent.serve.http.errors import Refusal
from ragagent.settings import LlmSettings
from ragagent.types import Completion, Grammar, Message, Role, Sampling

SAY, CALL, ARGUMENTS = "say", "call", "arguments"
_DEFAULT_TOKENS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request, ready for the model. With `tools`, those it may call, the reply is JSON of a call or a text."""

    messages: tuple[Message, ...]
    sampling: Sampling
    max_tokens: int
    grammar: Grammar | None
    tools: tuple[str, ...]
    stops: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model said: a text, or a call."""

    text: str
    call: shapes.CallMade | None
    finish: str


def plan_of(body: shapes.ChatRequest, settings: LlmSettings) -> Plan:
    """The request as the model takes it. Raises Refusal for what cannot be asked of it."""
    tools, must = _tools(body)
    chosen = _grammar(body, tools, must)
    messages = _messages(body, tools)
    if not messages:
        raise Refusal(400, "invalid_value", "the messages say nothing: write at least one", param="messages")
    stops = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
    return Plan(
        messages=messages,
        sampling=_sampling(body, settings),
        max_tokens=body.max_completion_tokens or body.max_tokens or min(_DEFAULT_TOKENS, settings.context_tokens // 2),
        grammar=chosen,
        tools=tuple(tool.name for tool in tools),
        stops=tuple(stop for stop in stops if stop),
    )


def reply_of(completion: Completion, plan: Plan) -> Reply:
    """What the model wrote, read as what it was asked for."""
    finish = "length" if completion.finish == "length" else "stop"
    if not plan.tools:
        text, stopped = cut(completion.text, plan.stops)
        return Reply(text=text, call=None, finish="stop" if stopped else finish)
    value = _parsed(completion.text)
    name = value.get(CALL)
    if name in plan.tools:
        arguments = json.dumps(value.get(ARGUMENTS) or {}, ensure_ascii=False)
        function = shapes.FunctionCall(name=str(name), arguments=arguments)
        return Reply(
            text="", call=shapes.CallMade(id=f"call_{secrets.token_hex(12)}", function=function), finish="tool_calls"
        )
    return Reply(text=str(value.get(SAY) or completion.text), call=None, finish=finish)


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """`text` up to the first of `stops` in it, and whether there was one."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


def without_stops(pieces: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """The pieces up to the first of `stops`; what may be the beginning of one is held back until it is known."""
    held = ""
    longest = max(map(len, stops), default=1)
    for piece in pieces:
        held += piece
        text, stopped = cut(held, stops)
        if stopped:
            yield text
            return
        keep = min(longest - 1, len(held))
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if held:
        yield held


def _parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _tools(body: shapes.ChatRequest) -> tuple[list[shapes.FunctionSpec], bool]:
    """The functions that may be called, and whether one has to be."""
    offered = [tool.function for tool in body.tools or ()]
    choice = body.tool_choice
    if choice == "none" or not offered:
        if isinstance(choice, shapes.NamedTool) or choice == "required":
            raise Refusal(400, "invalid_value", "tool_choice wants a call, and there are no tools", param="tool_choice")
        return [], False
    if isinstance(choice, shapes.NamedTool):
        offered = [one for one in offered if one.name == choice.function.name]
        if not offered:
            raise Refusal(
                400, "invalid_value", f"tool_choice: no tool {choice.function.name!r:.80}", param="tool_choice"
            )
    return offered, choice == "required" or isinstance(choice, shapes.NamedTool)


def _grammar(body: shapes.ChatRequest, tools: list[shapes.FunctionSpec], must: bool) -> Grammar | None:
    form = body.response_format
    schema: dict[str, Any] | None = None
    if form is not None and form.type == "json_object":
        schema = {"type": "object"}
    elif form is not None and form.type == "json_schema":
        schema = dict(form.json_schema.schema_) if form.json_schema is not None else {}
    if tools:
        said: Any = {"type": "string"} if schema is None else schema
        schema = {"anyOf": [*map(_call_schema, tools), *([] if must else [_object({SAY: said})])]}
    try:
        return None if schema is None else grammar.json_schema(schema)
    except (ConfigError, ModelError) as error:
        raise Refusal(400, "invalid_schema", str(error), param="tools" if tools else "response_format") from error


def _call_schema(tool: shapes.FunctionSpec) -> dict[str, Any]:
    parameters = dict(tool.parameters or {}) or {"type": "object", "properties": {}, "additionalProperties": False}
    return _object({CALL: {"const": tool.name}, ARGUMENTS: parameters})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _messages(body: shapes.ChatRequest, tools: list[shapes.FunctionSpec]) -> tuple[Message, ...]:
    """The messages in the roles that every template knows; neighbours of one role are one message.

    A tool's result is told in the user's turn, a call in the assistant's, as the JSON that it was written as.
    """
    found: list[Message] = []
    if tools:
        listed = "\n".join(_described(tool) for tool in tools)
        found.append(Message(role="system", content=prompts.load("tools_offered").render(tools=listed)))
    for message in body.messages:
        role, text = _told(message)
        if not text:
            continue
        if found and found[-1].role == role:
            found[-1] = replace(found[-1], content=f"{found[-1].content}\n\n{text}")
        else:
            found.append(Message(role=role, content=text))
    return tuple(found)


def _told(message: shapes.ChatMessage) -> tuple[Role, str]:
    if message.role in ("system", "developer"):
        return "system", message.text
    if message.role == "tool":
        return "user", f"Result of the call {message.name or message.tool_call_id or ''}:\n{message.text}"
    if message.role == "assistant":
        calls = [_called(call) for call in message.tool_calls or ()]
        return "assistant", "\n".join([*([message.text] if message.text else []), *calls])
    return "user", message.text


def _called(call: shapes.CallMade) -> str:
    return json.dumps({CALL: call.function.name, ARGUMENTS: _parsed(call.function.arguments)}, ensure_ascii=False)


def _described(tool: shapes.FunctionSpec) -> str:
    parameters = json.dumps(tool.parameters or {}, ensure_ascii=False)
    return f"- {tool.name}: {tool.description or ''} Arguments: {parameters}"


def _sampling(body: shapes.ChatRequest, settings: LlmSettings) -> Sampling:
    chosen = configured(settings)
    if body.temperature is not None:
        chosen = replace(chosen, temperature=body.temperature)
    if body.top_p is not None:
        chosen = replace(chosen, top_p=body.top_p)
    return chosen if body.seed is None else replace(chosen, seed=body.seed % 2**32)
