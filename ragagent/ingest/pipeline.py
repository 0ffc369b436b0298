"""Plan, transform, commit: documents become chunks and vectors, written in batches that are all or nothing.

The old version of a document stays searchable until the transaction that brings the new one; a document that cannot
be read keeps its old version and is reported. A killed run loses at most the batches in hand, and the next run goes on
from there because everything committed is unchanged by then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from ragagent.ingest import parts
from ragagent.ingest.batches import Batch, Batching
from ragagent.ingest.embedding import Embedded, Embedding
from ragagent.ingest.isolation.pool import Pool
from ragagent.ingest.loading import DOCUMENTS_SOURCE, Loaded, Loader
from ragagent.ingest.plan import Plan, plan
from ragagent.ingest.stages import Line
from ragagent.ingest.tally import Tally
from ragagent.models.cores import available_cores
from ragagent.protocols import Connector, Embedder, Index, Progress, Relabels, SourceItem
from ragagent.settings import Settings
from ragagent.trace import Trace
from ragagent.types import Document, Failure, IngestReport, Note

if TYPE_CHECKING:
    from ragagent.ingest.forecast import IngestPlan

_MOST_WORKERS = 4
_READ_CHARS = 8_000_000
"""Read documents wait for the next stage until they have so many characters together."""
_AHEAD = 1
"""So many batches are embedded, or wait for that, while the one before them is written."""
_REMOVED_AT_ONCE = 500
_RELABELLED_AT_ONCE = 256

Part = Loaded | Failure | Note


class Pipeline:
    """Brings sources into an index. One instance serves one knowledge base; calls take turns in the index's lock.

    `pool` keeps the processes that files are read in beyond a call; without one they end with it.
    """

    def __init__(
        self,
        index: Index,
        embedder: Embedder,
        settings: Settings,
        *,
        trace: Trace | None = None,
        progress: Progress | None = None,
        pool: Pool | None = None,
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._settings = settings
        self._trace = trace or Trace()
        self._progress = progress
        self._pool = pool
        self._built_with = parts.writing(embedder, settings.chunking)

    def forecast(self, connector: Connector, *, prune: bool = False, acl: tuple[str, ...] | None = None) -> IngestPlan:
        """What `ingest_connector` would do, and about how long it would take; nothing is changed.

        Reads a few of the items and embeds some chunks to know. Raises ConnectorError as `ingest_connector` does.
        """
        from ragagent.ingest.forecast import forecast

        self._require_parts()
        with self._plan(connector, Tally(self._progress), acl) as steps, self._reading() as pool:
            gone = steps.gone(self._index) if prune else iter(())
            return forecast(
                steps,
                connector=connector,
                gone=gone,
                loader=Loader(self._settings.ingest, pool, acl=acl),
                index=self._index,
                embedder=self._embedder,
                settings=self._settings,
                workers=self._workers,
            )

    def _plan(self, connector: Connector, tally: Tally, acl: tuple[str, ...] | None) -> Plan:
        with tally.working("plan"), self._trace.span("ingest.plan", source=connector.source) as event:
            steps = plan(connector, self._index, tally.listed, acl)
            event.update(fresh=steps.fresh, unchanged=steps.unchanged)
        return steps

    def ingest_connector(
        self, connector: Connector, *, prune: bool = False, acl: tuple[str, ...] | None = None
    ) -> IngestReport:
        """Brings in what is new or changed at a source; `prune` also removes what is gone from it.

        `acl` is who may read it; None leaves that as it is, and with new documents to the source.

        Raises ConnectorError when the source is out of reach, Locked while another process writes, StorageFull, and
        FingerprintMismatch when the index is built with other parts than these, or is by the end of a migration.
        """
        self._require_parts()
        tally = Tally(self._progress)
        with self._plan(connector, tally, acl) as steps:
            tally.total = steps.fresh
            tally.add(unchanged=steps.unchanged, relabelled=self._relabelled(steps.relabelled, acl or ()))
            tally.keep(steps.failures)
            if steps.fresh:
                with self._reading() as pool, Line() as line:
                    loader = Loader(self._settings.ingest, pool, line.stopped, acl)
                    self._bring(tally, line, self._read(tally, line, loader, connector, steps.items()))
            if prune:
                tally.add(removed=self._remove(steps.gone(self._index)))
        return tally.report()

    def ingest_documents(self, documents: Iterable[Document]) -> IngestReport:
        """Brings in documents that the application made; equal revisions are passed over."""
        self._require_parts()
        tally = Tally(self._progress)
        tally.total = len(documents) if isinstance(documents, Sequence) else None
        with Line() as line:
            self._bring(tally, line, _given(documents))
        return tally.report()

    def _bring(self, tally: Tally, line: Line, loaded: Iterable[Part]) -> None:
        """Cuts and writes in the caller's thread, which is also the one that a caller's iterable is taken from.

        Embedding runs beside it: a batch is embedded while the one before is written and the next one is cut.
        """
        batching = Batching(self._index, self._embedder, self._settings, tally)
        embedding = Embedding(self._index, self._embedder, under_way=_AHEAD + 1, go_on=line.go_on)

        def embed(batch: Batch) -> Embedded:
            with tally.working("embed"), self._trace.span("ingest.embed", chunks=batch.chunks) as event:
                done = embedding.embed(batch)
                event["embedded"] = done.fresh
            return done

        for done in line.overlapped(batching.batches(loaded), embed, ahead=_AHEAD):
            with tally.working("write"):
                self._write(done)
            batching.written(done.batch)
            tally.add(**done.counts())
            tally.keep(done.batch.failures, done.batch.notes, done.batch.items)
        tally.duplicates = batching.duplicates.found(self._index.document)

    def _write(self, done: Embedded) -> None:
        batch = done.batch
        if batch.documents or batch.stale:
            with self._trace.span("ingest.commit", documents=len(batch.documents), chunks=batch.chunks):
                self._index.write(done.entries(), remove=batch.stale, built_with=self._built_with)
        if batch.relabelled and isinstance(self._index, Relabels):
            self._index.relabel({key: one.acl for key, one in batch.relabelled.items()})
        if batch.touched:
            self._index.touch(batch.touched)

    def _relabelled(self, items: Sequence[str], acl: tuple[str, ...]) -> int:
        """Gives unchanged items, by id, other readers, with all that is inside them; returns how many documents."""
        if not isinstance(self._index, Relabels):
            return 0
        count = 0
        for start in range(0, len(items), _RELABELLED_AT_ONCE):
            known = self._index.known_of(items[start : start + _RELABELLED_AT_ONCE])
            inside = [one.id for item in known.values() for one in self._index.known_inside(item.uri)]
            changed = dict.fromkeys((*known, *inside), acl)
            self._index.relabel(changed)
            count += len(changed)
        return count

    def _read(
        self, tally: Tally, line: Line, loader: Loader, connector: Connector, items: Iterable[SourceItem]
    ) -> Iterator[Part]:
        """What becomes of the items, as it comes: several are read at once."""

        def load(item: SourceItem) -> Iterator[Part]:
            yield from tally.timed("read", loader.load(connector, item))
            tally.read(item.uri)

        return line.beside(items, load, threads=self._workers, room=_READ_CHARS, weight=_weight, name="read")

    @property
    def _workers(self) -> int:
        return self._settings.ingest.workers or min(available_cores(), _MOST_WORKERS)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Pool]:
        """The processes to read files in, which wait for the next ingest, or end with this one."""
        pool = self._pool or Pool()
        try:
            yield pool
        finally:
            if self._pool is None:
                pool.close()
            else:
                pool.rest()

    def _remove(self, gone: Iterator[str]) -> int:
        removed = 0
        while some := list(islice(gone, _REMOVED_AT_ONCE)):
            self._index.write(remove=some)
            removed += len(some)
        return removed

    def _require_parts(self) -> None:
        parts.require(self._index.status().fingerprint, self._built_with)


def _given(documents: Iterable[Document]) -> Iterator[Part]:
    for document in documents:
        yield Loaded(document=document, source=DOCUMENTS_SOURCE, stamp=document.revision)


def _weight(part: Part) -> int:
    return 1 + len(part.document.text) if isinstance(part, Loaded) else 1
