"""Evidence to an answer: written by the model under a grammar of the evidence, resolved, verified, or refused."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from ragagent import prompts
from ragagent.answer import abstain, choice, conflict, draft, history, opinion, quote, verify
from ragagent.answer.calibration import Calibration, shipped
from ragagent.answer.citing import cite
from ragagent.answer.quote import Documents
from ragagent.errors import ContextOverflow, ModelError
from ragagent.protocols import LLM, SamplesMany
from ragagent.retrieve import compress, pack
from ragagent.settings import AnswerSettings
from ragagent.text import columns, period
from ragagent.types import (
    Answer,
    AnswerEvent,
    Claim,
    Completion,
    Delta,
    Evidence,
    Grammar,
    Message,
    Sampling,
    Signals,
    Usage,
)

_TEMPERATURE = 1.0

__all__ = ["answer", "cite", "claim", "extract", "judged", "messages", "refuse"]


def answer(
    question: str,
    evidence: Evidence,
    llm: LLM,
    *,
    document: Documents,
    settings: AnswerSettings,
    sampling: Sampling | None = None,
    past: history.Past = history.NOTHING,
    calibration: Calibration | None = None,
    meant: str | None = None,
) -> Iterator[AnswerEvent]:
    """The answer to `question` as it comes: the evidence, pieces of its text, and last the whole answer.

    With no passages the answer is refused and the model is not called. A model that `constrains` answers in runs of
    the evidence, and its text comes when it is known not to be refused, which takes a short prompt or two: it is chosen
    from several drafts (`choice`). With `min_confidence` 0 it is the first draft, and comes as it is written.
    `calibration` says how sure an answer is and, where the settings do not, from where on it is shown; None takes what
    is shipped for the model. Another model is asked to quote, and what it quotes counts only where it stands; its text
    on the way is provisional: the last event may refuse it. Closing the iterator cancels the model. `meant` is the
    question as it is to be understood by itself, where an earlier one has to be known for it; how sure the answer is
    is judged by that.
    """
    begin = time.perf_counter()
    calibration, meant = calibration or shipped(llm.name), meant or question
    least = calibration.least(settings.min_confidence)
    yield AnswerEvent(kind="evidence", evidence=evidence)
    if not evidence.passages:
        yield AnswerEvent(kind="answer", answer=abstain.refusal(question, abstain.NOTHING_FOUND, evidence))
        return
    # What may be refused for what the model thinks of it is not shown before: it could not be taken back.
    gated = llm.constrains and least > 0
    asked = messages(question, evidence, llm, past=past)
    grammar = quote.answers(evidence) if llm.constrains else None
    if gated:
        drafts = _drafted(asked, grammar, llm, settings, sampling)
    else:
        pieces = llm.stream(asked, max_tokens=settings.max_tokens, sampling=sampling, grammar=grammar)
        drafts = [(yield from _streamed(pieces))]
    options = choice.options(drafts, lambda text: _claims(question, text, evidence, document))
    gated = gated and drafts[0].finish != "cancelled"
    best, stated, confirmed, spent = options[0], None, None, Usage()
    if gated:
        best, stated, confirmed, spent = _weighed(options, meant, evidence, llm, document)
    claims, fluency = best.claims, best.completion.mean_logprob
    agreed = best.share if len(drafts) > 1 else None
    signals = abstain.signals(
        meant, claims, lambda one: opinion.read(one, evidence), fluency, stated, confirmed, agreed
    )
    sure = calibration.confidence(signals) if signals else 0.0
    found = judged(question, claims, evidence, signals=signals, confidence=sure, least=least)
    found = replace(found, usage=sum((one.usage for one in drafts), spent))
    if gated and found.status != "refused":
        found = conflict.with_rival(found, evidence, llm, calibration, document)
        yield AnswerEvent(kind="text", text=found.text)
    yield AnswerEvent(kind="answer", answer=_timed(found, begin))


def _drafted(
    asked: Sequence[Message], grammar: Grammar | None, llm: LLM, settings: AnswerSettings, sampling: Sampling | None
) -> Sequence[Completion]:
    """The likeliest answer, and beside it those of `settings.samples` where the model can write several at once."""
    if settings.samples and isinstance(llm, SamplesMany):
        drawn = Sampling(temperature=_TEMPERATURE, seed=(sampling or Sampling()).seed)
        with contextlib.suppress(ContextOverflow):
            return llm.sample(
                asked,
                count=settings.samples + 1,
                max_tokens=settings.max_tokens,
                sampling=drawn,
                grammar=grammar,
                likeliest=True,
            )
    return [llm.chat(asked, max_tokens=settings.max_tokens, sampling=sampling, grammar=grammar)]


def _weighed(
    options: Sequence[choice.Option], question: str, evidence: Evidence, llm: LLM, document: Documents
) -> tuple[choice.Option, float | None, float | None, Usage]:
    """The draft that is meant, what the model thinks of the words it cites and of itself, and what asking cost."""
    best, confirmed, spent = choice.chosen(
        options, lambda one: opinion.confirmed(question, one.text, one.cited, evidence, llm, document)
    )
    stated, cost = opinion.stated(question, best.cited, evidence, llm, document)
    return best, stated, confirmed, spent + cost


def _streamed(deltas: Iterator[Delta]) -> Generator[AnswerEvent, None, Completion]:
    """The text of a completion as it comes; returns the completion."""
    shown = draft.Shown()
    for delta in deltas:
        new = shown.add(delta.text)
        if new:
            yield AnswerEvent(kind="text", text=new)
        if delta.completion is not None:
            return delta.completion
    raise ModelError("the model ended its answer without saying what became of it")


def messages(
    question: str, evidence: Evidence, llm: LLM, *, past: history.Past = history.NOTHING, system: str = ""
) -> list[Message]:
    """What the model reads: instructions that never change, what was said before, evidence, and the question last.

    What `past` shows of the evidence already is not repeated. `system` are other instructions than those of a short
    answer.
    """
    system = system or prompts.load("answer" if llm.constrains else "answer_quoting").render()
    passages = pack.rendered(past.unread(evidence.passages), question)
    user = prompts.load("question").render(passages=passages, question=opinion.one_line(question))
    return [Message(role="system", content=system), *past.messages, Message(role="user", content=user)]


def judged(
    question: str,
    claims: Sequence[Claim],
    evidence: Evidence,
    *,
    signals: Signals | None,
    confidence: float,
    least: float,
) -> Answer:
    """The answer that checked claims amount to: its status derived, refused where `confidence` is below `least`.

    Unsupported claims are left out of the text and stay in `claims` with their problems.
    """
    kept = [claim for claim in claims if claim.supported]
    reason = _why_not(claims, kept, confidence < least)
    if reason:
        return abstain.refusal(question, reason, evidence, claims=claims, confidence=confidence, signals=signals)
    return Answer(
        question=question,
        text="\n".join(claim.text for claim in kept),
        status="grounded" if len(kept) == len(claims) else "partial",
        reason="" if len(kept) == len(claims) else abstain.PARTLY,
        confidence=confidence,
        claims=tuple(claims),
        citations=verify.citations(kept),
        evidence=evidence,
        signals=signals,
    )


def refuse(question: str, reason: str) -> Answer:
    """A refused answer without evidence."""
    return abstain.refusal(question, reason)


def extract(question: str, evidence: Evidence, *, document: Documents, limit: int = 3, reason: str = "") -> Answer:
    """An answer without a language model: the sentences of the evidence that share most with the question, cited.

    At most `limit` of them, the best first; refused when none shares a word with the question. `reason` says why no
    model wrote it.
    """
    units = [unit for passage in evidence.passages for unit in quote.units(passage)]
    scores = compress.scores(question, [unit.text for unit in units])
    order = sorted((index for index in range(len(units)) if scores[index] > 0), key=lambda index: -scores[index])
    claims = []
    for index in order[:limit]:
        citation = quote.citation(units[index], document)
        claims.append(Claim(text=citation.quote, citations=(citation,), supported=citation.verified))
    kept = [claim for claim in claims if claim.supported]
    if not kept:
        why = f"{abstain.NOTHING_FOUND} ({reason})" if reason else abstain.NOTHING_FOUND
        return replace(abstain.refusal(question, why, evidence), extractive=True)
    return Answer(
        question=question,
        text="\n".join(claim.text for claim in kept),
        status="grounded",
        confidence=abstain.coverage(question, evidence) / 2,
        reason=reason,
        claims=tuple(kept),
        citations=verify.citations(kept),
        evidence=evidence,
        extractive=True,
    )


def _why_not(claims: Sequence[Claim], kept: Sequence[Claim], unsure: bool) -> str:
    """The reason to refuse; "" for none."""
    if not claims:
        return abstain.NOT_ANSWERED
    if not kept:
        others = [one for claim in claims for one in claim.problems if one.startswith(period.OTHER)]
        return f"{abstain.OTHER_PERIOD}: {others[0]}" if others else abstain.UNSUPPORTED
    return abstain.UNSURE if unsure else ""


def _claims(question: str, text: str, evidence: Evidence, document: Documents) -> list[Claim]:
    """The claims in what a model wrote: quotes resolved and checked."""
    return [claim(written, question, evidence, document) for written in draft.parse(text)]


def claim(written: draft.Draft, question: str, evidence: Evidence, document: Documents) -> Claim:
    """A draft with the place of its quote, or else of its own text, in the evidence, and the verdict of the checks."""
    place = quote.find(written.quote or written.text, evidence, near=f"{question} {written.text}")
    if place is None:
        return Claim(text=written.text, problems=("its quote does not stand in the passages",))
    citation = quote.citation(quote.widened(place), document)
    column = columns.name_at(place.passage.text, place.start, place.end)
    return verify.checked(written.text, [citation], question, column=column)


def _timed(found: Answer, begin: float) -> Answer:
    return replace(found, usage=replace(found.usage, seconds=time.perf_counter() - begin))
