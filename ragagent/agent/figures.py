"""Figures of an answer that nothing in the run accounts for: a small model likes to do sums in its head."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal, InvalidOperation

from ragagent.agent.state import AgentState
from ragagent.errors import ToolError
from ragagent.tools.arithmetic import evaluate, shown
from ragagent.types import Step

NUMBER = re.compile(r"(?<![A-Za-z\d])\d+(?:[.,]\d+)*")
_OPERAND = r"[$€£]?\d[\d.,]{0,30}(?: [A-Za-z€]{1,20})?"
_EQUATION = re.compile(rf"({_OPERAND}(?: ?[-+*/×÷−] ?{_OPERAND}){{1,20}}) ?= ?[$€£]?(\d+(?:[.,]\d+)*)")
_WORDS = re.compile(r"[A-Za-z]+")
_PERCENT = re.compile(r"\s*(?:%|per ?cent|Prozent)")
WORD_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()  # noqa: SIM905
CONSTANTS = (*map(str, range(13)), "24", "52", "60", "100", "365", "1000")
"""Numbers that a sum may need and no document says: small counts, and those of the calendar and of percentages."""
_MAX_PLACES = 4
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,3}(?:\.\d{3})+")


def unfounded(state: AgentState, answer: str) -> tuple[str, ...]:
    """The numbers of `answer` that nothing accounts for, in order.

    Accounted for is what stands in the task or a result, rounds what does, or comes of a right sum over such numbers
    that is written out in a thought or the answer.
    """
    results = [step.observation.content for step in state.steps if step.observation is not None]
    known = [state.task, *results]
    accounted = rounded(answer, [*known, *right_sums([thought(state), answer], known)])
    return tuple(number for number in dict.fromkeys(NUMBER.findall(answer)) if number not in accounted)


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
    operands = NUMBER.findall(left)
    return len(rounded(left, known)) == len(set(operands)) and any(_rounds(one, {value}) for one in readings(right))


def rounded(answer: str, texts: Iterable[str]) -> tuple[str, ...]:
    """The numbers of `answer` that stand in `texts` or are the rounded form of one that does, in order."""
    known = {value for text in texts for number in NUMBER.findall(text) for value in readings(number)}
    written = dict.fromkeys(NUMBER.findall(answer))
    return tuple(number for number in written if any(_rounds(value, known) for value in readings(number)))


def readings(number: str) -> tuple[Decimal, ...]:
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


def written_figures(state: AgentState) -> tuple[str, ...]:
    """The numbers that a text of this run may carry, in each way they may be written: those of the task and of the
    results so far, and the rounded forms of those with a fraction.
    """
    found = [spelling for text in _sources(state) for number in NUMBER.findall(text) for spelling in _written(number)]
    return tuple(dict.fromkeys([*found, *_counted(_sources(state))]))


def _counted(texts: Iterable[str]) -> list[str]:
    """The numbers that stand in `texts` as words, in digits."""
    words = dict.fromkeys(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))
    return [str(WORD_NUMBERS.index(word)) for word in words if word in WORD_NUMBERS]


def operands(state: AgentState) -> tuple[str, ...]:
    """The numbers that a sum of this run may start from: those of the task and the results, and 3 % as 0.03, 1.03 and
    0.97 too. Later operands may be `CONSTANTS` as well.
    """
    texts = _sources(state)
    found = [form for text in texts for match in NUMBER.finditer(text) for form in _forms(match[0])]
    parts = [
        _plain(share)
        for text in texts
        for match in NUMBER.finditer(text)
        if _PERCENT.match(text, match.end())
        for value in readings(match[0])
        for share in shares(value)
    ]
    return tuple(dict.fromkeys([*found, *parts, *_counted(texts)]))


def shares(percent: Decimal) -> tuple[Decimal, Decimal, Decimal]:
    """What a sum may write for so many percent, as for 3: 0.03, 1.03 and 0.97."""
    part = percent / 100
    return part, 1 + part, 1 - part


def foreign(state: AgentState, expression: str) -> tuple[str, ...]:
    """The numbers of a sum that stand neither in the task nor in a result, in order; a name may hold digits."""
    known = {value for number in (*operands(state), *CONSTANTS) for value in readings(number)}
    written = dict.fromkeys(NUMBER.findall(expression))
    return tuple(number for number in written if not any(value in known for value in readings(number)))


def _sources(state: AgentState) -> list[str]:
    results = [step.observation for step in state.steps if step.observation is not None]
    return [state.task, *(result.content for result in results if not result.error)]


def _forms(number: str) -> list[str]:
    """A number as it stands, without marks of thousands, and without zeros at its end."""
    found = readings(number)
    return [number, *(f"{value:f}" for value in found), *(_plain(value) for value in found)]


def _written(number: str) -> list[str]:
    """The forms of a number, with thousands grouped too, and its rounded forms where it has a fraction."""
    rounds = [
        f"{value:.{places}f}"
        for value in readings(number)
        for places in range(min(_MAX_PLACES, max(0, -int(value.as_tuple().exponent))))
    ]
    forms = [*_forms(number), *rounds]
    return [*forms, *(f"{Decimal(form):,}" for form in forms if "," not in form and form.count(".") < 2)]


def _plain(value: Decimal) -> str:
    shown = f"{value:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown
