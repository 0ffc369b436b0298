"""LangChain's documented way from a folder of HTML files to hybrid search, timed: one side of `ingest_peers`.

DirectoryLoader with BSHTMLLoader (the quicker of the two HTML loaders that its documentation shows),
RecursiveCharacterTextSplitter of 1,000 characters with 200 of overlap as in its tutorials, HuggingFaceEmbeddings,
FAISS and BM25Retriever. Runs in an environment of its own, where ragagent is not installed:

    PYTHON -P eval/perf/ingest_langchain.py FOLDER MODEL QUESTIONS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from langchain_community.document_loaders import BSHTMLLoader, DirectoryLoader  # type: ignore[import-not-found]
from langchain_community.retrievers import BM25Retriever  # type: ignore[import-not-found]
from langchain_community.vectorstores import FAISS  # type: ignore[import-not-found]
from langchain_huggingface import HuggingFaceEmbeddings  # type: ignore[import-not-found]
from langchain_text_splitters import RecursiveCharacterTextSplitter  # type: ignore[import-not-found]


def main(folder: str, model: str, questions: str) -> None:
    """Prints one line of JSON: seconds by stage, what was made, and the files found for the questions."""
    embeddings = HuggingFaceEmbeddings(model_name=model, model_kwargs={"device": "cpu"})
    embeddings.embed_query("warm-up")
    seconds: dict[str, float] = {}
    begin = last = time.perf_counter()

    def lap(stage: str) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[stage], last = now - last, now

    documents = DirectoryLoader(folder, glob="**/*.html", loader_cls=BSHTMLLoader).load()
    lap("load")
    pieces = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200).split_documents(documents)
    lap("split")
    dense = FAISS.from_documents(pieces, embeddings)
    lap("embed")
    BM25Retriever.from_documents(pieces)
    lap("bm25")
    seconds["all"] = last - begin
    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    found = [[Path(hit.metadata["source"]).name for hit in dense.similarity_search(one, k=5)] for one in asked]
    print(json.dumps({"seconds": seconds, "documents": len(documents), "chunks": len(pieces), "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
