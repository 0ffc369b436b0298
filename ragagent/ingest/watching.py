"""Keeps a knowledge base up with folders while these change."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence

from ragagent.connectors.files import FilesConnector, file_uri
from ragagent.connectors.watch import Watch
from ragagent.errors import ConnectorError, Locked
from ragagent.ingest.pipeline import Pipeline
from ragagent.protocols import Progress
from ragagent.types import Failure, IngestReport

Ingested = Callable[[FilesConnector, Sequence[str] | None], tuple[IngestReport, str]]

_BACK_S = 0.5
"""How often a source that is gone is looked for."""


def watch(
    pipeline: Pipeline,
    connectors: Sequence[FilesConnector],
    *,
    settle_s: float,
    polling: bool,
    stop: threading.Event,
    ignore: str,
    progress: Progress | None = None,
    acl_of: Callable[[str], tuple[str, ...] | None] = lambda _: None,
) -> Iterator[tuple[str, IngestReport]]:
    """The path and the report of each ingest: first one of each whole source, then one for each change at rest.

    Goes on until `stop` is set. What is deleted is removed, but never because a source is gone or empty. A source that
    goes away is reported once, and ingested as a whole when it is back. Where folders have to be walked although that
    was not asked for, `progress` is told in the stage `watch`. `acl_of` says who may read a source, by its name.
    """

    def ingested(connector: FilesConnector, places: Sequence[str] | None = None) -> tuple[IngestReport, str]:
        return _ingested(pipeline, connector, places, acl_of(connector.source))

    while not stop.is_set():
        watched = Watch(connectors, settle_s=settle_s, polling=polling, ignore=ignore, stop=stop)
        try:
            if watched.polls and not polling and progress is not None:
                progress.update("watch", 0, None, f"the system tells no changes here: walking every {2 * settle_s:g} s")
            for connector in connectors:
                yield connector.path, ingested(connector)[0]
            yield from _followed(ingested, watched)
        finally:
            watched.close()
        yield from _gone(connectors, stop)


def _followed(ingested: Ingested, watched: Watch) -> Iterator[tuple[str, IngestReport]]:
    """Reports of changes until a source is lost, or the watching ends; the same trouble is told once."""
    trouble = ""
    for batch in watched.changes():
        for connector, places in batch:
            report, failed = ingested(connector, places)
            if failed:
                watched.again(places)
            if not (failed and failed == trouble):
                yield connector.path, report
            trouble = failed
        if watched.lost():
            return


def _gone(connectors: Sequence[FilesConnector], stop: threading.Event) -> Iterator[tuple[str, IngestReport]]:
    """One report for each source that is gone; then waits until all are back."""
    missing = [connector for connector in connectors if not os.path.exists(connector.path)]
    for connector in missing:
        reason = "it is gone; nothing was removed, and it is ingested again when it is back"
        yield connector.path, _failure(connector, reason, "ConnectorError")
    while not stop.is_set() and not all(os.path.exists(connector.path) for connector in missing):
        stop.wait(_BACK_S)


def _ingested(
    pipeline: Pipeline, connector: FilesConnector, places: Sequence[str] | None, acl: tuple[str, ...] | None
) -> tuple[IngestReport, str]:
    """The report of one ingest, and why it failed as a whole, or nothing."""
    try:
        chosen = connector if places is None else connector.narrowed(places)
        return pipeline.ingest_connector(chosen, prune=True, acl=acl), ""
    except (ConnectorError, Locked) as error:
        return _failure(connector, str(error), type(error).__name__), str(error)


def _failure(connector: FilesConnector, reason: str, kind: str) -> IngestReport:
    return IngestReport(failed=1, failures=(Failure(uri=file_uri(connector.path), reason=reason, kind=kind),))
