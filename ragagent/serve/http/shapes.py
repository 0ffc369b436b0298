"""What the API takes and gives, as the OpenAPI document says it.

Offsets count Unicode code points of a document's text, as Python does; a browser counts UTF-16 units, so a page takes
marked text in pieces (`TextPage.pieces`) and never has to count.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ragagent.retrieve.explanation import Explanation, why
from ragagent.settings import Rerank, Understanding
from ragagent.types import Answer, AnswerStyle, Citation, Document, Evidence, Hit, SearchMode, Usage

MOST_HITS = 100
MOST_QUESTION = 4000
MOST_FILTER = 4000
MOST_PAGE = 200
MOST_TEXT = 200_000
MOST_ALSO = 20


Question = Annotated[
    str, Field(min_length=1, max_length=MOST_QUESTION, pattern=r"\S", description="the question, in words")
]
Identifier = Annotated[str, Field(min_length=1, max_length=200)]
ConversationId = Annotated[str, Field(min_length=1, max_length=64, description="what POST /api/conversations gave")]
Filter = Annotated[
    str | dict[str, JsonValue] | None,
    Field(
        description="only documents for which this holds: 'type = \"pdf\" and date >= 2024-01-01', or an object such "
        'as {"team": ["law", "tax"]} (docs/filters.md)'
    ),
]


class Given(BaseModel):
    """A body that a client sends; fields that are not known are an error."""

    model_config = ConfigDict(extra="forbid")


class SearchRequest(Given):
    """A search. `explain` also gives the steps that were taken and the arithmetic of each hit."""

    query: Question
    k: int = Field(default=10, ge=1, le=MOST_HITS)
    mode: SearchMode = "hybrid"
    where: Filter = None
    explain: bool = False
    rerank: Rerank | None = Field(default=None, description="what judges the best candidates once more")
    understand: list[Understanding] | None = Field(default=None, max_length=8)
    without: list[Annotated[str, Field(max_length=100)]] = Field(
        default=[], max_length=20, description="filters that are not to be read from the question, by name"
    )


class StageOut(BaseModel):
    """What one stage of the search made of a hit."""

    name: str
    rank: int | None
    score: float | None
    detail: str


class HitOut(BaseModel):
    """A passage that a search found; `start` and `end` are its place in the document's text."""

    rank: int
    score: float
    document_id: str
    chunk_id: str
    uri: str
    title: str
    page: int | None
    headings: list[str]
    start: int
    end: int
    text: str
    metadata: dict[str, Any]
    also: list[str]
    why: str = Field(description="how it came to its rank, in a sentence")
    stages: list[StageOut] = Field(description="the arithmetic; empty unless `explain` was asked for")


class StepOut(BaseModel):
    """A step that the search took."""

    name: str
    detail: str
    seconds: float


class ReadFilterOut(BaseModel):
    """A filter that was read from the question; `without: [name]` takes it away."""

    name: str
    words: str
    where: str


class SearchResult(BaseModel):
    """The hits, best first, and how the question was understood."""

    query: str
    searched: str
    hits: list[HitOut]
    filters: list[ReadFilterOut]
    steps: list[StepOut]
    seconds: float


class AskRequest(Given):
    """A question to the documents, by itself or as the next one of a conversation."""

    question: Question
    where: Filter = None
    conversation: ConversationId | None = None
    style: AnswerStyle | None = Field(default=None, description="how it is laid out; unset: as the server has it")
    answer_schema: dict[str, JsonValue] | None = Field(
        default=None, description="a JSON schema: the answer is `data` that fits it; without style and conversation"
    )


class BoxOut(BaseModel):
    """A rectangle on a page, in points from the lower left corner."""

    page: int
    left: float
    bottom: float
    right: float
    top: float


class CitationOut(BaseModel):
    """A document's own words. When `verified`, they stand at `start`..`end` of its text."""

    number: int = Field(description="counts from 1, in the order of the answer")
    quote: str
    document_id: str
    uri: str
    title: str
    page: int | None
    start: int | None
    end: int | None
    verified: bool
    boxes: list[BoxOut]
    also: list[str]


class ClaimOut(BaseModel):
    """One statement of the answer; `citations` are the numbers of those that carry it."""

    text: str
    supported: bool
    problems: list[str]
    citations: list[int]


class UsageOut(BaseModel):
    """What it cost."""

    prompt_tokens: int
    reused_tokens: int
    completion_tokens: int
    seconds: float


class AnswerOut(BaseModel):
    """An answer. `refused` comes with a reason, and without text that could be taken for an answer."""

    question: str
    text: str
    status: Literal["grounded", "partial", "refused"]
    confidence: float
    reason: str
    claims: list[ClaimOut]
    citations: list[CitationOut]
    usage: UsageOut
    data: JsonValue = Field(default=None, description="what `answer_schema` asked for; null where it did not")


