"""Whose request it is: each is answered over the knowledge base as its principal sees it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from mcp.server.auth.middleware.auth_context import get_access_token

from ragagent.access import Principal, principal_of
from ragagent.protocols import IndexStatus, KnownDocument, Progress
from ragagent.types import Answer, AnswerEvent, AnswerStyle, Citation, Document, Hit, IngestReport, SearchMode
from ragagent.where import Where

PRINCIPAL_CLAIM = "ragagent/principal"
"""Where a verified token says whom it looks for; without it, it is the owner's."""


class Served(Protocol):
    """What the server needs of a knowledge base."""

    def search(
        self, query: str, k: int = 10, mode: SearchMode = "hybrid", where: Where | None = None
    ) -> Sequence[Hit]: ...

    def ask(self, question: str, *, where: Where | None = None) -> Answer: ...

    def ask_stream(
        self, question: str, *, where: Where | None = None, style: AnswerStyle | None = None
    ) -> Iterator[AnswerEvent]: ...

    def document(self, document_id: str) -> Document | None: ...

    def known(self) -> Mapping[str, KnownDocument]: ...

    def status(self) -> IndexStatus: ...


@runtime_checkable
class Writable(Protocol):
    """What tools that write need beside it."""

    def ingest(
        self, source: str | list[Document], *, prune: bool = False, progress: Progress | None = None
    ) -> IngestReport: ...

    def remove(self, document_id: str) -> bool: ...


@runtime_checkable
class DrawsPages(Protocol):
    """A knowledge base that can draw the page of a citation."""

    def page_image(self, citation: Citation) -> bytes: ...


@runtime_checkable
class ManySessions(Protocol):
    """A knowledge base of which each principal sees another part."""

    def seen_by(self, principal: Principal) -> Served: ...


def seen(kb: Served) -> Served:
    """`kb` as the principal of the request under way sees it. Costs nothing.

    Without a verified token (over stdio, or where the server asks for none) that is `kb` itself.
    """
    token = get_access_token()
    names = (token.claims or {}).get(PRINCIPAL_CLAIM) if token is not None else None
    if names is None:
        return kb
    if not isinstance(kb, ManySessions):
        raise TypeError(f"{type(kb).__name__} has no sessions of principals")
    return kb.seen_by(principal_of(names))
