"""Figures of an answer that nothing in the run accounts for: a small model likes to do sums in its head."""

from __future__ import annotations

import re
from collections.abc import Collection
from decimal import Decimal

from ragagent.agent.state import AgentState

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,3}(?:\.\d{3})+")


def unfounded(state: AgentState, answer: str) -> tuple[str, ...]:
    """The numbers of `answer` that stand neither in the task nor in a result, nor round one that does, in order."""
    results = [step.observation.content for step in state.steps if step.observation is not None]
    text = "\n".join([state.task, *results])
    known = {value for number in _NUMBER.findall(text) for value in _readings(number)}
    written = dict.fromkeys(_NUMBER.findall(answer))
    return tuple(number for number in written if not any(_rounds(value, known) for value in _readings(number)))


def _readings(number: str) -> tuple[Decimal, ...]:
    """What `number` can mean: 1.234 and 1,234 may group thousands or have three decimals; 1,234.5 has one reading."""
    digits = re.sub(r"[.,]", "", number)
    last = max(number.rfind("."), number.rfind(","))
    decimals = len(number) - last - 1 if last >= 0 else 0
    fraction = Decimal(digits).scaleb(-decimals)
    return (fraction, Decimal(digits)) if _GROUPED.fullmatch(number) else (fraction,)


def _rounds(value: Decimal, known: Collection[Decimal]) -> bool:
    """Whether `value` is one of `known`, to as many places as it is written with."""
    step = Decimal(1).scaleb(min(0, int(value.as_tuple().exponent)))
    return value in known or any(abs(one - value) * 2 <= step for one in known)
