"""Plan, transform, commit: documents become chunks and vectors, written in batches that are all or nothing.

The old version of a document stays searchable until the transaction that brings the new one; a document that cannot
be read keeps its old version and is reported. A killed run loses at most the batch in hand, and the next run goes on
from there because everything committed is unchanged by then.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from ragagent.errors import ReadError
from ragagent.ingest import chunking, loading, parts
from ragagent.ingest.plan import plan
from ragagent.protocols import Connector, Embedder, Entry, Index, KnownDocument, Progress, SourceItem
from ragagent.settings import Settings
from ragagent.trace import Trace
from ragagent.types import Chunk, Document, Failure, IngestReport, Vector, digest, root_uri

DOCUMENTS_SOURCE = "documents:"
MAX_BATCH_DOCUMENTS = 256


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """A document as it came from its source, before any work on it; `stale` are ids that go when it comes."""

    document: Document
    source: str
    stamp: str
    stale: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Chunked:
    loaded: _Loaded
    chunks: tuple[Chunk, ...]
    texts: tuple[str, ...]


class Pipeline:
    """Brings sources into an index. One instance serves one knowledge base; calls take turns in the index's lock."""

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        settings: Settings,
        *,
        trace: Trace | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._settings = settings
        self._trace = trace or Trace()
        self._progress = progress
        self._built_with = parts.writing(embedder, settings.chunking)

    def ingest_connector(self, connector: Connector, *, prune: bool = False) -> IngestReport:
        """Brings in what is new or changed at a source; `prune` also removes what is gone from it.

        Raises ConnectorError when the source is out of reach, Locked while another process writes, StorageFull, and
        FingerprintMismatch when the index is built with other parts than these, or is by the end of a migration.
        """
        begin = time.perf_counter()
        parts.require(self._index.status().fingerprint, self._built_with)
        known = self._index.known()
        with self._trace.span("ingest.plan", source=connector.source) as event:
            steps = plan(connector, known)
            event.update(fresh=len(steps.fresh), unchanged=steps.unchanged, gone=len(steps.gone))
        looked_at = IngestReport(unchanged=steps.unchanged, failed=len(steps.failures), failures=steps.failures)
        brought = list(self._commit_all(self._load(connector, steps.fresh, known), known))
        removed = len(steps.gone) if prune else 0
        if removed:
            self._index.write(remove=steps.gone)
        return _total([looked_at, *brought], removed=removed, begin=begin)

    def ingest_documents(self, documents: Iterable[Document]) -> IngestReport:
        """Brings in documents that the application made; equal revisions are passed over."""
        begin = time.perf_counter()
        parts.require(self._index.status().fingerprint, self._built_with)
        return _total(self._commit_all(self._given(documents), self._index.known()), removed=0, begin=begin)

    def _load(
        self, connector: Connector, items: Sequence[SourceItem], known: Mapping[str, KnownDocument]
    ) -> Iterator[_Loaded | Failure]:
        inside = _inside(known.values())
        for done, item in enumerate(items):
            self._report("read", done, len(items), item.uri)
            try:
                reading = loading.load(connector, item, self._settings.ingest)
            except ReadError as error:
                yield Failure(uri=item.uri, reason=str(error), kind=type(error).__name__)
                continue
            yield from reading.failures
            # What was inside and is not any more goes; a part that could not be read now keeps its old version.
            kept = {one.id for one in reading.children} | {digest(failure.uri) for failure in reading.failures}
            stale = tuple(sorted(inside.get(item.uri, set()) - kept))
            yield _Loaded(document=reading.document, source=connector.source, stamp=item.stamp, stale=stale)
            for child in reading.children:
                yield _Loaded(document=child, source=connector.source, stamp=item.stamp)
        self._report("read", len(items), len(items))

    def _given(self, documents: Iterable[Document]) -> Iterator[_Loaded | Failure]:
        total = len(documents) if isinstance(documents, Sequence) else None
        for done, document in enumerate(documents):
            self._report("read", done, total, document.uri)
            yield _Loaded(document=document, source=DOCUMENTS_SOURCE, stamp=document.revision)

    def _commit_all(
        self, loaded: Iterable[_Loaded | Failure], known: Mapping[str, KnownDocument]
    ) -> Iterator[IngestReport]:
        """Yields the report of each batch after it is committed."""
        revisions = {document.id: document.revision for document in known.values()}
        batch: dict[str, _Chunked] = {}
        stale: list[str] = []
        touched: dict[str, str] = {}
        for item in loaded:
            if isinstance(item, Failure):
                yield IngestReport(failed=1, failures=(item,))
                continue
            if item.document.id in batch:
                # One transaction brings one version of a document; the next version has to see this one.
                yield self._commit(batch, stale, revisions)
            stale.extend(item.stale)
            work = self._work(item, revisions)
            if work is None:
                touched[item.document.id] = item.stamp
                yield IngestReport(unchanged=1)
            elif isinstance(work, Failure):
                yield IngestReport(failed=1, failures=(work,))
            else:
                batch[item.document.id] = work
                if self._is_full(batch):
                    yield self._commit(batch, stale, revisions)
        if batch or stale:
            yield self._commit(batch, stale, revisions)
        if touched:
            self._index.touch(touched)

    def _work(self, loaded: _Loaded, revisions: Mapping[str, str]) -> _Chunked | Failure | None:
        """The document in chunks, why it cannot be, or None when this very revision is there."""
        document = loaded.document
        if revisions.get(document.id) == document.revision:
            return None
        return self._chunk(loaded)

    def _is_full(self, batch: Mapping[str, _Chunked]) -> bool:
        chunks = sum(len(item.chunks) for item in batch.values())
        return chunks >= self._settings.ingest.batch_chunks or len(batch) >= MAX_BATCH_DOCUMENTS

    def _chunk(self, loaded: _Loaded) -> _Chunked | Failure:
        document = loaded.document
        if len(document.text) > self._settings.ingest.max_text_chars:
            reason = (
                f"{len(document.text)} characters of text are over the limit "
                f"ingest.max_text_chars = {self._settings.ingest.max_text_chars}"
            )
            return Failure(uri=document.uri, reason=reason, kind="TooLarge")
        chunks = chunking.chunk(
            document, self._embedder.tokenizer, self._settings.chunking, embed=self._embedder.embed_documents
        )
        if not chunks:
            return Failure(uri=document.uri, reason="there is no text in it", kind="EmptyDocument")
        texts = tuple(chunking.embedding_text(document.title, chunk) for chunk in chunks)
        return _Chunked(loaded=loaded, chunks=chunks, texts=texts)

    def _commit(self, batch: dict[str, _Chunked], stale: list[str], revisions: dict[str, str]) -> IngestReport:
        """Embeds and writes the batch without what is stale, and empties both; `revisions` is brought up to date."""
        items, gone = list(batch.values()), tuple(stale)
        batch.clear()
        stale.clear()
        texts = [text for item in items for text in item.texts]
        with self._trace.span("ingest.embed", chunks=len(texts)) as event:
            vectors, embedded = self._embed(texts)
            event["embedded"] = embedded
        with self._trace.span("ingest.commit", documents=len(items), chunks=len(texts)):
            self._index.write(_entries(items, vectors), remove=gone, built_with=self._built_with)
        documents = [item.loaded.document for item in items]
        updated = sum(document.id in revisions for document in documents)
        revisions.update((document.id, document.revision) for document in documents)
        return IngestReport(
            added=len(items) - updated, updated=updated, removed=len(gone), chunks=len(texts), embedded=embedded
        )

    def _embed(self, texts: Sequence[str]) -> tuple[Vector, int]:
        """The vectors of `texts`, and how many distinct texts needed the model."""
        stored = self._index.cached_vectors(texts)
        missing = list(dict.fromkeys(text for text in texts if text not in stored))
        fresh = dict(zip(missing, self._embedder.embed_documents(missing), strict=True)) if missing else {}
        rows = [stored[text] if text in stored else fresh[text] for text in texts]
        vectors = np.array(rows, np.float32).reshape(len(rows), self._embedder.dimension)
        return vectors, len(missing)

    def _report(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        if self._progress is not None:
            self._progress.update(stage, done, total, detail)


def _inside(known: Iterable[KnownDocument]) -> dict[str, set[str]]:
    """The ids of the documents that came in inside another item, by the uri of that item."""
    found: dict[str, set[str]] = {}
    for document in known:
        root = root_uri(document.uri)
        if root != document.uri:
            found.setdefault(root, set()).add(document.id)
    return found


def _entries(batch: Sequence[_Chunked], vectors: Vector) -> list[Entry]:
    ends = np.cumsum([len(item.chunks) for item in batch]).tolist()
    return [
        Entry(
            document=item.loaded.document,
            chunks=item.chunks,
            texts=item.texts,
            vectors=vectors[end - len(item.chunks) : end],
            source=item.loaded.source,
            stamp=item.loaded.stamp,
        )
        for item, end in zip(batch, ends, strict=True)
    ]


def _total(reports: Iterable[IngestReport], *, removed: int, begin: float) -> IngestReport:
    parts = list(reports)
    return IngestReport(
        added=sum(part.added for part in parts),
        updated=sum(part.updated for part in parts),
        unchanged=sum(part.unchanged for part in parts),
        removed=removed + sum(part.removed for part in parts),
        failed=sum(part.failed for part in parts),
        chunks=sum(part.chunks for part in parts),
        embedded=sum(part.embedded for part in parts),
        seconds=round(time.perf_counter() - begin, 3),
        failures=tuple(failure for part in parts for failure in part.failures),
    )
