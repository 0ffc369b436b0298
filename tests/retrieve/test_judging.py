from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ragagent.app import KnowledgeBase
from ragagent.errors import ConfigError, ContextOverflow, ModelError
from ragagent.models.llama import LlamaModel
from ragagent.protocols import EstimatesText, Reranker
from ragagent.retrieve.judging import QUERY_LIKELIHOOD, YES_OR_NO, LanguageModelJudge, Way
from ragagent.settings import LlmSettings, RetrievalSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Chunk, Document, Hit, Message, Span

TOLERANCE = 0.25
"""By so much a log-probability may differ: llama.cpp multiplies one row, a few and many by other kernels, which round
products with quantised weights in other ways. A model this small feels it most."""
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
    likely, unlikely = model.log_likelihoods([count] * 2, ["one, two, three, four", "purple elephants resign"])
    assert unlikely < likely < 0
    assert model.log_likelihoods([count], ["one, two, three, four"]) == pytest.approx((likely,), abs=0.02)


def test_the_likelihood_of_a_text_is_the_mean_of_those_of_its_tokens(model: LlamaModel) -> None:
    """Against the model's own account of what it writes, token by token."""
    asked = [Message(role="user", content="Say hello.")]
    written = model.chat(asked, max_tokens=6)
    assert written.mean_logprob is not None
    if written.finish == "length":
        assert model.log_likelihoods([asked], [written.text]) == pytest.approx((written.mean_logprob,), abs=0.05)


def test_a_text_over_several_batches_counts_whole(tiny_gguf: Path, model: LlamaModel) -> None:
    small = LlamaModel(tiny_gguf, LlmSettings(context_tokens=1024, threads=2, batch_tokens=32))
    asked, text = [Message(role="user", content="Go on.")], "and on " * 60
    assert small.log_likelihoods([asked], [text]) == pytest.approx(model.log_likelihoods([asked], [text]), abs=0.05)
    small.close()


conversations = st.lists(st.sampled_from(["one", " two", "\n", "copper conducts", " 17", "?"]), min_size=1, max_size=20)


@settings(max_examples=3, phases=(Phase.generate,))  # to shrink what a model computes takes many minutes
@given(told=st.lists(conversations, min_size=2, max_size=6), data=st.data())
def test_how_likely_a_text_is_does_not_depend_on_what_is_asked_for_with_it(
    model: LlamaModel, told: list[list[str]], data: st.DataObject
) -> None:
    asked = [[Message(role="user", content="Judge this. " + "".join(words))] for words in told]
    texts = [data.draw(st.sampled_from(["Yes", "No", "conducts electricity well, as one says"])) for _ in asked]
    alone = [model.log_likelihoods([one], [text])[0] for one, text in zip(asked, texts, strict=True)]
    assert model.log_likelihoods(asked, texts) == pytest.approx(alone, abs=TOLERANCE)


def test_more_than_fits_the_context_side_by_side_is_read_in_turns(tiny_gguf: Path) -> None:
    small = LlamaModel(tiny_gguf, LlmSettings(context_tokens=256, threads=2, batch_tokens=64))
    asked = [[Message(role="user", content=f"{at} " + "and on " * 40)] for at in range(3)]
    alone = [small.log_likelihoods([one], ["Yes"])[0] for one in asked]
    assert small.log_likelihoods(asked, ["Yes"] * 3) == pytest.approx(alone, abs=TOLERANCE)
    small.close()


def test_what_a_conversation_has_read_is_still_known_after_judging(model: LlamaModel) -> None:
    talk = [Message(role="user", content="Say hello, and nothing else at all. " * 12)]
    model.chat(talk, max_tokens=1)
    model.log_likelihoods([[Message(role="user", content=f"{at} " + "and on " * 60)] for at in range(3)], ["No"] * 3)
    usage = model.chat(talk, max_tokens=1).usage
    assert usage.reused_tokens >= usage.prompt_tokens - 1


def test_what_has_no_likelihood_is_an_error(model: LlamaModel) -> None:
    with pytest.raises(ConfigError):
        model.log_likelihoods([[]], ["text"])
    with pytest.raises(ConfigError):
        model.log_likelihoods([[Message(role="user", content="a")]], [""])
    with pytest.raises(ConfigError, match="1 conversations with 2 texts"):
        model.log_likelihoods([[Message(role="user", content="a")]], ["a", "b"])
    with pytest.raises(ContextOverflow):
        model.log_likelihoods([[Message(role="user", content="word " * 1100)]], ["text"])
    assert model.log_likelihoods([], []) == ()
    assert model.log_likelihoods([[Message(role="user", content="a")]], ["b"])[0] < 0


def test_judging_can_be_stopped_from_another_thread(model: LlamaModel) -> None:
    asked = [[Message(role="user", content=f"{at} " + "and on " * 150)] for at in range(60)]
    stopper = threading.Timer(0.2, model.cancel)
    stopper.start()
    with pytest.raises(ModelError, match="stopped"):
        model.log_likelihoods(asked, ["Yes"] * len(asked))
    stopper.join()
    assert model.log_likelihoods(asked[:1], ["Yes"])[0] < 0


def test_the_passage_that_the_question_is_about_is_the_likelier_one(model: LlamaModel) -> None:
    relevance = LanguageModelJudge(QUERY_LIKELIHOOD, lambda: model)
    assert isinstance(relevance, Reranker)
    relevance.prepare()
    metal, lease = relevance.scores("Does copper conduct electricity?", [hit(text) for text in TEXTS])
    assert metal > lease
    metal, lease = relevance.scores("When does the lease end?", [hit(text) for text in TEXTS])
    assert lease > metal


def test_the_passage_that_answers_the_question_gets_the_yes(small_gguf: Path) -> None:
    opened = LlamaModel(small_gguf, LlmSettings(context_tokens=1024, threads=2))
    judge = LanguageModelJudge(YES_OR_NO, lambda: opened)
    metal, lease = judge.scores("Does copper conduct electricity?", [hit(text) for text in TEXTS])
    assert metal > lease + 0.3
    opened.close()


@pytest.mark.parametrize("way", [QUERY_LIKELIHOOD, YES_OR_NO], ids=lambda way: way.name)
def test_a_judgement_of_many_passages_is_that_of_each(model: LlamaModel, way: Way) -> None:
    judge = LanguageModelJudge(way, lambda: model)
    hits = [hit(f"{TEXTS[at % 2]} Note {at}. " * (1 + at % 4)) for at in range(5)]
    alone = [judge.scores("When does the lease end?", [one])[0] for one in hits]
    assert judge.scores("When does the lease end?", hits) == pytest.approx(alone, abs=2 * TOLERANCE)


def test_a_knowledge_base_reranks_by_its_language_model(model: LlamaModel, tmp_path: Path) -> None:
    chosen = Settings(retrieval=RetrievalSettings(rerank="llm", rerank_share=1, rerank_seconds=1e6))
    with KnowledgeBase.open(tmp_path / "kb", settings=chosen, embedder=HashEmbedder(), llm=model) as kb:
        kb.ingest([Document(text=text, uri=f"n:{at}") for at, text in enumerate(TEXTS)])
        found = kb.search("When does the lease end?")
    assert found[0].text == TEXTS[1]
    assert found[0].stages[-1].detail.startswith("query likelihood; ")


def test_a_model_that_gives_no_likelihoods_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"scripted does not say.*retrieval\.rerank"):
        LanguageModelJudge(QUERY_LIKELIHOOD, lambda: ScriptedLLM(["yes"])).prepare()
