"""One search over one view: two rankings under one mask, fused, and turned into hits with their arithmetic."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from ragagent.errors import ConfigError
from ragagent.index import dense, filters, fusion, records, sparse, workers
from ragagent.index.filters import Mask
from ragagent.index.loading import LOADING
from ragagent.index.ranking import Ranking
from ragagent.index.vectors import Stored
from ragagent.index.view import View
from ragagent.settings import RetrievalSettings
from ragagent.text.analyser import Analyser
from ragagent.types import Hit, SearchMode, Stage, Vector
from ragagent.where import Where

MOST_WORDS = 2048
"""So many words of a question count; a whole document given as a question would take seconds otherwise."""


_BESIDE = 20_000
"""In a smaller collection both searches are done one after the other sooner than a second thread is awake."""


class NotEmbedded(Exception):
    """The function that was to give the vector of a query raised `reason`.

    That is no error of the index, whose own way with errors would take it for one.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is searched for; `vector` gives float32[d], and is None in sparse mode."""

    text: str
    vector: Callable[[], Vector] | None
    k: int
    mode: SearchMode
    where: Where | None
    columns: filters.Columns


@dataclass(frozen=True, slots=True, kw_only=True)
class _Results:
    """What each search found, the ranking that counts, and what the filter let through, in words."""

    final: Ranking
    dense: dense.Found | None
    sparse: Ranking | None
    filter: str


_ByTerms = tuple[sparse.Scorer, Ranking | None]


def hits(
    connection: sqlite3.Connection, view: View, query: Query, analyser: Analyser, settings: RetrievalSettings
) -> list[Hit]:
    """The hits of `query` in the order of rank; `connection` must see the commit of `view`."""
    (found,) = hits_many(connection, view, [query], analyser, settings)
    return found


def hits_many(
    connection: sqlite3.Connection,
    view: View,
    queries: Sequence[Query],
    analyser: Analyser,
    settings: RetrievalSettings,
) -> list[list[Hit]]:
    """What `hits` gives for each of `queries`, which differ in text and vector alone.

    The filter is worked out once, and the scans of all queries keep every core busy.
    """
    if not queries:
        return []
    LOADING.asked(view.chunks)
    first = queries[0]
    accepted = filters.accepted(connection, first.where, first.columns, view.generation) if first.where else None
    masks = filters.masks(view.parts, accepted)
    count = first.k if first.mode != "hybrid" else max(first.k, settings.candidates)

    def by_terms() -> Sequence[_ByTerms]:
        scorers = [_scorer(view, query, analyser, settings) for query in queries]
        if first.mode == "dense":
            return [(scorer, None) for scorer in scorers]
        # A single question has a worker to itself already, and a task must not wait for another.
        found = workers.each(lambda scorer: scorer.best(count, masks), scorers, parallel=len(scorers) > 1)
        return list(zip(scorers, found, strict=True))

    # The terms need no vector: they are searched while it is made, and beside the vectors.
    beside = len(queries) == 1 and first.mode == "hybrid" and view.chunks > _BESIDE
    terms = workers.begun(by_terms, parallel=beside)
    vectors = [query.vector() for query in queries if query.vector is not None]
    with workers.turn():
        by_vector = _by_vectors(connection, view, vectors, count, masks) if vectors else [None] * len(queries)
        passed = "" if accepted is None else filters.explained(accepted, view.parts, masks)
        return [
            _hits(connection, _results(query, near, alike, passed, settings), query.mode, scorer, settings)
            for query, (scorer, alike), near in zip(queries, terms(), by_vector, strict=True)
        ]


def _by_vectors(
    connection: sqlite3.Connection, view: View, vectors: Sequence[Vector], count: int, masks: Sequence[Mask | None]
) -> Sequence[dense.Found | None]:
    return dense.search_many(view.parts, np.stack(vectors), count, masks, Stored(connection, view.dimension))


def _scorer(view: View, query: Query, analyser: Analyser, settings: RetrievalSettings) -> sparse.Scorer:
    words = [] if query.mode == "dense" else analyser.query_words(query.text)[:MOST_WORDS]
    return sparse.Scorer(view.parts, words, settings)


def _results(
    query: Query, by_vector: dense.Found | None, by_terms: Ranking | None, passed: str, settings: RetrievalSettings
) -> _Results:
    given = [*([] if by_vector is None else [by_vector.ranking]), *([] if by_terms is None else [by_terms])]
    final = given[0] if len(given) == 1 else fusion.fused(given, settings.rrf_k, query.k)
    return _Results(final=final, dense=by_vector, sparse=by_terms, filter=passed)


def _hits(
    connection: sqlite3.Connection,
    results: _Results,
    mode: SearchMode,
    scorer: sparse.Scorer,
    settings: RetrievalSettings,
) -> list[Hit]:
    rows = results.final.rows.tolist()
    why = {} if results.sparse is None else scorer.explain(rows)
    found = records.found(connection, rows)
    return [_hit(rank, one, results, mode, why.get(one.row, ""), settings) for rank, one in enumerate(found, 1)]


def _hit(
    rank: int,
    found: records.Found,
    results: _Results,
    mode: SearchMode,
    why: str,
    settings: RetrievalSettings,
) -> Hit:
    score = float(results.final.scores[rank - 1])
    stages = []
    if results.dense is not None:
        stages.append(_stage("dense", results.dense.ranking, found.row, f"cosine; {results.dense.plan}"))
    if results.sparse is not None:
        stages.append(_stage("sparse", results.sparse, found.row, why))
    if mode == "hybrid":
        detail = fusion.arithmetic([stage.rank for stage in stages], settings.rrf_k)
        stages.append(Stage(name="fusion", rank=rank, score=score, detail=detail))
    if results.filter:
        stages.append(Stage(name="filter", rank=None, score=None, detail=results.filter))
    return Hit(
        chunk=found.chunk,
        rank=rank,
        score=score,
        via=mode,
        title=found.title,
        uri=found.uri,
        page=found.chunk.page,
        metadata=found.metadata,
        stages=tuple(stages),
    )


def _stage(name: str, results: Ranking, row: int, detail: str) -> Stage:
    places = (results.rows == row).nonzero()[0]
    if not len(places):
        return Stage(name=name, rank=None, score=None, detail=f"not among the best {len(results)}")
    place = int(places[0])
    return Stage(name=name, rank=place + 1, score=float(results.scores[place]), detail=detail)


def require(k: int, mode: SearchMode) -> None:
    """Raises ConfigError for a wrong number of hits or an unknown mode."""
    if k < 1:
        raise ConfigError(f"k = {k}: must be at least 1")
    if mode not in get_args(SearchMode):
        raise ConfigError(f"mode = {mode!r}: must be one of {', '.join(get_args(SearchMode))}")


def checked(
    vector: Vector | Callable[[], Vector] | None, mode: SearchMode, dimension: int
) -> Callable[[], Vector] | None:
    """What gives the query vector as search takes it, float32[dimension].

    Raises ConfigError for another one: at once, or where it is to be made, when it is asked for; then NotEmbedded as
    well.
    """
    if mode == "sparse":
        return None
    if callable(vector):
        return lambda: _checked(_made(vector), mode, dimension)
    given = _checked(vector, mode, dimension)
    return lambda: given


def _made(vector: Callable[[], Vector]) -> Vector:
    try:
        return vector()
    except BaseException as error:
        raise NotEmbedded(error) from error


def _checked(vector: Vector | None, mode: SearchMode, dimension: int) -> Vector:
    if vector is None or vector.shape != (dimension,):
        shape = None if vector is None else vector.shape
        raise ConfigError(f"mode {mode!r} needs a query vector of shape ({dimension},), not {shape}")
    if not np.isfinite(vector).all():
        raise ConfigError("the query vector has a component that is not a number")
    return np.ascontiguousarray(vector, np.float32)
