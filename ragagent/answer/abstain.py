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
    texts = [part for passage in evidence.passages for part in (passage.text, passage.title, *passage.headings)]
    return share(question, texts)


def share(question: str, texts: Sequence[str]) -> float:
    """The share of the question's terms that stand in `texts`; 1 for no terms."""
    wanted = compress.question_terms(question)
    known = {term for text in texts for term in compress.terms(text)}
    return sum(term in known for term in wanted) / len(wanted) if wanted else 1.0


def confidence(question: str, claims: Sequence[Claim], mean_logprob: float | None, stated: float | None) -> float:
    """How likely what is shown of the answer is right, in [0, 1].

    `chance` times (1 + s) / 2, where s is the share of its claims that are supported; 0 where none is.
    """
    kept = [claim for claim in claims if claim.supported]
    if not kept:
        return 0.0
    cited = share(question, [one.quote for claim in kept for one in claim.citations])
    return (1 + len(kept) / len(claims)) / 2 * chance(cited, mean_logprob, stated)


def chance(cited: float, mean_logprob: float | None, stated: float | None) -> float:
    """How likely an answer of the model is right: sigmoid(-1.84 + 1.05 s + 0.94 c + 1.17 l).

    s is the log-odds, 6 at most either way, that the model takes the cited words for an answer (`stated` is the
    log-probability); c the share of the question's terms that stand in them (`cited`); l the mean log-probability of
    the answer's tokens, -3 at least. An unknown s counts as 1.5, an unknown l as -0.3. The weights are a logistic
    regression's over 227 questions put to the default model, half of them without an answer (docs/evaluation.md); how
    they do on others, `python -m ragagent.eval.refusal` measures.
    """
    odds = 1.5 if stated is None else _log_odds(stated)
    fluency = -0.3 if mean_logprob is None else max(mean_logprob, -3.0)
    return 1 / (1 + math.exp(1.84 - 1.05 * odds - 0.94 * cited - 1.17 * fluency))


def _log_odds(log_probability: float) -> float:
    """Of a yes against anything else, kept within 6 either way."""
    other = -math.expm1(min(log_probability, -1e-3))
    return min(6.0, max(-6.0, log_probability - math.log(other)))
