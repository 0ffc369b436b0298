"""An index as one principal sees it: what they may not read is not there, whichever way it is asked for.

Everything above holds this in place of the index, so no path can forget the mask. In searches the mask is a filter that
acts inside both of them; what is asked for by id or listed is held against the acl that the document has. A document
that is hidden and one that is missing give the same answer. Nothing is written through it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from ragagent.access import Mask, denied
from ragagent.errors import ConfigError, Corrupt
from ragagent.index.fusion import SINGLED_OUT
from ragagent.protocols import (
    Entry,
    Index,
    IndexStatus,
    KeepsVectors,
    KnownDocument,
    Narrows,
    SearchesMany,
    SuggestsTerms,
)
from ragagent.types import Chunk, Document, Hit, SearchMode, Stage, Vector
from ragagent.where import Where, both

_ATTEMPTS = 8


class GuardedIndex:
    """Keeps `ragagent.protocols.Index` for what a mask admits. Safe to use from several threads.

    With `statistics="visible"` every number in a score is counted among what may be read, and a search gives what an
    index would give that holds nothing else; "all" counts among all documents, and the scores tell something of those
    that are hidden (docs/access.md says what). The index that is guarded stays the caller's until `close`.
    """

    def __init__(self, index: Index, mask: Mask, *, statistics: Literal["visible", "all"] = "visible") -> None:
        if statistics == "visible" and not isinstance(index, Narrows):
            raise ConfigError(
                f"{type(index).__name__} cannot count among some of its documents alone, and its scores would tell of "
                'the others; set retrieval.statistics = "all" if that may be'
            )
        self._index = index
        self._mask = mask
        self._statistics = statistics

    def search(
        self,
        query: str,
        vector: Vector | Callable[[], Vector] | None,
        *,
        k: int,
        mode: SearchMode,
        where: Where | None = None,
        embedder: str | None = None,
        dense_weight: float | None = None,
    ) -> list[Hit]:
        """The k best chunks of what may be read."""
        chosen: dict[str, Any] = {"k": k, "mode": mode, "embedder": embedder, "dense_weight": dense_weight}
        with _discreet():
            found = self._index.search(query, vector, **chosen, **self._limits(where))
            return [self._shown(hit) for hit in found]

    def search_many(
        self,
        queries: Sequence[str],
        vectors: Sequence[Vector | None],
        *,
        k: int,
        mode: SearchMode,
        where: Where | None = None,
        embedder: str | None = None,
    ) -> list[list[Hit]]:
        """What `search` gives for each of `queries`; of one commit where the index can do that."""
        if len(queries) != len(vectors):
            raise ConfigError(f"{len(queries)} queries with {len(vectors)} vectors")
        chosen: dict[str, Any] = {"k": k, "mode": mode, "embedder": embedder}
        if not isinstance(self._index, SearchesMany):
            return [self.search(*one, where=where, **chosen) for one in zip(queries, vectors, strict=True)]
        with _discreet():
            found = self._index.search_many(queries, vectors, **chosen, **self._limits(where))
            return [[self._shown(hit) for hit in hits] for hits in found]

    def _limits(self, where: Where | None) -> dict[str, Any]:
        if self._statistics == "visible":
            return {"where": where, "within": self._mask.where}
        return {"where": both([self._mask.where, *([] if where is None else [where])])}

    def _shown(self, hit: Hit) -> Hit:
        """A hit without what its stages tell of hidden documents."""
        stages = (self._stage(one) for one in hit.stages)
        return replace(hit, stages=tuple(one for one in stages if one is not None))

    def _stage(self, stage: Stage) -> Stage | None:
        if self._statistics == "visible":
            # How many documents were looked at to find those that pass is counted among all.
            return replace(stage, detail=stage.detail.partition("; ")[0]) if stage.name == "filter" else stage
        if stage.name == "filter":
            return None
        # What the words single out stays before what is reranked; where it ranks tells that already.
        return replace(stage, detail=SINGLED_OUT if SINGLED_OUT in stage.detail else "")

    def similar_terms(self, words: Sequence[str]) -> Mapping[str, Sequence[str]]:
        """For words that nothing that may be read has, the nearest terms of it; none where these are not kept apart."""
        index: Any = self._index
        if not (isinstance(self._index, SuggestsTerms) and isinstance(self._index, Narrows)):
            return {}
        with _discreet():
            found: Mapping[str, Sequence[str]] = index.similar_terms(words, within=self._mask.where)
            return found

    def known(self, source: str | None = None) -> Mapping[str, KnownDocument]:
        """Every document that may be read, by id, of one source or of all."""
        with _discreet():
            return {key: one for key, one in self._index.known(source).items() if self._mask.admits(one.acl)}

    def known_of(self, ids: Sequence[str]) -> Mapping[str, KnownDocument]:
        """Those of the documents of these ids that are there and may be read, by id."""
        with _discreet():
            return {key: one for key, one in self._index.known_of(ids).items() if self._mask.admits(one.acl)}

    def known_inside(self, uri: str) -> Sequence[KnownDocument]:
        """The documents inside the one of `uri` that may be read, in the order of uri."""
        with _discreet():
            return [one for one in self._index.known_inside(uri) if self._mask.admits(one.acl)]

    def each_known(self) -> Iterator[KnownDocument]:
        """Every document that may be read, in the order of uri."""
        with _discreet():
            yield from (one for one in self._index.each_known() if self._mask.admits(one.acl))

    def document(self, document_id: str) -> Document | None:
        """The document of that id, if it may be read."""
        # Asked first, so that a hidden document takes no longer than a missing one, and fails no other way.
        if self._admitted(document_id) is None:
            return None
        with _discreet():
            found = self._index.document(document_id)
        return found if found is not None and self._mask.admits(found.acl) else None

    def documents(self) -> Iterator[Document]:
        """Every document that may be read, in the order of uri; the texts of no others are looked at."""
        for one in self.each_known():
            found = self.document(one.id)
            if found is not None:
                yield found

    def chunks(self, document_id: str) -> Sequence[Chunk]:
        """The chunks of a document that may be read; none of any other."""
        return self._of_admitted(document_id, lambda: self._index.chunks(document_id))

    def neighbours(self, chunk: Chunk) -> Sequence[Chunk]:
        """The chunks before and after one in a document that may be read; none in any other."""
        return self._of_admitted(chunk.document_id, lambda: self._index.neighbours(chunk))

    def _of_admitted(self, document_id: str, read: Callable[[], Sequence[Chunk]]) -> Sequence[Chunk]:
        for _ in range(_ATTEMPTS):
            before = self._admitted(document_id)
            if before is None:
                return []
            with _discreet():
                found = read()
            # Who may read it and what it says may both have changed between the two questions.
            if self._admitted(document_id) == before:
                return found
        return []

    def _admitted(self, document_id: str) -> KnownDocument | None:
        try:
            return self.known_of([document_id]).get(document_id)
        except Corrupt:
            # Of a damaged record nobody knows whose it is; to say that there is one would tell of it.
            return None

    def vectors_of(self, chunks: Sequence[Chunk]) -> Mapping[str, Vector]:
        """The stored vectors of those of `chunks` whose documents may be read; none where the index gives none."""
        if not isinstance(self._index, KeepsVectors):
            return {}
        seen = self.known_of([chunk.document_id for chunk in chunks])
        with _discreet():
            return self._index.vectors_of([chunk for chunk in chunks if chunk.document_id in seen])

    def cached_vectors(self, texts: Sequence[str]) -> Mapping[str, Vector]:
        """None at all: that a text was embedded tells that some document holds it."""
        return {}

    def status(self) -> IndexStatus:
        """Counts of what may be read. What is counted over files is 0."""
        with _discreet():
            status = self._index.status()
            documents, chunks = self._count()
        return replace(status, documents=documents, chunks=chunks, segments=0, tail_chunks=0, size_bytes=0, findings=())

    def _count(self) -> tuple[int, int]:
        if isinstance(self._index, Narrows):
            return self._index.count_within(self._mask.where)
        seen = list(self.each_known())
        return len(seen), sum(len(self.chunks(one.id)) for one in seen)

    def write(
        self,
        entries: Sequence[Entry] = (),
        remove: Iterable[str] = (),
        *,
        built_with: Mapping[str, str] | None = None,
    ) -> None:
        """Raises AccessDenied."""
        raise denied(self._mask.principal, "writing")

    def touch(self, stamps: Mapping[str, str]) -> None:
        """Raises AccessDenied."""
        raise denied(self._mask.principal, "writing")

    def check(self) -> tuple[str, ...]:
        """Raises AccessDenied: what is wrong is said by name."""
        raise denied(self._mask.principal, "checking")

    def close(self) -> None:
        """Closes the index that is guarded."""
        self._index.close()


@contextlib.contextmanager
def _discreet() -> Iterator[None]:
    """Runs a block; an error that may name a hidden document leaves without the name, and without what caused it."""
    try:
        yield
    except Corrupt as error:
        # The very same one: a new one would carry this one along as what it came of.
        error.args = ("the knowledge base is damaged; whoever owns it can see what is wrong: ragagent doctor",)
        error.__cause__ = error.__context__ = None
        raise
