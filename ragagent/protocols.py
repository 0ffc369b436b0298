"""The seams: what an application may replace, and what each replacement has to keep.

An engine stands behind one adapter that keeps one of these protocols; everything above knows the protocol alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ragagent.types import (
    Chunk,
    Completion,
    Delta,
    Document,
    Failure,
    Grammar,
    Hit,
    Message,
    Metadata,
    Sampling,
    SearchMode,
    ToolSpec,
    Vector,
)
from ragagent.where import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceItem:
    """One thing a connector found. `stamp` is a cheap mark that changes when the content, or its acl, may have changed.

    Where a source gives no such mark it is empty, and the item is fetched at each ingest.
    """

    uri: str
    stamp: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a source holds for one item, not read yet.

    `content` is the bytes, or a local file that need not be copied. `name` tells the format where the bytes do not;
    `media_type` is what the source says it is, `title` and `metadata` what it knows beside the content.
    """

    uri: str
    name: str
    content: bytes | Path
    media_type: str = ""
    title: str = ""
    metadata: Metadata = field(default_factory=dict, hash=False)
    acl: tuple[str, ...] = ()


@runtime_checkable
class Connector(Protocol):
    """A place documents come from: enumerate cheaply, then fetch one by one; reading is done elsewhere.

    The uri of an item holds no `!/`, which parts what is inside an item from it (`ragagent.types.inner_uri`).
    """

    @property
    def source(self) -> str:
        """A stable name of the whole source; removing what is gone is decided within it."""
        ...

    def items(self) -> Iterator[SourceItem | Failure]:
        """Everything there is, in a stable order; what cannot even be looked at comes as a Failure.

        A Failure hides all that lies below its uri, and one whose uri is `source` hides everything that does not come:
        nothing of it counts as gone. Raises ConnectorError when the source as a whole is out of reach.
        """
        ...

    def fetch(self, item: SourceItem) -> Fetched | Document:
        """The content of one item, or its document where the source holds texts and no files.

        Raises ReadError (or a kind of it) when it cannot be had.
        """
        ...


@runtime_checkable
class Narrowed(Connector, Protocol):
    """A connector that looks at some places of its source alone; what is gone is decided within these."""

    @property
    def places(self) -> tuple[str, ...]:
        """The addresses that `items` looks at, each with all that lies below it."""
        ...


class Tokenizer(Protocol):
    """Counts text the way one model does."""

    def offsets(self, text: str) -> npt.NDArray[np.int32]:
        """int32[n, 2]: the character range of each token of `text`, in order, special tokens left out."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Texts to vectors. Vectors of one `fingerprint` compare; vectors of two do not."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Changes with anything that changes vectors by more than rounding: weights, pooling, prefix, precision."""
        ...

    @property
    def dimension(self) -> int: ...

    @property
    def max_tokens(self) -> int:
        """Longer texts are cut at this many tokens, special tokens included."""
        ...

    @property
    def tokenizer(self) -> Tokenizer: ...

    def embed_documents(self, texts: Sequence[str]) -> Vector:
        """float32[n, d], normalised, in the order of `texts`; n may be 0."""
        ...

    def embed_query(self, text: str) -> Vector:
        """float32[d], normalised."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class EmbedsTokens(Protocol):
    """An embedder that gives the vectors of a text's tokens too."""

    def embed_tokens(self, texts: Sequence[str], *, query: bool = False) -> list[Vector]:
        """For each text float32[t, d], normalised: the vectors of its words' tokens within the whole text, in order.

        Special tokens and punctuation are left out, unless nothing else is there. `query` says that the texts are
        questions, for models that are given these in another way.
        """
        ...


