from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragagent.app import KnowledgeBase
from ragagent.errors import ConfigError, ContextOverflow
from ragagent.models.llama import LlamaModel
from ragagent.protocols import EstimatesText, Reranker
from ragagent.retrieve.likelihood import QueryLikelihood
from ragagent.settings import LlmSettings, RetrievalSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Chunk, Document, Hit, Message, Span

TEXTS = ["Copper is a metal that conducts electricity well.", "The lease of the flat ends in March."]


def hit(text: str) -> Hit:
    chunk = Chunk(id=text, document_id="d", span=Span(0, len(text)), text=text)
    return Hit(chunk=chunk, rank=1, score=1.0, via="hybrid", title="", uri="")


@pytest.fixture(scope="module")
def model(tiny_gguf: Path) -> Iterator[LlamaModel]:
    opened = LlamaModel(tiny_gguf, LlmSettings(context_tokens=1024, threads=2))
    yield opened
    opened.close()


def test_a_text_is_likelier_after_what_leads_to_it(model: LlamaModel) -> None:
    assert isinstance(model, EstimatesText)
    count = [Message(role="user", content="Count: one, two, three, four. Repeat that.")]
    likely = model.log_likelihood(count, "one, two, three, four")
    assert model.log_likelihood(count, "purple elephants resign") < likely < 0
    assert model.log_likelihood(count, "one, two, three, four") == pytest.approx(likely, abs=0.02)


def test_the_likelihood_of_a_text_is_the_mean_of_those_of_its_tokens(model: LlamaModel) -> None:
    """Against the model's own account of what it writes, token by token."""
    asked = [Message(role="user", content="Say hello.")]
    written = model.chat(asked, max_tokens=6)
    assert written.mean_logprob is not None
    if written.finish == "length":
        assert model.log_likelihood(asked, written.text) == pytest.approx(written.mean_logprob, abs=0.05)


def test_a_text_over_several_batches_counts_whole(tiny_gguf: Path, model: LlamaModel) -> None:
    small = LlamaModel(tiny_gguf, LlmSettings(context_tokens=1024, threads=2, batch_tokens=32))
    asked, text = [Message(role="user", content="Go on.")], "and on " * 60
    assert small.log_likelihood(asked, text) == pytest.approx(model.log_likelihood(asked, text), abs=0.05)
    small.close()


def test_what_has_no_likelihood_is_an_error(model: LlamaModel) -> None:
    with pytest.raises(ConfigError):
        model.log_likelihood([], "text")
    with pytest.raises(ConfigError):
        model.log_likelihood([Message(role="user", content="a")], "")
    with pytest.raises(ContextOverflow):
        model.log_likelihood([Message(role="user", content="word " * 1100)], "text")
    assert model.log_likelihood([Message(role="user", content="a")], "b") < 0


def test_the_passage_that_the_question_is_about_is_the_likelier_one(model: LlamaModel) -> None:
    relevance = QueryLikelihood(lambda: model)
    assert isinstance(relevance, Reranker)
    relevance.prepare()
    metal, lease = relevance.scores("Does copper conduct electricity?", [hit(text) for text in TEXTS])
    assert metal > lease
    metal, lease = relevance.scores("When does the lease end?", [hit(text) for text in TEXTS])
    assert lease > metal


def test_a_knowledge_base_reranks_by_its_language_model(model: LlamaModel, tmp_path: Path) -> None:
    settings = Settings(retrieval=RetrievalSettings(rerank="llm", rerank_share=1, rerank_seconds=1e6))
    with KnowledgeBase.open(tmp_path / "kb", settings=settings, embedder=HashEmbedder(), llm=model) as kb:
        kb.ingest([Document(text=text, uri=f"n:{at}") for at, text in enumerate(TEXTS)])
        found = kb.search("When does the lease end?")
    assert found[0].text == TEXTS[1]
    assert found[0].stages[-1].detail.startswith("query likelihood; ")


def test_a_model_that_gives_no_likelihoods_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"scripted does not say.*retrieval\.rerank"):
        QueryLikelihood(lambda: ScriptedLLM(["yes"])).prepare()
