"""Documents that disagree: what another one says of the same thing, found without a model and judged by it."""

from __future__ import annotations

from dataclasses import replace

from ragagent.answer import abstain, opinion, quote, verify
from ragagent.answer.calibration import Calibration
from ragagent.answer.quote import Documents, Place
from ragagent.protocols import LLM
from ragagent.retrieve import compress
from ragagent.types import Answer, Citation, Claim, Evidence

_LEAST_CONFIDENCE = 0.5
_AS_MUCH = 0.8
"""A sentence that covers less than this part of what the cited one covers of the question speaks of something else."""


def with_rival(answer: Answer, evidence: Evidence, llm: LLM, calibration: Calibration, document: Documents) -> Answer:
    """The answer with what another document says otherwise beside it, and the conflict named; or as it was.

    The model is asked twice more, and only where a sentence of another document bears on the question as the cited
    words do and has another number or name in the place of theirs.
    """
    place = rival(answer, evidence)
    if place is None:
        return answer
    other = quote.citation(quote.widened(place), document)
    confirmed, spent = opinion.confirmed(answer.question, other.quote, [other], evidence, llm, document)
    stated, more = opinion.stated(answer.question, [other], evidence, llm, document)
    answer = replace(answer, usage=answer.usage + spent + more)
    claim = Claim(text=other.quote, citations=(other,), supported=other.verified)
    fluency = answer.signals.fluency if answer.signals else None
    signals = abstain.signals(
        answer.question, [claim], lambda one: opinion.read(one, evidence), fluency, stated, confirmed
    )
    # Nobody contradicts where the model does not tell: what is not known of a signal counts for an answer.
    if signals is None or None in (stated, confirmed) or calibration.confidence(signals) < _LEAST_CONFIDENCE:
        return answer
    first = answer.citations[0]
    return replace(
        answer,
        text=f"{answer.text}\n{claim.text}",
        status="partial",
        reason=f"{abstain.CONFLICT}: {_named(first)}, {_named(other)}",
        claims=(*answer.claims, claim),
        citations=verify.citations([*answer.claims, claim]),
    )


def rival(answer: Answer, evidence: Evidence) -> Place | None:
    """The sentence that most likely contradicts an answer of one document, or None.

    It stands in a document that the answer does not cite, covers the question as well as the cited words, lacks a
    number or a name of the answer, and has one that neither they nor the question have.
    """
    cited = {citation.document_id for citation in answer.citations}
    if len(cited) != 1:
        return None
    said = verify.facts(answer.text) - verify.facts(answer.question)
    support = "\n".join([answer.question, *(citation.quote for citation in answer.citations)])
    least = _AS_MUCH * max(_covered(answer.question, citation, evidence) for citation in answer.citations)
    found = [
        place
        for passage in evidence.passages
        if passage.document_id not in cited
        for place in quote.units(passage)
        if _otherwise(said, place.text, support) and _share(answer.question, place) >= least
    ]
    terms = set(compress.terms(support))
    return max(found, key=lambda place: len(terms.intersection(compress.terms(place.text))), default=None)


def _otherwise(said: verify.Facts, text: str, support: str) -> bool:
    """Whether `text` lacks a number of the answer, or all its names, and has one of the kind that `support` has not."""
    lacking, new = verify.missing(said, text), verify.missing(verify.facts(text), support)
    other_name = len(lacking.names) == len(said.names) > 0 and new.names
    return bool((lacking.numbers and new.numbers) or other_name)


def _covered(question: str, citation: Citation, evidence: Evidence) -> float:
    return abstain.share(question, [*opinion.above(citation, evidence), opinion.read(citation, evidence)])


def _share(question: str, place: Place) -> float:
    return abstain.share(question, [place.passage.title, *place.passage.headings, place.text])


def _named(citation: Citation) -> str:
    page = f", page {citation.page}" if citation.page is not None else ""
    return f"{citation.title}{page}"
