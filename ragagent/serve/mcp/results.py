"""What the tools give, as records with a schema, and how they are made of what a knowledge base gives."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from ragagent.protocols import IndexStatus
from ragagent.serve.mcp import addresses
from ragagent.serve.mcp.limits import MAX_ALSO, MAX_PASSAGE_CHARS
from ragagent.types import Answer, Citation, Document, Hit, IngestReport

_SHOWN_FAILURES = 20


class FoundPassage(BaseModel):
    """A passage that a search found. `start` and `end` are character offsets into the document's text."""

    rank: int
    score: float
    document_id: str
    uri: str
    title: str
    page: int | None
    start: int
    end: int
    text: str
    shortened: bool = Field(description="whether the text was cut to stay within the limit")
    also_in: list[str] = Field(description="uris of other documents that say the same, at most 10 of them")
    resource: str = Field(description="the address to read exactly this passage at, as a resource")


class SearchResult(BaseModel):
    """The best passages, best first; `next_cursor` gets those that the token budget had no room for."""

    passages: list[FoundPassage]
    next_cursor: str | None


class Quote(BaseModel):
    """A document's own words; when `verified`, they stand at `start`..`end` of its text."""

    number: int
    quote: str
    verified: bool
    document_id: str
    uri: str
    title: str
    page: int | None
    start: int | None
    end: int | None
    also_in: list[str] = Field(description="uris of copies and versions that say the same there, at most 10 of them")
    resource: str = Field(description="the address to read the quoted place at, as a resource")


class AskResult(BaseModel):
    """An answer. `refused` comes with a reason and without text that could be taken for an answer."""

    text: str
    status: Literal["grounded", "partial", "refused"]
    confidence: float
    reason: str
    citations: list[Quote]
    citations_left_out: int = Field(description="how many citations the token budget had no room for")


class ReadResult(BaseModel):
    """A part of a document's text, from `start` to `end` in characters; `next_cursor` gets the part behind it."""

    document_id: str
    uri: str
    title: str
    page: int | None = Field(description="the page that the part begins on, where the document has pages")
    start: int
    end: int
    characters: int = Field(description="how long the whole text is")
    text: str
    next_cursor: str | None


class ListedDocument(BaseModel):
    """A document of the knowledge base, without its text."""

    document_id: str
    uri: str
    title: str
    media_type: str
    characters: int
    resource: str = Field(description="the address to read it at, as a resource")


class DocumentsResult(BaseModel):
    """One page of the documents in the order of uri; `next_cursor` gets the next page."""

    documents: list[ListedDocument]
    next_cursor: str | None


class StatusResult(BaseModel):
    """What the knowledge base holds, as far as it may be seen here, and what this server lets be done."""

    documents: int
    passages: int
    embedder: str
    writes: bool = Field(description="whether documents can be brought in and removed here")


class UnreadItem(BaseModel):
    """Something that was left out of an ingest, and why."""

    uri: str
    reason: str


class IngestResult(BaseModel):
    """What an ingest did, in documents; `failures` names at most 20 of the `failed`."""

    added: int
    updated: int
    unchanged: int
    removed: int
    failed: int
    failures: list[UnreadItem]


class RemoveResult(BaseModel):
    """The document that was removed."""

    document_id: str
    uri: str
    title: str


def passage(hit: Hit) -> FoundPassage:
    """A hit, its text within bounds."""
    text, span = hit.text[:MAX_PASSAGE_CHARS], hit.chunk.span
    return FoundPassage(
        rank=hit.rank,
        score=hit.score,
        document_id=hit.document_id,
        uri=hit.uri,
        title=hit.title,
        page=hit.page,
        start=span.start,
        end=span.end,
        text=text,
        shortened=len(text) < len(hit.text),
        also_in=list(hit.also[:MAX_ALSO]),
        resource=addresses.passage(hit.document_id, span.start, span.end),
    )


def asked(answer: Answer, citations: list[Quote]) -> AskResult:
    """An answer with those of its citations that there is room for."""
    return AskResult(
        text=answer.text,
        status=answer.status,
        confidence=answer.confidence,
        reason=answer.reason,
        citations=citations,
        citations_left_out=len(answer.citations) - len(citations),
    )


def quote(number: int, citation: Citation) -> Quote:
    """A citation by its number in the answer, from 1."""
    start, end = citation.span if citation.span is not None else (None, None)
    return Quote(
        number=number,
        quote=citation.quote[:MAX_PASSAGE_CHARS],
        verified=citation.verified,
        document_id=citation.document_id,
        uri=citation.uri,
        title=citation.title,
        page=citation.page,
        start=start,
        end=end,
        also_in=list(citation.also[:MAX_ALSO]),
        resource=addresses.document(citation.document_id)
        if start is None or end is None
        else addresses.passage(citation.document_id, start, end),
    )


def listed(document: Document) -> ListedDocument:
    """A document as lists show it."""
    return ListedDocument(
        document_id=document.id,
        uri=document.uri,
        title=document.title,
        media_type=document.media_type,
        characters=len(document.text),
        resource=addresses.document(document.id),
    )


def status(found: IndexStatus, *, writes: bool) -> StatusResult:
    """Counts of what may be seen."""
    return StatusResult(
        documents=found.documents,
        passages=found.chunks,
        embedder=found.fingerprint.get("embedder_name", ""),
        writes=writes,
    )


def ingested(report: IngestReport) -> IngestResult:
    """The report of an ingest, without the names of more than a few failures."""
    return IngestResult(
        added=report.added,
        updated=report.updated,
        unchanged=report.unchanged,
        removed=report.removed,
        failed=report.failed,
        failures=[UnreadItem(uri=one.uri, reason=one.reason) for one in report.failures[:_SHOWN_FAILURES]],
    )
