"""How well search finds the documents that were judged relevant: one run over a set, in each search mode.

A document's rank is that of its best chunk. Queries are searched in every mode one after another, so that the
modes' seconds compare.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ragagent.errors import ConfigError
from ragagent.eval import datasets, metrics
from ragagent.eval.about import About, about
from ragagent.eval.corpus import Corpus, Parts, opened
from ragagent.eval.datasets import Qrels, Query
from ragagent.eval.statistics import Interval, figure_interval, mean_interval
from ragagent.protocols import Progress
from ragagent.settings import Settings
from ragagent.types import Hit, SearchMode

MODES: tuple[SearchMode, ...] = ("dense", "sparse", "hybrid")
CHUNKS_PER_DOCUMENT = 3
MAX_CHUNKS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryRecord:
    """One query in one mode: the `k` documents found, best first, and what that is worth."""

    id: str
    row: SearchMode
    ranking: tuple[str, ...]
    scores: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalRun:
    """A run: for each mode (row) each figure with its 95 % interval, and the record of every query."""

    about: About
    figures: Mapping[str, Mapping[str, Interval | None]]
    records: tuple[QueryRecord, ...]
    kind: str = "retrieval"


def run(
    data: Path,
    *,
    settings: Settings | None = None,
    kb: Path | None = None,
    modes: Sequence[SearchMode] = MODES,
    k: int = 10,
    limit: int | None = None,
    seed: int = 0,
    parts: Parts | None = None,
) -> RetrievalRun:
    """Searches every judged query of the set in `data` (`limit` of them, drawn by `seed`) and scores the rankings.

    `kb` is the folder that knowledge bases of sets are kept in. A set of questions counts too: the documents named
    as holding the answer are the relevant ones. Raises ConfigError for malformed data or nothing to search for.
    """
    chosen, parts = settings or Settings(), parts or Parts()
    if not modes or k < 1:
        raise ConfigError(f"modes = {list(modes)}, k = {k}: at least one mode and k of at least 1 are needed")
    queries, judged = load(data)
    queries = drawn(queries, limit, seed)
    with opened(data, kb, chosen, parts) as corpus:
        records = _searched(corpus, queries, judged, modes, k, parts.progress)
        facts = _about(corpus, data, {"modes": list(modes), "k": k, "seed": seed, "queries": len(queries)})
    return RetrievalRun(about=facts, figures={mode: figures(records, mode, k) for mode in modes}, records=records)


def load(data: Path) -> tuple[list[Query], Qrels]:
    """The queries that have at least one relevant document, in file order, and the judgements."""
    if (data / "queries.jsonl").is_file():
        queries, judged = datasets.queries(data), datasets.qrels(data)
    else:
        queries, judged = datasets.as_retrieval(datasets.questions(data))
    useful = [query for query in queries if any(gain > 0 for gain in judged.get(query.id, {}).values())]
    if not useful:
        raise ConfigError(f"{data}: no query has a relevant document; there is nothing to score")
    return useful, judged


def drawn(queries: Sequence[Query], limit: int | None, seed: int) -> list[Query]:
    """`limit` queries in their own order; what a smaller limit draws, a larger one draws too."""
    order = np.random.default_rng(seed).permutation(len(queries))[:limit]
    return [queries[index] for index in sorted(order)]


def ranked_documents(find: Callable[[int], Sequence[Hit]], k: int, name: Callable[[Hit], str]) -> list[str]:
    """The `k` best documents, each once, by their best chunk; fewer only when the search finds no more.

    `find` gives so many of the best chunks.
    """
    wanted = k * CHUNKS_PER_DOCUMENT
    while True:
        hits = find(wanted)
        names = list(dict.fromkeys(name(hit) for hit in hits))
        if len(names) >= k or len(hits) < wanted or wanted >= MAX_CHUNKS:
            return names[:k]
        wanted = min(MAX_CHUNKS, wanted * 2)


def figures(records: Sequence[QueryRecord], mode: str, k: int) -> dict[str, Interval | None]:
    """Each figure of one mode with its interval over the queries."""
    rows = [record for record in records if record.row == mode]
    found = {name: mean_interval([record.scores[name] for record in rows]) for name in score([], {}, k)}
    seconds = np.array([[record.seconds] for record in rows])
    found["seconds p50"] = figure_interval(seconds, lambda data: np.median(data[:, :, 0], axis=1))
    found["seconds p95"] = figure_interval(seconds, lambda data: np.percentile(data[:, :, 0], 95, axis=1))
    return found


def score(ranking: Sequence[str], gains: Mapping[str, int], k: int) -> dict[str, float]:
    """The figures of one ranking by name."""
    return {
        f"nDCG@{k}": metrics.ndcg(ranking, gains, k),
        f"recall@{k}": metrics.recall(ranking, gains, k),
        f"MRR@{k}": metrics.reciprocal_rank(ranking, gains, k),
        f"MAP@{k}": metrics.average_precision(ranking, gains, k),
    }


def _searched(
    corpus: Corpus,
    queries: Sequence[Query],
    judged: Qrels,
    modes: Sequence[SearchMode],
    k: int,
    progress: Progress | None,
) -> tuple[QueryRecord, ...]:
    for mode in modes:  # loads what the first search of a mode has to load
        corpus.kb.search(queries[0].text, k=1, mode=mode)
    records: list[QueryRecord] = []
    for done, query in enumerate(queries, start=1):
        records += [_record(corpus, query, judged[query.id], mode, k) for mode in modes]
        if progress:
            progress.update("search", done, len(queries))
    return tuple(records)


def _record(corpus: Corpus, query: Query, gains: Mapping[str, int], mode: SearchMode, k: int) -> QueryRecord:
    begin = time.perf_counter()
    ranking = ranked_documents(
        lambda count: corpus.kb.search(query.text, k=count, mode=mode),
        k,
        lambda hit: corpus.set_id(hit.document_id, hit.uri),
    )
    seconds = time.perf_counter() - begin
    return QueryRecord(
        id=query.id, row=mode, ranking=tuple(ranking), scores=score(ranking, gains, k), seconds=round(seconds, 6)
    )


def _about(corpus: Corpus, data: Path, parameters: Mapping[str, Any]) -> About:
    status = corpus.kb.status()
    return about(
        data,
        parameters=parameters,
        settings=corpus.kb.settings,
        models={"embedder": corpus.kb.embedder.name},
        counts=(status.documents, status.chunks),
        ingest=corpus.ingest,
    )
