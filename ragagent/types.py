"""The records that travel between the stages, and the laws they keep.

Every record is frozen. A stage takes one of them and returns another; none of them holds an engine, a file or a
connection, so each can be compared, stored, sent to another process and printed as JSON (`ragagent.jsonable`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Vector: TypeAlias = npt.NDArray[np.float32]
"""float32[d] or float32[n, d], C-contiguous, L2-normalised: the inner product is the cosine."""

Scalar: TypeAlias = str | int | float | bool | None
Metadata: TypeAlias = Mapping[str, "Scalar | tuple[Scalar, ...] | list[Scalar]"]

BlockKind = Literal["heading", "paragraph", "list", "table", "code", "quote", "page"]
SearchMode = Literal["hybrid", "dense", "sparse"]
AnswerStatus = Literal["grounded", "partial", "refused"]
AnswerStyle = Literal["short", "full", "table", "list"]
"""How an answer is laid out (docs/answers.md): a phrase, whole sentences, rows, or items."""
Role = Literal["system", "user", "assistant", "tool"]
Effect = Literal["read", "write", "network", "execute", "money"]
EFFECTS: tuple[Effect, ...] = ("read", "write", "network", "execute", "money")
Cap = Literal["step_limit", "call_limit", "token_limit", "time_limit", "repeated_call"]
Came = Literal["user", "task", "derived"]
Stopped = Literal["finished", Cap, "approval", "cancelled", "error"]


def digest(*parts: str | bytes) -> str:
    """A 128-bit BLAKE2b hex digest of `parts`; each part is framed by its length, so ("ab", "c") != ("a", "bc")."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


_INSIDE = "!/"


def inner_uri(uri: str, path: str) -> str:
    """The uri of what stands at `path` inside the document of `uri`: an attachment, a member of an archive."""
    return uri + _INSIDE + path


def root_uri(uri: str) -> str:
    """The uri of the item at its source that the document of `uri` came in with: its own, unless it was inside."""
    return uri.partition(_INSIDE)[0]


