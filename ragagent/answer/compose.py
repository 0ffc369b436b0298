"""Evidence to an answer: written by the model under a grammar of the evidence, resolved, verified, or refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace

from ragagent import prompts
from ragagent.answer import abstain, draft, history, quote, verify
from ragagent.answer.citing import cite
from ragagent.errors import ModelError
from ragagent.protocols import LLM
from ragagent.retrieve import compress, pack
from ragagent.settings import AnswerSettings
from ragagent.text import columns, period
from ragagent.types import (
    Answer,
    AnswerEvent,
    Citation,
    Claim,
    Completion,
    Delta,
    Document,
    Evidence,
    Message,
    Sampling,
    Usage,
)

Documents = Callable[[str], Document | None]

__all__ = ["answer", "cite", "extract", "judged", "messages", "refuse"]


def answer(
    question: str,
    evidence: Evidence,
    llm: LLM,
    *,
    document: Documents,
    settings: AnswerSettings,
    sampling: Sampling | None = None,
    past: history.Past = history.NOTHING,
) -> Iterator[AnswerEvent]:
    """The answer to `question` as it comes: the evidence, pieces of its text, and last the whole answer.

    With no passages the answer is refused and the model is not called. A model that `constrains` answers in runs of
    the evidence, and its text comes when it is known not to be refused, which takes one more short prompt; with
    `min_confidence` 0 it comes as it is written. Another model is asked to quote, and what it quotes counts only where
    it stands; its text on the way is provisional: the last event may refuse it. Closing the iterator cancels the model.
    """
    begin = time.perf_counter()
    yield AnswerEvent(kind="evidence", evidence=evidence)
    if not evidence.passages:
        yield AnswerEvent(kind="answer", answer=abstain.refusal(question, abstain.NOTHING_FOUND, evidence))
        return
    grammar = quote.answers(evidence) if llm.constrains else None
    asked = messages(question, evidence, llm, past=past)
    gated = _gated(llm, settings)
    if gated:
        # Nothing is shown yet: words that may be refused could not be taken back.
        completion = llm.chat(asked, max_tokens=settings.max_tokens, sampling=sampling, grammar=grammar)
    else:
        pieces = llm.stream(asked, max_tokens=settings.max_tokens, sampling=sampling, grammar=grammar)
        completion = yield from _streamed(pieces)
    claims = _claims(question, completion.text, evidence, document)
    stated = None
    if completion.finish != "cancelled":
        stated, spent = _stated(question, claims, evidence, llm, settings)
        completion = replace(completion, usage=completion.usage + spent)
    found = judged(question, claims, completion, evidence, settings=settings, stated=stated)
    if gated and found.text:
        yield AnswerEvent(kind="text", text=found.text)
    yield AnswerEvent(kind="answer", answer=_timed(found, begin))


def _gated(llm: LLM, settings: AnswerSettings) -> bool:
    """Whether an answer is refused for what the model thinks of the words that it cites."""
    return llm.constrains and settings.min_confidence > 0


def _stated(
    question: str, claims: Sequence[Claim], evidence: Evidence, llm: LLM, settings: AnswerSettings
) -> tuple[float | None, Usage]:
    """The log-probability that the model says yes when it is asked whether the cited words answer the question.

    Asked of those words and what they stand under alone, a prompt of about a hundred tokens: with all passages before
    it the model agrees too easily. The grammar leaves nothing else to say, so that the probability of saying it is all
    that comes back. None where it is unknown, or where no answer would be refused for it.
    """
    cited = [citation for claim in claims if claim.supported for citation in claim.citations]
    if not cited or not _gated(llm, settings):
        return None, Usage()
    lines = dict.fromkeys(line for citation in cited for line in (*_above(citation, evidence), citation.quote))
    text = prompts.load("stated").render(text="\n".join(map(_line, lines)), question=_line(question))
    completion = llm.chat([Message(role="user", content=text)], max_tokens=4, grammar=quote.yes())
    return completion.mean_logprob, completion.usage


def _above(citation: Citation, evidence: Evidence) -> Sequence[str]:
    """The title and the headings that cited words stand under: what they speak of is often said only there."""
    found = (one for one in evidence.passages if one.document_id == citation.document_id and citation.quote in one.text)
    passage = next(found, None)
    return [citation.title, *passage.headings] if passage else [citation.title]


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


def messages(question: str, evidence: Evidence, llm: LLM, *, past: history.Past = history.NOTHING) -> list[Message]:
    """What the model reads: instructions that never change, what was said before, evidence, and the question last.

    What `past` shows of the evidence already is not repeated.
    """
    system = prompts.load("answer" if llm.constrains else "answer_quoting").render()
    passages = pack.rendered(past.unread(evidence.passages), question)
    user = prompts.load("question").render(passages=passages, question=_line(question))
    return [Message(role="system", content=system), *past.messages, Message(role="user", content=user)]


def judged(
    question: str,
    claims: Sequence[Claim],
    completion: Completion,
    evidence: Evidence,
    *,
    settings: AnswerSettings,
    stated: float | None = None,
) -> Answer:
    """The answer that checked claims amount to: status and confidence derived.

    Unsupported claims are left out of the text and stay in `claims` with their problems. `stated` is the
    log-probability that the model takes the cited words for an answer, where it is known.
    """
    sure = abstain.confidence(question, claims, completion.mean_logprob, stated)
    kept = [claim for claim in claims if claim.supported]
    reason = _why_not(claims, kept, sure, settings)
    if reason:
        return abstain.refusal(question, reason, evidence, claims=claims, confidence=sure, usage=completion.usage)
    return Answer(
        question=question,
        text="\n".join(claim.text for claim in kept),
        status="grounded" if len(kept) == len(claims) else "partial",
        reason="" if len(kept) == len(claims) else abstain.PARTLY,
        confidence=sure,
        claims=tuple(claims),
        citations=verify.citations(kept),
        evidence=evidence,
        usage=completion.usage,
    )


def refuse(question: str, reason: str) -> Answer:
    """A refused answer without evidence."""
    return abstain.refusal(question, reason)


def extract(question: str, evidence: Evidence, *, document: Documents, limit: int = 3) -> Answer:
    """An answer without a language model: the sentences of the evidence that share most with the question, cited.

    At most `limit` of them, the best first; refused when none shares a word with the question.
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
        return abstain.refusal(question, abstain.NOTHING_FOUND, evidence)
    return Answer(
        question=question,
        text="\n".join(claim.text for claim in kept),
        status="grounded",
        confidence=abstain.coverage(question, evidence) / 2,
        claims=tuple(kept),
        citations=verify.citations(kept),
        evidence=evidence,
    )


