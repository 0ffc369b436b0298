"""What a migration would take, before anything is changed: measured on a sample of the stored documents."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragagent.index import fingerprint as fingerprints
from ragagent.index.embedded import EmbeddedIndex
from ragagent.index.fingerprint import Change, Work
from ragagent.ingest import chunking
from ragagent.ingest.migration import stored, wanted
from ragagent.protocols import Embedder
from ragagent.settings import Settings
from ragagent.types import Document

_SAMPLED_DOCUMENTS = 24
_SAMPLED_CHUNKS = 64
_SAMPLED_CHARS = 200_000
# Together these are right to a few percent: 21,089 chunks to other vectors of 384 components were estimated at 34.3 MB
# and took 34.7 MB (eval/perf/migration.py).
_ROW_BYTES = 220
"""A chunk's row and its places in the indexes of the table."""
_VECTOR_BYTES = 60
"""What a stored vector takes beside its components."""
_POSTINGS_BYTES = 340
"""The sparse part of a segment, a chunk."""
WRITE_S = 0.0002
"""Cutting aside, analysing and writing a chunk; embedding is measured, this is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationPlan:
    """What differs and what it would take. `chunks` and `tokens` are counted after the change, by the sample.

    `seconds` is the time of the whole, at the speed of embedding `sampled_chunks` chunks in `sampled_seconds` just
    now; `to_embed` of the chunks have no vector of the wanted embedder yet. `bytes` are needed beside what is there
    until the old edition is dropped. `built` documents are there from a run that was interrupted; `kept` says that
    an earlier edition is kept for a rollback.
    """

    changes: tuple[Change, ...]
    work: str
    documents: int
    chunks_now: int
    chunks: int
    tokens: int
    to_embed: int
    seconds: float
    sampled_chunks: int
    sampled_seconds: float
    bytes: int
    free_bytes: int
    built: int
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sample:
    """The sampled documents: their chunks now and then, their tokens, and what embedding some of them took."""

    now: int
    then: int
    tokens: int
    new: float
    """The share of chunks then that have no vector yet."""
    embedded: int
    seconds: float


def plan(index: EmbeddedIndex, folder: Path, embedder: Embedder, settings: Settings) -> MigrationPlan:
    """The plan of bringing `index` to these parts. Embeds up to 64 chunks to know how long that takes."""
    live, target = index.editions.live(), wanted(embedder, settings)
    found = fingerprints.changes(stored(live), target)
    work = fingerprints.work(found)
    documents = live.documents
    others = [one for one in index.editions.all() if one.id != live.id]
    built = next((one.built for one in others if stored(one) == fingerprints.after(stored(live), target)), 0)
    sample = _measured(index, embedder, settings, work) if work else _Sample(
        now=0, then=0, tokens=0, new=0.0, embedded=0, seconds=0.0
    )  # fmt: skip
    growth = sample.then / sample.now if sample.now else 1.0
    chunks = round(live.chunks * growth) if work else live.chunks
    left = 1 - built / documents if documents else 0.0
    to_embed = round(chunks * sample.new * left)
    seconds = chunks * left * WRITE_S + (to_embed * sample.seconds / sample.embedded if sample.embedded else 0.0)
    return MigrationPlan(
        changes=found,
        work=work.words,
        documents=documents,
        chunks_now=live.chunks,
        chunks=chunks,
        tokens=round(sample.tokens / sample.then * chunks) if sample.then else 0,
        to_embed=to_embed,
        seconds=round(seconds, 1) if work else 0.0,
        sampled_chunks=sample.embedded,
        sampled_seconds=round(sample.seconds, 3),
        bytes=_bytes(chunks * left, to_embed, embedder.dimension) if work else 0,
        free_bytes=shutil.disk_usage(folder).free,
        built=built,
        kept=any(one.state == "old" for one in others),
    )


def _measured(index: EmbeddedIndex, embedder: Embedder, settings: Settings, work: Work) -> _Sample:
    now = then = tokens = 0
    texts: list[str] = []
    for document in _spread(index):
        stored_chunks = index.chunks(document.id)
        chunks = stored_chunks if work < Work.CHUNK else chunking.chunk(
            document, embedder.tokenizer, settings.chunking, embed=embedder.embed_documents
        )  # fmt: skip
        now, then = now + len(stored_chunks), then + len(chunks)
        tokens += len(embedder.tokenizer.offsets(document.text))
        texts += [chunking.embedding_text(document.title, chunk) for chunk in chunks]
    distinct = list(dict.fromkeys(texts))
    kept = index.cached_vectors(distinct, embedder=embedder.fingerprint)
    missing = [text for text in distinct if text not in kept]
    embedded, seconds = timed(embedder, missing)
    share = len(missing) / len(distinct) if distinct else 0.0
    return _Sample(now=now, then=then, tokens=tokens, new=share, embedded=embedded, seconds=seconds)


def timed(embedder: Embedder, texts: Sequence[str]) -> tuple[int, float]:
    """How many of `texts`, spread over them all, were embedded, and how long that took without the first call."""
    if not texts:
        return 0, 0.0
    some = list(texts[:: -(-len(texts) // _SAMPLED_CHUNKS)])
    embedder.embed_documents(some[:1])
    begin = time.perf_counter()
    embedder.embed_documents(some)
    return len(some), time.perf_counter() - begin


def _spread(index: EmbeddedIndex) -> list[Document]:
    """Some documents from all over the index, of bounded size together."""
    ids = sorted(index.known())
    found: list[Document] = []
    chars = 0
    for document_id in ids[:: max(1, len(ids) // _SAMPLED_DOCUMENTS)][:_SAMPLED_DOCUMENTS]:
        document = index.document(document_id)
        if document is None or (found and chars + len(document.text) > _SAMPLED_CHARS):
            continue
        found.append(document)
        chars += len(document.text)
    return found


def _bytes(chunks: float, to_embed: int, dimension: int) -> int:
    """Rows, segments (one-bit and four-bit codes, postings), and vectors of 16 bits where there are none yet."""
    segments = dimension // 8 + dimension // 2 + _POSTINGS_BYTES
    return round(chunks * (_ROW_BYTES + segments) + to_embed * (2 * dimension + _VECTOR_BYTES))
