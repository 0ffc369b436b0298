"""A knowledge base as a retriever of LangChain; needs the extra `langchain`."""

from __future__ import annotations

from typing import Any

from ragagent.adapters.records import metadata
from ragagent.app import KnowledgeBase
from ragagent.errors import MissingExtra
from ragagent.types import SearchMode

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict
except ImportError as error:
    raise MissingExtra("a retriever for LangChain", "langchain") from error


class RagAgentRetriever(BaseRetriever):
    """The `k` best passages of a knowledge base, best first, as documents of LangChain.

    The id of a document is that of the chunk, its text the chunk's, and its metadata what `records.metadata` says.
    `where` is a filter as in `KnowledgeBase.search`. `invoke(query, k=3)` asks for another number this once. The
    knowledge base stays the caller's; a session of a principal (`kb.seen_by`) shows what that one may read. Raises what
    `KnowledgeBase.search` raises. From async code LangChain runs it in a thread.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    kb: KnowledgeBase
    k: int = 10
    mode: SearchMode = "hybrid"
    where: Any = None

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        hits = self.kb.search(query, k=self.k if k is None else k, mode=self.mode, where=self.where)
        return [Document(id=hit.chunk.id, page_content=hit.text, metadata=metadata(hit)) for hit in hits]
