"""The tools that read documents: search, read a range, list.

Each takes the callable it stands on, so that it can be tried without a knowledge base. What they return is untrusted
text: it reaches the model as data inside an observation and never as an instruction.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ragagent.errors import ConfigError, ToolError
from ragagent.text.columns import labelled
from ragagent.types import Chunk, Document, Hit, Label, Passage, Span, ToolSpec, Usage, digest

HANDLE_KEY = "x-handle"
"""Marks a parameter whose value has to be one of the documents that the run has met."""
_MAX_QUERY_CHARS = 300
_SHORT_ID_CHARS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a document tool returned: text for the model, the passages behind it, and the documents it names."""

    content: str
    hits: tuple[Hit, ...] = ()
    documents: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    calls: int = 0
    bounded: str = ""
    """The type of value that it is all the model sees, where it is one: choice, number, date, span."""
    labels: tuple[Label, ...] | None = None
    """What is known of where it comes from, where the tool has kept that; else it is as untrusted as any result."""


@runtime_checkable
class DocumentTool(Protocol):
    """A tool whose results can be cited. Calling it again with the same arguments finds the same passages."""

    @property
    def spec(self) -> ToolSpec: ...

    def call(self, arguments: Mapping[str, Any]) -> str: ...

    def find(self, arguments: Mapping[str, Any]) -> Found: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left of the caps of a run; None where there is no cap."""

    calls: int | None = None
    tokens: int | None = None
    seconds: float | None = None


@runtime_checkable
class DelegatingTool(Protocol):
    """A tool that works on a task of its own, within what is left of the caps of the run that calls it.

    Its results can be cited; unlike those of a document tool they are not found again when a run is resumed.
    """

    @property
    def spec(self) -> ToolSpec: ...

    def call(self, arguments: Mapping[str, Any]) -> str: ...

    def delegate(self, arguments: Mapping[str, Any], left: Left) -> Found: ...


@runtime_checkable
class ComputingTool(DocumentTool, Protocol):
    """A document tool that also computes from what it reads: its results count as computed, as a sum does."""

    @property
    def computes(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class _Reading:
    """A document tool made of its spec and a function."""

    spec: ToolSpec
    find: Callable[[Mapping[str, Any]], Found]

    def call(self, arguments: Mapping[str, Any]) -> str:
        return self.find(arguments).content


def short_id(document_id: str) -> str:
    """How a document is named to the model: digests are cut to 12 characters, other ids are left as they are."""
    is_digest = len(document_id) == 32 and set(document_id) <= set("0123456789abcdef")
    return document_id[:_SHORT_ID_CHARS] if is_digest else document_id


Pack: TypeAlias = Callable[[str, Sequence[Hit]], Sequence[Passage]]
"""The sentences of some hits that bear on a query, by passage."""


Filtered: TypeAlias = Callable[[str, int, str], Sequence[Hit]]
"""The so many best hits of a query among the documents that a filter lets through, as it is written."""


def search_documents(
    search: Callable[[str, int], Sequence[Hit]],
    *,
    k: int = 3,
    pack: Pack | None = None,
    filtered: Filtered | None = None,
) -> DocumentTool:
    """A tool over `search(query, k)` that shows the k best passages with where they come from.

    With `pack` it shows what that makes of them: a small model finds the figure it needs among ten sentences more
    often than among sixty, and reads them in a fraction of the time. With `filtered` the model may write a filter.
    """
    query = {
        "type": "string",
        "description": "what to look for, in a few words",
        "minLength": 1,
        "maxLength": _MAX_QUERY_CHARS,
    }
    narrower = {
        "type": "string",
        "description": 'only documents for which this holds, such as type = "pdf" and date >= 2024-01-01',
        "maxLength": _MAX_QUERY_CHARS,
    }
    spec = ToolSpec(
        name="search_documents",
        description="Searches the documents and returns the passages that fit best. Facts and figures come from here.",
        parameters=_object({"query": query, **({"where": narrower} if filtered else {})}, required=("query",)),
        effects=("read",),
    )

    def find(arguments: Mapping[str, Any]) -> Found:
        try:
            where = arguments.get("where")
            hits = tuple(
                filtered(arguments["query"], k, where) if filtered and where else search(arguments["query"], k)
            )
        except ConfigError as error:
            raise ToolError(str(error)) from error
        if not hits:
            return Found(content="Nothing was found. Try other words.")
        shown = [_packed(passage) for passage in pack(arguments["query"], hits)] if pack else list(map(_shown, hits))
        content = "\n\n".join(shown)
        return Found(content=content, hits=hits, documents=_distinct(hit.document_id for hit in hits))

    return _Reading(spec, find)


def read_document(document: Callable[[str], Document | None], *, page_chars: int = 2000) -> DocumentTool:
    """A tool that reads a document from an offset, `page_chars` at a time, and says where the next part begins."""
    properties = {
        "document": {
            "type": "string",
            "description": "id of a document that a search or list showed",
            HANDLE_KEY: "document",
        },
        "start": {"type": "integer", "description": "character offset to read from", "minimum": 0, "default": 0},
    }
    spec = ToolSpec(
        name="read_document",
        description=f"Reads a document from a character offset, up to {page_chars} characters at a time.",
        parameters=_object(properties, required=("document",)),
        effects=("read",),
    )

    def find(arguments: Mapping[str, Any]) -> Found:
        document_id, start = str(arguments["document"]), int(arguments.get("start", 0))
        source = document(document_id)
        if source is None:
            raise ToolError(f"there is no document {document_id!r}; search or list the documents to see their ids")
        return _part(source, start, page_chars)

    return _Reading(spec, find)


def list_documents(documents: Callable[[], Iterable[Document]], *, page: int = 20) -> DocumentTool:
    """A tool that lists documents by id and title, `page` at a time."""
    properties = {
        "start": {"type": "integer", "description": "how many documents to skip", "minimum": 0, "default": 0},
    }
    spec = ToolSpec(
        name="list_documents",
        description=f"Lists the documents by id and title, {page} at a time.",
        parameters=_object(properties),
        effects=("read",),
    )

    def find(arguments: Mapping[str, Any]) -> Found:
        start = int(arguments.get("start", 0))
        some = list(itertools.islice(documents(), start, start + page + 1))
        if not some:
            return Found(
                content="There are no documents." if start == 0 else f"There are only {start} or fewer documents."
            )
        lines = [f"{short_id(one.id)}  {one.title or one.uri} ({len(one.text)} characters)" for one in some[:page]]
        if len(some) > page:
            lines.append(f"(more documents follow: go on with start={start + page})")
        return Found(content="\n".join(lines), documents=_distinct(one.id for one in some[:page]))

    return _Reading(spec, find)


def _object(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def _distinct(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ids))


def _shown(hit: Hit) -> str:
    headings = " > ".join(hit.chunk.headings)
    where = _where(hit.rank, hit.title or hit.uri, hit.document_id, hit.page, hit.chunk.span.start)
    return f"{where}{chr(10) + headings if headings else ''}\n{labelled(hit.text)}"


def _packed(passage: Passage) -> str:
    title, start = passage.title or passage.uri, passage.pieces[0].start
    where = _where(passage.number, title, passage.document_id, passage.page, start)
    return f"{where}\n{labelled(passage.text)}"


def _where(number: int, title: str, document_id: str, page: int | None, start: int) -> str:
    on = f", page {page}" if page is not None else ""
    return f"[{number}] {title} (document {short_id(document_id)}{on}, from {start})"


def _part(source: Document, start: int, page_chars: int) -> Found:
    """The text from `start`, ended at a line or word where there is one, as a passage of its own."""
    if start >= len(source.text):
        raise ToolError(f"the document has {len(source.text)} characters; start={start} is behind its end")
    span = Span(start, break_before(source.text, start, start + page_chars))
    text = span.of(source.text)
    chunk = Chunk(
        id=digest(source.id, f"{span.start}:{span.end}", text),
        document_id=source.id,
        span=span,
        text=text,
        page=source.page_at(start),
    )
    hit = Hit(chunk=chunk, rank=1, score=0.0, via="sparse", title=source.title, uri=source.uri, page=chunk.page)
    left = len(source.text) - span.end
    more = f"\n\n({left} characters follow: go on with start={span.end})" if left else "\n\n(end of the document)"
    return Found(content=labelled(text) + more, hits=(hit,), documents=(source.id,))


def break_before(text: str, start: int, end: int) -> int:
    """Where a part from `start` to about `end` ends: behind a line or word, unless that makes it half as long."""
    if end >= len(text):
        return len(text)
    floor = start + (end - start) // 2
    for mark in ("\n", " "):
        place = text.rfind(mark, floor, end)
        if place >= 0:
            return place + 1
    return end
