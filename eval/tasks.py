"""Whether the agent solves twelve tasks of two to four calls: figures to compare, margins, things to look up and list.

    python -m ragagent.eval.tasks --filings DATA/sec_10q_pdf/docs --kb KB --model NAME --strategy react --out FILE

Half of the tasks are over quarterly filings in PDF (10-Q reports), half over `examples/documents`, and all documents
lie in one knowledge base (`--kb`). A task is solved when each figure and name that it asks for stands in the answer:
names word for word, figures as they round (`solved`). `called` counts calls that were made, `invalid` those of them
that are of no tool that there is, or have arguments that its schema refuses: it must be 0; `refused` counts replies
that were no call that may be made, and cost a step. Tokens are those read and written without those from the cache.
With `--free` the same model runs without the grammar, and its replies are read leniently. With `--out` each outcome is
on the disk at once: a run that was killed goes on, and one with more models or strategies asks only for what is new.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Unpack

from ragagent.app import Agent, KnowledgeBase, parts
from ragagent.eval import json_among
from ragagent.eval.call_replies import Replies
from ragagent.eval.statistics import share_interval
from ragagent.models.wrapped import Asking, Wrapped
from ragagent.protocols import LLM
from ragagent.settings import Strategy
from ragagent.tools.calling import invalid
from ragagent.types import AgentResult, Completion, Message, ToolSpec, digest

_NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?")
_FINISH = "final_answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is asked, and what the answer must hold: names as they are, and figures that may be rounded to a tenth."""

    id: str
    task: str
    figures: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


