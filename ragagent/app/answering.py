"""Hits become an answer: expanded, packed into evidence, and put to the model."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ragagent.deadline import Deadline
from ragagent.errors import ModelTooLarge
from ragagent.protocols import LLM, Index
from ragagent.settings import Settings
from ragagent.trace import Trace
from ragagent.types import AnswerEvent, AnswerStyle, Evidence, Hit, Usage

if TYPE_CHECKING:
    from ragagent.answer.calibration import Calibration
    from ragagent.answer.history import Past

CHOSEN = "the best sentences of the documents, chosen without a language model"
NONE = f"{CHOSEN}: llm.model is none"
Search = Callable[[str], Sequence[Hit]]
"""The hits of a query, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an answer is made with. A `calibration` of None is the one that comes with the package."""

    index: Index
    settings: Settings
    llm: LLM
    trace: Trace
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form of an answer: a style, or what `schema` asks for."""

    style: AnswerStyle = "short"
    schema: Mapping[str, Any] | None = None


SHORT = Form()


def answered(
    question: str,
    hits: Sequence[Hit],
    parts: Parts,
    *,
    form: Form = SHORT,
    meant: str | None = None,
    past: Past | None = None,
) -> Generator[AnswerEvent]:
    """The events of the answer to `question` from these hits, at least one.

    `meant` is what was searched for, where the question alone does not say it, and `past` what was said before.
    """
    from ragagent.answer import compose, history
    from ragagent.models.sampling import configured

    if form != SHORT:
        yield from _formed(question, hits, parts, form, meant, past)
        return
    evidence = replace(_evidence(meant or question, hits, parts), question=question)
    with parts.trace.span("compose"):
        yield from compose.answer(
            question,
            evidence,
            parts.llm,
            document=parts.index.document,
            settings=parts.settings.answer,
            sampling=configured(parts.settings.llm),
            past=past or history.NOTHING,
            calibration=parts.calibration,
            meant=meant,
        )


def _formed(
    question: str, hits: Sequence[Hit], parts: Parts, form: Form, meant: str | None, past: Past | None
) -> Generator[AnswerEvent]:
    """The events of an answer of another form than the short one, which reads more of the documents."""
    from ragagent.answer import history, styled, styles
    from ragagent.models.sampling import configured

    settings = styles.widened(parts.settings.answer, form.style if form.schema is None else "table")
    parts = replace(parts, settings=replace(parts.settings, answer=settings))
    asking = styled.Asking(
        question=question,
        evidence=replace(_evidence(meant or question, hits, parts), question=question),
        llm=parts.llm,
        document=parts.index.document,
        settings=settings,
        sampling=configured(parts.settings.llm),
        past=past or history.NOTHING,
        calibration=parts.calibration,
        meant=meant,
    )
    with parts.trace.span("compose", style=form.style):
        yield from styled.answer(asking, form.style) if form.schema is None else styled.filled(asking, form.schema)


def until(
    deadline: Deadline, events: Generator[AnswerEvent], question: str, parts: Parts, form: Form
) -> Generator[AnswerEvent]:
    """The events of an answer by a model that stops at `deadline`; what is there then is an answer in part.

    Where nothing that was written by then can be shown, the best sentences are, except in the place of JSON.
    """
    from ragagent.answer import abstain, compose

    with contextlib.closing(events):
        for event in events:
            found = event.answer
            if found is None or not deadline.over:
                yield event
                continue
            if found.status == "refused" and form.schema is None and found.evidence is not None:
                best = compose.extract(question, found.evidence, document=parts.index.document, reason=abstain.TIME)
                found = replace(best, question=found.question, usage=found.usage) if best.text else found
            if found.status == "refused":
                yield replace(event, answer=replace(found, reason=abstain.TIME))
            else:
                reason = found.reason if found.status == "partial" else abstain.TIME
                yield replace(event, answer=replace(found, status="partial", reason=reason))


def extracted(
    question: str, hits: Sequence[Hit], parts: Parts, *, reason: str, meant: str | None = None
) -> Generator[AnswerEvent]:
    """The events of the answer to `question` by the best sentences of these hits; no language model is asked."""
    from ragagent.answer import compose

    begin = time.perf_counter()
    evidence = replace(_evidence(meant or question, hits, parts), question=question)
    yield AnswerEvent(kind="evidence", evidence=evidence)
    found = compose.extract(meant or question, evidence, document=parts.index.document, reason=reason)
    found = replace(found, question=question, usage=Usage(seconds=time.perf_counter() - begin))
    if found.text:
        yield AnswerEvent(kind="text", text=found.text)
    yield AnswerEvent(kind="answer", answer=found)


def unloadable(llm: LLM) -> str:
    """Why there is no model to write an answer, where there is none; "" where it is loaded, by this call if need be.

    A model that has no room in memory is none. One that cannot be loaded for another reason raises ModelLoadError: its
    file or a setting is wrong, and somebody has to know.
    """
    from ragagent.models.absent import NoModel

    if isinstance(llm, NoModel):
        return NONE
    try:
        llm.count_tokens("")
    except ModelTooLarge as error:
        return f"{CHOSEN}, which cannot be loaded: {error}"
    return ""


def expanded(hits: Sequence[Hit], parts: Parts) -> Sequence[Hit]:
    """The hits with the passages that are read of them; what is expanded already stays as it is."""
    from ragagent.retrieve import expand

    return expand.expanded(
        hits,
        chunks=parts.index.chunks,
        document=parts.index.document,
        settings=parts.settings.chunking,
        neighbours=parts.settings.answer.neighbours,
    )


def _evidence(meant: str, hits: Sequence[Hit], parts: Parts) -> Evidence:
    from ragagent.retrieve import pack

    with parts.trace.span("pack", hits=len(hits)) as event:
        evidence = pack.pack(
            meant,
            expanded(hits, parts),
            document=parts.index.document,
            count_tokens=parts.llm.count_tokens,
            settings=parts.settings.answer,
        )
        event.update(passages=len(evidence.passages), tokens=evidence.tokens)
    return evidence
