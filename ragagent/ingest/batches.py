"""Documents become batches: what is unchanged is passed over, the rest is cut into chunks and put together."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ragagent.ingest import chunking, duplicates
from ragagent.ingest.loading import Loaded
from ragagent.ingest.tally import Tally
from ragagent.protocols import Embedder, Index
from ragagent.settings import Settings
from ragagent.types import Chunk, Document, Failure, Note, root_uri

MAX_BATCH_DOCUMENTS = 256
_MAX_TOUCHED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunked:
    """A document in chunks, with the text that is embedded for each; `replaces` says that there was an earlier one."""

    loaded: Loaded
    chunks: tuple[Chunk, ...]
    texts: tuple[str, ...]
    replaces: bool


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one transaction brings: documents, ids that go, new stamps by id; and what there is to report beside."""

    documents: dict[str, Chunked] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    touched: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    unchanged: int = 0
    items: int = 0
    """Of the source's items so many are done with this batch."""
    chunks: int = 0

    def is_full(self, chunks: int) -> bool:
        """Whether it is time to write it."""
        return (
            self.chunks >= chunks
            or len(self.documents) >= MAX_BATCH_DOCUMENTS
            or len(self.touched) + len(self.failures) >= _MAX_TOUCHED
        )

    @property
    def texts(self) -> list[str]:
        """The embedded texts of all chunks, in order."""
        return [text for one in self.documents.values() for text in one.texts]


class Batching:
    """Makes batches of documents. Knows what is on its way into the index beside what is there."""

    def __init__(self, index: Index, embedder: Embedder, settings: Settings, tally: Tally) -> None:
        self._tally = tally
        self._index = index
        self._embedder = embedder
        self._settings = settings
        self.duplicates = duplicates.Gathered()
        # The revisions of documents that are in a batch which is not written yet.
        self._under_way: dict[str, str] = {}
        self._lock = threading.Lock()

    def batches(self, parts: Iterable[Loaded | Failure | Note]) -> Iterator[Batch]:
        """The parts in batches, in their order. The last may be small; the first is, so that embedding begins soon."""
        batch, most = Batch(), -(-self._settings.ingest.batch_chunks // 4)
        for part in parts:
            if isinstance(part, Loaded) and part.document.id in batch.documents:
                # One transaction brings one version of a document.
                yield batch
                batch = Batch()
            with self._tally.working("chunk"):
                self._add(batch, part)
            if batch.is_full(most):
                yield batch
                batch, most = Batch(), self._settings.ingest.batch_chunks
        yield batch

    def written(self, batch: Batch) -> None:
        """The index has the batch; what it knows of these documents counts again."""
        with self._lock:
            for key, one in batch.documents.items():
                if self._under_way.get(key) == one.loaded.document.revision:
                    del self._under_way[key]

    def _add(self, batch: Batch, part: Loaded | Failure | Note) -> None:
        if isinstance(part, Note):
            batch.notes.append(part)
        elif isinstance(part, Failure):
            batch.failures.append(part)
            batch.items += _is_item(part.uri)
        else:
            batch.items += _is_item(part.document.uri)
            if part.inside is not None:
                batch.stale += self._stale(part.document, part.inside)
            self._add_document(batch, part)

    def _add_document(self, batch: Batch, loaded: Loaded) -> None:
        document = loaded.document
        revision = self._revision(document.id)
        if revision == document.revision:
            batch.touched[document.id] = loaded.stamp
            batch.unchanged += 1
            return
        made = self._chunked(loaded, replaces=revision is not None)
        if isinstance(made, Failure):
            batch.failures.append(made)
            return
        self.duplicates.add(document)
        batch.documents[document.id] = made
        batch.touched.pop(document.id, None)
        batch.chunks += len(made.chunks)
        with self._lock:
            self._under_way[document.id] = document.revision

    def _revision(self, document_id: str) -> str | None:
        """The revision that the index has, or is about to have, of that document."""
        # In this order: what has just been written is looked up in the index after it was taken from the first.
        with self._lock:
            under_way = self._under_way.get(document_id)
        if under_way is not None:
            return under_way
        known = self._index.known_of([document_id])
        return known[document_id].revision if document_id in known else None

    def _stale(self, document: Document, inside: frozenset[str]) -> list[str]:
        return [one.id for one in self._index.known_inside(document.uri) if one.id not in inside]

    def _chunked(self, loaded: Loaded, *, replaces: bool) -> Chunked | Failure:
        document, most = loaded.document, self._settings.ingest.max_text_chars
        if len(document.text) > most:
            reason = f"{len(document.text)} characters of text are over the limit ingest.max_text_chars = {most}"
            return Failure(uri=document.uri, reason=reason, kind="TooLarge")
        embed = self._embedder.embed_documents
        chunks = chunking.chunk(document, self._embedder.tokenizer, self._settings.chunking, embed=embed)
        if not chunks:
            return Failure(uri=document.uri, reason="there is no text in it", kind="EmptyDocument")
        texts = tuple(chunking.embedding_text(document.title, chunk) for chunk in chunks)
        return Chunked(loaded=loaded, chunks=chunks, texts=texts, replaces=replaces)


def _is_item(uri: str) -> bool:
    return root_uri(uri) == uri
