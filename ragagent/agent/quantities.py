"""Quantities that a task names, such as the 3 nights of a stay, and whether a sum has used them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from ragagent.agent.figures import NUMBER, WORD_NUMBERS, readings, shares
from ragagent.agent.state import AgentState
from ragagent.text.analyser import STOP_WORDS
from ragagent.tools.arithmetic import sums
from ragagent.types import ToolSpec

_COUNTED = "|".join(WORD_NUMBERS[2:])
_NAME = re.compile(r"(?<=[^.?!:]\s)[A-ZÀ-ÖØ-Þ]\w*\s+$")
_QUANTITY = re.compile(rf"(?<![\w.,])(\d+(?:[.,]\d+)*|{_COUNTED})\s+(?=([a-zà-öø-ÿ]\w*(?:\s+[a-zà-öø-ÿ]\w*){{0,2}}))")
_YEAR = re.compile(r"(?:19|20)\d\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number of a task with the words behind it, up to three and to the next small word, as they stand there."""

    number: str
    unit: str

    @property
    def figure(self) -> str:
        """The number in digits."""
        return str(WORD_NUMBERS.index(self.number)) if self.number in WORD_NUMBERS else self.number

    @property
    def values(self) -> frozenset[Decimal]:
        """What a sum may write for it: 3 percent may also be 0.03, 1.03 or 0.97."""
        plain = readings(self.figure)
        parts = {form for value in plain for form in shares(value)}
        return frozenset(plain) | (parts if self.unit.startswith(("percent", "per", "prozent")) else frozenset())

    def __str__(self) -> str:
        return f"{self.number} {self.unit}"


def quantities(task: str) -> tuple[Quantity, ...]:
    """The quantities of `task`, in order: numbers other than 1 and years, followed by a small word that is no stop
    word. Names of months and of things have capitals, and what they number is no quantity, nor is the 9 of Elm Street
    9. A verb is taken for a thing that is counted, which costs a question too many.
    """
    found = [
        Quantity(number=match[1], unit=_telling(match[2]))
        for match in _QUANTITY.finditer(task)
        if not _NAME.search(task, 0, match.start())
    ]
    return tuple(
        one
        for one in dict.fromkeys(found)
        if not _YEAR.fullmatch(one.number) and Decimal(1) not in one.values and one.unit
    )


def unused(state: AgentState, specs: Sequence[ToolSpec]) -> tuple[Quantity, ...]:
    """The quantities of the task that no call computed with and no result names, in order.

    What a result names was to be looked up: a price "for 3 nights" needs no sum.
    """
    texts = [step.observation.content for step in state.steps if step.observation is not None]
    used = {value for number in _computed_with(state, specs) for value in readings(number)}
    return tuple(one for one in quantities(state.task) if not one.values & used and not _named(one, texts))


def _telling(words: str) -> str:
    """`words` up to the first that is a stop word or a number."""
    ends = {*STOP_WORDS, *WORD_NUMBERS}
    return " ".join(itertools.takewhile(lambda word: word not in ends, words.split()))


def _named(quantity: Quantity, texts: Sequence[str]) -> bool:
    pattern = re.compile(
        rf"(?<![\w.,]){re.escape(quantity.number)}[\s-]+{re.escape(quantity.unit.split()[0].rstrip('s'))}", re.I
    )
    return any(pattern.search(text) for text in texts)


def _computed_with(state: AgentState, specs: Sequence[ToolSpec]) -> Iterator[str]:
    """The numbers in the sums and the numeric arguments of the calls that worked."""
    by_name = {spec.name: sums(spec) for spec in specs}
    for step in state.steps:
        if step.call is not None and step.observation is not None and not step.observation.error:
            written = by_name.get(step.call.name, ())
            for name, value in step.call.arguments.items():
                if name in written or isinstance(value, int | float):
                    yield from NUMBER.findall(str(value))
