"""Citations for a text written elsewhere: found without the model where the words decide, else chosen by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ragagent import prompts
from ragagent.answer import abstain, draft, quote, verify
from ragagent.protocols import LLM
from ragagent.retrieve import compress, pack
from ragagent.settings import AnswerSettings
from ragagent.types import Answer, Claim, Completion, Document, Evidence, Message, Usage

MAX_CITATIONS = 3


def cite(
    question: str,
    text: str,
    evidence: Evidence,
    llm: LLM,
    *,
    document: Callable[[str], Document | None],
    settings: AnswerSettings,
    computed: Sequence[str] = (),
) -> Answer:
    """The answer `text`, written elsewhere, with up to three sentences of the evidence that support it.

    Numbers and names of the text decide which, if it has any that stand in the evidence; else the model chooses one
    sentence or none. `computed` are results of tools: what stands in them needs no document, and the evidence is
    searched for their figures as well. Grounded: all checks pass. Partial: something supports the text, but not all
    of it, and `reason` says so. Refused: nothing does.
    """
    begin = time.perf_counter()
    known = "\n".join(computed)
    units = [unit for passage in evidence.passages for unit in quote.units(passage)]
    chosen, completion = _covering(question, text, known, units), None
    if not chosen and units:
        chosen, completion = _asked(question, text, evidence, llm)
    found = [quote.citation(quote.widened(unit), document) for unit in chosen]
    claim = verify.checked(text, found, question, known)
    usage = completion.usage if completion is not None else Usage()
    usage = replace(usage, seconds=time.perf_counter() - begin)
    return _answer(question, claim, evidence, usage, computed=bool(known))


def _answer(question: str, claim: Claim, evidence: Evidence, usage: Usage, *, computed: bool) -> Answer:
    if not claim.supported and not claim.citations:
        reason = f"{abstain.UNSUPPORTED}: {'; '.join(claim.problems)}"
        return abstain.refusal(question, reason, evidence, claims=[claim], usage=usage)
    sure = abstain.coverage(question, evidence) if evidence.passages else float(computed)
    return Answer(
        question=question,
        text=claim.text,
        status="grounded" if claim.supported else "partial",
        confidence=sure if claim.supported else sure / 2,
        reason="; ".join(claim.problems),
        claims=(claim,),
        citations=claim.citations,
        evidence=evidence,
        usage=usage,
    )


def _covering(question: str, text: str, known: str, units: Sequence[quote.Place]) -> list[quote.Place]:
    """The fewest units, greedily, that hold the numbers and names of `text` and the figures it was computed from.

    Of equals the one nearest to question and text by BM25. Empty when the units hold none of them.
    """
    said = verify.facts(text)
    computed = verify.facts(known)
    wanted = verify.Facts(numbers=said.numbers | computed.numbers, names=said.names)
    wanted = verify.missing(wanted, question) if verify.missing(said, question) else wanted
    scores = compress.scores(f"{question} {text}", [unit.text for unit in units])
    chosen: list[int] = []
    while len(chosen) < MAX_CITATIONS and wanted:
        left = [verify.missing(wanted, unit.text) for unit in units]
        best = min(range(len(units)), key=lambda index: (len(left[index]), -scores[index]), default=None)
        if best is None or len(left[best]) == len(wanted):
            break
        chosen.append(best)
        wanted = left[best]
    return [units[index] for index in chosen]


def _asked(question: str, text: str, evidence: Evidence, llm: LLM) -> tuple[list[quote.Place], Completion]:
    """The sentence that the model says supports `text`, if any."""
    user = prompts.load("cite_question").render(
        passages=pack.rendered(evidence.passages, question), question=_line(question), answer=_line(text)
    )
    system = prompts.load("cite").render()
    completion = llm.chat(
        [Message(role="system", content=system), Message(role="user", content=user)],
        max_tokens=quote.MAX_QUOTE_CHARS,
        grammar=quote.sentence_choice(evidence) if llm.constrains else None,
    )
    found = [] if draft.is_refusal(completion.text) else [_place(completion.text, f"{question} {text}", evidence)]
    return [place for place in found if place is not None], completion


def _place(written: str, near: str, evidence: Evidence) -> quote.Place | None:
    return quote.find(written.strip().lstrip("> ").strip('"“”'), evidence, near=near)


def _line(text: str) -> str:
    return " ".join(text.split())