class ConversationOut(BaseModel):
    """A conversation as it is listed; its title is the first question, "" where none was asked."""

    id: str
    title: str
    turns: int
    saved_at: float


class ConversationList(BaseModel):
    """Conversations, the last saved first."""

    conversations: list[ConversationOut]


class TurnOut(BaseModel):
    """A question and its answer; `citations` are those whose words still stand in the documents."""

    question: str
    text: str
    status: Literal["grounded", "partial", "refused"]
    reason: str
    citations: list[CitationOut]


class TurnList(BaseModel):
    """The turns of a conversation, the oldest first."""

    id: str
    turns: list[TurnOut]


class PassageOut(BaseModel):
    """A passage that the model was shown."""

    number: int
    document_id: str
    uri: str
    title: str
    page: int | None
    headings: list[str]
    text: str
    start: int
    end: int


class EvidenceOut(BaseModel):
    """What the model was shown, all of it."""

    passages: list[PassageOut]
    tokens: int


class DocumentOut(BaseModel):
    """A document without its text."""

    id: str
    uri: str
    title: str
    media_type: str
    characters: int
    pages: int = Field(description="0 where it has none")
    metadata: dict[str, Any]
    acl: list[str]
    deletable: bool = Field(description="whether who asks may delete it")


class DocumentPage(BaseModel):
    """Some documents in the order of uri; `next_cursor` gets those that follow."""

    documents: list[DocumentOut]
    total: int = Field(description="how many there are, all pages together")
    next_cursor: str | None


class Piece(BaseModel):
    """A run of text, and whether it is marked."""

    text: str
    marked: bool


class TextPage(BaseModel):
    """A part of a document's text; `pieces` are the same text cut where marks begin and end."""

    document_id: str
    title: str
    start: int
    end: int
    characters: int = Field(description="of the whole text")
    text: str
    pieces: list[Piece]
    next_start: int | None


class PageBoxes(BaseModel):
    """A page of a document, and where on it what was asked for stands; sizes in points."""

    document_id: str
    page: int
    width: float
    height: float
    boxes: list[BoxOut]


class RemovedOut(BaseModel):
    """A removal that can be undone until `until` (seconds since the epoch)."""

    id: str
    uri: str
    title: str
    documents: int = Field(description="how many were removed: the document, and what was inside it")
    removed_at: float
    until: float


class RemovedList(BaseModel):
    """The removals that can be undone, the latest first."""

    removed: list[RemovedOut]


class IngestRequest(Given):
    """A source to bring in: a path on the server, or an address. For the owner, with the scope admin."""

    source: str = Field(min_length=1, max_length=2000, pattern=r"\S")
    prune: bool = False
    acl: list[Annotated[str, Field(max_length=1000)]] | None = Field(default=None, max_length=100)


class FailureOut(BaseModel):
    """Something that was left out, and why."""

    uri: str
    name: str
    reason: str
    kind: str


class NoteOut(BaseModel):
    """Something that was done in an unusual way."""

    uri: str
    text: str


class ReportOut(BaseModel):
    """What an ingest did, in documents."""

    added: int
    updated: int
    unchanged: int
    removed: int
    failed: int
    chunks: int
    embedded: int
    seconds: float
    failures: list[FailureOut]
    notes: list[NoteOut]


class JobOut(BaseModel):
    """An ingest, and how far it is."""

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    source: str | None
    files: list[str]
    stage: str
    done: int
    total: int | None
    detail: str
    created_at: float
    started_at: float | None
    ended_at: float | None
    error: str
    report: ReportOut | None


class JobList(BaseModel):
    """Ingests, the latest first."""

    jobs: list[JobOut]


class StatusOut(BaseModel):
    """What there is, as far as who asks may see it."""

    version: str
    documents: int
    chunks: int
    size_bytes: int | None = Field(description="of the files; for the owner")
    findings: list[str] = Field(description="what is wrong with the files; for the owner")
    model: str
    embedder: str
    principal: str | None
    scopes: list[str]
    token_needed: bool
    model_waiting: int
    jobs: int
    uptime_seconds: float


class ModelOut(BaseModel):
    """A model of the catalogue."""

    name: str
    kind: str
    state: Literal["present", "absent", "damaged"]
    description: str
    licence: str
    size_bytes: int | None
    context_tokens: int | None
    in_use: bool


class ModelList(BaseModel):
    """The models that have a name; the ones in use first."""

    models: list[ModelOut]


class SettingOut(BaseModel):
    """One setting, its value as text, and where that comes from."""

    key: str
    value: str
    origin: str


