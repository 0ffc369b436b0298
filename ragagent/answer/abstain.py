"""When not to answer, and what tells how sure an answer is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ragagent.retrieve import compress
from ragagent.types import Answer, Citation, Claim, Evidence, Signals, Usage

NOTHING_FOUND = "nothing in the documents bears on the question"
NOT_ANSWERED = "the passages found do not answer the question"
UNSUPPORTED = "what the model answered does not stand in the passages found"
OTHER_PERIOD = "the passages found speak of another period than the question"
UNSURE = "the passages found do not clearly answer the question"
CONFLICT = "the documents disagree"
TIME = "the time was over"
PARTLY = "a part of the answer was left out, for it does not stand in the passages found"


def refusal(
    question: str,
    reason: str,
    evidence: Evidence | None = None,
    *,
    claims: Sequence[Claim] = (),
    confidence: float = 0.0,
    signals: Signals | None = None,
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
        signals=signals,
    )


def coverage(question: str, evidence: Evidence) -> float:
    """The share of the question's terms that stand in the evidence, titles and headings included; 1 for no terms."""
    texts = [part for passage in evidence.passages for part in (passage.text, passage.title, *passage.headings)]
    return share(question, texts)


def share(question: str, texts: Sequence[str]) -> float:
    """The share of the question's terms that stand in `texts`; 1 for no terms."""
    wanted = compress.question_terms(question)
    known = {term for text in texts for term in compress.terms(text)}
    return sum(term in known for term in wanted) / len(wanted) if wanted else 1.0


def signals(
    question: str,
    claims: Sequence[Claim],
    read: Callable[[Citation], str],
    fluency: float | None,
    stated: float | None,
    confirmed: float | None = None,
    agreed: float | None = None,
) -> Signals | None:
    """What is known of an answer of these claims before it is shown; None where none of them is supported.

    `read` gives the cited words as they are to be understood, `fluency` is the mean log-probability of the answer's
    tokens, `stated` that the model takes the cited words for an answer, `confirmed` that it takes what is said of them
    for the right one, and `agreed` the share of drafts that say it.
    """
    kept = [claim for claim in claims if claim.supported]
    if not kept:
        return None
    cited = [read(one) for claim in kept for one in claim.citations]
    supported = len(kept) / len(claims)
    covered = share(question, cited)
    return Signals(
        stated=stated, confirmed=confirmed, covered=covered, fluency=fluency, supported=supported, agreed=agreed
    )
