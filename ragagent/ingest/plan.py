"""What an ingest has to do, decided before anything is changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ragagent.protocols import Connector, KnownDocument, SourceItem
from ragagent.types import Failure, digest, root_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`fresh` items are loaded; `unchanged` are passed over by their stamp; `gone` are ids no longer in the source.

    What is inside an item goes with it, and is not counted among the unchanged.
    """

    fresh: tuple[SourceItem, ...]
    unchanged: int
    gone: tuple[str, ...]
    failures: tuple[Failure, ...]


def plan(connector: Connector, known: Mapping[str, KnownDocument]) -> Plan:
    """Compares a source with what is `known` (by id), by stamps alone: nothing is read.

    What cannot be looked at counts as still there. Where the source yields nothing at all, nothing counts as gone:
    an unmounted disk must not empty a knowledge base.
    """
    fresh: list[SourceItem] = []
    failures: list[Failure] = []
    seen: set[str] = set()
    unchanged = 0
    for item in connector.items():
        document_id = digest(item.uri)
        if document_id in seen:
            continue
        seen.add(document_id)
        if isinstance(item, Failure):
            failures.append(item)
        elif (old := known.get(document_id)) is not None and old.stamp == item.stamp:
            unchanged += 1
        else:
            fresh.append(item)
    gone = _gone(connector.source, known, seen) if seen else ()
    return Plan(fresh=tuple(fresh), unchanged=unchanged, gone=gone, failures=tuple(failures))


def _gone(source: str, known: Mapping[str, KnownDocument], seen: set[str]) -> tuple[str, ...]:
    # A document may have come in as a single file before its folder did, so its place decides, not only its source.
    below = source.rstrip("/") + "/"
    return tuple(
        document.id
        for document in known.values()
        if digest(root_uri(document.uri)) not in seen and (document.source == source or document.uri.startswith(below))
    )