class Span(NamedTuple):
    """A half-open range of character offsets into a document's text: `text[span.start:span.end]`."""

    start: int
    end: int

    def of(self, text: str) -> str:
        """The characters of `text` that the span covers."""
        return text[self.start : self.end]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle on a page, in points from the page's lower left corner."""

    page: int
    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One structural part of a document, as a span over its text.

    `level` is 1..6 for a heading and the nesting depth of a list; `number` is the page number of a page block,
    counted from 1. Page blocks overlap the other kinds; blocks of the other kinds do not overlap one another.
    """

    kind: BlockKind
    span: Span
    level: int = 0
    number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One text with its place of origin.

    Laws: `id` defaults to the digest of `uri`; `revision` defaults to the digest of everything that search or an
    answer can see (title, text, metadata, media type, acl). Equal revisions need no new work. `acl` is who may read it
    (`ragagent.access`).
    """

    text: str
    id: str = ""
    uri: str = ""
    title: str = ""
    blocks: tuple[Block, ...] = ()
    media_type: str = "text/plain"
    revision: str = ""
    metadata: Metadata = field(default_factory=dict, hash=False)
    acl: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Only here are the derived fields of a frozen record filled in; afterwards nothing changes.
        uri = self.uri or (f"document:{self.id}" if self.id else f"text:{digest(self.title, self.text)}")
        object.__setattr__(self, "uri", uri)
        object.__setattr__(self, "id", self.id or digest(uri))
        object.__setattr__(self, "revision", self.revision or self._content_digest())

    def _content_digest(self) -> str:
        metadata = json.dumps(dict(self.metadata), sort_keys=True, ensure_ascii=False, default=list)
        return digest(self.title, self.media_type, metadata, "\0".join(self.acl), self.text)

    def labelled(self, acl: Sequence[str]) -> Document:
        """The same document with other readers. A revision that its source gave says nothing of these, and stays."""
        given = self.revision if self.revision != self._content_digest() else ""
        return replace(self, acl=tuple(acl), revision=given)

    def page_at(self, offset: int) -> int | None:
        """The number of the page that holds the character at `offset`; None for a text without pages."""
        for block in self.blocks:
            if block.kind == "page" and block.span.start <= offset < block.span.end:
                return block.number
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A passage of a document: `document.text[span.start:span.end] == text`, always.

    `id` depends on the document's id, the headings and the text (and on how often that text came before in the same
    document), never on time, model or position in a run: an edit elsewhere leaves it as it is. `position` counts the
    chunks of the document from 0; `page` is the page the chunk begins on.
    """

    id: str
    document_id: str
    span: Span
    text: str
    headings: tuple[str, ...] = ()
    page: int | None = None
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one stage of a search made of a chunk: its rank (from 1; None when not found), score and arithmetic."""

    name: str
    rank: int | None
    score: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that a search found. Ranks are 1..k without gaps; scores compare only within one `via`.

    `also` are the uris of other documents that say the same there, copies and versions, best ranked first.
    """

    chunk: Chunk
    rank: int
    score: float
    via: SearchMode
    title: str
    uri: str
    page: int | None = None
    metadata: Metadata = field(default_factory=dict, hash=False)
    stages: tuple[Stage, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text of the chunk."""
        return self.chunk.text

    @property
    def document_id(self) -> str:
        """The id of the document the chunk belongs to."""
        return self.chunk.document_id

    def explain(self) -> str:
        """One line for each stage: its rank, its score and the arithmetic."""
        lines = [f"#{self.rank} {self.via} score {self.score:.6g}  {self.title or self.uri}"]
        for stage in self.stages:
            where = "not found" if stage.rank is None else f"rank {stage.rank}, score {stage.score:.6g}"
            # A filter ranks nothing: it only says what it let through.
            line = [stage.detail] if stage.name == "filter" else [where, *([stage.detail] if stage.detail else [])]
            lines.append(f"  {stage.name}: {'  '.join(line)}")
        lines.extend(f"  also in {uri}" for uri in self.also)
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """What the model sees of one document part: pieces of its text, each verbatim, in reading order.

    Verbatim but for hidden characters (bidirectional controls and the like), in whose place U+FFFD stands.

    `text` is the pieces joined by a single space where the document has something between them; `pieces` are spans
    over the document's text, so an offset in `text` can be carried back (`ragagent.retrieve.pack.locate`). `also` are
    the uris that its hits have in `Hit.also`.
    """

    number: int
    chunk_id: str
    document_id: str
    uri: str
    title: str
    text: str
    pieces: tuple[Span, ...]
    headings: tuple[str, ...] = ()
    page: int | None = None
    score: float = 0.0
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The passages given to the model for a question, exactly as it saw them. `tokens` never exceeds the budget."""

    question: str
    passages: tuple[Passage, ...] = ()
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A document's own words. When `verified`, `document.text[span.start:span.end] == quote` holds.

    `also` are the uris of copies and versions that say the same as the passage around the quote, though not always in
    these very words.
    """

    quote: str
    document_id: str
    uri: str
    title: str
    span: Span | None
    verified: bool
    chunk_id: str = ""
    page: int | None = None
    boxes: tuple[Box, ...] = ()
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement of an answer with the citations that carry it.

    `supported` is the verdict of the deterministic checks; `problems` names each check that failed.
    """

    text: str
    citations: tuple[Citation, ...] = ()
    supported: bool = False
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What something cost: tokens read, tokens of those taken from the cache, tokens written, and seconds of each."""

    prompt_tokens: int = 0
    reused_tokens: int = 0
    completion_tokens: int = 0
    prompt_seconds: float = 0.0
    completion_seconds: float = 0.0
    seconds: float = 0.0
    calls: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            reused_tokens=self.reused_tokens + other.reused_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            prompt_seconds=self.prompt_seconds + other.prompt_seconds,
            completion_seconds=self.completion_seconds + other.completion_seconds,
            seconds=self.seconds + other.seconds,
            calls=self.calls + other.calls,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """What an answer's confidence is made of (`ragagent.answer.calibration`); None where it is not known.

    `stated` is the log-probability that the model takes the cited words for an answer, `confirmed` that it takes the
    answer for the right one by them, `covered` the share of the question's terms that stand in them, `fluency` the mean
    log-probability of the answer's tokens, and `supported` the share of its claims that passed the checks. `agreed` is
    the share of the drafts that say the same.
    """

    stated: float | None = None
    confirmed: float | None = None
    covered: float = 1.0
    fluency: float | None = None
    supported: float = 1.0
    agreed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a question. `refused` comes with a reason; `grounded` means every claim shown is supported.

    An `extractive` one was chosen from the documents by its words, without a language model, and `reason` says why.
    `data` is the JSON value that a schema asked for: it fits the schema, and each of its values stands in a citation.
    """

    question: str
    text: str
    status: AnswerStatus
    confidence: float
    reason: str = ""
    claims: tuple[Claim, ...] = ()
    citations: tuple[Citation, ...] = ()
    evidence: Evidence | None = None
    usage: Usage = field(default_factory=Usage)
    signals: Signals | None = None
    extractive: bool = False
    data: Any = field(default=None, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerEvent:
    """One step of a streamed answer: `evidence` first, `text` pieces as they come, `answer` last."""

    kind: Literal["evidence", "text", "answer"]
    text: str = ""
    evidence: Evidence | None = None
    answer: Answer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Something that was left out of an ingest, by name, and why. `kind` is the error's class name."""

    uri: str
    reason: str
    kind: str = "ReadError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that was done in an unusual way, or left out, while the item of `uri` was read."""

    uri: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Documents that are alike, by uri in order; `exact` says that their words are the same, all of them.

    `likeness` is the least share of shingles, as estimated, that any member has in common with the first one.
    """

    members: tuple[str, ...]
    exact: bool
    likeness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that stands in many documents which are not copies of one another."""

    text: str
    documents: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """The clusters of two or more documents, the largest first, and the lines that stand in most, at most 100.

    `documents` is how many were looked at.
    """

    documents: int = 0
    clusters: tuple[Cluster, ...] = ()
    boilerplate: tuple[Line, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """What an ingest did, in documents; `chunks` were written and `embedded` of them needed the model.

    `relabelled` are those of which nothing changed but who may read them; they count as unchanged as well.

    `failures` and `notes` come in the order of uri. `stage_seconds` is how long each stage worked (plan, read, chunk,
    embed, commit, as far as there was something to do); the stages work beside each other, and several files are read
    at once, so together they may take longer than the whole `seconds`. `duplicates` are those among the documents that
    were added or updated, the first 10,000 of them.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    relabelled: int = 0
    failed: int = 0
    chunks: int = 0
    embedded: int = 0
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()
    notes: tuple[Note, ...] = ()
    stage_seconds: Mapping[str, float] = field(default_factory=dict, hash=False)
    duplicates: Duplicates = field(default_factory=Duplicates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation with a language model."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """A constraint on what may be sampled: a JSON schema, or a grammar in llguidance's Lark dialect, as text."""

    kind: Literal["json_schema", "lark"]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How the next token is chosen. Greedy by default, so that an answer can be reproduced."""

    temperature: float = 0.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a language model wrote. `finish` is `length` when the token limit cut it off."""

    text: str
    finish: Literal["stop", "length", "cancelled"]
    usage: Usage
    mean_logprob: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """A piece of a streamed completion; the last one has no text and carries the whole `completion`."""

    text: str
    completion: Completion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is known of where a value comes from: `Label()` is a value that nothing speaks against.

    `sources` name what it derives from, in order of their names; `readers` are those who may see it, None everybody.
    Labels of values that are combined are joined by `ragagent.agent.labels.join`.
    """

    trusted: bool = True
    sources: tuple[str, ...] = ()
    readers: tuple[str, ...] | None = None


UNTRUSTED = Label(trusted=False)
"""What is said of a value that says nothing of its origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that is remembered from one run to the next.

    `owner` is whose it is: `owner`, or `user:NAME`. `came` says how it came: the owner wrote it (`user`), a run
    remembered it before it had read anything (`task`), or after that (`derived`), which `label` says more of. `run_id`
    and `step` are of the run that remembered it. `at` is when it was written last, in seconds since the epoch.
    """

    id: str
    text: str
    owner: str
    came: Came
    label: Label
    at: float
    run_id: str = ""
    step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as the model sees it, and what it may do. `parameters` is a JSON schema of type object.

    `effects` is what calling it does: nothing at all for (), and everything for a tool that does not say. Anything but
    "read" makes it consequential (`ragagent.agent.policy`). `accepts` names the parameters that may hold untrusted
    data all the same. `idempotent` says that doing it twice does no more than doing it once. `max_calls` is for a run.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    effects: tuple[Effect, ...] = EFFECTS
    accepts: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    idempotent: bool = False
    max_calls: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the model asks for; `arguments` are validated against the tool's schema before anything runs."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a tool returned, or why it did not. `content` is what the model reads.

    `usage` and `calls` are what it cost inside: tokens of an agent that is a tool of another, and its calls of tools.
    """

    call_id: str
    name: str
    content: str
    error: bool = False
    label: Label = UNTRUSTED
    usage: Usage = field(default_factory=Usage)
    calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One turn of an agent: what it thought, what it called and what came back.

    `approval` is the id of the approval that the call ran under, where it needed one.
    """

    index: int
    thought: str
    call: ToolCall | None
    observation: Observation | None
    usage: Usage = field(default_factory=Usage)
    approval: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where one value of a call's arguments comes from. `path` leads to it: `to.0` is the first of the list `to`."""

    path: str
    value: Scalar
    label: Label
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A question to a human: may exactly this call be made?

    It holds for one call of one run, once, and until `expires_at` (seconds since the epoch). `digest` is of the tool's
    name and its arguments. `kind` is `unknown` where the process ended within the call: whether it took effect is not
    known, and what is asked is whether to make it again.
    """

    id: str
    run_id: str
    step: int
    kind: Literal["call", "unknown"]
    tool: str
    arguments: Mapping[str, Any]
    digest: str
    effects: tuple[Effect, ...]
    reason: str
    origins: tuple[Origin, ...]
    asked_at: float
    expires_at: float

    def approve(self, by: str = "user") -> Decision:
        """The decision that lets the call be made."""
        return Decision(approval_id=self.id, approved=True, by=by)

    def deny(self, by: str = "user") -> Decision:
        """The decision that keeps the call from being made."""
        return Decision(approval_id=self.id, approved=False, by=by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A human's answer to the approval of that id."""

    approval_id: str
    approved: bool
    by: str = "user"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult:
    """How a run of an agent ended, or that it waits: `approval` is what it waits for.

    `stopped` says what ended it: its own finish, the cap it ran into, the user's wish, or an error.
    """

    run_id: str
    task: str
    answer: Answer
    steps: tuple[Step, ...]
    stopped: Stopped
    usage: Usage = field(default_factory=Usage)
    approval: Approval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolProgress:
    """How far a call is that is under way, as its tool tells: `done` of `total` where that is known, and in words."""

    done: float
    total: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvent:
    """One event of a streamed run: each step's parts as they come, then each `citation`, and `answer` last.

    `step` counts from 0. A step gives `thought`, `call`, `approval` where a human is asked (the run stops there),
    `progress` while a tool tells how far it is, `observation` and `usage`. The fields of the other kinds are empty;
    `result` comes with `answer`.
    """

    kind: Literal["thought", "call", "approval", "progress", "observation", "usage", "citation", "answer"]
    step: int
    text: str = ""
    call: ToolCall | None = None
    approval: Approval | None = None
    progress: ToolProgress | None = None
    observation: Observation | None = None
    usage: Usage | None = None
    citation: Citation | None = None
    result: AgentResult | None = None
