"""How long until documents can be searched, against the plain loop that a program without ragagent would write?

The plain loop splits by words, embeds with sentence-transformers at its defaults, and builds a flat faiss index and a
rank-bm25 model in memory; ragagent splits by tokens with structure, and everything it did is on the disk when it
returns. Before anything is timed, both must find most documents by a sentence out of their middle.

    python -m ragagent.eval.perf.ingest --data sets/scifact --documents 1000
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from ragagent.app import KnowledgeBase
from ragagent.eval import datasets
from ragagent.eval.perf.measure import interleaved, line
from ragagent.models.embedding import DEFAULT_EMBEDDER, open_embedder
from ragagent.models.store import ModelStore
from ragagent.protocols import Embedder
from ragagent.types import Document

QUESTION = "How long until documents can be searched, against a plain loop?"
WORDS = 150
PROBES = 40
FOUND_SHARE = 0.7

Build = Callable[[Sequence[str]], list[str]]
"""Makes everything searchable from nothing, then answers queries with the ids of the best documents."""


def main() -> None:
    """Prints one line of JSON."""
    arguments = _arguments()
    documents = list(islice(datasets.documents(arguments.data), arguments.documents))
    documents = [document for document in documents if document.text.strip()]
    store = ModelStore()
    embedder = open_embedder(arguments.model, store=store)
    plain, ours = _plain(documents, store.resolve(arguments.model)), _ours(documents, embedder)
    try:
        _check("plain", plain, documents)
        _check("ragagent", ours, documents)
        timings = interleaved(
            {"plain": lambda: plain([]), "ragagent": lambda: ours([])},
            warmup=0,  # the check has run both once
            repeats=arguments.repeats,
            work=len(documents),
        )
    finally:
        embedder.close()
    characters = sum(len(document.text) for document in documents)
    print(line(QUESTION, timings, baseline="plain", documents=len(documents), characters=characters))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--data", type=Path, required=True, help="folder of a set with documents.jsonl")
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", default=DEFAULT_EMBEDDER)
    return parser.parse_args()


def _ours(documents: Sequence[Document], embedder: Embedder) -> Build:
    def run(queries: Sequence[str]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder, KnowledgeBase.open(folder, embedder=embedder) as kb:
            kb.ingest(documents)
            return [kb.search(query, k=1)[0].document_id for query in queries]

    return run


def _plain(documents: Sequence[Document], model_folder: Path) -> Build:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(model_folder), device="cpu")

    def run(queries: Sequence[str]) -> list[str]:
        import faiss
        from rank_bm25 import BM25Okapi

        pieces = [(document.id, text) for document in documents for text in _split(document)]
        vectors = model.encode([text for _, text in pieces], normalize_embeddings=True, show_progress_bar=False)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        bm25 = BM25Okapi([text.lower().split() for _, text in pieces])

        def find(query: str) -> str:
            _, dense = index.search(model.encode([query], normalize_embeddings=True, show_progress_bar=False), 60)
            sparse = bm25.get_scores(query.lower().split()).argsort()[::-1][:60]
            scores: dict[int, float] = {}
            for ranking in (dense[0], sparse):
                for rank, row in enumerate(ranking, start=1):
                    scores[int(row)] = scores.get(int(row), 0.0) + 1.0 / (60 + rank)
            return pieces[max(scores, key=scores.__getitem__)][0]

        return [find(query) for query in queries]

    return run


def _split(document: Document) -> list[str]:
    words = f"{document.title} {document.text}".split()
    return [" ".join(words[start : start + WORDS]) for start in range(0, len(words), WORDS)]


def _probes(documents: Sequence[Document]) -> dict[str, str]:
    """For some documents, spread over all, fifteen words out of the middle."""
    step = max(1, len(documents) // PROBES)
    halves = {document.id: document.text.split() for document in documents[::step]}
    return {name: " ".join(words[len(words) // 2 :][:15]) for name, words in halves.items()}


def _check(name: str, build: Build, documents: Sequence[Document]) -> None:
    probes = _probes(documents)
    found = build(list(probes.values()))
    share = sum(one == wanted for one, wanted in zip(found, probes, strict=True)) / len(probes)
    if share < FOUND_SHARE:
        raise AssertionError(f"{name} finds only {share:.0%} of the documents by their own words")


if __name__ == "__main__":
    main()
