"""Figures of an answer that nothing in the run accounts for: a small model likes to do sums in its head."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal, InvalidOperation

from ragagent.agent.state import AgentState
from ragagent.errors import ToolError
from ragagent.tools.arithmetic import evaluate, shown
from ragagent.types import Step

_NUMBER = re.compile(r"(?<![A-Za-z\d])\d+(?:[.,]\d+)*")
_OPERAND = r"[$€£]?\d[\d.,]{0,30}(?: [A-Za-z€]{1,20})?"
_EQUATION = re.compile(rf"({_OPERAND}(?: ?[-+*/×÷−] ?{_OPERAND}){{1,20}}) ?= ?[$€£]?(\d+(?:[.,]\d+)*)")
_WORDS = re.compile(r"[A-Za-z]+")
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,3}(?:\.\d{3})+")


def unfounded(state: AgentState, answer: str) -> tuple[str, ...]:
    """The numbers of `answer` that nothing accounts for, in order.

    Accounted for is what stands in the task or a result, rounds what does, or comes of a right sum over such numbers
    that is written out in a thought or the answer.
    """
    results = [step.observation.content for step in state.steps if step.observation is not None]
    known = [state.task, *results]
    accounted = rounded(answer, [*known, *right_sums([thought(state), answer], known)])
    return tuple(number for number in dict.fromkeys(_NUMBER.findall(answer)) if number not in accounted)


def computed(state: AgentState, made: Iterable[Step]) -> tuple[str, ...]:
    """What needs no document: the results of the steps `made`, and what the answer makes of them by rounding or by
    right sums that are written out. With them, the figures the steps were given that stand in results: those a
    document does have, and it should be cited for them.
    """
    observed = [step.observation.content for step in state.steps if step.observation is not None]
    steps = list(made)
    results = [step.observation.content for step in steps if step.observation is not None]
    given = [str(value) for step in steps if step.call is not None for value in step.call.arguments.values()]
    sums = right_sums([thought(state), state.answer], [state.task, *observed])
    rounds = rounded(state.answer, [*results, *sums])
    return tuple(dict.fromkeys([*results, *sums, *rounds, *rounded("\n".join(given), observed)]))


def thought(state: AgentState) -> str:
    """The thought of the step under way, or else of the last one."""
    return state.thought or (state.steps[-1].thought if state.steps else "")


def right_sums(written: Iterable[str], known: Sequence[str]) -> tuple[str, ...]:
    """The results of equations in `written`, such as 396 + 27 = 423, that hold and start from numbers of `known`."""
    found = [match for text in written for match in _EQUATION.finditer(text)]
    return tuple(match[2] for match in found if _holds(match[1], match[2], known))


def _holds(left: str, right: str, known: Sequence[str]) -> bool:
    try:
        value = Decimal(shown(evaluate(_WORDS.sub("", left))))
    except (ToolError, InvalidOperation):
        return False
    operands = _NUMBER.findall(left)
    return len(rounded(left, known)) == len(set(operands)) and any(_rounds(one, {value}) for one in _readings(right))


def rounded(answer: str, texts: Iterable[str]) -> tuple[str, ...]:
    """The numbers of `answer` that stand in `texts` or are the rounded form of one that does, in order."""
    known = {value for text in texts for number in _NUMBER.findall(text) for value in _readings(number)}
    written = dict.fromkeys(_NUMBER.findall(answer))
    return tuple(number for number in written if any(_rounds(value, known) for value in _readings(number)))


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
