"""Which way of searching finds the right passages best? One table over several sets, each difference with its interval.

    python -m ragagent.eval.ways --data sets/scifact sets/cranfield --rerank late --kb FOLDER

The rows are sets, the columns ways: by vectors, by words (BM25), both by reciprocal ranks, both by scores (hybrid, the
default), and hybrid with each reranker that is named. A figure stands with its difference to hybrid and the 95 %
interval of that, questions resampled in pairs; bold where the interval leaves 0 out. Milliseconds are of the whole
search with the embedding of the question, the ways taking turns. `ragagent.eval.perf.steps` looks at the steps after
the search more closely.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ragagent.app import KnowledgeBase
from ragagent.eval import retrieval
from ragagent.eval.corpus import Corpus, opened
from ragagent.eval.environment import facts
from ragagent.eval.statistics import paired_difference
from ragagent.settings import Rerank, Settings
from ragagent.types import Hit, SearchMode

BASE = "hybrid"
RANKS = "reciprocal ranks"
FIGURES = ("nDCG", "recall", "MRR", "MAP")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way of searching."""

    name: str
    mode: SearchMode = "hybrid"
    by_ranks: bool = False
    rerank: Rerank = "none"


@dataclass(slots=True)
class Measured:
    """What a way was worth on each question of a set, in their order, and the seconds of each."""

    worth: list[float]
    seconds: list[float]


def ways(rerank: Sequence[Rerank]) -> tuple[Way, ...]:
    """The ways that are compared."""
    return (
        Way(name="dense", mode="dense"),
        Way(name="BM25", mode="sparse"),
        Way(name=RANKS, by_ranks=True),
        Way(name=BASE),
        *(Way(name=f"{BASE} + {one}", rerank=one) for one in rerank if one != "none"),
    )


def measured(
    data: Path,
    compared: Sequence[Way],
    *,
    figure: str = "nDCG",
    k: int = 10,
    limit: int | None = None,
    seed: int = 0,
    kb: Path | None = None,
    settings: Settings | None = None,
) -> dict[str, Measured]:
    """Each way by its name over the judged questions of the set in `data`, `limit` of them drawn by `seed`."""
    chosen = settings or Settings()
    by_ranks = replace(chosen, retrieval=replace(chosen.retrieval, fusion="ranks"))
    queries, judged = retrieval.load(data)
    queries = retrieval.drawn(queries, limit, seed)
    found = {way.name: Measured([], []) for way in compared}
    with ExitStack() as stack:
        corpus = stack.enter_context(opened(data, kb, chosen))
        ranks = stack.enter_context(KnowledgeBase.open(corpus.kb.path, settings=by_ranks, embedder=corpus.kb.embedder))
        for way in compared:  # loads what the first search of a way has to load
            _find(ranks if way.by_ranks else corpus.kb, way, queries[0].text)(1)
        for number, query in enumerate(queries):
            turn = number % len(compared)
            for way in (*compared[turn:], *compared[:turn]):
                searched = _find(ranks if way.by_ranks else corpus.kb, way, query.text)
                begin = time.perf_counter()
                ranking = retrieval.ranked_documents(searched, k, _naming(corpus))
                found[way.name].seconds.append(time.perf_counter() - begin)
                found[way.name].worth.append(retrieval.score(ranking, judged[query.id], k)[f"{figure}@{k}"])
    return found


def _find(kb: KnowledgeBase, way: Way, query: str) -> Callable[[int], Sequence[Hit]]:
    return lambda count: kb.explain(query, count, way.mode, rerank=way.rerank).hits


def _naming(corpus: Corpus) -> Callable[[Hit], str]:
    return lambda hit: corpus.set_id(hit.document_id, hit.uri)


def main() -> None:
    """Prints a Markdown table and, with --out, writes the figures of every question."""
    arguments = _arguments()
    compared = ways(arguments.rerank)
    print(f"{arguments.figure}@{arguments.k}; in brackets the difference to {BASE} and its 95 % interval\n")
    print(f"| set | {' | '.join(way.name for way in compared)} |")
    print(f"|---|{'---|' * len(compared)}", flush=True)
    every: dict[str, Any] = {}
    for data in arguments.data:
        found = measured(
            data,
            compared,
            figure=arguments.figure,
            k=arguments.k,
            limit=arguments.limit,
            seed=arguments.seed,
            kb=arguments.kb,
        )
        name = "/".join(data.resolve().parts[-2:]) if len(data.name) < _SHORT else data.name
        print(f"| {name} ({len(found[BASE].worth)}) | {' | '.join(cells(found))} |", flush=True)
        every[name] = {way: {"worth": one.worth, "seconds": one.seconds} for way, one in found.items()}
    if arguments.out:
        arguments.out.write_text(json.dumps({"environment": facts(), "sets": every}), encoding="utf-8")


_SHORT = 4


def cells(found: dict[str, Measured]) -> list[str]:
    """The figure of each way, its difference to hybrid, and its milliseconds."""
    return [_cell(name, one, found[BASE]) for name, one in found.items()]


def _cell(name: str, one: Measured, base: Measured) -> str:
    middle, late = (float(np.percentile(one.seconds, share)) * 1000 for share in (50, 95))
    text = f"{np.mean(one.worth):.4f}"
    if name != BASE:
        gap = paired_difference(base.worth, one.worth)
        bounds = f"{gap.interval.estimate:+.4f} [{gap.interval.low:+.4f}, {gap.interval.high:+.4f}]"
        text += f" ({f'**{bounds}**' if gap.clear else bounds})"
    return f"{text}; {middle:.1f} / {late:.1f} ms"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of sets")
    parser.add_argument("--rerank", nargs="*", default=[], choices=get_args(Rerank))
    parser.add_argument("--figure", default="nDCG", choices=FIGURES)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--limit", type=int, help="only so many questions of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kb", type=Path, help="where the knowledge bases of sets are kept")
    parser.add_argument("--out", type=Path, help="a file for the figures of every question, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
