"""How well does reranking keep its budget of time, and how many candidates does it reach within it?

The questions of a set are searched once; then their hits are reranked under each budget, the budgets in turns, with
nothing kept from one to the next. What counts is the time over the budget, as a share of it: its median, 95th
percentile and greatest value over the questions that the budget cut short.

    python -m ragagent.eval.perf.rerank --set sets/scifact --kb kbs --questions 50
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ragagent.app import KnowledgeBase, parts
from ragagent.eval import retrieval
from ragagent.eval.corpus import Parts, opened
from ragagent.eval.environment import facts
from ragagent.models.reranking_late import LateInteraction
from ragagent.protocols import Reranker
from ragagent.retrieve import rerank
from ragagent.retrieve.pace import Pace
from ragagent.retrieve.rerank import Budget
from ragagent.settings import LlmSettings, Rerank, RetrievalSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Hit

QUESTION = "How well does reranking keep its budget of time, and how many candidates does it reach?"


def main() -> None:
    """Prints one line of JSON."""
    options = _options()
    embedder = HashEmbedder() if options.hash_embedder else None
    settings = Settings(retrieval=RetrievalSettings(rerank_model=options.model), llm=LlmSettings(model=options.llm))
    with opened(options.set, options.kb, settings, Parts(embedder=embedder)) as corpus:
        queries = [query.text for query in retrieval.drawn(retrieval.load(options.set)[0], options.questions, 0)]
        found = [(query, corpus.kb.search(query, k=options.depth)) for query in queries]
        reranker = _reranker(corpus.kb, options.kind)
        reranker.prepare()
        budgets = [seconds / 1000 for seconds in options.budgets]
        measured = _measured(reranker, found, budgets, options.depth)
        reranker.close()
    print(
        json.dumps(
            {
                "question": QUESTION,
                "reranker": reranker.name,
                "questions": len(queries),
                "depth": options.depth,
                "budgets": {f"{1000 * budget:g} ms": measured[budget] for budget in budgets},
                "environment": facts(),
            }
        )
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--set", type=Path, required=True, help="the folder of a set")
    parser.add_argument("--kb", type=Path, help="the folder that knowledge bases of sets are kept in")
    parser.add_argument("--kind", choices=[one for one in get_args(Rerank) if one != "none"], default="late")
    parser.add_argument("--model", help="the folder of a cross-encoder")
    parser.add_argument("--llm", default=LlmSettings().model, help="the language model")
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--depth", type=int, default=50, help="candidates of each question")
    parser.add_argument("--budgets", type=float, nargs="+", default=[25, 50, 100, 200], help="milliseconds")
    parser.add_argument("--hash-embedder", action="store_true", help="without a model, to try the program")
    return parser.parse_args()


def _reranker(kb: KnowledgeBase, kind: str) -> Reranker:
    if kind == "late":
        return LateInteraction(lambda: kb.embedder, cache_bytes=0)
    return parts.open_reranker(kb.settings, kind, lambda: kb.embedder, lambda: kb.llm)


def _measured(
    reranker: Reranker, found: Sequence[tuple[str, list[Hit]]], budgets: Sequence[float], depth: int
) -> dict[float, dict[str, Any]]:
    """For each budget what its questions took; the first question is only warmed up with."""
    pace, rows = Pace(), {budget: list[tuple[float, int, bool]]() for budget in budgets}
    for number, (query, hits) in enumerate([found[0], *found]):
        shift = number % len(budgets)
        for budget in [*budgets[shift:], *budgets[:shift]]:
            begin = time.perf_counter()
            reached = _reached(query, hits, reranker, Budget(depth=depth, seconds=budget, share=0.5), pace)
            seconds = time.perf_counter() - begin
            if number:
                rows[budget].append((seconds, reached, reached < min(depth, len(hits))))
    return {budget: _summary(rows[budget], budget) for budget in budgets}


def _reached(query: str, hits: Sequence[Hit], reranker: Reranker, budget: Budget, pace: Pace) -> int:
    judged = rerank.reranked(query, hits, reranker, budget, pace)
    return sum(hit.stages[-1].rank is not None for hit in judged)


def _summary(rows: Sequence[tuple[float, int, bool]], budget: float) -> dict[str, Any]:
    over = np.array([max(0.0, seconds / budget - 1) for seconds, _, cut in rows if cut])
    shares = {"p50": 50, "p95": 95, "most": 100}
    return {
        "reached": round(float(np.mean([reached for _, reached, _ in rows])), 1),
        "cut_short": len(over),
        "over": {name: round(float(np.percentile(over, at)), 4) for name, at in shares.items()} if len(over) else None,
        "milliseconds": {
            name: round(1000 * float(np.percentile([seconds for seconds, _, _ in rows], at)), 1)
            for name, at in shares.items()
        },
    }


if __name__ == "__main__":
    main()
