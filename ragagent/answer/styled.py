"""Evidence to an answer of another layout than the short one, and to JSON by a schema: written, checked, judged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ragagent import prompts
from ragagent.answer import abstain, compose, history, opinion, structured, styles
from ragagent.answer.calibration import Calibration, shipped
from ragagent.answer.quote import Documents
from ragagent.protocols import LLM
from ragagent.settings import AnswerSettings
from ragagent.types import Answer, AnswerEvent, AnswerStyle, Completion, Evidence, Grammar, Sampling

CUT = "the answer was cut off where its room ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A question with all that is needed to answer it, as `compose.answer` has it."""

    question: str
    evidence: Evidence
    llm: LLM
    document: Documents
    settings: AnswerSettings
    sampling: Sampling | None = None
    past: history.Past = history.NOTHING
    calibration: Calibration | None = None
    meant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """What the model is told and held to, and how what it wrote is read."""

    system: str
    grammar: Grammar | None
    read: Callable[[str], styles.Laid]


def answer(asking: Asking, style: AnswerStyle) -> Iterator[AnswerEvent]:
    """The answer in a `style` other than short: the evidence, its text once it is known not to be refused, the whole.

    Full: sentences of the documents. List: items, each a run of words of theirs. Table: rows whose cells are all said
    of their subject (`rows.checked`). One draft is written, and its confidence is judged as that of a short answer.
    """
    question, evidence = asking.question, asking.evidence
    layout = _Layout(
        system=_told(style, asking.llm),
        grammar=styles.grammar(style, question, evidence) if asking.llm.constrains and evidence.passages else None,
        read=lambda text: styles.read(style, text, question, evidence, asking.document),
    )
    return _events(asking, layout)


def _told(style: AnswerStyle, llm: LLM) -> str:
    """The instructions of a style. Told that it may find nothing, the 0.5B model finds nothing (3 of 3 questions)."""
    system = prompts.load(f"answer_{style}").render()
    return system if llm.constrains else f"{system} {prompts.load('answer_not_found').render()}"


def filled(asking: Asking, schema: Mapping[str, Any]) -> Iterator[AnswerEvent]:
    """The answer as JSON by `schema`, in `Answer.data` and as its text; events as those of `answer`.

    Raises ConfigError for a schema that documents cannot fill (`structured.require`).
    """
    question, evidence = asking.question, asking.evidence
    if not evidence.passages:
        held = None
    elif asking.llm.constrains:
        held = structured.grammar(schema, evidence)
    else:
        held = structured.plain(schema)
    layout = _Layout(
        system=prompts.load("answer_schema").render(schema=structured.shown(schema)),
        grammar=held,
        read=lambda text: structured.read(schema, text, question, evidence, asking.document),
    )
    return _events(asking, layout)


def _events(asking: Asking, layout: _Layout) -> Iterator[AnswerEvent]:
    begin = time.perf_counter()
    yield AnswerEvent(kind="evidence", evidence=asking.evidence)
    if not asking.evidence.passages:
        yield AnswerEvent(
            kind="answer", answer=abstain.refusal(asking.question, abstain.NOTHING_FOUND, asking.evidence)
        )
        return
    completion = asking.llm.chat(
        compose.messages(asking.question, asking.evidence, asking.llm, past=asking.past, system=layout.system),
        max_tokens=asking.settings.max_tokens,
        sampling=asking.sampling,
        grammar=layout.grammar,
    )
    found = _judged(asking, layout.read(completion.text), completion)
    if found.text:
        yield AnswerEvent(kind="text", text=found.text)
    seconds = time.perf_counter() - begin
    yield AnswerEvent(kind="answer", answer=replace(found, usage=replace(found.usage, seconds=seconds)))


def _judged(asking: Asking, laid: styles.Laid, completion: Completion) -> Answer:
    """The laid out answer with its confidence; refused where that is too low, partial where a part was left out."""
    calibration = asking.calibration or shipped(asking.llm.name)
    least = calibration.least(asking.settings.min_confidence)
    meant, kept = asking.meant or asking.question, [claim for claim in laid.claims if claim.supported]
    stated, usage = None, completion.usage
    if kept and least > 0 and asking.llm.constrains:
        cited = tuple(dict.fromkeys(one for claim in kept for one in claim.citations))
        stated, spent = opinion.stated(meant, cited, asking.evidence, asking.llm, asking.document)
        usage = usage + spent
    signals = abstain.signals(
        meant, laid.claims, lambda one: opinion.read(one, asking.evidence), completion.mean_logprob, stated
    )
    sure = calibration.confidence(signals) if signals else 0.0
    found = compose.judged(asking.question, laid.claims, asking.evidence, signals=signals, confidence=sure, least=least)
    found = replace(found, usage=usage)
    if found.status == "refused":
        return replace(found, reason=laid.reason) if laid.reason else found
    found = replace(found, text=laid.text, data=laid.data)
    if any(claim.problems for claim in laid.claims):
        return replace(found, status="partial", reason=abstain.PARTLY)
    if completion.finish == "length":
        return replace(found, status="partial", reason=CUT)
    return found
