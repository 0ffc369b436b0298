"""What an ingest would do, before anything is changed: the plan, and what a few of its items say of the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ragagent.errors import ReadError
from ragagent.ingest import chunking
from ragagent.ingest.estimate import WRITE_S, timed
from ragagent.ingest.loading import Loader
from ragagent.ingest.plan import Plan
from ragagent.protocols import Connector, Embedder, Index, SourceItem
from ragagent.settings import Settings
from ragagent.types import Document, Failure

LISTED = 100
_SAMPLED_ITEMS = 6
_SAMPLED_S = 10.0
"""No further item is read once the sample has taken so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestPlan:
    """What an ingest would do: `new` items of the source and `changed` ones would be read, `gone` documents removed.

    `to_read` and `to_remove` name the first hundred of them, in the order of the source and of the index. `bytes` are
    of the items to read, where the source tells their size. `chunks`, `to_embed` (those without a vector yet) and
    `seconds` are estimates, from `sampled` of the items, read and in part embedded just now.
    """

    new: int
    changed: int
    unchanged: int
    gone: int
    bytes: int
    to_read: tuple[str, ...]
    to_remove: tuple[str, ...]
    failures: tuple[Failure, ...]
    sampled: int = 0
    chunks: int = 0
    to_embed: int = 0
    seconds: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Sample:
    """The items that were read: how many, how large, the time it took, and the texts of their chunks."""

    items: int = 0
    bytes: int = 0
    sized: bool = True
    seconds: float = 0.0


def forecast(
    steps: Plan, *, connector: Connector, gone: Iterator[str], loader: Loader, index: Index, embedder: Embedder,
    settings: Settings, workers: int,
) -> IngestPlan:  # fmt: skip
    """The plan in figures. Fetches and reads up to six items and embeds up to 64 chunks."""
    to_remove = tuple(_address(index, one) for one in islice(gone, LISTED))
    more_gone = sum(1 for _ in gone)
    to_read = tuple(item.uri for item in islice(steps.items(), LISTED))
    sample, documents = _read(_spread(steps), connector, loader)
    texts = [text for document in documents for text in _texts(document, embedder, settings)]
    kept = index.cached_vectors(texts)
    missing = [text for text in dict.fromkeys(texts) if text not in kept]
    embedded, embed_s = timed(embedder, missing)
    times = _times(steps, sample)
    seconds = sample.seconds / workers + len(texts) * WRITE_S + len(missing) * embed_s / max(embedded, 1)
    return IngestPlan(
        new=steps.fresh - steps.changed,
        changed=steps.changed,
        unchanged=steps.unchanged,
        gone=len(to_remove) + more_gone,
        bytes=steps.fresh_bytes,
        to_read=to_read,
        to_remove=to_remove,
        failures=tuple(steps.failures),
        sampled=sample.items,
        chunks=round(len(texts) * times),
        to_embed=round(len(missing) * times),
        seconds=round(seconds * times, 1),
    )


def _read(items: Sequence[SourceItem], connector: Connector, loader: Loader) -> tuple[_Sample, list[Document]]:
    sample, found = _Sample(), list[Document]()
    for item in items:
        if sample.seconds > _SAMPLED_S:
            break
        begin = time.perf_counter()
        try:
            reading = loader.reading(connector, item)
            found += (reading.document, *reading.children)
        except ReadError:
            # It takes its time all the same, and brings nothing.
            pass
        sample.seconds += time.perf_counter() - begin
        sample.items += 1
        sample.bytes += item.size_bytes or 0
        sample.sized = sample.sized and item.size_bytes is not None
    return sample, found


def _spread(steps: Plan) -> list[SourceItem]:
    """A few of the items, from all over the plan."""
    step = -(-steps.fresh // _SAMPLED_ITEMS) or 1
    return list(islice(steps.items(), step // 2, None, step))


def _times(steps: Plan, sample: _Sample) -> float:
    """How many times the sample the whole is: by bytes where they are known, else by items."""
    if sample.sized and sample.bytes:
        return steps.fresh_bytes / sample.bytes
    return steps.fresh / sample.items if sample.items else 0.0


def _texts(document: Document, embedder: Embedder, settings: Settings) -> list[str]:
    if len(document.text) > settings.ingest.max_text_chars:
        return []
    chunks = chunking.chunk(document, embedder.tokenizer, settings.chunking, embed=embedder.embed_documents)
    return [chunking.embedding_text(document.title, chunk) for chunk in chunks]


def _address(index: Index, document_id: str) -> str:
    known = index.known_of([document_id])
    return known[document_id].uri if document_id in known else document_id
