"""Facts that are remembered, as documents of an index of their own, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ragagent.access import Principal
from ragagent.errors import AccessDenied, ConfigError
from ragagent.jsonable import canonical, jsonable
from ragagent.protocols import Entry
from ragagent.text import hidden
from ragagent.tools.remembering import MAX_CHARS
from ragagent.types import Chunk, Document, Fact, Label, Span, Vector, digest

MAX_SOURCES = 200
_MAX_SOURCE_CHARS = 200
OWNER = "owner"
WRITTEN = Label(sources=("user",), readers=("user",))
"""The label of what the owner of a fact has written by hand."""


def owner_of(principal: Principal | None) -> str:
    """Whose facts those of a session are: a user's whatever the groups, or those of the knowledge base's owner.

    Raises AccessDenied for who is no user: facts of nobody would be everybody's.
    """
    if principal is None:
        return OWNER
    if principal.user is None:
        raise AccessDenied(f"memory: this session was opened as {principal}, which is no user; only users remember")
    return f"user:{principal.user}"


def acl_of(owner: str) -> tuple[str, ...]:
    """Who may read the facts of `owner`, as documents say it."""
    return () if owner == OWNER else (owner,)


def cleaned(text: str) -> str:
    """`text` on one line, without characters that are not seen. Raises ConfigError where that is empty or too long."""
    line = " ".join(hidden.without(text.encode("utf-8", "replace").decode()).split())
    line = "".join(one for one in line if one.isprintable())
    if not line:
        raise ConfigError("the fact is empty: write what is to be remembered")
    if len(line) > MAX_CHARS:
        raise ConfigError(f"the fact has {len(line)} characters: at most {MAX_CHARS} are remembered; say it shorter")
    return line


def shortened(label: Label) -> Label:
    """`label` with so few and such short sources that it can be kept; who trusts and reads it stays as it is."""
    sources = tuple(one[:_MAX_SOURCE_CHARS] for one in label.sources)
    if len(sources) > MAX_SOURCES:
        sources = (*sources[: MAX_SOURCES - 1], f"and {len(sources) - MAX_SOURCES + 1} more")
    return replace(label, sources=sources)


def mark(fact: Fact) -> str:
    """The same for facts of an owner that say the same and came from the same."""
    return digest(fact.text, canonical(jsonable(fact.label)), fact.came)


def entry(fact: Fact, vector: Vector) -> Entry:
    """The fact as one document of one chunk with its `vector`, float32[1, d]."""
    label = fact.label
    metadata: dict[str, Any] = {
        "came": fact.came,
        "at": fact.at,
        "run": fact.run_id,
        "step": fact.step,
        "trusted": label.trusted,
        "sources": label.sources,
        "readers": label.readers,
    }
    document = Document(id=fact.id, uri=f"memory:{fact.id}", text=fact.text, metadata=metadata, acl=acl_of(fact.owner))
    chunk = Chunk(id=digest(fact.id, fact.text), document_id=fact.id, span=Span(0, len(fact.text)), text=fact.text)
    return Entry(document=document, chunks=(chunk,), vectors=vector, source=fact.owner, stamp=mark(fact))


def fact_of(document: Document, owner: str) -> Fact:
    """The fact that a document is. Whatever its label should say and does not, counts against it."""
    said: Any = document.metadata
    readers = said.get("readers", ())
    label = Label(
        trusted=said.get("trusted") is True,
        sources=tuple(said.get("sources", ())),
        readers=None if readers is None else tuple(readers),
    )
    return Fact(
        id=document.id,
        text=document.text,
        owner=owner,
        came=said["came"],
        label=label,
        at=said["at"],
        run_id=said["run"],
        step=said["step"],
    )
