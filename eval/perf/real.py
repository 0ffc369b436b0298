"""Does dense search find what is nearest to real questions among real sentences, when it searches by codes?

Every sentence of a set's documents becomes a chunk, embedded by the default model, so that there are more chunks than
are searched exactly. What the set's questions find is compared with the inner products of all in float32.

    python -m ragagent.eval.perf.real --data sets/scifact --kb FOLDER
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ragagent.eval import datasets
from ragagent.eval.perf.collection import chunk_id
from ragagent.eval.perf.measure import each, line
from ragagent.index.embedded import EmbeddedIndex
from ragagent.models.embedding import DEFAULT_EMBEDDER, open_embedder
from ragagent.protocols import Embedder, Entry
from ragagent.text.sentences import sentences
from ragagent.types import Chunk, Document, Vector

QUESTION = "Does dense search by codes find what is nearest to real questions?"
_WRITTEN = 64


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--data", type=Path, required=True, help="folder of a set with documents.jsonl")
    parser.add_argument(
        "--kb", type=Path, required=True, help="keep the index here, or go on with the one that is here"
    )
    parser.add_argument("--model", default=DEFAULT_EMBEDDER)
    arguments = parser.parse_args()
    embedder = open_embedder(arguments.model)
    with EmbeddedIndex.open(arguments.kb, fingerprint={}, dimension=embedder.dimension) as index:
        _fill(index, embedder, list(datasets.documents(arguments.data)))
        ids, vectors = _stored(index)
        asked = [(query.text, embedder.embed_query(query.text)) for query in datasets.queries(arguments.data)]
        right = _nearest(np.stack([vector for _, vector in asked]), vectors, 10)
        found = [[hit.chunk.id for hit in index.search(*one, k=10, mode="dense")] for one in asked]
        timing = each("dense", lambda one: index.search(*one, k=10, mode="dense"), asked)
        plan = index.search(*asked[0], k=1, mode="dense")[0].stages[0].detail
    hits = sum(len({ids[row] for row in rows} & set(got)) for rows, got in zip(right, found, strict=True))
    recall = hits / right.size
    print(line(QUESTION, {"dense": timing}, recall_at_10=recall, chunks=len(ids), questions=len(asked), plan=plan))
    embedder.close()


def _fill(index: EmbeddedIndex, embedder: Embedder, documents: list[Document]) -> None:
    known = index.known()
    left = [document for document in documents if document.id not in known]
    for start in range(0, len(left), _WRITTEN):
        index.write([_entry(document, embedder) for document in left[start : start + _WRITTEN]])


def _entry(document: Document, embedder: Embedder) -> Entry:
    chunks = tuple(_chunks(document))
    return Entry(document=document, chunks=chunks, vectors=embedder.embed_documents([chunk.text for chunk in chunks]))


def _chunks(document: Document) -> Iterator[Chunk]:
    seen: set[str] = set()
    for span in sentences(document.text):
        text = span.of(document.text)
        if text not in seen:
            yield Chunk(
                id=chunk_id(document.id, text), document_id=document.id, span=span, text=text, position=len(seen)
            )
            seen.add(text)


def _stored(index: EmbeddedIndex) -> tuple[list[str], Vector]:
    """The id and vector of every chunk, as they are stored."""
    chunks = [chunk for document in index.documents() for chunk in index.chunks(document.id)]
    cached = index.cached_vectors([chunk.text for chunk in chunks])
    return [chunk.id for chunk in chunks], np.stack([cached[chunk.text] for chunk in chunks])


def _nearest(questions: Vector, vectors: Vector, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    scores = questions @ vectors.T
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


if __name__ == "__main__":
    main()
