"""When not to answer, and how sure an answer is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ragagent.retrieve import compress
from ragagent.types import Answer, Claim, Evidence, Usage

NOTHING_FOUND = "nothing in the documents bears on the question"
NOT_ANSWERED = "the passages found do not answer the question"
UNSUPPORTED = "no claim of the answer stands in the passages it cites"


def refusal(
    question: str, evidence: Evidence, reason: str, *, confidence: float = 0.0, usage: Usage | None = None
) -> Answer:
    """A refused answer: no text, the reason, and the nearest passages as evidence."""
    return Answer(
        question=question,
        text="",
        status="refused",
        confidence=confidence,
        reason=reason,
        evidence=evidence,
        usage=usage or Usage(),
    )


def coverage(question: str, evidence: Evidence) -> float:
    """The share of the question's terms that stand in the evidence, titles and headings included; 1 for no terms."""
    wanted = compress.question_terms(question)
    known = {
        term for p in evidence.passages for part in (p.text, p.title, *p.headings) for term in compress.terms(part)
    }
    return sum(term in known for term in wanted) / len(wanted) if wanted else 1.0


def confidence(question: str, evidence: Evidence, claims: Sequence[Claim], mean_logprob: float | None) -> float:
    """How likely the answer is right, in [0, 1]: coverage x token probability x share of supported claims.

    The probability is exp(mean_logprob), 0.7 where the model does not say. Not calibrated.
    """
    if not claims:
        return 0.0
    likely = 0.7 if mean_logprob is None else math.exp(min(0.0, mean_logprob))
    supported = sum(claim.supported for claim in claims) / len(claims)
    return coverage(question, evidence) * likely * supported


__all__ = ["NOTHING_FOUND", "NOT_ANSWERED", "UNSUPPORTED", "confidence", "coverage", "refusal"]
