"""When not to answer, and how sure an answer is."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ragagent.retrieve import compress
from ragagent.types import Answer, Claim, Evidence, Usage

NOTHING_FOUND = "nothing in the documents bears on the question"
NOT_ANSWERED = "the passages found do not answer the question"
UNSUPPORTED = "what the model answered does not stand in the passages found"
OTHER_PERIOD = "the passages found speak of another period than the question"
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


def confidence(
    question: str, evidence: Evidence, claims: Sequence[Claim], mean_logprob: float | None, denied: float | None
) -> float:
    """How likely what is shown of the answer is right, in [0, 1].

    `chance` times (1 + s) / 2, where s is the share of its claims that are supported; 0 where none is.
    """
    if not any(claim.supported for claim in claims):
        return 0.0
    supported = sum(claim.supported for claim in claims) / len(claims)
    return (1 + supported) / 2 * chance(coverage(question, evidence), mean_logprob, denied)


def chance(covered: float, mean_logprob: float | None, denied: float | None) -> float:
    """How likely an answer of the model is right: sigmoid(-2 + 1.3 d + c + 0.8 l).

    d is minus the log-probability that the model says NOT FOUND (`denied`), 3 at most; c the share of the question's
    terms that stand in the evidence (`covered`); l the mean log-probability of the answer's tokens, -3 at least. An
    unknown d counts as 1.5, an unknown l as -0.3. The weights come from 52 questions of SQuAD 2.0, XQuAD and NQ-open
    put to the default model, where a threshold of 0.3 refused with precision 0.76 and recall 0.52 and refused one in
    twenty right answers; with so few questions they are not calibrated.
    """
    doubt = 1.5 if denied is None else min(-denied, 3.0)
    fluency = -0.3 if mean_logprob is None else max(mean_logprob, -3.0)
    return 1 / (1 + math.exp(2 - 1.3 * doubt - covered - 0.8 * fluency))
