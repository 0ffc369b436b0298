"""What does each step beside the plain search bring: reranking, and each way to understand a question?

Every query of the sets is searched plainly and then with each step, one after another; the figures are nDCG@10 and
recall@5 of the documents that were judged relevant, with the paired bootstrap interval of the difference, and the
median of the milliseconds of a search. With `--typos` one word of each query is misspelled first.

    python -m ragagent.eval.perf.steps --kb kbs --limit 150 --steps late spelling hops -- sets/scifact sets/hotpotqa_100
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ragagent.eval import metrics, retrieval
from ragagent.eval.corpus import Corpus, Parts, opened
from ragagent.eval.datasets import Query
from ragagent.eval.statistics import paired_difference
from ragagent.retrieve import confidence
from ragagent.settings import LlmSettings, Rerank, RetrievalSettings, Settings, Understanding
from ragagent.testing.embedding import HashEmbedder

RERANKS = tuple(one for one in get_args(Rerank) if one != "none")
STEPS = (*RERANKS, *get_args(Understanding))
_CHUNKS = 30
_WORD = re.compile(r"[^\W\d_]{6,}")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One set with one step: the figures of every query, and the median seconds of a search.

    `first` is for each query whether both searches agreed on the best passage, and whether that was relevant.
    """

    ndcg: tuple[float, ...]
    recall: tuple[float, ...]
    first: tuple[tuple[bool, bool], ...]
    seconds: float


def main() -> None:
    """Prints a table."""
    options = _options()
    print(f"{'set':<18}{'step':<14}{'queries':>8}{'nDCG@10':>9}  {'':<24}{'recall@5':>9}  {'':<24}{'ms':>7}")
    for data in options.sets:
        for line in lines(data, options):
            print(line, flush=True)


def lines(data: Path, options: argparse.Namespace) -> list[str]:
    """The lines of one set: the plain search, and each step beside it."""
    queries, judged = retrieval.load(data)
    chosen = retrieval.drawn(queries, options.limit, 0)
    if options.typos:
        chosen = [Query(id=one.id, text=misspelled(one.text, number)) for number, one in enumerate(chosen)]
    # What a busy machine does not get done in time is no matter of quality; `ragagent.eval.perf.rerank` measures it.
    settings = Settings(retrieval=RetrievalSettings(rerank_seconds=3600), llm=LlmSettings(model=options.model))
    with opened(
        data, options.kb, settings, Parts(embedder=HashEmbedder() if options.hash_embedder else None)
    ) as corpus:
        plain = _row(corpus, chosen, judged, None)
        found = [_line(data.name, "plain", plain, plain)]
        found += [_line(data.name, step, _row(corpus, chosen, judged, step), plain) for step in options.steps]
    return [*found, _agreement(data.name, plain)]


def misspelled(text: str, seed: int) -> str:
    """`text` with a letter of one word of six or more, in any script, left out, changed or swapped with the next."""
    chance = random.Random(seed)
    words = list(_WORD.finditer(text))
    if not words:
        return text
    match = chance.choice(words)
    word, at = match.group(), chance.randrange(1, len(match.group()) - 1)
    letter = chance.choice(_LETTERS if word.isascii() else word.lower())
    wrong = chance.choice([word[at + 1 :], letter + word[at + 1 :], word[at + 1] + word[at] + word[at + 2 :]])
    return text[: match.start()] + word[:at] + wrong + text[match.end() :]


def _row(corpus: Corpus, queries: Sequence[Query], judged: Mapping[str, Mapping[str, int]], step: str | None) -> Row:
    how: dict[str, Any] = {"rerank": step if step in RERANKS else "none"}
    how["understand"] = [step] if step in get_args(Understanding) else []
    corpus.kb.explain(queries[0].text, **how)  # loads what the first search has to load
    rows, seconds, first = [], [], []
    for query in queries:
        begin = time.perf_counter()
        hits = corpus.kb.explain(query.text, _CHUNKS, **how).hits
        seconds.append(time.perf_counter() - begin)
        ranking = list(dict.fromkeys(corpus.set_id(hit.document_id, hit.uri) for hit in hits))
        gains = judged[query.id]
        first.append((confidence.sure(hits), bool(ranking) and gains.get(ranking[0], 0) > 0))
        rows.append((metrics.ndcg(ranking, gains, 10), metrics.recall(ranking, gains, 5)))
    ndcg, recall = zip(*rows, strict=True)
    return Row(ndcg=ndcg, recall=recall, first=tuple(first), seconds=float(np.median(seconds)))


def _line(name: str, step: str, row: Row, plain: Row) -> str:
    told = f"{name[:17]:<18}{step:<14}{len(row.ndcg):>8}"
    for values, before in ((row.ndcg, plain.ndcg), (row.recall, plain.recall)):
        interval = paired_difference(before, values).interval
        gap = "" if step == "plain" else f"{interval.estimate:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
        told += f"{np.mean(values):>9.3f}  {gap:<24}"
    return f"{told}{1000 * row.seconds:>7.0f}"


def _agreement(name: str, row: Row) -> str:
    """How often the best passage is relevant where both searches agree on it, and where they do not."""
    by = {sure: [right for known, right in row.first if known is sure] for sure in (True, False)}
    shares = {sure: f"{np.mean(found):.2f} of {len(found)}" if found else "none" for sure, found in by.items()}
    return f"{name[:17]:<18}best passage relevant: {shares[True]} where both searches agree, {shares[False]} elsewhere"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", type=Path, nargs="+", help="folders of sets")
    parser.add_argument("--kb", type=Path, help="the folder that knowledge bases of sets are kept in")
    parser.add_argument("--limit", type=int, help="queries of each set")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=["late", "spelling", "hops"])
    parser.add_argument("--model", default=LlmSettings().model, help="the language model")
    parser.add_argument("--typos", action="store_true", help="misspell one word of each query")
    parser.add_argument("--hash-embedder", action="store_true", help="without a model, to try the program")
    return parser.parse_args()


if __name__ == "__main__":
    main()
