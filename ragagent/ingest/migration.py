"""Building an index anew with other parts, beside the one that answers, and putting it in its place.

Documents are taken in batches, each a transaction, so that other writers get their turns; searches go on with the old
edition. What is done is marked in the database: a run that is killed or interrupted goes on where it was. A document
that is written meanwhile loses its mark and is built again before the swap, which happens only when every document is
there. The swap is one transaction, so every search sees the old edition or the new one, never both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragagent.connectors import open_connector
from ragagent.connectors.readers import Reading
from ragagent.errors import ConfigError, ConnectorError, FingerprintMismatch, MissingExtra
from ragagent.index import fingerprint as fingerprints
from ragagent.index.editions import Edition, Shadow, Unbuilt
from ragagent.index.embedded import EmbeddedIndex
from ragagent.index.fingerprint import Change, Work
from ragagent.ingest import chunking, parts
from ragagent.ingest.batches import MAX_BATCH_DOCUMENTS
from ragagent.ingest.isolation.pool import Pool
from ragagent.ingest.loading import DOCUMENTS_SOURCE, Loader
from ragagent.protocols import Connector, Embedder, Entry, KnownDocument, Progress, SourceItem
from ragagent.settings import Settings
from ragagent.text.analyser import Analyser
from ragagent.trace import Trace
from ragagent.types import Chunk, Document, Failure, Vector, root_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationReport:
    """What a migration or a rollback did. `documents` and `chunks` were built by this run, `resumed` by earlier ones.

    `reread` documents came with another text from their sources; `failures` could not be read again and kept theirs.
    """

    work: str
    changes: tuple[Change, ...]
    documents: int = 0
    chunks: int = 0
    embedded: int = 0
    resumed: int = 0
    reread: int = 0
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A document cut for the new edition; `born` is the version of it that was read."""

    document: Document
    born: int
    chunks: tuple[Chunk, ...]
    texts: tuple[str, ...]
    known: KnownDocument
    stamp: str | None
    """None where the stored text was taken."""


def wanted(embedder: Embedder, settings: Settings) -> dict[str, str]:
    """What an index made now with these parts would be built with, the dimension included."""
    return {
        **parts.fingerprint(embedder, settings.chunking),
        fingerprints.ANALYSER: Analyser.fingerprint,
        fingerprints.DIMENSION: str(embedder.dimension),
    }


def stored(edition: Edition) -> dict[str, str]:
    """What an edition is built with, in the same keys as `wanted`."""
    return {**edition.fingerprint, fingerprints.DIMENSION: str(edition.dimension)}


