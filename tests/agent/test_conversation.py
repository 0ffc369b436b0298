"""The conversation as the model reads it, whole, so that a change of any word of it is seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ragagent.agent.runner import AgentRunner
from ragagent.protocols import Tool
from ragagent.types import Answer

GOLDEN = Path(__file__).parent / "golden" / "conversation.txt"


def test_the_conversation_is_the_one_that_was_checked_with_a_model(
    script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    llm = script(
        say("search_documents", "price of a room", query="room costs"),
        say("calculate", "price of a room: 84 euros", expression="3 * (84"),
        say("calculate", "price of a room: 84 euros", expression="3 * 84"),
        say("final_answer", "price of three nights: 252 euros", answer="They cost 252 euros."),
    )

    def cite(task: str, text: str, hits: Any, computed: Any) -> Answer:
        return Answer(question=task, text=text, status="partial", confidence=0.0)

    AgentRunner(llm, tools, cite=cite).run("What do three nights cost?")
    shown = "\n".join(f"=== {message.role}\n{message.content}" for message in llm.requests[-1].messages)
    assert shown + "\n" == GOLDEN.read_text(encoding="utf-8")