TASKS = (
    Task(
        id="hire",
        task="What do 5 hours in the Linden Room at the standard price and a projector for a day cost together?",
        figures=("195",),
    ),
    Task(
        id="budget",
        task="What percentage of the 2025 energy budget had been spent by 28 February, to one decimal place?",
        figures=("24.3721",),
    ),
    Task(
        id="shelter",
        task="How many euros of the cost of the bicycle shelter are left to pay when the city has paid its share?",
        figures=("3000",),
    ),
    Task(
        id="electricity",
        task="What did all the electricity that the centre used in 2024 cost in euros, without the standing charge?",
        figures=("9920",),
    ),
    Task(
        id="hall",
        task="What does a registered charity pay for 4 hours in the Great Hall on a Saturday, surcharge included?",
        figures=("244.8",),
    ),
    Task(
        id="coordinator",
        task="List the name of the volunteer coordinator, the days on which she is in the office, and the price of a "
        "lost key.",
        figures=("75",),
        names=("Greta Holm", "Tuesday", "Thursday"),
    ),
    Task(
        id="margin",
        task="What was Apple's gross margin in the quarter ended June 25, 2022 as a percentage of its total net sales, "
        "to one decimal place?",
        figures=("43.2563",),
    ),
    Task(
        id="growth",
        task="By how many million dollars did Amazon's total net sales grow from the quarter ended September 30, 2022 "
        "to the quarter ended September 30, 2023?",
        figures=("15982",),
    ),
    Task(
        id="inventories",
        task="By how many million dollars were NVIDIA's inventories higher on October 29, 2023 than on October 30, "
        "2022?",
        figures=("325",),
    ),
    Task(
        id="income",
        task="By how many million dollars was Apple's net income in the quarter ended July 1, 2023 higher than "
        "Amazon's in the quarter ended September 30, 2023?",
        figures=("10002",),
    ),
    Task(
        id="cloud",
        task="What percentage of Amazon's total net sales in the quarter ended March 31, 2023 came from AWS, to one "
        "decimal place?",
        figures=("16.7669",),
    ),
    Task(
        id="research",
        task="List NVIDIA's research and development expenses in the quarter ended April 30, 2023 and in the quarter "
        "ended October 29, 2023, in million dollars.",
        figures=("1875", "2294"),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one task."""

    answer: str
    solved: bool
    cited: bool
    stopped: str
    steps: int
    called: int
    invalid: int
    refused: int
    tokens: int
    written: int
    seconds: float


def solved(task: Task, answer: str) -> bool:
    """Whether `answer` holds each name and figure of `task`; a figure with a fraction may be rounded, to a tenth."""
    written = [match[0].replace(",", "") for match in _NUMBER.finditer(answer)]
    known = all(re.search(rf"\b{re.escape(name)}", answer) for name in task.names)
    return known and all(any(_is(figure, one) for one in written) for figure in task.figures)


def _is(figure: str, written: str) -> bool:
    wanted, given = Decimal(figure), Decimal(written)
    places = len(written.partition(".")[2])
    if wanted == wanted.to_integral_value() or places == 0:
        return wanted == given
    return abs(wanted - given) <= Decimal("0.51").scaleb(-min(places, 4))


def outcome(task: Task, result: AgentResult, specs: Sequence[ToolSpec], seconds: float) -> Outcome:
    """The record of a run."""
    made = [step.call for step in result.steps if step.call is not None and step.call.name != _FINISH]
    schemas = {spec.name: spec.parameters for spec in specs}
    wrong = [call for call in made if call.name not in schemas or invalid(schemas[call.name], call.arguments)]
    usage = result.usage
    return Outcome(
        answer=result.answer.text,
        solved=solved(task, result.answer.text),
        cited=any(citation.verified for citation in result.answer.citations),
        stopped=result.stopped,
        steps=len(result.steps),
        called=len(made),
        invalid=len(wrong),
        refused=sum(
            step.call is None and step.observation is not None and step.observation.error for step in result.steps
        ),
        tokens=usage.prompt_tokens - usage.reused_tokens + usage.completion_tokens,
        written=usage.completion_tokens,
        seconds=round(seconds, 1),
    )


class Free(Wrapped):
    """A model without the constraint. Of a reply that holds one JSON object among other words, that object is taken."""

    @property
    def constrains(self) -> bool:
        return True

    def chat(self, messages: Sequence[Message], **asking: Unpack[Asking]) -> Completion:
        """Freely, for a step of the agent; other requests, such as the quoting of evidence, stay as they are."""
        grammar = asking.get("grammar")
        if grammar is None or grammar.kind != "json_schema":
            return super().chat(messages, **asking)
        asking["grammar"] = None
        said = super().chat(messages, **asking)
        return replace(said, text=lenient(said.text))


def lenient(reply: str) -> str:
    """The first JSON object in `reply`, which may stand in a fence or between other words; else all of it."""
    return next((written for _, written in json_among.values(reply, "{")), reply)


class Bench:
    """The knowledge base of all documents, and one model at a time, opened when first used."""

    def __init__(self, folder: Path, sources: Sequence[Path], replies: Replies) -> None:
        self._folder = folder
        self._sources = sources
        self._replies = replies
        self._kb: KnowledgeBase | None = None
        self._llm: LLM | None = None

    def measured(self, model: str, strategy: Strategy, *, free: bool) -> list[Outcome]:
        """The outcomes of all tasks, in order; only those that are not kept yet are asked for."""
        found = []
        for task in TASKS:
            name = f"{model} {strategy} {task.id}"
            kept = self._replies.reply(name, not free, functools.partial(self._ran, task, model, strategy, free))
            found.append(Outcome(**json.loads(kept)))
        self._close_model()
        return found

    def _ran(self, task: Task, model: str, strategy: Strategy, free: bool) -> str:
        kb = self._kb = self._kb or _knowledge(self._folder, self._sources)
        llm = self._llm = self._llm or parts.open_llm(replace(kb.settings, llm=replace(kb.settings.llm, model=model)))
        with Agent(kb, llm=Free(llm) if free else llm) as agent:
            begin = time.perf_counter()
            result = agent.run(task.task, strategy=strategy)
            found = outcome(task, result, agent.specs, time.perf_counter() - begin)
        sys.stderr.write(f"{model} {strategy} {task.id}: {'solved' if found.solved else 'NOT'}: {found.answer}\n")
        return json.dumps(asdict(found))

    def close(self) -> None:
        self._close_model()
        if self._kb is not None:
            self._kb.close()

    def _close_model(self) -> None:
        if self._llm is not None:
            self._llm.close()
        self._llm = None


def _knowledge(folder: Path, sources: Sequence[Path]) -> KnowledgeBase:
    kb = KnowledgeBase.open(folder)
    for source in sources:
        kb.ingest(source)
    return kb


_HEAD = (
    "model",
    "strategy",
    "decoding",
    "solved",
    "cited",
    "steps",
    "called",
    "invalid",
    "refused",
    "tokens",
    "seconds",
)


def row(name: str, strategy: str, free: bool, found: Sequence[Outcome]) -> str:
    """A row of the table: the share of tasks that were solved, and means."""

    def mean(key: str, places: int = 1) -> str:
        return f"{sum(getattr(one, key) for one in found) / max(1, len(found)):.{places}f}"

    def total(key: str) -> str:
        return str(sum(getattr(one, key) for one in found))

    share = share_interval(sum(one.solved for one in found), len(found))
    cells: list[Any] = [name, strategy, "free" if free else "constrained"]
    cells += [f"{total('solved')} of {len(found)} ({share})", total("cited"), mean("steps"), total("called")]
    cells += [total("invalid"), total("refused"), mean("tokens", 0), mean("seconds")]
    return f"| {' | '.join(map(str, cells))} |\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measures the agent on twelve tasks of two to four calls.")
    parser.add_argument("--filings", type=Path, required=True, help="folder of the 10-Q reports in PDF")
    parser.add_argument("--documents", type=Path, default=Path("examples/documents"), help="the demo's folder")
    parser.add_argument("--kb", type=Path, required=True, help="folder for the knowledge base of both; kept")
    parser.add_argument("--model", action="append", required=True, help="catalogue name; may be given more than once")
    parser.add_argument("--strategy", action="append", help="may be given more than once; default: react")
    parser.add_argument("--free", action="store_true", help="without the grammar")
    parser.add_argument(
        "--out", type=Path, help="keep the outcomes in this file, and take from it those that are there"
    )
    given = parser.parse_args()
    asked = digest(json.dumps([asdict(task) for task in TASKS]))
    replies = Replies(given.out, {"tasks": asked})

    bench = Bench(given.kb, (given.filings, given.documents), replies)
    sys.stdout.write(f"| {' | '.join(_HEAD)} |\n|{'---|' * len(_HEAD)}\n")
    try:
        for model in given.model:
            for strategy in given.strategy or ["react"]:
                found = bench.measured(model, strategy, free=given.free)
                sys.stdout.write(row(model, strategy, given.free, found))
                sys.stdout.flush()
    finally:
        bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