class Migration:
    """One change of parts: from the live edition of `index` to one made with `embedder` and `settings`."""

    def __init__(
        self,
        index: EmbeddedIndex,
        embedder: Embedder,
        settings: Settings,
        *,
        trace: Trace | None = None,
        progress: Progress | None = None,
        connect: Callable[[str], Connector] | None = None,
    ) -> None:
        """`connect` opens a source by its name, where it was opened with options; by default the name is enough."""
        self._index = index
        self._embedder = embedder
        self._settings = settings
        self._trace = trace or Trace()
        self._clock = _Clock(progress)
        self._pool = Pool()
        connect = connect or (lambda source: open_connector(source, settings.ingest))
        self._sources = _Sources(settings, connect, self._pool)
        self._counts = {"documents": 0, "chunks": 0, "embedded": 0, "reread": 0}
        self._failures: dict[str, Failure] = {}
        self._work = Work.NOTHING

    def run(self) -> MigrationReport:
        """Builds what is missing and swaps. Nothing is done when nothing differs.

        Interrupted, the next run with the same parts goes on from the last batch. Raises Locked while another process
        holds the writer's lock for long, StorageFull; the live edition answers as before then.
        """
        begin = time.perf_counter()
        editions = self._index.editions
        live, target = editions.live(), wanted(self._embedder, self._settings)
        found = fingerprints.changes(stored(live), target)
        self._work = fingerprints.work(found)
        if self._work is Work.NOTHING:
            return MigrationReport(work=self._work.words, changes=found)
        edition = editions.begin(_without_dimension(fingerprints.after(stored(live), target)), self._embedder.dimension)
        return self._finish(edition, found, begin)

    def back(self, edition: Edition) -> MigrationReport:
        """Swaps to an edition that was kept, after building in it what was written since."""
        begin = time.perf_counter()
        found = fingerprints.changes(stored(self._index.editions.live()), stored(edition))
        # What was written since has to be cut as the old edition was; its texts stay as they are.
        self._work = Work.CHUNK
        return self._finish(edition, found, begin)

    def _finish(self, edition: Edition, found: tuple[Change, ...], begin: float) -> MigrationReport:
        with contextlib.closing(self._pool):
            self._build(edition)
            self._index.editions.fold(edition.id)
            while not self._swapped(edition):
                self._build(edition)
        return MigrationReport(
            work=fingerprints.work(found).words,
            changes=found,
            resumed=edition.built,
            seconds=round(time.perf_counter() - begin, 3),
            failures=tuple(self._failures.values()),
            **self._counts,
        )

    def _swapped(self, edition: Edition) -> bool:
        """Swaps with other writers kept out, if little enough is left to build; else leaves it for another round."""
        with self._index.exclusive():
            if len(self._index.editions.unbuilt(edition.id, MAX_BATCH_DOCUMENTS)) == MAX_BATCH_DOCUMENTS:
                return False
            self._build(edition)
            with self._trace.span("migrate.swap"):
                return self._index.editions.swap(edition.id)

    def _build(self, edition: Edition) -> None:
        """Builds every document that is not marked, in batches, until there is none left."""
        after = 0
        while True:
            todo = self._index.editions.unbuilt(edition.id, MAX_BATCH_DOCUMENTS, after=after)
            if not todo and not after:
                return
            for batch in self._batches(todo):
                self._commit(edition, batch)
            # At the end it begins again, for what was written meanwhile.
            after = todo[-1].row if todo else 0

    def _batches(self, todo: Sequence[Unbuilt]) -> Iterator[list[_Made]]:
        batch: list[_Made] = []
        for one in todo:
            document = self._index.document(one.known.id)
            if document is None:
                # Removed since it was listed.
                continue
            batch.append(self._made(document, one.born, one.known))
            if sum(len(made.chunks) for made in batch) >= self._settings.ingest.batch_chunks:
                yield batch
                batch = []
        if batch:
            yield batch

    def _made(self, document: Document, born: int, known: KnownDocument) -> _Made:
        stamp = None
        if self._work is Work.PARSE:
            document, stamp = self._reread(document, known)
        chunks = self._chunks(document)
        texts = tuple(chunking.embedding_text(document.title, chunk) for chunk in chunks)
        return _Made(document=document, born=born, chunks=chunks, texts=texts, known=known, stamp=stamp)

    def _chunks(self, document: Document) -> tuple[Chunk, ...]:
        if self._work < Work.CHUNK:
            return tuple(self._index.chunks(document.id))
        return chunking.chunk(
            document, self._embedder.tokenizer, self._settings.chunking, embed=self._embedder.embed_documents
        )

    def _reread(self, document: Document, known: KnownDocument) -> tuple[Document, str | None]:
        """The document as its source gives it now, with its stamp, or as it is stored where that cannot be had."""
        if known.source in {"", DOCUMENTS_SOURCE}:
            return document, None
        try:
            fresh, stamp = self._sources.load(known)
        except ConnectorError as error:
            self._failures[document.uri] = Failure(uri=document.uri, reason=str(error), kind=type(error).__name__)
            return document, None
        # Who may read it is not the source's to change here.
        fresh = fresh.labelled(document.acl)
        if fresh == document:
            return document, None
        self._counts["reread"] += 1
        return fresh, stamp

    def _commit(self, edition: Edition, batch: Sequence[_Made]) -> None:
        texts = [text for made in batch for text in made.texts]
        with self._trace.span("migrate.embed", chunks=len(texts)) as event:
            vectors, embedded = self._embed(texts)
            event["embedded"] = embedded
        with self._trace.span("migrate.commit", documents=len(batch), chunks=len(texts)):
            built = self._index.editions.build(edition.id, _shadows(batch, vectors))
        self._counts["documents"] += built
        self._clock.tell(edition, self._counts["documents"])
        self._counts["chunks"] += len(texts)
        self._counts["embedded"] += embedded

    def _embed(self, texts: Sequence[str]) -> tuple[Vector, int]:
        """The vectors of `texts`, and how many distinct ones this embedder had not seen."""
        kept = self._index.cached_vectors(texts, embedder=self._embedder.fingerprint)
        missing = list(dict.fromkeys(text for text in texts if text not in kept))
        fresh = dict(zip(missing, self._embedder.embed_documents(missing), strict=True)) if missing else {}
        rows = [kept[text] if text in kept else fresh[text] for text in texts]
        vectors = np.array(rows, np.float32).reshape(len(rows), self._embedder.dimension)
        return vectors, len(missing)


