"""The index of one folder: SQLite for the truth, segments for speed, and this object to hold them together."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ragagent.errors import ConfigError, Corrupt, EmbedderChanged, IndexStateError, Locked
from ragagent.index import (
    backup,
    compaction,
    filters,
    health,
    opening,
    recall,
    records,
    schema,
    search,
    spelling,
    store,
    upkeep,
)
from ragagent.index.backup import BackupReport
from ragagent.index.compaction import CompactReport
from ragagent.index.database import Readers, connect, remembered, translated
from ragagent.index.editions import Editions
from ragagent.index.fingerprint import ANALYSER, EMBEDDER
from ragagent.index.lock import WriterLock
from ragagent.index.narrowing import Narrowings
from ragagent.index.snapshots import Snapshots
from ragagent.index.upkeep import AT_ONCE_CHUNKS, FOLD_CHUNKS, FOLD_CHUNKS_AT_CLOSE, Built, Step, Upkeep
from ragagent.index.vectors import Stored
from ragagent.index.view import Loader, View
from ragagent.index.views import Views
from ragagent.protocols import Entry, IndexStatus, KnownDocument, Progress
from ragagent.settings import RetrievalSettings
from ragagent.text.analyser import Analyser
from ragagent.types import Chunk, Document, Hit, Metadata, SearchMode, Vector
from ragagent.where import Where

_PAGE_DOCUMENTS = 32
_PAGE_KNOWN = 1000


class EmbeddedIndex:
    """Keeps `ragagent.protocols.Index` in a folder of the local disk. Safe to use from several threads.

    Any number of processes may search while one writes; each search sees one commit, the newest there is when it
    begins. What `write` has returned from survives a kill and a power cut.
    """

    def __init__(self, folder: Path, *, lock_timeout_s: float, retrieval: RetrievalSettings, fold_chunks: int) -> None:
        """For `open`, which has seen that the folder holds an index."""
        self._folder = folder
        self._retrieval = retrieval
        self._fold_chunks = fold_chunks
        self._analyser = Analyser()
        self._lock = WriterLock(folder, lock_timeout_s)
        self._readers = Readers(folder)
        self._views = Views(Loader(folder=folder, analyser=self._analyser), self._readers)
        self._writer: sqlite3.Connection | None = None
        self._background = upkeep.Background(folder, self._planned, self._offered)
        self._findings: tuple[str, ...] = ()
        self._columns = filters.Columns()
        self._narrowings = Narrowings(self._columns)
        self._closed = False
        self._parts: dict[int, Mapping[str, str]] = {}
        self.editions = Editions(
            folder, readers=self._readers, writer=self._written, analyser=self._analyser, fold_chunks=fold_chunks
        )
        """The other ways in which the same documents are, or are being, cut and embedded."""
        self.snapshots = Snapshots(folder, readers=self._readers, writer=self._written, analyser=self._analyser)
        """Earlier states of the documents, by name."""

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        fingerprint: Mapping[str, str],
        dimension: int | None,
        create: bool = True,
        lock_timeout_s: float = 10.0,
        retrieval: RetrievalSettings | None = None,
        fold_chunks: int = FOLD_CHUNKS,
    ) -> EmbeddedIndex:
        """The index in folder `path`, made if it is not there.

        `fingerprint` says what it is built with (embedder, chunker); the analyser is added here. What is left out of
        it, and a `dimension` of None, is taken as stored, so that an index that is there opens before its embedder
        does. An index of another version's analyser opens as well; it is searched by vectors alone, and not written,
        until it is migrated. `fold_chunks` is how long the tail may grow. Raises FingerprintMismatch, NewerVersion or
        Corrupt and leaves such a folder as it is; StorageFull when it cannot be made; IndexStateError when it is not
        there and `create` is false.
        """
        folder = Path(path)
        wanted = opening.Wanted(fingerprint=fingerprint, dimension=dimension, create=create)
        brought_up = opening.prepare(folder, wanted, lock_timeout_s)
        index = cls(
            folder,
            lock_timeout_s=lock_timeout_s,
            retrieval=retrieval or RetrievalSettings(),
            fold_chunks=fold_chunks,
        )
        if brought_up:
            with index.exclusive():
                index._keep_up(fold_chunks)
        return index

    def __enter__(self) -> EmbeddedIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keeps other writers out for a block of several writes; each write takes the same right for itself otherwise.

        Raises Locked, naming the holder, after `lock_timeout_s`.
        """
        self._require_open()
        with self._lock.held() as outermost:
            if outermost and self._writer is None:
                self._writer = connect(self._folder, read_only=False)
                # With a damaged row it can still be written to: how else would the damage be removed?
                with contextlib.suppress(Corrupt):
                    self._views.newest()
                self._upkeep().sweep()
            yield

    @contextlib.contextmanager
    def _written(self) -> Iterator[sqlite3.Connection]:
        with self.exclusive():
            yield self._writing()

    def write(
        self,
        entries: Sequence[Entry] = (),
        remove: Iterable[str] = (),
        *,
        built_with: Mapping[str, str] | None = None,
    ) -> None:
        """Removes the documents of the ids in `remove`, then adds or replaces `entries`, in one transaction.

        A chunk that search cannot tell from the stored one keeps its row and its vector, and so does a text that is
        embedded already. Raises ConfigError when an entry breaks a law of its records, FingerprintMismatch when it
        was made with other parts than the live edition's; nothing is written then.
        """
        gone = list(remove)
        with self.exclusive():
            connection = self._writing()
            # Under the lock: a migration may have ended since the entries were made.
            if entries:
                self._require_parts(connection, {ANALYSER: Analyser.fingerprint, **(built_with or {})})
            dimension = schema.dimension(connection)
            for entry in entries:
                store.require(entry, dimension)
            with store.transaction(self._folder, connection):
                store.write(connection, entries, gone, self._analyser)
            self._keep_up(self._fold_chunks)

    def retag(self, metadata: Mapping[str, Metadata]) -> tuple[str, ...]:
        """Gives documents, by id, new metadata in one transaction; nothing is embedded. Returns the ids not found."""
        with self.exclusive(), store.transaction(self._folder, self._writing()):
            return store.retag(self._writing(), metadata)

    def relabel(self, acls: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Gives documents, by id, new readers in one transaction; nothing is embedded. Returns the ids not found."""
        with self.exclusive(), store.transaction(self._folder, self._writing()):
            return store.relabel(self._writing(), acls)

    def backup(self, file: Path | str, progress: Progress | None = None, *, memory: Path | None = None) -> BackupReport:
        """Writes the newest commit to one file while others write; see `ragagent.index.backup.create`."""
        with self._readers.snapshot() as connection:
            return backup.create(self._folder, connection, Path(file), progress, memory)

    def compact(
        self, *, erase: bool = False, drop_snapshots: bool = False, progress: Progress | None = None
    ) -> CompactReport:
        """Gives room back; with `erase`, leaves nothing of removed documents in any file. See `compaction.compact`.

        The edition that a migration kept for a rollback is dropped.
        """
        with self.exclusive():
            self.editions.finish()
            # Nothing that is being built from what is there now may outlive this.
            while (built := self._background.take(wait=True)) is not None:
                self._publish(built)
            chosen = compaction.Choice(erase=erase, drop_snapshots=drop_snapshots)
            return compaction.compact(
                self._folder, self._writing(), chosen, self._analyser, self._views.newest, progress
            )

    def touch(self, stamps: Mapping[str, str]) -> None:
        """Sets the stamp of documents, by id; ids that are not there are passed over."""
        with self.exclusive(), store.transaction(self._folder, self._writing()):
            store.touch(self._writing(), stamps)

    def known(self, source: str | None = None) -> Mapping[str, KnownDocument]:
        """Every document by id, of one source or of all."""
        with self._readers.snapshot() as connection:
            return records.known(connection, source)

    def known_of(self, ids: Sequence[str]) -> Mapping[str, KnownDocument]:
        """Those of the documents of these ids that are there, by id."""
        with self._readers.snapshot() as connection:
            return records.known_of(connection, ids)

    def known_inside(self, uri: str) -> Sequence[KnownDocument]:
        """The documents that came in inside the one of `uri`, in the order of uri."""
        with self._readers.snapshot() as connection:
            return records.known_inside(connection, uri)

    def each_known(self) -> Iterator[KnownDocument]:
        """Every document in the order of uri. Reads some at a time, so writing goes on meanwhile."""
        uri = document_id = ""
        while True:
            with self._readers.snapshot() as connection:
                page = records.known_after(connection, uri, document_id, _PAGE_KNOWN)
            if not page:
                return
            yield from page
            uri, document_id = page[-1].uri, page[-1].id

    def cached_vectors(self, texts: Sequence[str], *, embedder: str | None = None) -> Mapping[str, Vector]:
        """The stored vectors of those texts, float32[d], normalised; a cosine with them is off by 0.0005 at most.

        They are of the live edition's embedder, or of the one of that fingerprint in any edition.
        """
        with self._readers.snapshot() as connection:
            edition = None if embedder is None else schema.edition_of_embedder(connection, embedder)
            return {} if edition == 0 else store.cached_vectors(connection, texts, edition)

    def vectors_of(self, chunks: Sequence[Chunk]) -> Mapping[str, Vector]:
        """The stored vectors of those of `chunks` that the live edition has, by id; a cosine is off by 0.0005 at most.

        Takes about 5 us each. Raises Corrupt for one that is damaged.
        """
        with self._readers.snapshot() as connection:
            return store.vectors_of(connection, [chunk.id for chunk in chunks])

    def search(
        self,
        query: str,
        vector: Vector | Callable[[], Vector] | None,
        *,
        k: int,
        mode: SearchMode,
        where: Where | None = None,
        embedder: str | None = None,
        within: Where | None = None,
        dense_weight: float | None = None,
    ) -> list[Hit]:
        """The k best chunks, fewer when fewer match; see `ragagent.protocols.Index.search` and `Narrows`.

        Sparse search is exact over the live chunks, dense search over the stored vectors of up to 20,000; above see
        `ragagent.index.dense`. Hybrid search fuses the best `retrieval.candidates` of each as `ragagent.index.fusion`
        says; a `vector` that is to be made is made meanwhile. What is searched is one edition whole; EmbedderChanged is
        raised when `embedder` is not what its vectors were made by.
        """
        search.require(k, mode)
        try:
            with self._views.snapshot() as (connection, view):
                self._require_edition(connection, view, mode, embedder)
                view = self._narrowings.of(connection, view, within)
                checked = search.checked(vector, mode, view.dimension)
                wanted = search.Query(
                    text=query,
                    vector=checked,
                    k=k,
                    mode=mode,
                    where=where,
                    columns=self._columns,
                    dense_weight=dense_weight,
                )
                return search.hits(connection, view, wanted, self._analyser, self._retrieval)
        except search.NotEmbedded as error:
            failed = error.reason
        raise failed

    def search_many(
        self,
        queries: Sequence[str],
        vectors: Sequence[Vector | None],
        *,
        k: int,
        mode: SearchMode,
        where: Where | None = None,
        embedder: str | None = None,
        within: Where | None = None,
    ) -> list[list[Hit]]:
        """What `search` gives for each of `queries` with its vector (None in sparse mode), all of one commit.

        The filter is worked out once and the scans of all of them use every core.
        """
        if len(queries) != len(vectors):
            raise ConfigError(f"{len(queries)} queries with {len(vectors)} vectors")
        search.require(k, mode)
        with self._views.snapshot() as (connection, view):
            self._require_edition(connection, view, mode, embedder)
            view = self._narrowings.of(connection, view, within)
            wanted = [
                search.Query(
                    text=query,
                    vector=search.checked(vector, mode, view.dimension),
                    k=k,
                    mode=mode,
                    where=where,
                    columns=self._columns,
                )
                for query, vector in zip(queries, vectors, strict=True)
            ]
            return search.hits_many(connection, view, wanted, self._analyser, self._retrieval)

    def similar_terms(self, words: Sequence[str], *, within: Where | None = None) -> Mapping[str, Sequence[str]]:
        """For words that no chunk has, the nearest terms that some have; see `ragagent.protocols.SuggestsTerms`.

        Known words take microseconds each; an unknown one about 2 ms for 100,000 terms that begin as it does.
        """
        with self._views.snapshot() as (connection, view):
            view = self._narrowings.of(connection, view, within)
            return spelling.suggested(view.parts, words, self._analyser.query_words)

    def document(self, document_id: str) -> Document | None:
        """The document of that id, text included; None when there is none."""
        with self._readers.snapshot() as connection:
            return records.document(connection, document_id)

    def documents(self) -> Iterator[Document]:
        """Every document in the order of uri. Reads some at a time, so writing goes on meanwhile."""
        uri = document_id = ""
        while True:
            with self._readers.snapshot() as connection:
                page = records.documents_after(connection, uri, document_id, _PAGE_DOCUMENTS)
            if not page:
                return
            yield from page
            uri, document_id = page[-1].uri, page[-1].id

    def chunks(self, document_id: str) -> Sequence[Chunk]:
        """The chunks of a document in reading order; none when there is no such document."""
        with self._views.snapshot() as (connection, view):
            found = records.chunks(connection, document_id)
            view.require_all(store.rows_of(connection, [document_id]).values(), len(found))
            return found

    def neighbours(self, chunk: Chunk) -> Sequence[Chunk]:
        """The chunks before and after one in its document, in reading order; none where it is not there any more."""
        with self._readers.snapshot() as connection:
            return records.neighbours(connection, chunk)

    def status(self) -> IndexStatus:
        """Counts of the newest commit, and what went wrong in upkeep since the index was opened."""
        newest = remembered(self._folder)
        with self._views.snapshot() as (connection, view):
            damaged = [f"segment {one} is damaged; the next write builds it again" for one in sorted(view.damaged)]
            damaged += health.missing_commits(self._folder, newest, connection)
            return IndexStatus(
                documents=schema.facts(connection)["documents"],
                chunks=view.chunks,
                segments=sum(part.segment is not None for part in view.parts),
                tail_chunks=sum(part.count for part in view.tail),
                dimension=view.dimension,
                fingerprint=schema.fingerprint(connection),
                size_bytes=compaction.size_of(self._folder),
                findings=(*damaged, *self._findings),
            )

    def count_within(self, within: Where) -> tuple[int, int]:
        """How many documents, and how many chunks, `within` lets through."""
        with self._views.snapshot() as (connection, view):
            return self._narrowings.count(connection, view, within)

    def check(self) -> tuple[str, ...]:
        """What is wrong with the files, one finding each; empty when they are sound. Reads all of them."""
        newest = remembered(self._folder)
        with self._views.snapshot() as (connection, view):
            commits = health.missing_commits(self._folder, newest, connection)
            return (*commits, *health.findings(self._folder, connection, view, self._views.loader))

    def dense_recall(self) -> float | None:
        """The share of the 10 nearest chunks that dense search finds, on a sample; None while it is exact.

        See `ragagent.index.recall`. Reads every stored vector.
        """
        with self._views.snapshot() as (connection, view):
            return recall.estimated(view, Stored(connection, view.dimension))

    def close(self) -> None:
        """Folds a long tail of what was written here, and lets go of everything. A second call does nothing."""
        if self._closed:
            return
        if self._writer is not None:
            # Only speed is lost when it cannot be folded now.
            with contextlib.suppress(IndexStateError), self.exclusive():
                self._background.stop()
                self._keep_up(min(self._fold_chunks, FOLD_CHUNKS_AT_CLOSE), None)
        self._background.stop()
        self._background.join()
        self._closed = True
        self._readers.close()
        if self._writer is not None:
            self._writer.close()
        self._views.forget()
        self._narrowings.forget()

    def _require_open(self) -> None:
        if self._closed:
            raise IndexStateError(f"{self._folder}: the index is closed")

    def _require_edition(
        self, connection: sqlite3.Connection, view: View, mode: SearchMode, embedder: str | None
    ) -> None:
        """Raises unless the live edition can be searched with a vector of `embedder`, and by terms."""
        if view.edition not in self._parts:
            self._parts[view.edition] = schema.fingerprint(connection, view.edition)
        parts = self._parts[view.edition]
        stored = parts.get(EMBEDDER, embedder)
        if mode != "sparse" and embedder is not None and stored != embedder:
            raise EmbedderChanged(
                f"{self._folder}: its vectors are of the embedder {stored} now, not of {embedder}; "
                "embed the query with that one"
            )
        if mode != "dense" and parts.get(ANALYSER, Analyser.fingerprint) != Analyser.fingerprint:
            self._require_parts(connection, {ANALYSER: Analyser.fingerprint})

    def _require_parts(self, connection: sqlite3.Connection, given: Mapping[str, str]) -> None:
        """Raises FingerprintMismatch when the live edition records other parts than those given."""
        recorded = schema.fingerprint(connection)
        known = {key: value for key, value in given.items() if key in recorded}
        schema.require_fingerprint(self._folder, connection, known, None)

    def _writing(self) -> sqlite3.Connection:
        if self._writer is None:
            raise IndexStateError(f"{self._folder}: not open for writing")
        return self._writer

    def _upkeep(self) -> Upkeep:
        return Upkeep(folder=self._folder, connection=self._writing(), view=self._views.newest)

    def _keep_up(self, fold_chunks: int, most_chunks: int | None = AT_ONCE_CHUNKS) -> None:
        try:
            if self._views.held is not None and self._views.held.damaged:
                self._upkeep().mend()
            self._publish(self._background.take(wait=most_chunks is None or self._upkeep().behind(fold_chunks)))
            if self._upkeep().run(fold_chunks, most_chunks):
                self._background.start()
            self._findings = ()
        except IndexStateError as error:
            # What was written is committed and found all the same; only its segment has to wait.
            self._findings = (f"segments could not be written: {error}",)

    def _planned(self) -> Step | None:
        with self._views.snapshot() as (connection, view):
            return upkeep.due(connection, view, self._fold_chunks)

    def _offered(self, built: Built) -> bool:
        try:
            with self._lock.held(timeout_s=0):
                self._publish(built)
        except Locked:
            return False
        return True

    def _publish(self, built: Built | None) -> None:
        if built is not None:
            with translated(self._folder):
                upkeep.publish(self._folder, self._writing(), built)
            self._upkeep().sweep()


def stored_fingerprint(path: Path | str) -> Mapping[str, str] | None:
    """What the knowledge base in folder `path` was built with; None where there is none.

    `embedder_name` is in it if it was given. Raises Corrupt or NewerVersion. Nothing is changed.
    """
    return schema.stored_fingerprint(Path(path))