@runtime_checkable
class Reranker(Protocol):
    """Judges passages beside the question, more closely and more slowly than a search can.

    Safe to call from several threads. It knows nothing of a time budget: `ragagent.retrieve.rerank` hands it the
    candidates block by block, as far as the time goes.
    """

    @property
    def name(self) -> str: ...

    def prepare(self) -> None:
        """Loads what judging needs, so that the time budget is spent on judging; costs nothing when called again."""
        ...

    def scores(self, query: str, hits: Sequence[Hit]) -> Sequence[float]:
        """How relevant each of `hits` is, higher for more; scores compare within one query only.

        A hit's score depends on the query and the hit alone, up to rounding, whatever others are judged with it.
        """
        ...

    def close(self) -> None: ...


@runtime_checkable
class KnowsLanguages(Protocol):
    """An embedder or a reranker that is not for texts of every language."""

    @property
    def languages(self) -> frozenset[str]:
        """The ISO 639-1 codes of those it is for; empty where that is not known, or all."""
        ...


@runtime_checkable
class LLM(Protocol):
    """A language model. Safe to call from several threads: requests take turns."""

    @property
    def name(self) -> str: ...

    @property
    def context_tokens(self) -> int: ...

    @property
    def constrains(self) -> bool:
        """Whether every kind of Grammar is enforced while sampling. If not, only JSON schemas are asked for."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of `text` alone, without template or special tokens."""
        ...

    def chat(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        tools: Sequence[ToolSpec] = (),
        timeout_s: float | None = None,
    ) -> Completion:
        """The next message. Raises ContextOverflow, ModelCrashed or another ModelError."""
        ...

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        tools: Sequence[ToolSpec] = (),
        timeout_s: float | None = None,
    ) -> Iterator[Delta]:
        """As `chat`, piece by piece; closing the iterator cancels the request."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Cancels(Protocol):
    """A language model or a tool whose work can be stopped from another thread."""

    def cancel(self) -> None:
        """Ends what is under way, if anything is: a model's request comes back with what was written by then."""
        ...


@runtime_checkable
class CancelsOfThread(Protocol):
    """A language model of which one thread's request can be stopped, while others wait or work."""

    def cancel_of(self, thread: int) -> None:
        """Ends the request under way if that thread (`threading.get_ident`) made it; what is there comes back."""
        ...


@runtime_checkable
class EstimatesText(Protocol):
    """A language model that says how likely texts are."""

    def log_likelihoods(
        self, conversations: Sequence[Sequence[Message]], texts: Sequence[str], *, timeout_s: float | None = None
    ) -> Sequence[float]:
        """For each of `texts`, none of them empty, the mean log-probability of its tokens as what the assistant says
        next in the conversation at the same place.

        One depends on its conversation and text alone, up to rounding, whatever others are asked for with it. Raises as
        `LLM.chat` does. Costs reading what all conversations begin with once, then the rest of each with its text.
        """
        ...


@runtime_checkable
class SamplesMany(Protocol):
    """A language model that writes several answers to one prompt side by side."""

    def sample(
        self,
        messages: Sequence[Message],
        *,
        count: int,
        max_tokens: int = 512,
        sampling: Sampling | None = None,
        grammar: Grammar | None = None,
        likeliest: bool = False,
        timeout_s: float | None = None,
    ) -> Sequence[Completion]:
        """`count` answers (1 to 8), the n-th with the seed of `sampling` plus n. Raises as `LLM.chat` does.

        The prompt is read once. A temperature of 0 gives one answer `count` times. With `likeliest` the first of them
        is the one of temperature 0.
        """
        ...


@runtime_checkable
class ShowsPrompt(Protocol):
    """A language model that shows what it reads."""

    def prompt_tokens(self, messages: Sequence[Message]) -> Sequence[tuple[int, str]]:
        """The tokens of a prompt, template included, each with its text; a character may be cut between two."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A document ready to be written: its chunks in order and one vector for each (float32[n, d]).

    `texts` are what the vectors were made of, one for each chunk; left empty, the chunks' own texts. They are the keys
    of `Index.cached_vectors`. `source` and `stamp` are the connector's, for the cheap check of the next run.
    """

    document: Document
    chunks: tuple[Chunk, ...]
    vectors: Vector
    texts: tuple[str, ...] = ()
    source: str = ""
    stamp: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownDocument:
    """What an index remembers of a document without opening its text."""

    id: str
    uri: str
    source: str
    stamp: str
    revision: str
    acl: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """Counts and facts about an index, for people and programs."""

    documents: int
    chunks: int
    segments: int
    tail_chunks: int
    dimension: int
    fingerprint: Mapping[str, str]
    size_bytes: int
    findings: tuple[str, ...] = field(default=())


