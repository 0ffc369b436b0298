"""An item of a source becomes its documents: fetched by its connector, read by the reader of its format.

Files are read in processes of their own (`ragagent.ingest.isolation`); what is so small and plain that it cannot do
harm is read right here, so that a note of a few lines needs no process at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ragagent.connectors import readers
from ragagent.connectors.readers import Reading, plain
from ragagent.connectors.readers.detect import media_type
from ragagent.errors import ReadError
from ragagent.ingest.isolation.pool import Pool
from ragagent.ingest.isolation.process import Interrupted
from ragagent.ingest.isolation.wire import Found
from ragagent.ingest.stages import Stopped
from ragagent.protocols import Connector, Fetched, SourceItem
from ragagent.settings import IngestSettings
from ragagent.types import Document, Failure, Note, digest

_SMALL_BYTES = 64 * 1024


DOCUMENTS_SOURCE = "documents:"
"""The source of documents that an application hands over itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A document as it came from its source, before any work on it.

    `inside` is there for the document of an item itself: the ids of all that may stay inside it. `labelled` says that
    its acl is what it shall have; otherwise nobody has said, and an earlier version's is kept.
    """

    document: Document
    source: str
    stamp: str
    inside: frozenset[str] | None = None
    labelled: bool = True


class Loader:
    """Loads items of connectors. Safe to use from several threads: fetching takes turns, reading does not."""

    def __init__(
        self,
        settings: IngestSettings,
        pool: Pool,
        stopped: Callable[[], bool] = lambda: False,
        acl: tuple[str, ...] | None = None,
    ) -> None:
        """`acl` is who may read what is loaded, whatever its source says; None leaves it to the source."""
        self._acl = acl
        self._settings = settings
        self._pool = pool
        self._stopped = stopped
        self._fetching = threading.Lock()

    def load(self, connector: Connector, item: SourceItem) -> Iterator[Loaded | Failure | Note]:
        """What became of an item; its own document, or its failure, comes last.

        So whoever is killed on the way has not seen the item yet and looks at all of it again.
        """
        inside: frozenset[str] = frozenset()
        try:
            for part in self._read(connector, item):
                if isinstance(part, Found):
                    # What was inside and is not any more goes; a part that could not be read keeps its old version.
                    inside = part.inside | {digest(failure.uri) for failure in part.failures}
                    yield from part.failures
                    yield from (Note(uri=item.uri, text=note) for note in part.notes)
                else:
                    yield Loaded(
                        document=part,
                        source=connector.source,
                        stamp=item.stamp,
                        inside=None if part.id in inside else inside,
                        labelled=self._acl is not None or bool(part.acl),
                    )
        except ReadError as error:
            yield Failure(uri=item.uri, reason=str(error), kind=type(error).__name__)

    def reading(self, connector: Connector, item: SourceItem) -> Reading:
        """The whole of an item at once. Raises ReadError or a kind of it."""
        found: Found | None = None
        documents: list[Document] = []
        for part in self._read(connector, item):
            if isinstance(part, Found):
                found = part
            else:
                documents.append(part)
        *inside, own = documents
        if found is None:
            return Reading(document=own)
        return Reading(document=own, children=tuple(inside), failures=found.failures, notes=found.notes)

    def _read(self, connector: Connector, item: SourceItem) -> Iterator[Found | Document]:
        with self._fetching:
            fetched = connector.fetch(item)
        if self._acl is not None:
            fetched = _labelled(fetched, self._acl)
        if isinstance(fetched, Document):
            yield fetched
        elif _is_harmless(fetched):
            yield from _parts(readers.read(fetched, settings=self._settings))
        else:
            try:
                with self._pool.process() as process:
                    yield from process.read(fetched, self._settings, self._stopped)
            except Interrupted:
                raise Stopped from None


def _labelled(fetched: Fetched | Document, acl: tuple[str, ...]) -> Fetched | Document:
    return fetched.labelled(acl) if isinstance(fetched, Document) else replace(fetched, acl=acl)


def _is_harmless(fetched: Fetched) -> bool:
    """Whether its reader is sure to be quick and to need next to nothing, whatever the bytes are."""
    if isinstance(fetched.content, Path) or len(fetched.content) > _SMALL_BYTES:
        return False
    try:
        return media_type(fetched.content, fetched.name, fetched.media_type) == plain.MEDIA_TYPE
    except ReadError:
        return False


def _parts(reading: Reading) -> Iterator[Found | Document]:
    inside = frozenset(one.id for one in reading.children)
    yield Found(inside=inside, failures=reading.failures, notes=reading.notes)
    yield from reading.children
    yield reading.document
