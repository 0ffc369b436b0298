"""An index without any cleverness: dictionaries in memory, every chunk scored for every question, exact.

It keeps the contract of `ragagent.protocols.Index` and shows how little that takes; it says what a filter means, and
other engines are held against it. Nothing of it outlives the object.
"""

from __future__ import annotations

import math
import operator
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np

from ragagent.errors import ConfigError, EmbedderChanged, FingerprintMismatch, IndexStateError
from ragagent.protocols import Entry, IndexStatus, KnownDocument
from ragagent.text.analyser import Analyser
from ragagent.text.language import detect
from ragagent.types import Chunk, Document, Hit, Metadata, SearchMode, Stage, Vector, inner_uri
from ragagent.where import And, Eq, Exists, Expression, In, Not, Or, Prefix, Range, Where, expression, fields

_K1, _B, _RRF = 1.5, 0.75, 60
_Scores = dict[str, float]


def accepts(where: Expression, document: Document, source: str = "") -> bool:
    """Whether a filter lets a document through, as `ragagent.where` says it."""
    if isinstance(where, And):
        return all(accepts(part, document, source) for part in where.parts)
    if isinstance(where, Or):
        return any(accepts(part, document, source) for part in where.parts)
    if isinstance(where, Not):
        return not accepts(where.part, document, source)
    stored = fields(document, source).get(where.key, [])
    return any(_fits(where, value) for value in (stored if isinstance(stored, list | tuple) else [stored]))


def _fits(where: Eq | In | Range | Prefix | Exists, value: Any) -> bool:
    if isinstance(where, Eq):
        return _same(value, where.value)
    if isinstance(where, In):
        return any(_same(value, one) for one in where.values)
    if isinstance(where, Prefix):
        return isinstance(value, str) and value.startswith(where.prefix)
    if isinstance(where, Exists):
        return value is not None
    bounds = where.bounds()
    text = isinstance(next(iter(bounds.values())), str)
    if value is None or isinstance(value, bool) or isinstance(value, str) != text:
        return False
    compare = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
    return all(compare[name](value, bound) for name, bound in bounds.items())


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    name: str
    entries: Mapping[str, Entry]

    @property
    def documents(self) -> int:
        return len(self.entries)


@dataclass(frozen=True, slots=True)
class _Difference:
    added: list[Document]
    removed: list[Document]
    changed: list[Document]


@dataclass(frozen=True, slots=True)
class _Restored:
    before: str


