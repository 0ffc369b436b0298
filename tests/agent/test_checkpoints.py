"""The saver of checkpoints under LangGraph's own conformance suite, and what is left in it of a run."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate

from ragagent.agent.graph import Checkpoints
from ragagent.agent.runner import AgentRunner
from ragagent.protocols import Tool
from ragagent.types import Answer, Hit


class Awaited(BaseCheckpointSaver[str]):
    """The saver in use for callers that are asynchronous, as the suite is; it adds nothing."""

    def __init__(self, saver: Any) -> None:
        super().__init__(serde=saver.serde)
        self._saver = saver

    def get_next_version(self, current: str | None, channel: None) -> str:
        return str(self._saver.get_next_version(current, channel))

    async def aput(self, *given: Any) -> Any:
        return self._saver.put(*given)

    async def aput_writes(self, *given: Any, **more: Any) -> None:
        self._saver.put_writes(*given, **more)

    async def aget_tuple(self, config: Any) -> Any:
        return self._saver.get_tuple(config)

    async def alist(self, config: Any, **given: Any) -> AsyncIterator[Any]:
        for one in self._saver.list(config, **given):
            yield one

    async def adelete_thread(self, thread_id: str) -> None:
        self._saver.delete_thread(thread_id)

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        self._saver.prune(thread_ids, strategy=strategy)


def test_the_saver_passes_the_conformance_suite_of_checkpoints(tmp_path: Path) -> None:
    made = iter(range(100))

    @checkpointer_test(name="the one in use")
    async def saver() -> AsyncIterator[Awaited]:
        checkpoints = Checkpoints(tmp_path / f"{next(made)}.db")
        yield Awaited(checkpoints.saver())
        checkpoints.close()

    report = asyncio.run(validate(saver))
    assert report.passed_all_base()
    counts = {name: (one.tests_passed, one.failures) for name, one in report.results.items() if one.detected}
    assert counts == {
        "put": (17, []),
        "put_writes": (10, []),
        "get_tuple": (10, []),
        "list": (16, []),
        "delete_thread": (5, []),
        "prune": (8, []),
    }


def test_one_checkpoint_is_left_of_a_run_that_has_ended(
    tmp_path: Path, script: Callable[..., Any], say: Callable[..., str], tools: list[Tool]
) -> None:
    file = tmp_path / "runs.db"
    searches = [say("search_documents", query=word) for word in ("room", "sauna", "breakfast", "rules")]
    runner = AgentRunner(script(*searches, say("final_answer", answer="done")), tools, cite=cite, checkpoints=file)
    result = runner.run("Count", run_id="r")
    assert runner.resume("r").steps == result.steps
    runner.close()
    with contextlib.closing(sqlite3.connect(file)) as kept:
        assert kept.execute("SELECT count(*) FROM checkpoints").fetchone() == (1,)


def cite(task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
    return Answer(question=task, text=text, status="partial", confidence=1.0)
