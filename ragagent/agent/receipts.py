"""When a run grows too long for its prompt: results that were read become receipts, and what was used of them stays.

A receipt says which call it was for, how it began and how to read it again, and keeps the sentences that later steps
took something from: a figure, a name, or three words in a row that the task does not have. The newest result is always
whole. What is left out stays in the state, so nothing else that looks at results sees less.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import replace

from ragagent.agent.figures import NUMBER, readings
from ragagent.agent.state import AgentState
from ragagent.jsonable import canonical
from ragagent.text.sentences import sentences
from ragagent.types import Observation, Step

_MAX_BEGINNING_CHARS = 100
_MAX_SENTENCE_CHARS = 300
_MAX_SENTENCES = 5
_SHRINKS_BY = 2
"""A receipt has to be so many times shorter than what it stands for: else nothing is gained."""
_DOWN_TO = 0.6
"""How full the prompt is afterwards: what is cached of it is lost each time, so it is not to happen at each step."""
_WORD = re.compile(r"\w+")
_NAME = re.compile(r"(?<![.!?:]\s)(?<!^)\b[^\W\d_]\w{2,}")


def chosen(state: AgentState, tokens: Callable[[AgentState], int], most: int) -> tuple[tuple[int, int], ...]:
    """The `AgentState.receipts` for the next step, the oldest results first: as they are while the prompt fits `most`.

    `tokens` counts the prompt of a state. Depends on nothing else, and takes none back.
    """
    found, now = state.receipts, len(state.steps)
    if now < 2 or tokens(state) <= most:
        return found
    for step in state.steps[:-1]:
        if not of(state, step.index) and _shrinks(state, step):
            found = (*found, (step.index, now))
            if tokens(replace(state, receipts=found)) <= most * _DOWN_TO:
                break
    return found


def of(state: AgentState, step: int) -> int:
    """How many steps there were when the result of `step` became a receipt; 0 where the model sees it whole."""
    return dict(state.receipts).get(step, 0)


def receipt(state: AgentState, step: Step, made: int) -> Observation:
    """What the model sees in place of the result of `step`, since there were `made` steps.

    What steps after that say changes nothing: they saw no more than the receipt, and it has to stay as it is cached.
    """
    seen = step.observation
    assert seen is not None
    used = used_of(seen.content, tuple(map(_said, state.steps[step.index + 1 : made])), state.task)
    kept = f"What was used of it:\n{used}" if used else "Nothing of it was used."
    beginning = " ".join(seen.content[:_MAX_BEGINNING_CHARS].split())
    said = f"({len(seen.content)} characters, left out here; the same call shows them again.) {beginning} ...\n{kept}"
    return replace(seen, content=said)


@functools.lru_cache(maxsize=256)
def used_of(content: str, later: tuple[str, ...], task: str) -> str:
    """The sentences of `content` that `later` texts took something from, up to five, the last ones of more."""
    wanted = set[str]().union(*map(_marks, later)) - _marks(task)
    used = [text for text in (span.of(content) for span in sentences(content)) if _marks(text) & wanted]
    return "\n".join(_around(text, wanted) for text in used[-_MAX_SENTENCES:])


def _shrinks(state: AgentState, step: Step) -> bool:
    if step.observation is None:
        return False
    short = receipt(state, step, len(state.steps)).content
    return len(short) * _SHRINKS_BY <= len(step.observation.content)


def _said(step: Step) -> str:
    """What the model wrote in a step."""
    arguments = canonical(dict(step.call.arguments)) if step.call is not None else ""
    return f"{step.thought}\n{arguments}"


def _marks(text: str) -> set[str]:
    """What tells where a text was taken from: its figures, its names, and each three words in a row."""
    figures = {str(value) for number in NUMBER.findall(text) if len(number) > 1 for value in readings(number)}
    words = [word.lower() for word in _WORD.findall(text)]
    runs = {" ".join(three) for three in zip(words, words[1:], words[2:], strict=False)}
    names = {name.lower() for name in _NAME.findall(text) if name[0].isupper()}
    return figures | names | runs


def _around(sentence: str, wanted: set[str]) -> str:
    """As much of a long sentence as can be kept, with the first of its figures and names that were used."""
    line = " ".join(sentence.split())
    if len(line) <= _MAX_SENTENCE_CHARS:
        return line
    found = (match.start() for match in _WORD.finditer(line) if _marks(f"a {match[0]}") & wanted)
    start = max(0, next(found, 0) - _MAX_SENTENCE_CHARS // 2)
    return line[start : start + _MAX_SENTENCE_CHARS]
