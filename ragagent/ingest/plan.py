"""What an ingest has to do, decided before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ragagent.protocols import Connector, KnownDocument, Narrowed, SourceItem
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

    What cannot be looked at counts as still there, and so does all that lies below it. Where a source yields nothing
    at all, nothing counts as gone: an unmounted disk must not empty a knowledge base. An item without a stamp is fresh.
    """
    places = connector.places if isinstance(connector, Narrowed) else (connector.source,)
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
        elif (old := known.get(document_id)) is not None and old.stamp == item.stamp != "":
            unchanged += 1
        else:
            fresh.append(item)
    may_shrink = bool(seen) or isinstance(connector, Narrowed)
    gone = _gone(connector.source, places, known, seen, failures) if may_shrink else ()
    return Plan(fresh=tuple(fresh), unchanged=unchanged, gone=gone, failures=tuple(failures))


def _gone(
    source: str,
    places: Sequence[str],
    known: Mapping[str, KnownDocument],
    seen: set[str],
    failures: Sequence[Failure],
) -> tuple[str, ...]:
    hidden = {failure.uri for failure in failures}
    inside = {place.rstrip("/") for place in places}
    return tuple(
        document.id
        for document in known.values()
        if digest(root_uri(document.uri)) not in seen
        and _within(document, source, inside)
        and hidden.isdisjoint(_above(document, source))
    )


def _within(document: KnownDocument, source: str, places: set[str]) -> bool:
    # A document may have come in as a single file before its folder did, so its place decides, not only its source.
    if document.source == source and source.rstrip("/") in places:
        return True
    return root_uri(document.uri) in places or not places.isdisjoint(_above(document, source=""))


def _above(document: KnownDocument, source: str) -> Iterator[str]:
    """The addresses whose failure hides the document: its source, and each folder above it, with and without its `/`.

    The addresses of a site's pages do not begin with the name of the source, so that name is told apart.
    """
    yield source
    address = root_uri(document.uri)
    while "/" in address:
        address = address.rpartition("/")[0]
        yield address
        yield address + "/"
