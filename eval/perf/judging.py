"""How much faster does a language model judge passages side by side than one by one, and do the scores stay the same?

The first hits of each question of a set are judged in each way one by one and in one request, in turns; a question's
figures are the ratio of the seconds, and the greatest difference between the two scores of a passage beside the spread
of the scores. Passages that are judged one by one share what their prompts begin with, too: it stays cached.

    python -m ragagent.eval.perf.judging --set sets/scifact --kb kbs --questions 10
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragagent.eval import retrieval
from ragagent.eval.corpus import Parts, opened
from ragagent.eval.environment import facts
from ragagent.retrieve.judging import QUERY_LIKELIHOOD, YES_OR_NO, LanguageModelJudge
from ragagent.settings import LlmSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Hit

QUESTION = "How much faster does a language model judge passages side by side than one by one?"
WAYS = (QUERY_LIKELIHOOD, YES_OR_NO)


def main() -> None:
    """Prints one line of JSON."""
    options = _options()
    embedder = HashEmbedder() if options.hash_embedder else None
    # What was judged alone before would be known again by its snapshot.
    settings = Settings(llm=LlmSettings(model=options.model, threads=options.threads, cache_mib=0))
    with opened(options.set, options.kb, settings, Parts(embedder=embedder)) as corpus:
        queries = [query.text for query in retrieval.drawn(retrieval.load(options.set)[0], options.questions, 0)]
        found = [(query, corpus.kb.search(query, k=options.depth)) for query in queries]
        measured = {way.name: _measured(LanguageModelJudge(way, lambda: corpus.kb.llm), found) for way in WAYS}
        model = corpus.kb.llm.name
    print(
        json.dumps(
            {
                "question": QUESTION,
                "model": model,
                "questions": len(queries),
                "depth": options.depth,
                "ways": measured,
                "environment": facts(),
            }
        )
    )


def _measured(judge: LanguageModelJudge, found: Sequence[tuple[str, list[Hit]]]) -> dict[str, Any]:
    """What one way took and gave; the first question is only warmed up with."""
    judge.prepare()
    rows = []
    for number, (query, hits) in enumerate([found[0], *found]):
        seconds, scores = [0.0, 0.0], [list[float](), list[float]()]
        for which in (0, 1) if number % 2 else (1, 0):
            begin = time.perf_counter()
            scores[which] = judge.scores(query, hits) if which else [judge.scores(query, [one])[0] for one in hits]
            seconds[which] = time.perf_counter() - begin
        apart = float(np.abs(np.subtract(scores[0], scores[1])).max())
        if number:
            rows.append((*seconds, seconds[0] / seconds[1], apart, float(np.std(scores[0]))))
    alone, together, ratio, apart_, spread = np.array(rows).T
    return {
        "seconds_alone": round(float(np.median(alone)), 3),
        "seconds_together": round(float(np.median(together)), 3),
        "ratio": {"median": round(float(np.median(ratio)), 2), "least": round(float(ratio.min()), 2)},
        "difference": {"median": round(float(np.median(apart_)), 4), "greatest": round(float(apart_.max()), 4)},
        "deviation_of_scores": round(float(np.median(spread)), 4),
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--set", type=Path, required=True, help="the folder of a set")
    parser.add_argument("--kb", type=Path, help="the folder that knowledge bases of sets are kept in")
    parser.add_argument("--model", default=LlmSettings().model, help="the language model")
    parser.add_argument("--threads", type=int, help="of the language model")
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--depth", type=int, default=20, help="passages of each question")
    parser.add_argument("--hash-embedder", action="store_true", help="without an embedding model")
    return parser.parse_args()


if __name__ == "__main__":
    main()
