"""Results as clients get them: the record, the same as one line of JSON, and links to what it speaks of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from mcp.types import CallToolResult, ResourceLink, TextContent
from pydantic import BaseModel

from ragagent.serve.mcp.limits import tokens_of

_Item = TypeVar("_Item", bound=BaseModel)
LINK_TOKENS = 70
"""What a link takes at most, as a rule."""


def result(record: BaseModel, links: Iterable[tuple[str, str]] = ()) -> CallToolResult:
    """`record` as structured content and as text, with links to resources: (address, name), each address once."""
    return CallToolResult(
        content=[
            TextContent(type="text", text=record.model_dump_json()),
            *(_link(uri, name) for uri, name in dict(links).items()),
        ],
        structured_content=record.model_dump(mode="json"),
    )


def _link(uri: str, name: str) -> ResourceLink:
    return ResourceLink(type="resource_link", uri=uri, name=name[:200] or uri, mime_type="text/plain")


def fitting(items: Sequence[_Item], budget: int, *, each: int = 0) -> list[_Item]:
    """The first of `items` whose JSON takes at most `budget` tokens together, `each` more for every one."""
    fit: list[_Item] = []
    for item in items:
        budget -= tokens_of(item.model_dump_json()) + each
        if budget < 0:
            break
        fit.append(item)
    return fit
