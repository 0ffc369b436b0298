"""Who a request is from and what it may do, as parameters of routes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, cast

from fastapi import Depends, Request

from ragagent.app import KnowledgeBase
from ragagent.app.memory import Memory
from ragagent.serve.http.errors import Refusal
from ragagent.serve.http.guard import Caller
from ragagent.serve.http.service import Service
from ragagent.serve.http.tokens import Scope


def service_of(request: Request) -> Service:
    """The running server's parts."""
    return cast(Service, request.app.state.service)


def needs(scope: Scope) -> Callable[[Request], Caller]:
    """A dependency that lets a caller with that scope through, and is told by it: every route has one."""

    def allowed(request: Request) -> Caller:
        caller = cast(Caller, request.state.caller)
        if not caller.may(scope):
            raise Refusal(403, "missing_scope", f"the token does not allow this: it lacks the scope {scope}")
        return caller

    allowed.scope = scope  # type: ignore[attr-defined]
    return allowed


def _session(request: Request, caller: Annotated[Caller, Depends(needs("read"))]) -> KnowledgeBase:
    return service_of(request).seen_by(caller)


def _memory(request: Request, caller: Annotated[Caller, Depends(needs("agent"))]) -> Memory:
    return service_of(request).seen_by(caller).memory


Shared = Annotated[Service, Depends(service_of)]
Reader = Annotated[Caller, Depends(needs("read"))]
Writer = Annotated[Caller, Depends(needs("write"))]
Operator = Annotated[Caller, Depends(needs("agent"))]
Admin = Annotated[Caller, Depends(needs("admin"))]
Session = Annotated[KnowledgeBase, Depends(_session)]
"""The knowledge base as a reader sees it."""
Remembered = Annotated[Memory, Depends(_memory)]
"""What agents of who asks remember; 403 for who is no user."""
