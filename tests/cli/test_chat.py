"""Chatting: one question after another, and nothing that goes wrong with one of them ends the program."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent import Document, KnowledgeBase, Settings
from ragagent.app import parts
from ragagent.cli.chat import COMMANDS, Chat, Quit, questions, run, typed
from ragagent.cli.context import Context
from ragagent.errors import ModelError
from ragagent.settings import AnswerSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Message

FERRY = "Harbour office. The ferry to the island leaves at seven in the morning. It carries ninety people."
SETTINGS = Settings(answer=AnswerSettings(min_confidence=0))


def reply(messages: Sequence[Message]) -> str:
    asked = messages[-1].content
    if "breaks" in asked:
        raise ModelError("the model is gone")
    if "stops" in asked:
        raise KeyboardInterrupt
    return "It carries ninety people." if "carry" in asked else FERRY[16:71]


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    llm = ScriptedLLM(reply)
    with KnowledgeBase.open(tmp_path / "kb", settings=SETTINGS, embedder=HashEmbedder(), llm=llm) as opened:
        opened.ingest([Document(uri="n:ferry", title="Ferry", text=FERRY)])
        yield opened


def test_a_question_may_follow_another_and_its_citations_can_be_opened(
    kb: KnowledgeBase, capsys: pytest.CaptureFixture[str]
) -> None:
    chat, asked = Chat(kb, None), ["When does the ferry leave?", "How many people does the ferry carry?"]
    wrong = run(chat, iter([asked[0], "/open 1", asked[1], "/sources", "/history"]))
    out = capsys.readouterr().out
    assert wrong == 0
    assert "leaves at seven" in out
    assert "Harbour office." in out, "what stands before the citation is shown"
    assert out.count("> ") == 2
    assert [turn.question for turn in chat._conversation.turns] == asked


def test_what_goes_wrong_with_one_line_is_told_and_the_next_is_taken(
    kb: KnowledgeBase, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["the ferry breaks", "/nothing", "/open 7", "/load none1", "the ferry stops", "When does the ferry leave?"]
    chat = Chat(kb, None)
    assert run(chat, iter([*lines, "/quit", "the ferry breaks"])) == 2
    out, err = capsys.readouterr()
    assert "the model is gone" in err
    assert "there is no /nothing" in err
    assert "takes the number of a citation" in err
    assert "(stopped)" in err
    assert "leaves at seven" in out
    assert len(chat._conversation.turns) == 1, "what broke and what was stopped is not remembered"


def test_a_saved_conversation_can_be_gone_on_with(kb: KnowledgeBase, capsys: pytest.CaptureFixture[str]) -> None:
    first = Chat(kb, None)
    run(first, iter(["When does the ferry leave?", "/save", "/new", "/history"]))
    assert not capsys.readouterr().out.count("> ")
    (saved,) = kb.conversations()
    second = Chat(kb, None)
    run(second, iter([f"/load {saved}", "/history"]))
    assert "> When does the ferry leave?" in capsys.readouterr().out


def test_another_model_goes_on_with_the_conversation_and_one_that_there_is_not_changes_nothing(
    kb: KnowledgeBase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def other(name: str) -> KnowledgeBase:
        if name == "none-such":
            raise ModelError("no model is called none-such")

        def told(messages: Sequence[Message]) -> str:
            asked.append("\n".join(message.content for message in messages))
            return reply(messages)

        return KnowledgeBase.open(tmp_path / "kb", settings=SETTINGS, embedder=HashEmbedder(), llm=ScriptedLLM(told))

    chat = Chat(kb, None, other=other)
    lines = ["When does the ferry leave?", "/model none-such", "/model other", "How many people does the ferry carry?"]
    with contextlib.closing(chat):
        assert run(chat, iter(lines)) == 1
        out, err = capsys.readouterr()
        assert "no model is called none-such" in err
        assert "ninety people" in out
        assert "When does the ferry leave?" in asked[-1], "the other model reads what was asked before"
        assert len(chat._conversation.turns) == 2


def test_every_command_is_described_by_its_first_line() -> None:
    for name, command in COMMANDS.items():
        assert (command.__doc__ or "").startswith(f"/{name}")


@pytest.mark.parametrize(
    ("lines", "asked"),
    [
        (["a", "b"], ["a", "b"]),
        (["a \\", "b", "c"], ["a \nb", "c"]),
        (['"""a', "", 'b"""', "c"], ["a\n\nb", "c"]),
        (['"""a"""', "b"], ["a", "b"]),
        (['"""', "a", '"""'], ["\na\n"]),
        (["a\\"], ["a"]),
        (['"""a', "b"], ["a\nb"]),
    ],
)
def test_lines_that_go_on_are_one_question(lines: list[str], asked: list[str]) -> None:
    assert list(questions(iter(lines))) == asked


@given(st.lists(st.text(alphabet='ab \\"/', max_size=6), max_size=8))
def test_no_word_of_any_lines_is_lost(lines: list[str]) -> None:
    def letters(texts: Sequence[str]) -> str:
        return "".join(one for text in texts for one in text if one in "ab/")

    assert letters(list(questions(iter(lines)))) == letters(lines)


def test_two_interrupts_in_a_row_leave_and_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = ["a", KeyboardInterrupt, "b", KeyboardInterrupt, KeyboardInterrupt, "never"]

    def given_line(_: str) -> str:
        one = said.pop(0)
        if one is KeyboardInterrupt:
            raise KeyboardInterrupt
        return str(one)

    monkeypatch.setattr("builtins.input", given_line)
    assert list(typed(None)) == ["a", "b"]
    assert said == ["never"]


def test_quit_leaves() -> None:
    with pytest.raises(Quit):
        COMMANDS["quit"](None, "")  # type: ignore[arg-type]


def test_lines_of_a_script_are_answered_with_lines_of_json(
    kb: KnowledgeBase, call: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kb.close()
    monkeypatch.setattr(parts, "open_llm", lambda settings: ScriptedLLM(reply))
    monkeypatch.setattr(parts, "open_named", lambda settings, name: HashEmbedder())
    monkeypatch.setattr(Context, "fetch", lambda self, name: None)
    asked = ["When does the ferry leave?", "How many people does the ferry carry?"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(asked) + "\n"))
    code, out, err = call("--set", "answer.min_confidence=0", "chat", "--kb", str(tmp_path / "kb"), "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0, err
    assert [one["question"] for one in answers] == asked
    assert all(one["citations"][0]["quote"] in FERRY for one in answers)
