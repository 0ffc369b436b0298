"""One search over one view: two rankings under one mask, fused, and turned into hits with their arithmetic."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from ragagent.errors import ConfigError
from ragagent.index import dense, filters, fusion, quoted, ranking, records, sparse, workers
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


_QUOTED = 300
"""So many of the best by words are read to see whether they hold what a question puts between quotation marks."""


_IDENTIFIED = 30
"""So many of the best by words are looked through for what a question has of identifiers and rare words."""


class NotEmbedded(Exception):
    """The function that was to give the vector of a query raised `reason`.

    That is no error of the index, whose own way with errors would take it for one.
    """

    def __init__(self, reason: BaseException) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is searched for; `vector` gives float32[d], and is None in sparse mode.

    `dense_weight` is what the vector counts where scores are fused, None for what the settings say.
    """

    text: str
    vector: Callable[[], Vector] | None
    k: int
    mode: SearchMode
    where: Where | None
    columns: filters.Columns
    dense_weight: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Results:
    """What each search found for a query, by its vector and by its terms; None for one that was not asked for."""

    vector: Vector | None
    dense: dense.Found | None
    scorer: sparse.Scorer
    sparse: Ranking | None


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
        asked = [(scorer, _deep(query, count)) for scorer, query in zip(scorers, queries, strict=True)]
        # A single question has a worker to itself already, and a task must not wait for another.
        found = workers.each(lambda one: one[0].best(one[1], masks), asked, parallel=len(scorers) > 1)
        return list(zip(scorers, found, strict=True))

    # The terms need no vector: they are searched while it is made, and beside the vectors.
    beside = len(queries) == 1 and first.mode == "hybrid" and view.chunks > _BESIDE
    terms = workers.begun(by_terms, parallel=beside)
    vectors = [None if query.vector is None else query.vector() for query in queries]
    stored = Stored(connection, view.dimension)
    with workers.turn():
        by_vector = _by_vectors(view, vectors, count, masks, stored)
        passed = "" if accepted is None else filters.explained(accepted, view.parts, masks)
        found = []
        for query, vector, near, (scorer, alike) in zip(queries, vectors, by_vector, terms(), strict=True):
            results = _Results(vector=vector, dense=near, scorer=scorer, sparse=alike)
            fused = _fused(query, results, view, stored, analyser, settings)
            found.append(_hits(connection, results, fused, query.mode, passed))
        return found


def _by_vectors(
    view: View, vectors: Sequence[Vector | None], count: int, masks: Sequence[Mask | None], stored: Stored
) -> Sequence[dense.Found | None]:
    given = [vector for vector in vectors if vector is not None]
    return dense.search_many(view.parts, np.stack(given), count, masks, stored) if given else [None] * len(vectors)


def _scorer(view: View, query: Query, analyser: Analyser, settings: RetrievalSettings) -> sparse.Scorer:
    words = [] if query.mode == "dense" else analyser.query_words(query.text)[:MOST_WORDS]
    return sparse.Scorer(view.parts, words, settings)


def _deep(query: Query, count: int) -> int:
    """How many chunks the terms are to find: more where words in quotation marks are then looked for in them."""
    return max(count, _QUOTED) if query.mode == "hybrid" and quoted.phrases(query.text) else count


def _fused(
    query: Query, results: _Results, view: View, stored: Stored, analyser: Analyser, settings: RetrievalSettings
) -> fusion.Fused:
    near, alike, vector = results.dense, results.sparse, results.vector
    if near is None or alike is None or vector is None:
        alone = alike if near is None else near.ranking
        return fusion.Fused(ranking=alone or ranking.EMPTY, details=())
    if settings.fusion == "ranks":
        return fusion.by_ranks([near.ranking, alike], settings.rrf_k, query.k)
    singled = _singled(query.text, results.scorer, alike, analyser, stored.connection)
    return fusion.by_scores(
        fusion.Side(found=near.ranking, score=lambda rows: dense.scores(view.parts, vector, rows, stored)),
        fusion.Side(found=alike, score=results.scorer.scores),
        settings.dense_weight if query.dense_weight is None else query.dense_weight,
        singled,
        query.k,
    )


def _singled(
    text: str, scorer: sparse.Scorer, alike: Ranking, analyser: Analyser, connection: sqlite3.Connection
) -> fusion.Rows:
    """The chunks that the words of a question single out among all that have some of them; usually none."""
    if phrases := quoted.phrases(text):
        found = _holding(connection, alike.rows, phrases)
        if len(found):
            return found
    best = alike.rows[:_IDENTIFIED]
    # The first term of an identifier is the whole of it.
    if identifiers := [tuple(analyser.index_terms(one)[:1]) for one in quoted.identifiers(text)]:
        found = best[scorer.having(best, identifiers)]
        if 0 < len(found) <= fusion.ALIKE_ONLY:
            return found
    if rarities := scorer.rarities():
        found = best[scorer.having(best, rarities)]
        found = found[scorer.coverage(found) >= fusion.COVERED]
        if 0 < len(found) <= fusion.ALIKE_ONLY:
            return found
    return fusion.singled_out(alike, scorer.coverage)


def _holding(connection: sqlite3.Connection, rows: fusion.Rows, phrases: Sequence[str]) -> fusion.Rows:
    """Those of `rows` whose passages hold all of the phrases."""
    texts = ((one.row, quoted.plain(one.chunk.text)) for one in records.found(connection, rows.tolist()))
    return np.array([row for row, text in texts if all(phrase in text for phrase in phrases)], np.int64)


def _hits(
    connection: sqlite3.Connection, results: _Results, fused: fusion.Fused, mode: SearchMode, passed: str
) -> list[Hit]:
    rows = fused.ranking.rows.tolist()
    why = {} if results.sparse is None else results.scorer.explain(rows)
    found = records.found(connection, rows)
    return [_hit(rank, one, results, fused, mode, why.get(one.row, ""), passed) for rank, one in enumerate(found, 1)]


def _hit(
    rank: int,
    found: records.Found,
    results: _Results,
    fused: fusion.Fused,
    mode: SearchMode,
    why: str,
    passed: str,
) -> Hit:
    score = float(fused.ranking.scores[rank - 1])
    stages = []
    if results.dense is not None:
        stages.append(_stage("dense", results.dense.ranking, found.row, f"cosine; {results.dense.plan}"))
    if results.sparse is not None:
        stages.append(_stage("sparse", results.sparse, found.row, why))
    if mode == "hybrid":
        stages.append(Stage(name="fusion", rank=rank, score=score, detail=fused.details[rank - 1]))
    if passed:
        stages.append(Stage(name="filter", rank=None, score=None, detail=passed))
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
