"""The linter from the command line: it names the place up to which the next prompt is not read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ragagent import Document, KnowledgeBase, Settings
from ragagent.settings import AnswerSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Run, tiny_gguf: Path) -> Run:
    """Runs a command beside a knowledge base with a conversation of two questions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGAGENT_LLM_MODEL", str(tiny_gguf))
    llm, settings = ScriptedLLM(lambda _: "behind the barn"), Settings(answer=AnswerSettings(min_confidence=0))
    with KnowledgeBase.open(embedder=HashEmbedder(32), llm=llm, settings=settings) as kb:
        kb.ingest([Document(uri="a", text="Hives stand behind the barn.")])
        conversation = kb.conversation()
        for question in ("Where do the hives stand?", "Where behind the barn do the hives stand?"):
            conversation.ask(question)
        conversation.save()
    return call


def test_each_prompt_of_the_last_conversation_is_held_against_the_one_before(run: Run) -> None:
    code, out, _ = run("prompts", "--json")
    (parting,) = json.loads(out)
    assert (code, parting["stable"]) == (0, True)
    assert parting["first"] - 10 < parting["shared"] <= parting["first"] < parting["second"]
    code, out, _ = run("prompts")
    assert out.startswith(f"1 -> 2: {parting['shared']} tokens alike")


def test_a_conversation_that_is_not_there_is_named(run: Run) -> None:
    code, _, err = run("prompts", "0000")
    assert (code, "'0000'" in err) == (2, True)