class _Sources:
    """The connectors of the documents' sources, each listed once."""

    def __init__(self, settings: Settings, connect: Callable[[str], Connector], pool: Pool) -> None:
        self._connect = connect
        self._loader = Loader(settings.ingest, pool)
        self._listed: dict[str, tuple[Connector, Mapping[str, SourceItem]] | ConnectorError] = {}
        # Documents inside one item come one after another, in the order of uri; the item is read once for them.
        self._read: tuple[SourceItem, Reading] | None = None

    def load(self, known: KnownDocument) -> tuple[Document, str]:
        """The document and its stamp. Raises ConnectorError when it, or its whole source, cannot be reached."""
        if known.source not in self._listed:
            self._listed[known.source] = self._list(known.source)
        listed = self._listed[known.source]
        if isinstance(listed, ConnectorError):
            raise listed
        connector, items = listed
        item = items.get(root_uri(known.uri))
        if item is None:
            raise ConnectorError("it is no longer at its source")
        if self._read is None or self._read[0] != item:
            self._read = item, self._loader.reading(connector, item)
        reading = self._read[1]
        for document in (reading.document, *reading.children):
            if document.uri == known.uri:
                return document, item.stamp
        raise ConnectorError("it is no longer inside its source")

    def _list(self, source: str) -> tuple[Connector, Mapping[str, SourceItem]] | ConnectorError:
        try:
            connector = self._connect(source)
            return connector, {item.uri: item for item in connector.items() if isinstance(item, SourceItem)}
        except ConnectorError as error:
            return error
        except (ConfigError, MissingExtra) as error:
            # It was opened with a secret, or by another installation.
            return ConnectorError(f"{error}; ingest it again with the same options")


class _Clock:
    """Tells how far a build is and how long the rest will take at the speed of this run."""

    def __init__(self, progress: Progress | None) -> None:
        self._begin = time.monotonic()
        self._progress = progress

    def tell(self, edition: Edition, fresh: int) -> None:
        """`fresh` documents were built since the beginning; those that were written meanwhile count twice."""
        if self._progress is None:
            return
        total = max(edition.documents, edition.built + fresh)
        left = (time.monotonic() - self._begin) / max(fresh, 1) * (total - edition.built - fresh)
        detail = f"about {_duration(left)} left" if left >= 1 else ""
        self._progress.update("migrate", edition.built + fresh, total, detail)


def settings_of(edition: Edition, settings: Settings) -> Settings:
    """`settings` with the way of cutting that the edition was built with.

    Raises FingerprintMismatch when it was built by a chunker, analyser or readers that this version no longer has.
    """
    named = edition.fingerprint.get(fingerprints.CHUNKER, chunking.fingerprint(settings.chunking))
    cut = chunking.settings_of(named)
    analyser = edition.fingerprint.get(fingerprints.ANALYSER, Analyser.fingerprint)
    if cut is None or analyser != Analyser.fingerprint:
        raise FingerprintMismatch(
            f"the earlier edition was built with {named} and {analyser}, which this version of ragagent no longer has; "
            "migrate to the settings you want instead, or roll back with the version that built it"
        )
    return dataclasses.replace(settings, chunking=cut)


def _shadows(batch: Sequence[_Made], vectors: Vector) -> list[Shadow]:
    ends = np.cumsum([len(made.chunks) for made in batch]).tolist()
    return [
        Shadow(
            entry=Entry(
                document=made.document,
                chunks=made.chunks,
                texts=made.texts,
                vectors=vectors[end - len(made.chunks) : end],
                source=made.known.source,
                stamp=made.known.stamp if made.stamp is None else made.stamp,
            ),
            born=made.born,
            reread=made.stamp is not None,
        )
        for made, end in zip(batch, ends, strict=True)
    ]


def _without_dimension(built_with: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in built_with.items() if key != fingerprints.DIMENSION}


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
