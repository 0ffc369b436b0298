"""The linter names the very place at which two prompts part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragagent.answer.linter import parting
from ragagent.models.llama import LlamaModel
from ragagent.settings import LlmSettings
from ragagent.types import Message

FIRST = [Message(role="system", content="Answer briefly."), Message(role="user", content="When did it begin?")]


@pytest.fixture(scope="module")
def llm(tiny_gguf: Path) -> Iterator[LlamaModel]:
    model = LlamaModel(tiny_gguf, LlmSettings(context_tokens=1024, batch_tokens=128))
    yield model
    model.close()


def test_a_continued_conversation_is_stable(llm: LlamaModel) -> None:
    more = [Message(role="assistant", content="In 1973."), Message(role="user", content="And when did it end?")]
    found = parting(FIRST, [*FIRST, *more], llm)
    assert found.stable
    assert found.shared >= found.first - 1
    assert "part where the first one ends" in str(found)


def test_the_first_differing_token_and_its_message_are_named(llm: LlamaModel) -> None:
    other = [FIRST[0], Message(role="user", content="When did they begin?")]
    found = parting(FIRST, other, llm)
    assert (found.stable, found.message) == (False, 1)
    assert found.before.endswith("When did")
    assert [text.split()[0] for text in found.then] == ["it", "they"]


def test_what_is_shared_is_what_the_next_request_reuses(llm: LlamaModel) -> None:
    other = [FIRST[0], Message(role="user", content="When did they begin?")]
    llm.chat(FIRST, max_tokens=1)
    assert llm.chat(other, max_tokens=1).usage.reused_tokens == parting(FIRST, other, llm).shared
