"""The retriever of LangChain says what a search says."""

from __future__ import annotations

import asyncio

from ragagent import KnowledgeBase, Principal
from ragagent.adapters.langchain import RagAgentRetriever


def test_documents_are_the_hits_of_a_search_in_their_order(kb: KnowledgeBase) -> None:
    hits = kb.search("who pays rent for the barn", k=3, mode="sparse", where='team = "office"')
    found = RagAgentRetriever(kb=kb, k=3, mode="sparse", where='team = "office"').invoke("who pays rent for the barn")
    assert [(one.id, one.page_content) for one in found] == [(hit.chunk.id, hit.text) for hit in hits]
    for one in found:
        told = one.metadata
        document = kb.document(told["document_id"])
        assert document is not None
        assert document.text[told["start"] : told["end"]] == one.page_content
        assert (told["uri"], told["team"]) == (document.uri, "office")


def test_another_number_can_be_asked_for_once(kb: KnowledgeBase) -> None:
    retriever = RagAgentRetriever(kb=kb, k=2)
    assert len(retriever.invoke("the barn and the road", k=1)) == 1
    assert len(retriever.invoke("the barn and the road")) == 2


def test_it_takes_its_place_in_a_chain(kb: KnowledgeBase) -> None:
    chain = RagAgentRetriever(kb=kb, k=1) | (lambda found: found[0].page_content)
    assert chain.invoke("honey in August") == "Honey is taken in July and again in August."


def test_it_shows_a_principal_what_that_one_may_read(kb: KnowledgeBase) -> None:
    stranger = kb.seen_by(Principal(user="eve"))
    assert RagAgentRetriever(kb=stranger).invoke("the barn and the road") == []


def test_it_can_be_asked_from_async_code(kb: KnowledgeBase) -> None:
    retriever = RagAgentRetriever(kb=kb, k=2)
    assert asyncio.run(retriever.ainvoke("honey in August")) == retriever.invoke("honey in August")
