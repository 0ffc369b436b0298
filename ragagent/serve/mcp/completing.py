"""Completion of arguments: the documents whose id or title begins as it was typed, and their pages."""

from __future__ import annotations

import itertools
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference

from ragagent.serve.mcp.sessions import Served, seen
from ragagent.serve.mcp.working import Workers

_MOST_VALUES = 100
_MOST_LOOKED_AT = 10_000


def add_completion(server: MCPServer[Any], kb: Served, workers: Workers) -> None:
    """Lets `server` complete the ids of resource templates and the documents of prompts."""

    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion | None:
        session, given = seen(kb), argument.value
        if argument.name in ("id", "document", "other_document"):
            return await workers.run(lambda: _documents(session, given))
        if argument.name == "page" and isinstance(ref, ResourceTemplateReference):
            chosen = (context.arguments or {}).get("id", "") if context is not None else ""
            return await workers.run(lambda: _pages(session, chosen, given))
        return None

    # The SDK's decorator has no types.
    register: Any = server.completion
    register()(complete)


def _documents(kb: Served, typed: str) -> Completion:
    """Ids that begin with what was typed, and those of documents whose uri has it."""
    typed = typed.casefold()
    known = sorted(itertools.islice(kb.known().values(), _MOST_LOOKED_AT), key=lambda one: one.uri)
    found = [one.id for one in known if one.id.startswith(typed) or typed in one.uri.casefold()]
    return _completion(found)


def _pages(kb: Served, document_id: str, typed: str) -> Completion:
    found = kb.document(document_id)
    numbers = [block.number for block in found.blocks if block.kind == "page"] if found is not None else []
    return _completion([str(number) for number in numbers if number is not None and str(number).startswith(typed)])


def _completion(values: list[str]) -> Completion:
    return Completion(values=values[:_MOST_VALUES], total=len(values), has_more=len(values) > _MOST_VALUES)
