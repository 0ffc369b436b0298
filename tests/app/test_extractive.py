"""Answers without a language model: the documents' own sentences, and it is said that none wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent import Document, KnowledgeBase, Settings
from ragagent.cli import main
from ragagent.cli.context import Context
from ragagent.errors import ConfigError, ModelTooLarge
from ragagent.settings import LlmSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Message

TEXT = (
    "The ferry to the island leaves at seven in the morning. It carries ninety people. "
    "The lease of the mill runs for twelve years. Nobody may moor there in winter."
)
NO_MODEL = Settings(llm=LlmSettings(model="none"))
WORDS = sorted({word.strip(".") for word in TEXT.split()})


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(), settings=NO_MODEL) as opened:
        opened.ingest([Document(id="notes", uri="file:///notes.txt", text=TEXT)])
        yield opened


class Unloadable(ScriptedLLM):
    """A model that has no room in memory."""

    def count_tokens(self, text: str) -> int:
        raise ModelTooLarge("model.gguf: not enough memory")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join))
def test_what_is_extracted_are_the_documents_own_words(question: str, kb: KnowledgeBase) -> None:
    answer = kb.ask(question)
    assert answer.extractive
    assert answer.question == question
    assert answer.text == "\n".join(citation.quote for citation in answer.citations)
    for citation in answer.citations:
        assert citation.verified
        assert citation.span is not None
        assert citation.span.of(TEXT) == citation.quote
    assert answer.usage.calls == 0


def test_no_model_of_the_settings_is_said_in_the_reason(kb: KnowledgeBase) -> None:
    answer = kb.ask("When does the ferry leave?")
    assert "The ferry to the island leaves at seven in the morning." in answer.text
    assert (answer.status, answer.extractive) == ("grounded", True)
    assert "llm.model is none" in answer.reason


def test_a_conversation_goes_on_without_a_model(kb: KnowledgeBase) -> None:
    conversation = kb.conversation()
    assert conversation.ask("When does the ferry leave?").extractive
    assert conversation.ask("How many people does it carry?").extractive
    assert len(conversation.turns) == 2


def test_whatever_else_needs_a_model_says_which_setting_stands_in_the_way(kb: KnowledgeBase) -> None:
    with pytest.raises(ConfigError, match=r"llm\.model is none"):
        kb.llm.chat([Message(role="user", content="?")])
    with pytest.raises(ConfigError, match=r"llm\.model is none"):
        list(kb.llm.stream([Message(role="user", content="?")]))


def test_a_model_that_cannot_be_loaded_leaves_the_sentences_and_why(kb: KnowledgeBase) -> None:
    kb._llm = Unloadable(["never asked"])
    answer = kb.ask("When does the ferry leave?")
    assert answer.extractive
    assert "not enough memory" in answer.reason
    assert answer.citations


def test_extractive_asks_no_model_though_there_is_one(kb: KnowledgeBase) -> None:
    kb._llm = llm = ScriptedLLM([])
    events = list(kb.ask_stream("When does the ferry leave?", extractive=True))
    assert [event.kind for event in events] == ["evidence", "text", "answer"]
    assert llm.requests == []


@pytest.mark.parametrize(("option", "said"), [("--json", '"extractive": true'), ("--extractive", "Extractive: ")])
def test_the_command_says_that_no_model_wrote_it(
    option: str, said: str, kb: KnowledgeBase, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Context, "open", lambda self, **_: kb)
    with pytest.raises(SystemExit) as ended:
        main(["ask", "When does the ferry leave?", "--extractive", option])
    assert ended.value.code == 0
    assert said in capfd.readouterr().out
