"""What a server has beside tools, as tools: `resources/list` and `resources/read`, and each prompt as `prompts/NAME`.

They are offered, allowed and pinned as tools are. A tool of the server that has one of these names takes its place, and
then is not what was allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ragagent.errors import ToolError
from ragagent.text import hidden
from ragagent.tools import mcp_requests
from ragagent.tools.documents import break_before
from ragagent.tools.mcp_requests import Described, Prompt, Resource
from ragagent.tools.under_way import Tell

if TYPE_CHECKING:
    from mcp import Client

_PAGE = 20
_PAGE_CHARS = 2000
_MAX_URI_CHARS = 2000
_MAX_LINE_CHARS = 300
_MAX_PROMPTS = 100
_START = {"type": "integer", "minimum": 0, "default": 0}

LIST = Described(
    name="resources/list",
    description=f"Lists the resources of the server by address and name, {_PAGE} at a time.",
    schema={
        "type": "object",
        "properties": {
            "containing": {"type": "string", "description": "only those with these letters", "maxLength": 200},
            "start": {**_START, "description": "how many to skip"},
        },
    },
    use="list",
)
READ = Described(
    name="resources/read",
    description=f"Reads a resource of the server from a character on, up to {_PAGE_CHARS} characters at a time.",
    schema={
        "type": "object",
        "properties": {
            "uri": {"type": "string", "description": "its address", "minLength": 1, "maxLength": _MAX_URI_CHARS},
            "start": {**_START, "description": "character to read from"},
        },
        "required": ["uri"],
    },
    use="read",
)


async def offered(client: Client) -> list[Described]:
    """The tools of a server, and then what else it has, as tools."""
    own = await mcp_requests.tools(client)
    # Many servers say that they have resources and prompts, and have none.
    resources = [LIST, READ] if await mcp_requests.resources(client) else []
    prompts = await mcp_requests.prompts(client)
    taken = {one.name for one in own}
    others = [*resources, *(_prompt(one) for one in prompts[:_MAX_PROMPTS])]
    return own + [one for one in others if one.name not in taken]


async def used(client: Client, one: Described, arguments: Mapping[str, Any], tell: Tell) -> str:
    """The text of what an offer gives. Raises ToolError with the server's words where it failed."""
    start = int(arguments.get("start", 0))
    match one.use:
        case "list":
            return _listed(await mcp_requests.resources(client), str(arguments.get("containing", "")), start)
        case "read":
            return _part(await mcp_requests.read(client, str(arguments["uri"])), start)
        case "prompt":
            return await mcp_requests.prompt(client, one.name.partition("/")[2], arguments)
        case "call" | "task":
            return await mcp_requests.call(client, one.name, arguments, tell, task=one.use == "task")


def _prompt(one: Prompt) -> Described:
    properties = {
        name: {"type": "string", "description": description, "maxLength": 2000}
        for name, description, _ in one.arguments
    }
    needed = [name for name, _, required in one.arguments if required]
    return Described(
        name=f"prompts/{one.name}",
        description=f"A prompt of the server: {one.description or one.name}",
        schema={"type": "object", "properties": properties, "required": needed},
        use="prompt",
    )


def _listed(found: list[Resource], containing: str, start: int) -> str:
    wanted = [line for line in map(_line, found) if containing.casefold() in line.casefold()]
    if not wanted[start:]:
        return f"There are {len(wanted)} resources" + (f" with {containing!r}." if containing else ".")
    lines = wanted[start : start + _PAGE]
    left = len(wanted) - start - len(lines)
    if left:
        lines.append(f"({left} more follow: go on with start={start + _PAGE})")
    return "\n".join(lines)


def _line(one: Resource) -> str:
    kind = ", ".join(word for word in (one.media_type, "fill in what is in braces" if one.template else "") if word)
    said = f"{one.name}{f' ({kind})' if kind else ''}{f': {one.description}' if one.description else ''}"
    return f"{one.uri[:_MAX_URI_CHARS]}  {hidden.without(' '.join(said.split()))[:_MAX_LINE_CHARS]}"


def _part(text: str, start: int) -> str:
    if start and start >= len(text):
        raise ToolError(f"the resource has {len(text)} characters; start={start} is behind its end")
    end = break_before(text, start, start + _PAGE_CHARS)
    left = len(text) - end
    return text[start:end] + (f"\n\n({left} characters follow: go on with start={end})" if left else "")