@runtime_checkable
class Index(Protocol):
    """Documents, chunks and vectors, written in batches that are all or nothing, searched as one snapshot."""

    def known(self, source: str | None = None) -> Mapping[str, KnownDocument]:
        """Every document by id, of one source or of all; takes memory for all of them."""
        ...

    def known_of(self, ids: Sequence[str]) -> Mapping[str, KnownDocument]:
        """Those of the documents of these ids that are there, by id."""
        ...

    def known_inside(self, uri: str) -> Sequence[KnownDocument]:
        """The documents that came in inside the one of `uri` (`ragagent.types.inner_uri`), in the order of uri."""
        ...

    def each_known(self) -> Iterator[KnownDocument]:
        """Every document in the order of uri, read some at a time, so that memory stays bounded."""
        ...

    def cached_vectors(self, texts: Sequence[str]) -> Mapping[str, Vector]:
        """The stored vectors of those embedded texts (`Entry.texts`) that the index holds, each float32[d]."""
        ...

    def write(
        self,
        entries: Sequence[Entry] = (),
        remove: Iterable[str] = (),
        *,
        built_with: Mapping[str, str] | None = None,
    ) -> None:
        """Adds or replaces `entries` and removes the documents of the ids in `remove`, in one transaction.

        `built_with` names the parts that made the entries (embedder, chunker); FingerprintMismatch is raised, and
        nothing written, where the index records other ones.
        """
        ...

    def touch(self, stamps: Mapping[str, str]) -> None:
        """Sets the stamp of documents (by id) whose content turned out unchanged."""
        ...

    def search(
        self,
        query: str,
        vector: Vector | Callable[[], Vector] | None,
        *,
        k: int,
        mode: SearchMode,
        where: Where | None = None,
        embedder: str | None = None,
        dense_weight: float | None = None,
    ) -> list[Hit]:
        """The k best chunks by the analysed `query` and the query `vector` (None is right for `sparse` only).

        `vector` may be a function that gives it, so that an engine can search the terms meanwhile; it is called at
        most once, in the caller's thread, and what it raises comes out as it is.
        `embedder` is the fingerprint of what made the vector; EmbedderChanged is raised where it is given and the
        vectors that would be searched are another one's. Ties are broken by chunk id. `where` is a filter in any
        form of `ragagent.where`, and acts inside both searches.
        """
        ...

    def document(self, document_id: str) -> Document | None: ...

    def documents(self) -> Iterator[Document]:
        """Every document, text included, in the order of uri."""
        ...

    def chunks(self, document_id: str) -> Sequence[Chunk]:
        """The chunks of a document in reading order."""
        ...

    def neighbours(self, chunk: Chunk) -> Sequence[Chunk]:
        """The chunks before and after one in its document, in reading order; none where it is not there any more.

        Costs the same however long the document is.
        """
        ...

    def status(self) -> IndexStatus: ...

    def check(self) -> tuple[str, ...]:
        """Reads everything and returns what is wrong with it, in words; empty when all is well."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class SearchesMany(Protocol):
    """An index that answers many questions at once, all from one commit."""

    def search_many(
        self,
        queries: Sequence[str],
        vectors: Sequence[Vector | None],
        *,
        k: int,
        mode: SearchMode,
        where: Where | None = None,
        embedder: str | None = None,
    ) -> list[list[Hit]]:
        """What `Index.search` gives for each of `queries` with its vector."""
        ...


@runtime_checkable
class SuggestsTerms(Protocol):
    """An index that knows which of its words are spelled almost as another one is."""

    def similar_terms(self, words: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """For each of `words` that no chunk has, words that find chunks and are nearest to it, best first.

        A word that some chunk has, and one that nothing is near to, is left out.
        """
        ...


@runtime_checkable
class KeepsVectors(Protocol):
    """An index that gives the vectors of its chunks."""

    def vectors_of(self, chunks: Sequence[Chunk]) -> Mapping[str, Vector]:
        """The stored vectors of those of `chunks` that are there, by their ids, each float32[d], normalised.

        All of them are of one commit.
        """
        ...


@runtime_checkable
class Narrows(Protocol):
    """An index that can answer as if it held some of its documents alone.

    `search`, and `search_many` and `similar_terms` where they are offered, then take `within`: what comes back is what
    an index would give that holds nothing but the documents for which it holds, in rank, score and arithmetic.
    """

    def search(
        self,
        query: str,
        vector: Vector | Callable[[], Vector] | None,
        *,
        k: int,
        mode: SearchMode,
        where: Where | None = None,
        embedder: str | None = None,
        dense_weight: float | None = None,
        within: Where | None = None,
    ) -> list[Hit]:
        """As `Index.search`, among the documents for which `within` holds."""
        ...

    def count_within(self, within: Where) -> tuple[int, int]:
        """How many documents, and how many chunks, `within` lets through."""
        ...


@runtime_checkable
class Retags(Protocol):
    """An index that changes metadata and nothing else."""

    def retag(self, metadata: Mapping[str, Metadata]) -> tuple[str, ...]:
        """Gives documents, by id, new metadata in one transaction; nothing is embedded. Returns the ids not found."""
        ...


@runtime_checkable
class Relabels(Protocol):
    """An index that changes who may read documents and nothing else."""

    def relabel(self, acls: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Gives documents, by id, a new acl in one transaction; nothing is embedded. Returns the ids not found."""
        ...


