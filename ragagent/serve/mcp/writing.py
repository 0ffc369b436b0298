"""The tools that change the knowledge base: ingest and remove, each only after a human has said yes."""

# No `from __future__ import annotations` here: the SDK evaluates annotations, and those below name local functions.

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlsplit

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, Elicit, MCPServer, Resolve
from mcp.server.mcpserver.exceptions import ToolError as ShownError
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, Field

from ragagent.errors import ConfigError, RagAgentError, ToolError
from ragagent.serve.mcp import content, parameters, results
from ragagent.serve.mcp.limits import MAX_TEXT_CHARS
from ragagent.serve.mcp.reading import document_of
from ragagent.serve.mcp.sessions import Served, Writable, seen
from ragagent.serve.mcp.working import Tell, Workers
from ragagent.types import Document

Confirm = Literal["always", "possible", "never"]
TOOLS = frozenset({"ingest", "remove"})
_SHOWN_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """What may be written, and who is asked.

    `sources` are the folders and the beginnings of addresses that may be brought in from; without any, only texts that
    the client sends. `confirm` "always" denies what nobody can be asked about, because the client cannot ask its user;
    "possible" lets it pass; "never" asks nobody.
    """

    sources: tuple[str, ...] = ()
    confirm: Confirm = "always"


class Consent(BaseModel):
    """The human's answer."""

    allow: bool = Field(description="Do it?")


Text = Annotated[str | None, Field(max_length=MAX_TEXT_CHARS, description="a text to keep as a document of its own")]
Title = Annotated[
    str | None, Field(min_length=1, max_length=200, description="its title; a text of the same title is replaced")
]
Source = Annotated[
    str | None, Field(min_length=1, max_length=4096, description="instead: a path or an address that may be brought in")
]


def add_tools(server: MCPServer[Any], kb: Served, workers: Workers, writes: Writes) -> None:
    """Gives `server` the tools."""

    def ask_to_ingest(
        ctx: Context[Any, Any], text: str | None, title: str | None, source: str | None
    ) -> Elicit[Consent] | Consent:
        _require_one(text, title, source)
        if source is not None:
            _allowed(source, writes.sources)
            return _asked(ctx, writes, f"Bring {_line(source)} into the knowledge base?")
        return _asked(
            ctx, writes, f"Keep a text of {len(text or '')} characters as {_line(title or '')} in the knowledge base?"
        )

    def ask_to_remove(ctx: Context[Any, Any], document: str) -> Elicit[Consent] | Consent:
        try:
            found = document_of(seen(kb), document)
        except RagAgentError as error:
            raise ShownError(str(error)) from error
        return _asked(ctx, writes, f"Remove {_line(found.title or found.uri)} ({_line(found.uri)}) for good?")

    @server.tool(
        title="Bring in documents",
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=bool(writes.sources)
        ),
    )
    async def ingest(
        ctx: Context[Any, Any],
        answer: Annotated[ElicitationResult[Consent], Resolve(ask_to_ingest)],
        text: Text = None,
        title: Title = None,
        source: Source = None,
    ) -> Annotated[CallToolResult, results.IngestResult]:
        """Brings a text, or a folder, file or address that this server allows, into the knowledge base."""
        _require_consent(answer)
        session = _writable(seen(kb))
        wanted: str | list[Document] = (
            _allowed(source, writes.sources) if source is not None else [_note(title or "", text or "")]
        )
        report = await workers.told(ctx, lambda tell: session.ingest(wanted, progress=_Progress(tell)))
        return content.result(results.ingested(report))

    @server.tool(
        title="Remove a document",
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )
    async def remove(
        document: parameters.DocumentName,
        answer: Annotated[ElicitationResult[Consent], Resolve(ask_to_remove)],
    ) -> Annotated[CallToolResult, results.RemoveResult]:
        """Removes a document from the knowledge base."""
        _require_consent(answer)
        session = seen(kb)
        return content.result(await workers.run(lambda: _removed(session, document)))


def _asked(ctx: Context[Any, Any], writes: Writes, question: str) -> Elicit[Consent] | Consent:
    """The question to the human, or yes where the server is set to ask nobody."""
    if writes.confirm == "never":
        return Consent(allow=True)
    capabilities = ctx.client_capabilities
    if capabilities is not None and capabilities.elicitation is not None:
        return Elicit(question, Consent)
    if writes.confirm == "possible":
        return Consent(allow=True)
    raise ShownError(
        "denied: this needs a person's yes, and this client cannot ask for it (it has no elicitation). "
        "Whoever runs the server can allow it with: ragagent mcp --allow-write --confirm possible"
    )


def _require_consent(answer: ElicitationResult[Consent]) -> None:
    if not isinstance(answer, AcceptedElicitation) or not answer.data.allow:
        raise ShownError("denied: the user did not allow it; nothing was changed")


def _require_one(text: str | None, title: str | None, source: str | None) -> None:
    if (source is None) == (text is None) or (text is not None) != (title is not None):
        raise ShownError("give text and title, or source alone")


def _writable(kb: Served) -> Writable:
    if not isinstance(kb, Writable):
        raise ShownError(f"{type(kb).__name__} cannot be written to")
    return kb


def _removed(kb: Served, given: str) -> results.RemoveResult:
    found = document_of(kb, given)
    if not _writable(kb).remove(found.id):
        raise ToolError(f"there is no document {given[:_SHOWN_CHARS]!r} any more")
    return results.RemoveResult(document_id=found.id, uri=found.uri, title=found.title)


def _note(title: str, text: str) -> Document:
    return Document(uri=f"note:{quote(title)}", title=title, text=text)


def _line(text: str) -> str:
    """A text of others as one line of ours."""
    shown = "".join(one if one.isprintable() else " " for one in text[:_SHOWN_CHARS])
    return repr(shown) + ("..." if len(text) > _SHOWN_CHARS else "")


def _allowed(source: str, allowed: Sequence[str]) -> str:
    """The path or address, when it lies within one of `allowed`. Raises the SDK's ToolError when it does not."""
    for root in allowed:
        within = _address_within(source, root) if "://" in root else _path_within(source, root)
        if within is not None:
            return within
    where = ", ".join(allowed) or "nowhere, only texts"
    raise ShownError(f"{_line(source)} may not be brought in here; allowed: {where}")


def _path_within(source: str, root: str) -> str | None:
    """The real path, links followed, so that none leads out."""
    if "://" in source or "\0" in source:
        return None
    top = Path(root).resolve()
    path = Path(os.path.join(top, source)).resolve()
    return str(path) if path == top or top in path.parents else None


def _address_within(source: str, root: str) -> str | None:
    """An address of the same host whose path goes on where that of `root` ends."""
    try:
        given, top = urlsplit(source), urlsplit(root)
    except ValueError:
        return None
    steps = unquote(given.path).replace("\\", "/").split("/")
    same = (given.scheme, given.netloc) == (top.scheme, top.netloc)
    below = given.path == top.path or given.path.startswith(top.path.rstrip("/") + "/")
    return source if same and below and ".." not in steps else None


class _Progress:
    """Tells a client how far an ingest is, in documents and chunks."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._done = 0

    def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        self._done += 1
        self._tell(self._done, None, f"{stage}: {done}{f' of {total}' if total else ''}")


def check(writes: Writes) -> None:
    """Raises ConfigError for a source that cannot be allowed."""
    for root in writes.sources:
        if not root.strip() or ("://" in root and not urlsplit(root).netloc):
            raise ConfigError(f"{root!r}: allow a folder, or the beginning of an address such as https://host/path")
