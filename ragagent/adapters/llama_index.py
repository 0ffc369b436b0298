"""A knowledge base as a retriever of LlamaIndex; needs the extra `llama-index`."""

from __future__ import annotations

from typing import Any

from ragagent.adapters.records import metadata
from ragagent.app import KnowledgeBase
from ragagent.errors import MissingExtra
from ragagent.types import Hit, SearchMode

try:
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeRelationship, NodeWithScore, QueryBundle, RelatedNodeInfo, TextNode
except ImportError as error:
    raise MissingExtra("a retriever for LlamaIndex", "llama-index") from error


class RagAgentRetriever(BaseRetriever):  # type: ignore[misc]  # mypy is not shown LlamaIndex, which may be absent
    """The `k` best passages of a knowledge base, best first, as nodes of LlamaIndex.

    The id of a node is that of the chunk, its source the document; its text goes to a model without the metadata that
    `records.metadata` says. The knowledge base stays the caller's. Raises what `KnowledgeBase.search` raises.
    """

    def __init__(self, kb: KnowledgeBase, k: int = 10, mode: SearchMode = "hybrid", where: Any = None) -> None:
        super().__init__()
        self._kb, self._k, self._mode, self._where = kb, k, mode, where

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self._kb.search(query_bundle.query_str, k=self._k, mode=self._mode, where=self._where)
        return [NodeWithScore(node=_node(hit), score=hit.score) for hit in hits]


def _node(hit: Hit) -> TextNode:
    told = metadata(hit)
    return TextNode(
        id_=hit.chunk.id,
        text=hit.text,
        metadata=told,
        excluded_llm_metadata_keys=list(told),
        excluded_embed_metadata_keys=list(told),
        start_char_idx=hit.chunk.span.start,
        end_char_idx=hit.chunk.span.end,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=hit.document_id)},
    )
