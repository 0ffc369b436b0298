"""Running one call: validated first, caught at the boundary, its result bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ragagent.errors import ToolError
from ragagent.protocols import Tool
from ragagent.tools.documents import DelegatingTool, DocumentTool, Found, Left
from ragagent.tools.remembering import Noted, RememberingTool
from ragagent.types import Hit, Label, Observation, ToolCall

# Longer texts are cut to this before they are counted, so that a result of a gigabyte costs no more than a page.
_MAX_CHARS_PER_TOKEN = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An observation with the passages and documents that stand behind it."""

    observation: Observation
    hits: tuple[Hit, ...] = ()
    documents: tuple[str, ...] = ()
    bounded: str = ""
    labels: tuple[Label, ...] | None = None


def run(
    tool: Tool,
    call: ToolCall,
    *,
    count_tokens: Callable[[str], int],
    max_tokens: int,
    hidden: Callable[[str], str] = str,
    left: Left | None = None,
    noted: Noted | None = None,
) -> Outcome:
    """What `tool` makes of `call`. Whatever goes wrong becomes an observation that says so; nothing is raised.

    `hidden` takes out of each text what must not be seen; `left` is what a tool that works on a task of its own may
    take, `noted` what one that remembers has to keep with it.
    """
    problem = invalid(tool.spec.parameters, call.arguments)
    if problem:
        return failed(call, hidden(f"wrong arguments: {problem}"))
    try:
        found = _find(tool, call.arguments, left or Left(), noted or Noted())
    except ToolError as error:
        return failed(call, bounded(hidden(str(error)), count_tokens, max_tokens))
    except Exception as error:  # noqa: BLE001  # the tool boundary: a tool's bug must not end the run
        return failed(call, bounded(hidden(f"{type(error).__name__}: {error}"), count_tokens, max_tokens))
    content = bounded(hidden(found.content), count_tokens, max_tokens)
    observation = Observation(call_id=call.id, name=call.name, content=content, usage=found.usage, calls=found.calls)
    return Outcome(
        observation=observation,
        hits=found.hits,
        documents=found.documents,
        bounded=found.bounded,
        labels=found.labels,
    )


def failed(call: ToolCall, reason: str) -> Outcome:
    """The outcome of a call that did not work."""
    return Outcome(observation=Observation(call_id=call.id, name=call.name, content=reason, error=True))


def _find(tool: Tool, arguments: Mapping[str, Any], left: Left, noted: Noted) -> Found:
    if isinstance(tool, DelegatingTool):
        return tool.delegate(arguments, left)
    if isinstance(tool, RememberingTool):
        return tool.note(arguments, noted)
    return tool.find(arguments) if isinstance(tool, DocumentTool) else Found(content=tool.call(arguments))


def invalid(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    """What is wrong with `arguments` under the JSON `schema`, or an empty string."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    errors = sorted(validator.iter_errors(arguments), key=lambda error: list(map(str, error.absolute_path)))
    return "; ".join(_problem(error) for error in errors[:3])


def _problem(error: Any) -> str:
    place = ".".join(map(str, error.absolute_path))
    message = error.message if len(error.message) <= 200 else error.message[:200] + " ..."
    return f"{place}: {message}" if place else message


def bounded(text: str, count_tokens: Callable[[str], int], max_tokens: int) -> str:
    """`text`, or as much of its beginning as fits `max_tokens`, with a note of how much was left out.

    Cut at a paragraph where that keeps at least half, else at a space. The note counts towards the tokens.
    """
    text = text.encode("utf-8", "replace").decode()
    longest = max_tokens * _MAX_CHARS_PER_TOKEN
    # A token holds at least one byte: short texts need no counting.
    if len(text.encode()) <= max_tokens or (len(text) <= longest and count_tokens(text) <= max_tokens):
        return text
    low, high = 0, min(len(text), longest)
    while low < high:
        middle = (low + high + 1) // 2
        if count_tokens(_cut(text, middle)) <= max_tokens:
            low = middle
        else:
            high = middle - 1
    return _cut(text, low)


def _cut(text: str, length: int) -> str:
    for mark in ("\n\n", " "):
        place = text.rfind(mark, length // 2, length)
        if place > 0:
            length = place
            break
    return f"{text[:length].rstrip()}\n\n[left out: {len(text) - length} of {len(text)} characters]"
