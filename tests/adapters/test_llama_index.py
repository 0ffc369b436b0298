"""The retriever of LlamaIndex says what a search says."""

from __future__ import annotations

import pytest

from ragagent import KnowledgeBase

pytest.importorskip("llama_index.core", reason="the extra llama-index is not installed")


def test_nodes_are_the_hits_of_a_search_in_their_order(kb: KnowledgeBase) -> None:
    from llama_index.core.schema import MetadataMode, TextNode

    from ragagent.adapters.llama_index import RagAgentRetriever

    hits = kb.search("who pays rent for the barn", k=3, where='team = "office"')
    found = RagAgentRetriever(kb, k=3, where='team = "office"').retrieve("who pays rent for the barn")
    assert [(one.node.node_id, one.score) for one in found] == [(hit.chunk.id, hit.score) for hit in hits]
    for one, hit in zip(found, hits, strict=True):
        assert isinstance(one.node, TextNode)
        assert one.node.get_content(MetadataMode.LLM) == hit.text
        assert one.node.ref_doc_id == hit.document_id
        document = kb.document(hit.document_id)
        assert document is not None
        assert document.text[one.node.start_char_idx : one.node.end_char_idx] == hit.text
