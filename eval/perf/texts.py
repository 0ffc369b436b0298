"""How fast are texts cut, and what do telling their language and their MinHash signatures cost beside embedding them?

Seconds of this process's processor time, so that other programs on the machine change little. The pieces of the chunks
are compared with the text before anything is timed. Embedding is timed on a sample, evenly taken.

    python -m ragagent.eval.perf.texts --set sets/squad_v2.0_dev
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ragagent.errors import ConfigError
from ragagent.eval import chunking as question_sets
from ragagent.ingest import chunking, duplicates
from ragagent.protocols import Embedder
from ragagent.settings import ChunkingSettings, Settings
from ragagent.text import language, shingles, unicode
from ragagent.types import Document


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path, required=True, help="the folder of a question set")
    parser.add_argument("--documents", type=int, help="at most so many, evenly taken")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--embedded", type=int, default=64, help="chunks that are embedded")
    parser.add_argument("--hash-embedder", action="store_true", help="without a model, to try the program")
    options = parser.parse_args()
    embedder = _embedder(options.hash_embedder)
    documents = list(question_sets.load(options.set, most_documents=options.documents).documents.values())
    texts = _checked(documents, embedder)
    size = sum(len(one.text.encode()) for one in documents)
    seconds = {name: _cpu(work, options.repeats) for name, work in _works(documents, embedder).items()}
    sample = texts[:: max(1, len(texts) // options.embedded)][: options.embedded]
    seconds["embedding"] = _cpu(lambda: embedder.embed_documents(sample), 1) * len(texts) / len(sample)
    whole = seconds["cutting"] + seconds["language"] + seconds["embedding"]
    beside = seconds["language"] + seconds["signatures"]
    print(
        json.dumps(
            {
                "bytes": size,
                "chunks": len(texts),
                "embedder": embedder.name,
                "cpu_seconds": {name: round(value, 4) for name, value in seconds.items()},
                "megabytes_per_second": {name: round(size / 1e6 / value, 2) for name, value in seconds.items()},
                "language_and_signatures_of_ingesting": round(beside / (whole + seconds["signatures"]), 4),
            }
        )
    )


def _works(documents: Sequence[Document], embedder: Embedder) -> dict[str, Callable[[], object]]:
    tokenizer, settings = embedder.tokenizer, ChunkingSettings()
    return {
        "tokenizing": lambda: [tokenizer.offsets(one.text) for one in documents],
        "cutting": lambda: [chunking.chunk(one, tokenizer, settings) for one in documents],
        "language": lambda: [language.of_blocks(one.text, one.blocks) for one in documents],
        "unicode": lambda: [unicode.searched(one.text) for one in documents],
        "signatures": lambda: [duplicates.signature(shingles.hashed(shingles.words(one.text))) for one in documents],
    }


def _checked(documents: Sequence[Document], embedder: Embedder) -> list[str]:
    """What is embedded. Raises AssertionError where a chunk is not the text at its span."""
    texts = []
    for document in documents:
        for chunk in chunking.chunk(document, embedder.tokenizer, ChunkingSettings()):
            if chunk.span.of(document.text) != chunk.text:
                raise AssertionError(f"{document.uri}: chunk {chunk.id} is not the text at its span")
            texts.append(chunking.embedding_text(document.title, chunk))
    if not texts:
        raise ConfigError("there is no text in the set")
    return texts


def _cpu(work: Callable[[], object], repeats: int) -> float:
    """The median of the seconds of processor time."""
    taken = []
    for _ in range(repeats):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    return max(statistics.median(taken), 1e-9)


def _embedder(hashed: bool) -> Embedder:
    if hashed:
        from ragagent.testing.embedding import HashEmbedder

        return HashEmbedder()
    from ragagent.models.embedding import open_embedder

    return open_embedder(None, settings=Settings().embedding, store=None)


if __name__ == "__main__":
    main()
