"""The scripted model keeps the protocol honestly."""

from __future__ import annotations

import pytest

from ragagent.errors import ConfigError, ContextOverflow, ModelError
from ragagent.protocols import LLM
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Grammar, Message

ASK = (Message(role="user", content="What?"),)


def test_it_keeps_the_protocol() -> None:
    assert isinstance(ScriptedLLM([]), LLM)


def test_replies_come_in_order_and_requests_are_kept() -> None:
    llm = ScriptedLLM(["one", "two"])
    assert [llm.chat(ASK).text, llm.chat(ASK, max_tokens=9).text] == ["one", "two"]
    assert [request.max_tokens for request in llm.requests] == [512, 9]
    assert llm.requests[0].messages == ASK
    with pytest.raises(ModelError, match="2 replies"):
        llm.chat(ASK)


def test_a_function_may_reply() -> None:
    assert ScriptedLLM(lambda messages: messages[-1].content.upper()).chat(ASK).text == "WHAT?"


def test_the_token_limit_cuts() -> None:
    completion = ScriptedLLM(["x" * 100]).chat(ASK, max_tokens=5)
    assert (completion.text, completion.finish, completion.usage.completion_tokens) == ("x" * 20, "length", 5)


def test_a_stream_is_the_answer_in_pieces() -> None:
    *deltas, last = ScriptedLLM(["a longer reply"]).stream(ASK)
    assert last.completion is not None
    assert "".join(delta.text for delta in deltas) == last.completion.text == "a longer reply"


def test_limits_and_mistakes_are_those_of_a_model() -> None:
    with pytest.raises(ContextOverflow):
        ScriptedLLM(["a"], context_tokens=100).chat(ASK, max_tokens=100)
    with pytest.raises(ConfigError):
        ScriptedLLM(["a"]).chat(ASK, grammar=Grammar(kind="lark", source="no"))
    with pytest.raises(ConfigError):
        ScriptedLLM(["a"]).chat(ASK, max_tokens=0)
