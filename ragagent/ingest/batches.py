"""Documents become batches: what is unchanged is passed over, the rest is cut into chunks and put together."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from ragagent.ingest import chunking, duplicates
from ragagent.ingest.loading import Loaded
from ragagent.ingest.tally import Tally
from ragagent.protocols import Embedder, Index, Relabels
from ragagent.settings import Settings
from ragagent.types import Chunk, Document, Failure, Note, digest, root_uri

MAX_BATCH_DOCUMENTS = 256
_MAX_TOUCHED = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunked:
    """A document in chunks, with the text that is embedded for each; `replaces` says that there was an earlier one."""

    loaded: Loaded
    chunks: tuple[Chunk, ...]
    texts: tuple[str, ...]
    replaces: bool


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one version of a document from another."""

    revision: str
    acl: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one transaction brings: documents, ids that go; new stamps and new readers, both by id; what to report."""

    documents: dict[str, Chunked] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    touched: dict[str, str] = field(default_factory=dict)
    relabelled: dict[str, Version] = field(default_factory=dict)
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
        # The versions of documents that are in a batch which is not written yet.
        self._under_way: dict[str, Version] = {}
        self._lock = threading.Lock()

    def batches(self, parts: Iterable[Loaded | Failure | Note]) -> Iterator[Batch]:
        """The parts in batches, in their order. The last may be small; the first is, so that embedding begins soon."""
        batch, most = Batch(), -(-self._settings.ingest.batch_chunks // 4)
        for part in parts:
            if isinstance(part, Loaded) and part.document.id in batch.documents.keys() | batch.relabelled.keys():
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
            versions = {key: _version(one.loaded.document) for key, one in batch.documents.items()}
            for key, version in {**versions, **batch.relabelled}.items():
                if self._under_way.get(key) == version:
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
        known = self._known(loaded.document.id)
        loaded = loaded if loaded.labelled else replace(loaded, document=self._as_before(loaded.document, known))
        document = loaded.document
        if known is not None and self._only_labels_differ(document, known):
            batch.touched[document.id] = loaded.stamp
            batch.unchanged += 1
            if known.acl != document.acl:
                self._relabel(document, batch)
            return
        made = self._chunked(loaded, replaces=known is not None)
        if isinstance(made, Failure):
            batch.failures.append(made)
            return
        self.duplicates.add(document)
        batch.documents[document.id] = made
        batch.touched.pop(document.id, None)
        batch.chunks += len(made.chunks)
        with self._lock:
            self._under_way[document.id] = _version(document)

    def _relabel(self, document: Document, batch: Batch) -> None:
        """Takes new readers of a document into the batch, and nothing else of it."""
        batch.relabelled[document.id] = _version(document)
        with self._lock:
            self._under_way[document.id] = _version(document)

    def _only_labels_differ(self, document: Document, known: Version) -> bool:
        """Whether there is nothing to be written of a document but, perhaps, who may read it."""
        if known.acl == document.acl:
            return known.revision == document.revision
        same = known.revision in (document.revision, document.labelled(known.acl).revision)
        return same and isinstance(self._index, Relabels)

    def _as_before(self, document: Document, known: Version | None) -> Document:
        """A document of which nobody says who may read it: as before, or, where it is new, as the item it is inside."""
        root = root_uri(document.uri)
        kept = known if known is not None or root == document.uri else self._known(digest(root))
        return document.labelled(kept.acl) if kept is not None and kept.acl else document

    def _known(self, document_id: str) -> Version | None:
        """The version that the index has, or is about to have, of that document."""
        # In this order: what has just been written is looked up in the index after it was taken from the first.
        with self._lock:
            under_way = self._under_way.get(document_id)
        if under_way is not None:
            return under_way
        known = self._index.known_of([document_id]).get(document_id)
        return None if known is None else Version(known.revision, known.acl)

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


def _version(document: Document) -> Version:
    return Version(document.revision, document.acl)


def _is_item(uri: str) -> bool:
    return root_uri(uri) == uri
