"""LangChain's documented hybrid recipe for questions about documents: one side of `ragagent.eval.recipes`.

RecursiveCharacterTextSplitter of 1,000 characters with 200 of overlap, EnsembleRetriever of BM25Retriever and FAISS
with equal weights, the prompt rlm/rag-prompt, and ChatLlamaCpp, as its tutorials have them. Runs in an environment of
its own, where ragagent is not installed; appends one line of JSON for each question to OUT.

    PYTHON -P eval/answers_langchain.py DOCUMENTS.jsonl QUESTIONS.json EMBEDDER MODEL.gguf OUT
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from langchain_classic.retrievers import EnsembleRetriever  # type: ignore[import-not-found]
from langchain_community.chat_models import ChatLlamaCpp  # type: ignore[import-not-found]
from langchain_community.retrievers import BM25Retriever  # type: ignore[import-not-found]
from langchain_community.vectorstores import FAISS  # type: ignore[import-not-found]
from langchain_core.documents import Document
from langchain_core.prompts import ChatPromptTemplate
from langchain_huggingface import HuggingFaceEmbeddings  # type: ignore[import-not-found]
from langchain_text_splitters import RecursiveCharacterTextSplitter  # type: ignore[import-not-found]

PROMPT = Path(__file__).with_name("rag_prompt.txt")
"""rlm/rag-prompt, as its tutorials pull it."""
PASSAGES = 4
CONTEXT_TOKENS = 8192


def main(documents: str, questions: str, embedder: str, model: str, out: str) -> None:
    """Answers what OUT does not have yet."""
    _without_amx()
    retriever = _retriever(documents, embedder)
    llm = ChatLlamaCpp(
        model_path=model,
        n_ctx=CONTEXT_TOKENS,
        n_batch=512,
        n_threads=os.cpu_count(),
        temperature=0.0,
        max_tokens=256,
        verbose=False,
    )
    prompt = ChatPromptTemplate.from_messages([("human", PROMPT.read_text(encoding="utf-8"))])
    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    known = {json.loads(line)["id"] for line in Path(out).read_text().splitlines()} if Path(out).exists() else set()
    with Path(out).open("a", encoding="utf-8") as file:
        for one in asked:
            if one["id"] in known:
                continue
            begin = time.perf_counter()
            found = retriever.invoke(one["text"])
            context = "\n\n".join(hit.page_content for hit in found)
            said: Any = (prompt | llm).invoke({"question": one["text"], "context": context})
            seconds = time.perf_counter() - begin
            tokens = llm.client.n_tokens
            file.write(json.dumps({"id": one["id"], "text": said.content, "seconds": seconds, "tokens": tokens}) + "\n")
            file.flush()


def _without_amx() -> None:
    """Keeps llama.cpp from kernels with which builds of some compilers crash, as ragagent does: both use the same."""
    import llama_cpp.llama_cpp as low

    if b"AMX_INT8 = 1" not in low.llama_print_system_info():
        return
    made = low.llama_model_default_params

    def parameters() -> Any:
        chosen = made()
        chosen.use_extra_bufts = False
        return chosen

    low.llama_model_default_params = parameters


def _retriever(documents: str, embedder: str) -> Any:
    rows = [json.loads(line) for line in Path(documents).read_text(encoding="utf-8").splitlines()]
    whole = [Document(page_content=row["text"], metadata={"title": row.get("title", "")}) for row in rows]
    pieces = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=200).split_documents(whole)
    sparse = BM25Retriever.from_documents(pieces)
    sparse.k = PASSAGES
    embeddings = HuggingFaceEmbeddings(model_name=embedder, model_kwargs={"device": "cpu"})
    dense = FAISS.from_documents(pieces, embeddings).as_retriever(search_kwargs={"k": PASSAGES})
    return EnsembleRetriever(retrievers=[sparse, dense], weights=[0.5, 0.5])


if __name__ == "__main__":
    main(*sys.argv[1:])
