"""Batches get their vectors: those that the index has, those of a batch just before, and the rest from the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ragagent.ingest.batches import Batch, Chunked
from ragagent.protocols import Embedder, Entry, Index
from ragagent.types import Vector

_AT_ONCE = 512
"""So many texts go to the model in one call: enough to sort by length, few enough to end soon after an interrupt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A batch with a vector for each of its chunks (float32[n, d]), `fresh` of them made for it."""

    batch: Batch
    vectors: Vector
    fresh: int

    def entries(self) -> list[Entry]:
        """What the index is to write."""
        items = list(self.batch.documents.values())
        ends = np.cumsum([len(item.chunks) for item in items]).tolist()
        return [_entry(item, self.vectors[end - len(item.chunks) : end]) for item, end in zip(items, ends, strict=True)]

    def counts(self) -> dict[str, int]:
        """What it brings, by the names of `IngestReport`."""
        batch = self.batch
        updated = sum(one.replaces for one in batch.documents.values())
        return {
            "added": len(batch.documents) - updated,
            "updated": updated,
            "unchanged": batch.unchanged,
            "removed": len(batch.stale),
            "relabelled": len(batch.relabelled),
            "chunks": batch.chunks,
            "embedded": self.fresh,
        }


class Embedding:
    """Embeds batches. A text that the index knows, or that came a few batches ago, is not embedded again."""

    def __init__(self, index: Index, embedder: Embedder, *, under_way: int, go_on: Callable[[], None]) -> None:
        """`under_way` batches may lie between this stage and the index; `go_on` raises when the run ends."""
        self._index = index
        self._embedder = embedder
        self._go_on = go_on
        self._recent: deque[Mapping[str, Vector]] = deque(maxlen=under_way)

    def embedded(self, batches: Iterable[Batch]) -> Iterator[Embedded]:
        """The batches with their vectors, in order."""
        for batch in batches:
            yield self.embed(batch)

    def embed(self, batch: Batch) -> Embedded:
        """The batch with its vectors."""
        texts = batch.texts
        known = {text: recent[text] for recent in self._recent for text in texts if text in recent}
        known.update(self._index.cached_vectors([text for text in texts if text not in known]))
        missing = list(dict.fromkeys(text for text in texts if text not in known))
        fresh = self._made(missing)
        self._recent.append(fresh)
        rows = [known[text] if text in known else fresh[text] for text in texts]
        vectors = np.array(rows, np.float32).reshape(len(rows), self._embedder.dimension)
        return Embedded(batch=batch, vectors=vectors, fresh=len(missing))

    def _made(self, texts: Sequence[str]) -> dict[str, Vector]:
        """Vectors of the model by text; long texts together, so that few batches are filled up with nothing."""
        found: dict[str, Vector] = {}
        ordered = sorted(texts, key=len, reverse=True)
        for start in range(0, len(ordered), _AT_ONCE):
            self._go_on()
            some = ordered[start : start + _AT_ONCE]
            found.update(zip(some, self._embedder.embed_documents(some), strict=True))
        return found


def _entry(item: Chunked, vectors: Vector) -> Entry:
    return Entry(
        document=item.loaded.document,
        chunks=item.chunks,
        texts=item.texts,
        vectors=vectors,
        source=item.loaded.source,
        stamp=item.loaded.stamp,
    )
