"""How many texts a second does the default path embed, against sentence-transformers at its defaults?

Both sides run in turns in one process on the same texts of 200 tokens, with the same number of threads. Before
anything is timed, each text's two vectors must have a cosine of at least 0.995. With `--ndcg`, the dense ranking of
the whole set (title and text, cosine) is scored on both sides too.

    python -m ragagent.eval.perf.embedding --data sets/scifact --texts 256
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ragagent.eval import datasets, metrics
from ragagent.eval.perf import generated
from ragagent.eval.perf.measure import interleaved, line
from ragagent.models.embedding import DEFAULT_EMBEDDER, open_embedder
from ragagent.models.store import ModelStore
from ragagent.protocols import Embedder, Tokenizer
from ragagent.settings import EmbeddingSettings
from ragagent.types import Vector

QUESTION = "How many texts a second does the default path embed, against sentence-transformers at its defaults?"
OURS, PLAIN = "ragagent", "sentence-transformers"
MIN_AGREEMENT = 0.995

Embed = Callable[[list[str]], Vector]


def main() -> None:
    """Prints one line of JSON."""
    arguments = _arguments()
    embedder = open_embedder(arguments.model, settings=EmbeddingSettings(threads=arguments.threads))
    plain = _plain(arguments.model, arguments.threads)
    texts = _chunks(arguments, embedder.tokenizer)
    figures: dict[str, Any] = {"texts": len(texts), "tokens": arguments.tokens, "threads": arguments.threads}
    figures["precision"] = getattr(embedder, "precision", None)
    timings = interleaved(
        {PLAIN: lambda: plain(texts), OURS: lambda: embedder.embed_documents(texts)},
        repeats=arguments.repeats,
        work=len(texts),
        check=lambda results: figures.update(_agreement(results)),
    )
    if arguments.ndcg:
        figures["ndcg@10"] = _rankings(arguments.data, embedder, plain)
    print(line(QUESTION, timings, baseline=PLAIN, model=embedder.name, fingerprint=embedder.fingerprint, **figures))
    embedder.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--model", default=DEFAULT_EMBEDDER)
    parser.add_argument("--texts", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=200, help="of each text, special tokens included")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--data", type=Path, help="folder of a set with documents.jsonl; without it, generated text")
    parser.add_argument("--ndcg", action="store_true", help="score both dense rankings of the whole set too")
    arguments = parser.parse_args()
    if arguments.ndcg and not arguments.data:
        parser.error("--ndcg needs --data")
    return arguments


def _plain(model: str, threads: int) -> Embed:
    """sentence-transformers as a program calls it that sets nothing but the normalisation."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    folder = model if Path(model).is_dir() else str(ModelStore().resolve(model))
    engine = SentenceTransformer(folder, device="cpu")
    return lambda texts: np.asarray(engine.encode(texts, normalize_embeddings=True, show_progress_bar=False))


def _chunks(arguments: argparse.Namespace, tokenizer: Tokenizer) -> list[str]:
    """Texts of that many tokens, cut one after another out of the documents joined."""
    wanted, size = arguments.texts, arguments.tokens - 2
    sources = _documents(arguments.data) if arguments.data else generated.texts(wanted, arguments.tokens)
    joined = " ".join(itertools.islice(sources, wanted))
    offsets = tokenizer.offsets(joined)
    starts = range(0, len(offsets) - size, size)
    return [joined[offsets[start, 0] : offsets[start + size - 1, 1]] for start in starts][:wanted]


def _documents(data: Path) -> Iterator[str]:
    return (f"{document.title} {document.text}".strip() for document in datasets.documents(data))


def _agreement(results: Mapping[str, object]) -> dict[str, float]:
    cosines = (np.asarray(results[OURS]) * np.asarray(results[PLAIN])).sum(axis=1)
    if cosines.min() < MIN_AGREEMENT:
        raise AssertionError(f"a text's two vectors have a cosine of only {cosines.min():.5f}")
    return {"cosine_min": round(float(cosines.min()), 6), "cosine_mean": round(float(cosines.mean()), 6)}


def _rankings(data: Path, embedder: Embedder, plain: Embed) -> dict[str, float]:
    """nDCG@10 of the dense ranking on each side, and the agreement of the two over every document."""
    texts, asked = list(_documents(data)), datasets.queries(data)
    questions = [query.text for query in asked]
    ours, theirs = embedder.embed_documents(texts), plain(texts)
    queries = np.stack([embedder.embed_query(text) for text in questions])
    return {
        OURS: _ndcg(data, queries @ ours.T),
        PLAIN: _ndcg(data, plain(questions) @ theirs.T),
        **_agreement({OURS: ours, PLAIN: theirs}),
    }


def _ndcg(data: Path, scores: Vector) -> float:
    ids, qrels = [document.id for document in datasets.documents(data)], datasets.qrels(data)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    rankings: Sequence[tuple[str, list[str]]] = [
        (query.id, [ids[row] for row in rows]) for query, rows in zip(datasets.queries(data), best, strict=True)
    ]
    found = [metrics.ndcg(ranking, qrels[query], 10) for query, ranking in rankings if query in qrels]
    return round(float(np.mean(found)), 4)


if __name__ == "__main__":
    main()
