"""What is asked of a server: its tools, resources and prompts, and what they give as text. All of it is its word."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ragagent.errors import ToolError
from ragagent.text import hidden
from ragagent.tools import mcp_tasks
from ragagent.tools.under_way import Tell
from ragagent.types import ToolProgress

if TYPE_CHECKING:
    from mcp import Client

_MAX_PAGES = 50
_MAX_CHARS = 2_000_000
_MAX_SAID_CHARS = 200
_Item = TypeVar("_Item")


Use = Literal["call", "task", "list", "read", "prompt"]
"""How a thing that a server offers is used: called, called as a task, or asked for among its resources or prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A tool as its server describes it, or a resource or prompt of it as a tool (`ragagent.tools.mcp_contents`)."""

    name: str
    description: str
    schema: Mapping[str, Any]
    annotations: Mapping[str, Any] = field(default_factory=dict, hash=False)
    use: Use = "call"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something a server lets one read. With `template` the address has names in braces for what is to be put there."""

    uri: str
    name: str
    description: str = ""
    media_type: str = ""
    template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt that a server offers, and the arguments that it takes: each a name, what it is, whether it is needed."""

    name: str
    description: str = ""
    arguments: tuple[tuple[str, str, bool], ...] = ()


async def tools(client: Client) -> list[Described]:
    """Every tool, to the last page."""
    return [
        Described(
            name=one.name,
            description=one.description or one.title or "",
            schema=one.input_schema,
            annotations=one.annotations.model_dump(mode="json", exclude_none=True) if one.annotations else {},
            use="task" if one.execution is not None and one.execution.task_support == "required" else "call",
        )
        for one in await _paged(client.list_tools, lambda page: page.tools)
    ]


async def resources(client: Client) -> list[Resource]:
    """Every resource, and then every template of some."""
    found = [
        Resource(uri=one.uri, name=_name(one), description=one.description or "", media_type=one.mime_type or "")
        for one in await _paged(client.list_resources, lambda page: page.resources)
    ]
    return found + [
        Resource(
            uri=one.uri_template,
            name=_name(one),
            description=one.description or "",
            media_type=one.mime_type or "",
            template=True,
        )
        for one in await _paged(client.list_resource_templates, lambda page: page.resource_templates)
    ]


async def prompts(client: Client) -> list[Prompt]:
    """Every prompt."""
    return [
        Prompt(
            name=one.name,
            description=one.description or one.title or "",
            arguments=tuple(
                (each.name, each.description or each.title or "", bool(each.required)) for each in one.arguments or ()
            ),
        )
        for one in await _paged(client.list_prompts, lambda page: page.prompts)
    ]


async def read(client: Client, uri: str) -> str:
    """The text of a resource; of what is no text, what it is."""
    found = await client.read_resource(uri)
    return "\n".join(_contents(one) for one in found.contents)[:_MAX_CHARS]


async def prompt(client: Client, name: str, arguments: Mapping[str, str]) -> str:
    """The text of a prompt with its arguments filled in."""
    found = await client.get_prompt(name, dict(arguments))
    return _text([one.content for one in found.messages])


async def call(client: Client, name: str, arguments: Mapping[str, Any], tell: Tell, *, task: bool = False) -> str:
    """The text of what a tool gives. Raises ToolError with its words where it failed."""

    async def told(progress: float, total: float | None, message: str | None) -> None:
        # A server may say any number at all, and JSON as Python reads it knows NaN.
        if math.isfinite(progress) and (total is None or math.isfinite(total)):
            said = hidden.without(" ".join((message or "").split()))[:_MAX_SAID_CHARS]
            tell(ToolProgress(done=progress, total=total, text=said))

    if task:
        found = await mcp_tasks.call(client, name, arguments, told)
    else:
        found = await client.call_tool(name, dict(arguments), progress_callback=told)
    text = _text(found.content) or _structured(found.structured_content)
    if found.is_error:
        raise ToolError(text or "the tool failed and did not say why")
    return text or "(no result)"


async def _paged(listed: Callable[..., Awaitable[Any]], items: Callable[[Any], Sequence[_Item]]) -> list[_Item]:
    """What is on all pages of a list; nothing where the server has no such list."""
    from mcp import MCPError
    from mcp.types import METHOD_NOT_FOUND

    found: list[_Item] = []
    cursor: str | None = None
    for _ in range(_MAX_PAGES):
        try:
            page = await listed(cursor=cursor)
        except MCPError as error:
            if error.code != METHOD_NOT_FOUND:
                raise
            return found
        found += items(page)
        cursor = page.next_cursor
        if not cursor:
            return found
    raise ToolError(f"the server lists what it has on more than {_MAX_PAGES} pages")


def _name(one: Any) -> str:
    return str(one.title or one.name)


def _text(blocks: Sequence[Any]) -> str:
    """The text of content; of what is no text, what it is."""
    return "\n".join(_block(one) for one in blocks)[:_MAX_CHARS]


def _block(block: Any) -> str:
    if block.type == "text":
        return str(block.text)
    if block.type == "resource":
        return _contents(block.resource)
    if block.type == "resource_link":
        return f"[{block.uri}]"
    return f"[{block.type}, {getattr(block, 'mime_type', 'unknown')}: not shown]"


def _contents(one: Any) -> str:
    return str(getattr(one, "text", f"[{one.uri}, {one.mime_type or 'unknown'}: not text]"))


def _structured(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:_MAX_CHARS] if value is not None else ""
