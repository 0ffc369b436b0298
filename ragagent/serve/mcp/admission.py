"""Which token may call what: each tool has a scope, and what a token lacks the scope for is not there for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from ragagent.serve.mcp.writing import TOOLS as WRITING

READ, WRITE, ADMIN = "read", "write", "admin"
SCOPES = (READ, WRITE)


def scope_of(method: str, params: Mapping[str, Any]) -> str:
    """The scope that a request needs."""
    return WRITE if method == "tools/call" and params.get("name") in WRITING else READ


def allows(scopes: Collection[str], needed: str) -> bool:
    """Whether a token of these scopes may do what needs `needed`; writing is more than reading."""
    return needed in scopes or ADMIN in scopes or (needed == READ and WRITE in scopes)


async def admit(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Lets a request pass that its token has the scope for, and lists no tool that it has not."""
    token = get_access_token()
    if token is None:
        return await call_next(ctx)
    needed = scope_of(ctx.method, ctx.params or {})
    if not allows(token.scopes, needed):
        raise MCPError(code=INVALID_PARAMS, message=f"this token lacks the scope {needed!r}")
    answer = await call_next(ctx)
    if ctx.method == "tools/list" and isinstance(answer, dict) and not allows(token.scopes, WRITE):
        tools = [one for one in answer.get("tools", []) if one.get("name") not in WRITING]
        return {**answer, "tools": tools}
    return answer