class Named(Protocol):
    """A snapshot, as a list of them shows it."""

    @property
    def name(self) -> str: ...
    @property
    def documents(self) -> int: ...


class SnapshotKeeper(Protocol):
    """Names for states of the documents. Raises ConfigError for a name that is not there, or is there already."""

    def create(self, name: str) -> Named: ...
    def list(self) -> Sequence[Named]:
        """Every snapshot, the oldest first."""
        ...

    def diff(self, name: str, other: str | None = None) -> Any:
        """`added`, `removed` and `changed`, each a sequence of what has an `id` and a `uri`, in the order of uri."""
        ...

    def restore(self, name: str) -> Any:
        """Makes the documents what they were; `before` of what comes back names a snapshot of the state before."""
        ...

    def remove(self, names: Iterable[str]) -> None: ...


@runtime_checkable
class KeepsSnapshots(Protocol):
    """An index that remembers earlier states of its documents."""

    @property
    def snapshots(self) -> SnapshotKeeper: ...


class Tool(Protocol):
    """Something an agent can call."""

    @property
    def spec(self) -> ToolSpec: ...

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Runs with arguments validated against `spec.parameters`; raises ToolError with a readable reason."""
        ...


class Progress(Protocol):
    """Told about long work: `update` is cheap and may be called often, from one thread at a time."""

    def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None: ...


Sink = Callable[[Mapping[str, Any]], None]
"""Takes one trace event: a flat mapping with at least `name`, `at` and `seconds`."""

__all__ = [
    "LLM",
    "Cancels",
    "CancelsOfThread",
    "Connector",
    "Embedder",
    "EmbedsTokens",
    "Entry",
    "EstimatesText",
    "Fetched",
    "Index",
    "IndexStatus",
    "KeepsSnapshots",
    "KeepsVectors",
    "KnownDocument",
    "KnowsLanguages",
    "Metadata",
    "Narrowed",
    "Narrows",
    "Progress",
    "Relabels",
    "Reranker",
    "Retags",
    "SearchesMany",
    "Sink",
    "SnapshotKeeper",
    "SourceItem",
    "SuggestsTerms",
    "Tokenizer",
    "Tool",
]