def _why_not(claims: Sequence[Claim], kept: Sequence[Claim], sure: float, settings: AnswerSettings) -> str:
    """The reason to refuse; "" for none."""
    if not claims:
        return abstain.NOT_ANSWERED
    if not kept:
        others = [one for claim in claims for one in claim.problems if one.startswith(period.OTHER)]
        return f"{abstain.OTHER_PERIOD}: {others[0]}" if others else abstain.UNSUPPORTED
    return abstain.UNSURE if sure < settings.min_confidence else ""


def _claims(question: str, text: str, evidence: Evidence, document: Documents) -> list[Claim]:
    """The claims in what a model wrote: quotes resolved and checked."""
    return [_claim(written, question, evidence, document) for written in draft.parse(text)]


def _claim(written: draft.Draft, question: str, evidence: Evidence, document: Documents) -> Claim:
    """A draft with the place its quote, or else its own text, has in the evidence."""
    place = quote.find(written.quote or written.text, evidence, near=f"{question} {written.text}")
    if place is None:
        return Claim(text=written.text, problems=("its quote does not stand in the passages",))
    citation = quote.citation(quote.widened(place), document)
    column = columns.name_at(place.passage.text, place.start, place.end)
    return verify.checked(written.text, [citation], question, column=column)


def _timed(found: Answer, begin: float) -> Answer:
    return replace(found, usage=replace(found.usage, seconds=time.perf_counter() - begin))


def _line(text: str) -> str:
    """A question as one line, so that it cannot imitate the layout of the prompt."""
    return " ".join(text.split())