class SettingList(BaseModel):
    """All settings in force; secrets are not shown."""

    settings: list[SettingOut]


class Health(BaseModel):
    """That the server is there."""

    status: Literal["ok", "closing"]


def search_result(found: Explanation, *, explain: bool) -> SearchResult:
    """A search as it is given back."""
    return SearchResult(
        query=found.query,
        searched=found.searched,
        hits=[hit_out(hit, explain=explain) for hit in found.hits],
        filters=[ReadFilterOut(name=one.name, words=one.words, where=one.where) for one in found.filters],
        steps=[StepOut(name=one.name, detail=one.detail, seconds=one.seconds) for one in found.steps]
        if explain
        else [],
        seconds=found.seconds,
    )


def hit_out(hit: Hit, *, explain: bool) -> HitOut:
    """A hit as it is given back."""
    stages = [StageOut(name=one.name, rank=one.rank, score=one.score, detail=one.detail) for one in hit.stages]
    return HitOut(
        rank=hit.rank,
        score=hit.score,
        document_id=hit.document_id,
        chunk_id=hit.chunk.id,
        uri=hit.uri,
        title=hit.title,
        page=hit.page,
        headings=list(hit.chunk.headings),
        start=hit.chunk.span.start,
        end=hit.chunk.span.end,
        text=hit.text,
        metadata=dict(hit.metadata),
        also=list(hit.also[:MOST_ALSO]),
        why=why(hit),
        stages=stages if explain else [],
    )


def answer_out(answer: Answer) -> AnswerOut:
    """An answer as it is given back."""
    numbers = {citation: number for number, citation in enumerate(answer.citations, 1)}
    claims = [
        ClaimOut(
            text=claim.text,
            supported=claim.supported,
            problems=list(claim.problems),
            citations=[numbers[citation] for citation in claim.citations if citation in numbers],
        )
        for claim in answer.claims
    ]
    return AnswerOut(
        question=answer.question,
        text=answer.text,
        status=answer.status,
        confidence=answer.confidence,
        reason=answer.reason,
        claims=claims,
        citations=[citation_out(citation, number) for number, citation in enumerate(answer.citations, 1)],
        usage=usage_out(answer.usage),
        data=answer.data,
    )


def citation_out(citation: Citation, number: int) -> CitationOut:
    """A citation as it is given back."""
    start, end = citation.span if citation.span is not None else (None, None)
    return CitationOut(
        number=number,
        quote=citation.quote,
        document_id=citation.document_id,
        uri=citation.uri,
        title=citation.title,
        page=citation.page,
        start=start,
        end=end,
        verified=citation.verified,
        boxes=[box_out(box) for box in citation.boxes],
        also=list(citation.also[:MOST_ALSO]),
    )


def box_out(box: Any) -> BoxOut:
    """A box as it is given back."""
    return BoxOut(page=box.page, left=box.left, bottom=box.bottom, right=box.right, top=box.top)


def usage_out(usage: Usage) -> UsageOut:
    """A cost as it is given back."""
    return UsageOut(
        prompt_tokens=usage.prompt_tokens,
        reused_tokens=usage.reused_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=usage.seconds,
    )


def evidence_out(evidence: Evidence) -> EvidenceOut:
    """The evidence as it is given back."""
    passages = [
        PassageOut(
            number=one.number,
            document_id=one.document_id,
            uri=one.uri,
            title=one.title,
            page=one.page,
            headings=list(one.headings),
            text=one.text,
            start=min((piece.start for piece in one.pieces), default=0),
            end=max((piece.end for piece in one.pieces), default=0),
        )
        for one in evidence.passages
    ]
    return EvidenceOut(passages=passages, tokens=evidence.tokens)


def document_out(document: Document, *, deletable: bool) -> DocumentOut:
    """A document as it is listed."""
    return DocumentOut(
        id=document.id,
        uri=document.uri,
        title=document.title,
        media_type=document.media_type,
        characters=len(document.text),
        pages=max((block.number or 0 for block in document.blocks if block.kind == "page"), default=0),
        metadata=dict(document.metadata),
        acl=list(document.acl),
        deletable=deletable,
    )


def pieces_of(text: str, offset: int, marks: Sequence[tuple[int, int]]) -> list[Piece]:
    """`text`, which stands at `offset` of a document, cut where `marks` (spans of the document) begin and end."""
    inside = [(max(0, start - offset), min(len(text), end - offset)) for start, end in marks]
    inside = [(start, end) for start, end in inside if start < end]
    cuts = sorted({0, len(text), *(cut for span in inside for cut in span)})
    return [
        Piece(text=text[start:end], marked=any(first <= start and end <= last for first, last in inside))
        for start, end in itertools.pairwise(cuts)
    ]