class PlainIndex:
    """Documents in a dictionary. A write puts a new one in its place, so readers see all of the write or none."""

    def __init__(self, dimension: int, fingerprint: Mapping[str, str] | None = None) -> None:
        self._dimension = dimension
        self._fingerprint = dict(fingerprint or {"embedder": "hash"})
        self._analyser = Analyser()
        self._state: Mapping[str, Entry] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.snapshots = _Snapshots(self)
        """Earlier states, by name."""

    def _entries(self) -> Mapping[str, Entry]:
        if self._closed:
            raise IndexStateError("the index is closed")
        return self._state

    def write(
        self,
        entries: Sequence[Entry] = (),
        remove: Iterable[str] = (),
        *,
        built_with: Mapping[str, str] | None = None,
    ) -> None:
        """Removes, then adds or replaces."""
        for key, value in (built_with or {}).items():
            if key != "embedder_name" and self._fingerprint.get(key, value) != value:
                raise FingerprintMismatch(f"{key} is {self._fingerprint[key]!r}, now {value!r}")
        with self._lock:
            after = {key: one for key, one in self._entries().items() if key not in set(remove)}
            after.update({one.document.id: one for one in entries})
            for one in entries:
                self._require(one, after)
            self._state = after

    def _require(self, one: Entry, after: Mapping[str, Entry]) -> None:
        wrong = one.vectors.shape != (len(one.chunks), self._dimension) and bool(one.chunks)
        if wrong or not np.isfinite(one.vectors).all():
            raise ConfigError(f"{one.document.uri}: vectors of shape {one.vectors.shape}, or not numbers")
        for chunk in one.chunks:
            if chunk.span.of(one.document.text) != chunk.text:
                raise ConfigError(f"{one.document.uri}: a chunk that is not the text at its span")
        ids = Counter(chunk.id for other in after.values() for chunk in other.chunks)
        if any(ids[chunk.id] > 1 for chunk in one.chunks):
            raise ConfigError(f"{one.document.uri}: two chunks of one id")

    def touch(self, stamps: Mapping[str, str]) -> None:
        """Sets stamps."""
        with self._lock:
            now = self._entries()
            self._state = {key: replace(one, stamp=stamps.get(key, one.stamp)) for key, one in now.items()}

    def retag(self, metadata: Mapping[str, Metadata]) -> tuple[str, ...]:
        """Gives documents new metadata."""
        with self._lock:
            after = dict(self._entries())
            for key in metadata.keys() & after.keys():
                document = replace(after[key].document, metadata=metadata[key], revision="")
                after[key] = replace(after[key], document=document)
            self._state = after
        return tuple(key for key in metadata if key not in after)

    def relabel(self, acls: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Gives documents new readers."""
        with self._lock:
            after = dict(self._entries())
            for key in acls.keys() & after.keys():
                document = after[key].document.labelled(acls[key])
                after[key] = replace(after[key], document=document)
            self._state = after
        return tuple(key for key in acls if key not in after)

    def known(self, source: str | None = None) -> Mapping[str, KnownDocument]:
        """What is remembered of each document."""
        entries = self._entries()
        return {key: _known(one) for key, one in entries.items() if source is None or one.source == source}

    def known_of(self, ids: Sequence[str]) -> Mapping[str, KnownDocument]:
        """The same, of those ids."""
        entries = self._entries()
        return {key: _known(entries[key]) for key in ids if key in entries}

    def known_inside(self, uri: str) -> Sequence[KnownDocument]:
        """The same, of what is inside one."""
        return [one for one in self.each_known() if one.uri.startswith(inner_uri(uri, ""))]

    def each_known(self) -> Iterator[KnownDocument]:
        """The same, in the order of uri."""
        yield from map(_known, self._sorted())

    def _sorted(self) -> list[Entry]:
        return sorted(self._entries().values(), key=lambda one: (one.document.uri, one.document.id))

    def document(self, document_id: str) -> Document | None:
        """The document of that id."""
        found = self._entries().get(document_id)
        return None if found is None else found.document

    def documents(self) -> Iterator[Document]:
        """Every document."""
        yield from (one.document for one in self._sorted())

    def chunks(self, document_id: str) -> Sequence[Chunk]:
        """The chunks of a document."""
        found = self._entries().get(document_id)
        return [] if found is None else list(found.chunks)

    def neighbours(self, chunk: Chunk) -> Sequence[Chunk]:
        """The chunks before and after one."""
        chunks = self.chunks(chunk.document_id)
        there = any(one.id == chunk.id for one in chunks)
        return [one for one in chunks if abs(one.position - chunk.position) == 1] if there else []

    def cached_vectors(self, texts: Sequence[str]) -> Mapping[str, Vector]:
        """The vectors of embedded texts."""
        held = {
            text: vector
            for one in self._entries().values()
            for text, vector in zip(_texts(one), one.vectors, strict=True)
        }
        return {text: held[text] for text in texts if text in held}

    def vectors_of(self, chunks: Sequence[Chunk]) -> Mapping[str, Vector]:
        """The vectors of chunks."""
        held = {
            chunk.id: vector
            for one in self._entries().values()
            for chunk, vector in zip(one.chunks, one.vectors, strict=True)
        }
        return {chunk.id: held[chunk.id] for chunk in chunks if chunk.id in held}

    def status(self) -> IndexStatus:
        """Counts."""
        entries = self._entries()
        chunks = sum(len(one.chunks) for one in entries.values())
        return IndexStatus(
            documents=len(entries),
            chunks=chunks,
            segments=0,
            tail_chunks=chunks,
            dimension=self._dimension,
            fingerprint=self._fingerprint,
            size_bytes=0,
        )

    def check(self) -> tuple[str, ...]:
        """Nothing can be wrong with a dictionary."""
        self._entries()
        return ()

    def close(self) -> None:
        """Forgets everything."""
        self._closed = True
        self._state = {}

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
        """One question after another, of one state."""
        if len(queries) != len(vectors):
            raise ConfigError(f"{len(queries)} queries with {len(vectors)} vectors")
        entries = self._within(within)
        self._require_question(k, mode, embedder)
        return [self._hits(entries, *both, k, mode, where) for both in zip(queries, vectors, strict=True)]

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
        """Every chunk that passes is scored."""
        if callable(vector):
            self._require_question(k, mode, embedder)
            vector = None if mode == "sparse" else vector()
        return self.search_many([query], [vector], k=k, mode=mode, where=where, embedder=embedder, within=within)[0]

    def count_within(self, within: Where) -> tuple[int, int]:
        """How many documents and chunks pass."""
        entries = self._within(within)
        return len(entries), sum(len(one.chunks) for one in entries.values())

    def _within(self, where: Where | None) -> Mapping[str, Entry]:
        wanted = expression(where or {})
        return {key: one for key, one in self._entries().items() if accepts(wanted, one.document, one.source)}

    def _require_question(self, k: int, mode: SearchMode, embedder: str | None) -> None:
        if k < 1 or mode not in get_args(SearchMode):
            raise ConfigError(f"k = {k}, mode = {mode!r}")
        if mode != "sparse" and embedder not in (None, self._fingerprint.get("embedder", embedder)):
            raise EmbedderChanged(f"the vectors are of {self._fingerprint['embedder']!r}, not of {embedder!r}")

    def _hits(
        self,
        entries: Mapping[str, Entry],
        query: str,
        vector: Vector | None,
        k: int,
        mode: SearchMode,
        where: Where | None,
    ) -> list[Hit]:
        wanted = expression(where or {})
        passing = {key for key, one in entries.items() if accepts(wanted, one.document, one.source)}
        by_mode: dict[str, _Scores] = {}
        if mode != "sparse":
            by_mode["dense"] = self._dense(entries, vector)
        if mode != "dense":
            by_mode["sparse"] = self._sparse(entries, query)
        places = {chunk.id: (key, chunk) for key, one in entries.items() for chunk in one.chunks if key in passing}
        by_mode = {name: {key: one for key, one in scores.items() if key in places} for name, scores in by_mode.items()}
        final = _fused(by_mode.values()) if mode == "hybrid" else by_mode[mode]
        best = _ranked(final)[:k]
        return [
            _hit(rank, final[key], mode, entries[places[key][0]].document, places[key][1], by_mode)
            for rank, key in enumerate(best, 1)
        ]

    def _dense(self, entries: Mapping[str, Entry], vector: Vector | None) -> _Scores:
        if vector is None or vector.shape != (self._dimension,) or not np.isfinite(vector).all():
            raise ConfigError("a dense search needs a vector of numbers, of the index's dimension")
        wide = vector.astype(np.float64)
        return {
            chunk.id: float((one.vectors[place].astype(np.float64) * wide).sum())
            for one in entries.values()
            for place, chunk in enumerate(one.chunks)
        }

    def _sparse(self, entries: Mapping[str, Entry], query: str) -> _Scores:
        """BM25 in Lucene's form; title, headings and text of a chunk are one text."""
        counts = {
            chunk.id: Counter(
                self._analyser.index_terms(
                    "\n".join([one.document.title, *chunk.headings, chunk.text]), detect(chunk.text)
                )
            )
            for one in entries.values()
            for chunk in one.chunks
        }
        average = sum(sum(one.values()) for one in counts.values()) / max(len(counts), 1)
        scores: _Scores = {}
        for word in self._analyser.query_words(query):
            having = min(len(counts), sum(term in one for term in set(word) for one in counts.values()))
            idf = math.log(1 + (len(counts) - having + 0.5) / (having + 0.5))
            # In the order of ids: sums of floats depend on nothing else then.
            for key, term in sorted((key, term) for key, one in counts.items() for term in set(word) & one.keys()):
                norm = _K1 * (1 - _B + _B * sum(counts[key].values()) / average)
                scores[key] = scores.get(key, 0.0) + idf * counts[key][term] / (counts[key][term] + norm)
        return scores


class _Snapshots:
    """Earlier states of a PlainIndex: the dictionaries themselves."""

    def __init__(self, index: PlainIndex) -> None:
        self._index = index
        self._taken: dict[str, _Snapshot] = {}

    def create(self, name: str) -> _Snapshot:
        if not name.strip() or name in self._taken:
            raise ConfigError(f"{name!r}: no name for a snapshot, or taken")
        self._taken[name] = _Snapshot(name, self._index._entries())
        return self._taken[name]

    def list(self) -> Sequence[_Snapshot]:
        return tuple(self._taken.values())

    def _named(self, name: str) -> _Snapshot:
        if name not in self._taken:
            raise ConfigError(f"no snapshot {name!r}")
        return self._taken[name]

    def diff(self, name: str, other: str | None = None) -> _Difference:
        before = self._named(name).entries
        after = self._index._entries() if other is None else self._named(other).entries
        both = after.keys() & before.keys()
        return _Difference(
            _documents(after, after.keys() - before.keys()),
            _documents(before, before.keys() - after.keys()),
            _documents(after, {key for key in both if _revision(after, key) != _revision(before, key)}),
        )

    def restore(self, name: str) -> _Restored:
        wanted = self._named(name).entries
        before = self.create(f"before {name} {len(self._taken)}")
        self._index._state = wanted
        return _Restored(before.name)

    def remove(self, names: Iterable[str]) -> None:
        for name in (wanted := list(names)):
            self._named(name)
        for name in wanted:
            del self._taken[name]


def _revision(entries: Mapping[str, Entry], key: str) -> str:
    return entries[key].document.revision


def _documents(entries: Mapping[str, Entry], keys: Iterable[str]) -> list[Document]:
    return sorted((entries[key].document for key in keys), key=lambda one: (one.uri, one.id))


def _known(one: Entry) -> KnownDocument:
    of_document = {name: getattr(one.document, name) for name in ("id", "uri", "revision", "acl")}
    return KnownDocument(source=one.source, stamp=one.stamp, **of_document)


def _texts(one: Entry) -> Sequence[str]:
    return one.texts or tuple(chunk.text for chunk in one.chunks)


def _ranked(scores: _Scores) -> list[str]:
    return sorted(scores, key=lambda key: (-scores[key], key))


def _fused(rankings: Iterable[_Scores]) -> _Scores:
    fused: _Scores = {}
    for scores in rankings:
        for rank, key in enumerate(_ranked(scores), 1):
            fused[key] = fused.get(key, 0.0) + 1 / (_RRF + rank)
    return fused


def _hit(
    rank: int, score: float, mode: SearchMode, document: Document, chunk: Chunk, by_mode: Mapping[str, _Scores]
) -> Hit:
    stages = [
        Stage(name=name, rank=_ranked(scores).index(chunk.id) + 1, score=scores[chunk.id], detail="")
        if chunk.id in scores
        else Stage(name=name, rank=None, score=None, detail="not found")
        for name, scores in by_mode.items()
    ]
    return Hit(
        chunk=chunk,
        rank=rank,
        score=score,
        via=mode,
        title=document.title,
        uri=document.uri,
        page=chunk.page,
        metadata=document.metadata,
        stages=tuple(stages),
    )
