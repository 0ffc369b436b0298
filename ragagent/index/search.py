"""One search over one view: two rankings under one mask, fused, and turned into hits with their arithmetic."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ragagent.index import dense, filters, fusion, records, sparse
from ragagent.index.block import Part
from ragagent.index.filters import Mask
from ragagent.index.ranking import Ranking
from ragagent.index.vectors import Stored
from ragagent.index.view import View
from ragagent.settings import RetrievalSettings
from ragagent.text.analyser import Analyser
from ragagent.types import Hit, SearchMode, Stage, Vector
from ragagent.where import Where

MOST_TERMS = 2048
"""So many terms of a question count; a whole document given as a question would take seconds otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is searched for; `vector` is float32[d], or None in sparse mode."""

    text: str
    vector: Vector | None
    k: int
    mode: SearchMode
    where: Where | None
    columns: filters.Columns


@dataclass(frozen=True, slots=True, kw_only=True)
class _Results:
    """What each search found, and the ranking that counts."""

    final: Ranking
    dense: dense.Found | None
    sparse: Ranking | None


def hits(
    connection: sqlite3.Connection, view: View, query: Query, analyser: Analyser, settings: RetrievalSettings
) -> list[Hit]:
    """The hits of `query` in the order of rank; `connection` must see the commit of `view`."""
    accepted = filters.accepted(connection, query.where, query.columns, view.generation) if query.where else None
    masks = filters.masks(view.parts, accepted)
    terms = [] if query.mode == "dense" else analyser.query_terms(query.text)[:MOST_TERMS]
    scorer = sparse.Scorer(view.parts, terms, settings)
    stored = Stored(connection, view.dimension)
    results = _results(view.parts, query, scorer, masks, settings, stored)
    found = records.found(connection, results.final.rows.tolist())
    return [_hit(rank, one, results, query.mode, scorer, settings) for rank, one in enumerate(found, 1)]


def _results(
    parts: Sequence[Part],
    query: Query,
    scorer: sparse.Scorer,
    masks: Sequence[Mask | None],
    settings: RetrievalSettings,
    stored: Stored,
) -> _Results:
    count = query.k if query.mode != "hybrid" else max(query.k, settings.candidates)
    by_vector = None if query.vector is None else dense.search(parts, query.vector, count, masks, stored)
    by_terms = None if query.mode == "dense" else scorer.best(count, masks)
    given = [*([] if by_vector is None else [by_vector.ranking]), *([] if by_terms is None else [by_terms])]
    final = given[0] if len(given) == 1 else fusion.fused(given, settings.rrf_k, query.k)
    return _Results(final=final, dense=by_vector, sparse=by_terms)


def _hit(
    rank: int,
    found: records.Found,
    results: _Results,
    mode: SearchMode,
    scorer: sparse.Scorer,
    settings: RetrievalSettings,
) -> Hit:
    score = float(results.final.scores[rank - 1])
    stages = []
    if results.dense is not None:
        stages.append(_stage("dense", results.dense.ranking, found.row, f"cosine; {results.dense.plan}"))
    if results.sparse is not None:
        stages.append(_stage("sparse", results.sparse, found.row, scorer.explain(found.row)))
    if mode == "hybrid":
        detail = fusion.arithmetic([stage.rank for stage in stages], settings.rrf_k)
        stages.append(Stage(name="fusion", rank=rank, score=score, detail=detail))
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
