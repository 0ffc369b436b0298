"""Evidence to an answer: written by the model under a grammar of the evidence, resolved, verified, or refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ragagent import prompts
from ragagent.answer import abstain, quote, verify
from ragagent.protocols import LLM
from ragagent.retrieve import compress, pack
from ragagent.settings import AnswerSettings
from ragagent.types import (
    Answer,
    AnswerEvent,
    Citation,
    Claim,
    Completion,
    Document,
    Evidence,
    Message,
    Passage,
    Sampling,
    Span,
    Usage,
)

Documents = Callable[[str], Document | None]


def answer(
    question: str,
    evidence: Evidence,
    llm: LLM,
    *,
    document: Documents,
    settings: AnswerSettings,
    sampling: Sampling | None = None,
) -> Iterator[AnswerEvent]:
    """The answer to `question` as it comes: the evidence, pieces of its text, and last the whole answer.

    With no passages the answer is refused and the model is not called. Closing the iterator cancels the model.
    """
    begin = time.perf_counter()
    yield AnswerEvent(kind="evidence", evidence=evidence)
    if not evidence.passages:
        yield AnswerEvent(kind="answer", answer=abstain.refusal(question, evidence, abstain.NOTHING_FOUND))
        return
    written = _Written()
    for delta in llm.stream(
        messages(question, evidence),
        max_tokens=settings.max_tokens,
        sampling=sampling,
        grammar=quote.grammar(evidence) if llm.constrains else None,
    ):
        shown = written.add(delta.text)
        if shown:
            yield AnswerEvent(kind="text", text=shown)
        if delta.completion is not None:
            completion = delta.completion
    usage = replace(completion.usage, seconds=time.perf_counter() - begin)
    found = judged(question, completion, evidence, document=document, settings=settings, usage=usage)
    yield AnswerEvent(kind="answer", answer=found)


def messages(question: str, evidence: Evidence) -> list[Message]:
    """What the model reads: instructions that never change, then the evidence, and the question last."""
    asked = prompts.load("answer_question").render(passages=pack.rendered(evidence.passages), question=_line(question))
    return [Message(role="system", content=prompts.load("answer").render()), Message(role="user", content=asked)]


def judged(
    question: str,
    completion: Completion,
    evidence: Evidence,
    *,
    document: Documents,
    settings: AnswerSettings,
    usage: Usage,
) -> Answer:
    """The answer that a completion amounts to: quotes resolved, claims checked, status and confidence derived."""
    claims = [_claim(draft, question, evidence, document) for draft in quote.parse(completion.text)]
    if not claims:
        return abstain.refusal(question, evidence, abstain.NOT_ANSWERED, usage=usage)
    sure = abstain.confidence(question, evidence, claims, completion.mean_logprob)
    kept = tuple(claim for claim in claims if claim.supported)
    if not kept:
        return abstain.refusal(question, evidence, abstain.UNSUPPORTED, confidence=sure, usage=usage)
    if sure < settings.min_confidence:
        return abstain.refusal(question, evidence, abstain.NOT_ANSWERED, confidence=sure, usage=usage)
    return Answer(
        question=question,
        text="\n".join(claim.text for claim in kept),
        status="grounded" if len(kept) == len(claims) else "partial",
        confidence=sure,
        claims=tuple(claims),
        citations=_unique(kept),
        evidence=evidence,
        usage=usage,
    )


def cite(
    question: str,
    text: str,
    evidence: Evidence,
    llm: LLM,
    *,
    document: Documents,
    settings: AnswerSettings,
) -> Answer:
    """The answer `text`, written elsewhere, with the words of the evidence that support it; refused if none do."""
    found = extract(f"{question} {text}", evidence, document=document)
    claim = _supported(text, found.citations[:1], question)
    if not claim.supported:
        return abstain.refusal(question, evidence, abstain.UNSUPPORTED)
    return Answer(
        question=question,
        text=text,
        status="grounded",
        confidence=abstain.confidence(question, evidence, [claim], None),
        claims=(claim,),
        citations=claim.citations,
        evidence=evidence,
    )


def extract(question: str, evidence: Evidence, *, document: Documents, limit: int = 3) -> Answer:
    """An answer without a language model: the sentences of the evidence that share most with the question, cited."""
    units = [(p, unit) for p in evidence.passages for piece in p.pieces for unit in _sentences(p, piece, document)]
    texts = [unit.of(_text(document, passage)) for passage, unit in units]
    scores = compress.scores(question, texts)
    order = sorted(range(len(units)), key=lambda index: (-scores[index], index))[:limit]
    claims = []
    for index in order:
        place = quote.find(texts[index], evidence) if scores[index] > 0 else None
        if place is not None:
            citation = quote.citation(place, document)
            claims.append(Claim(text=citation.quote, citations=(citation,), supported=citation.verified))
    if not claims:
        return abstain.refusal(question, evidence, abstain.NOTHING_FOUND)
    return Answer(
        question=question,
        text="\n".join(claim.text for claim in claims),
        status="grounded",
        confidence=abstain.confidence(question, evidence, claims, None),
        claims=tuple(claims),
        citations=_unique(claims),
        evidence=evidence,
    )


class _Written:
    """Shows the answer lines of a text as it comes in, without quotes and without what may become a refusal."""

    def __init__(self) -> None:
        self._text = ""
        self._shown = 0

    def add(self, piece: str) -> str:
        """What may be shown now that was not before."""
        self._text += piece
        if quote.NOT_FOUND.startswith(self._text.strip()[: len(quote.NOT_FOUND)]):
            return ""
        plain = "".join(line for line in self._text.splitlines(keepends=True) if not line.startswith(">"))
        new, self._shown = plain[self._shown :], len(plain)
        return new


def _claim(draft: quote.Draft, question: str, evidence: Evidence, document: Documents) -> Claim:
    place = quote.find(draft.quote, evidence, near=f"{draft.text} {question}")
    citations = (quote.citation(place, document),) if place is not None else ()
    return _supported(draft.text, citations, question)


def _supported(text: str, citations: Sequence[Citation], question: str) -> Claim:
    """The claim with the verdict of the checks against what it cites."""
    verified = [citation for citation in citations if citation.verified]
    found = verify.problems(text, " ".join(c.quote for c in verified), question) if verified else ("no quote resolves",)
    return Claim(text=text, citations=tuple(verified), supported=not found, problems=found)


def _unique(claims: Sequence[Claim]) -> tuple[Citation, ...]:
    return tuple(dict.fromkeys(citation for claim in claims for citation in claim.citations))


def _sentences(passage: Passage, piece: Span, document: Documents) -> list[Span]:
    source = document(passage.document_id)
    return [unit.span for unit in compress.units(source, piece)] if source is not None else []


def _text(document: Documents, passage: Passage) -> str:
    source = document(passage.document_id)
    return source.text if source is not None else ""


def _line(text: str) -> str:
    return " ".join(text.split())
