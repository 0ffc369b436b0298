"""LlamaIndex's documented way from a folder of HTML files to hybrid search, timed: one side of `ingest_peers`.

SimpleDirectoryReader with its HTML reader, SentenceSplitter, HuggingFaceEmbedding, a faiss vector store and
BM25Retriever. The splitter's default are 1,024 tokens, of which this model reads the first 256 only; so the program
that calls this one has two figures made, of 256 and of 1,024. Runs in an environment of its own:

    PYTHON -P eval/perf/ingest_llamaindex.py FOLDER MODEL QUESTIONS TOKENS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import faiss
from llama_index.core import (
    SimpleDirectoryReader,
    StorageContext,
    VectorStoreIndex,
)
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.readers.file import HTMLTagReader
from llama_index.retrievers.bm25 import BM25Retriever
from llama_index.vector_stores.faiss import FaissVectorStore


def main(folder: str, model: str, questions: str, tokens: str) -> None:
    """Prints one line of JSON: seconds by stage, what was made, and the files found for the questions."""
    embedding = HuggingFaceEmbedding(model_name=model, device="cpu")
    embedding.get_query_embedding("warm-up")
    seconds: dict[str, float] = {}
    begin = last = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[stage], last = now - last, now

    reader = SimpleDirectoryReader(
        folder, recursive=True, required_exts=[".html"], file_extractor={".html": HTMLTagReader(tag="body")}
    )
    documents = reader.load_data()
    lap("load")
    nodes = SentenceSplitter(chunk_size=int(tokens), chunk_overlap=20).get_nodes_from_documents(documents)
    lap("split")
    store = FaissVectorStore(faiss_index=faiss.IndexFlatIP(len(embedding.get_query_embedding("width"))))
    index = VectorStoreIndex(
        nodes, storage_context=StorageContext.from_defaults(vector_store=store), embed_model=embedding
    )
    lap("embed")
    BM25Retriever.from_defaults(nodes=nodes)
    lap("bm25")
    seconds["all"] = last - begin
    retriever = index.as_retriever(similarity_top_k=5)
    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    found = [[Path(hit.metadata["file_path"]).name for hit in retriever.retrieve(one)] for one in asked]
    print(json.dumps({"seconds": seconds, "documents": len(documents), "chunks": len(nodes), "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
