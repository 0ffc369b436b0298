"""When not to answer, and how sure an answer is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ragagent.retrieve import compress
from ragagent.types import Answer, Claim, Completion, Evidence, Usage

NOTHING_FOUND = "nothing in the documents bears on the question"
NOT_ANSWERED = "the passages found do not answer the question"
UNSUPPORTED = "what the model answered does not stand in the passages found"
UNSURE = "the passages found do not clearly answer the question"
PARTLY = "a part of the answer was left out, for it does not stand in the passages found"


def refusal(
    question: str,
    reason: str,
    evidence: Evidence | None = None,
    *,
    claims: Sequence[Claim] = (),
    confidence: float = 0.0,
    usage: Usage | None = None,
) -> Answer:
    """A refused answer: no text, the reason, the nearest passages as evidence, and the claims that were not shown."""
    return Answer(
        question=question,
        text="",
        status="refused",
        confidence=confidence,
        reason=reason,
        claims=tuple(claims),
        evidence=evidence,
        usage=usage or Usage(),
    )


def coverage(question: str, evidence: Evidence) -> float:
    """The share of the question's terms that stand in the evidence, titles and headings included; 1 for no terms."""
    wanted = compress.question_terms(question)
    texts = [part for passage in evidence.passages for part in (passage.text, passage.title, *passage.headings)]
    known = {term for text in texts for term in compress.terms(text)}
    return sum(term in known for term in wanted) / len(wanted) if wanted else 1.0


def confidence(question: str, evidence: Evidence, claims: Sequence[Claim], completion: Completion) -> float:
    """How likely the answer is right, in [0, 1]: coverage x token probability x share of supported claims.

    The probability is exp(mean_logprob), 0.7 where the model does not say. Not calibrated.
    """
    if not claims:
        return 0.0
    likely = 0.7 if completion.mean_logprob is None else math.exp(min(0.0, completion.mean_logprob))
    supported = sum(claim.supported for claim in claims) / len(claims)
    return coverage(question, evidence) * likely * supported
