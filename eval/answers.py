"""How good answers are: a sample of questions asked one by one, each record kept as soon as it is there.

Records go to a file of JSON lines, so that a run that was killed goes on where it stopped. What the answers claim
about themselves is not believed: every citation is checked again against the document's text.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ragagent.answer.quote import Documents
from ragagent.app import KnowledgeBase
from ragagent.errors import ConfigError, ContextOverflow, ModelCrashed
from ragagent.eval import datasets, metrics
from ragagent.eval.about import About, about
from ragagent.eval.answer_figures import figures
from ragagent.eval.answer_records import AnswersRun, CitationRecord, QuestionRecord, Records
from ragagent.eval.corpus import Corpus, Parts, opened
from ragagent.eval.datasets import Question
from ragagent.eval.environment import without_folder
from ragagent.protocols import Progress
from ragagent.settings import Settings
from ragagent.types import Answer, Citation
from ragagent.where import Where


def run(
    data: Path,
    *,
    n: int = 300,
    seed: int = 0,
    impossible_share: float | None = None,
    settings: Settings | None = None,
    kb: Path | None = None,
    records: Path | None = None,
    parts: Parts | None = None,
) -> AnswersRun:
    """Asks `n` questions of the set in `data`, drawn by `seed`, and scores what comes back.

    `impossible_share` of them have no answer in the documents; None keeps the set's own mix. `kb` is the folder that
    knowledge bases of sets are kept in. `records` is the file that records are appended to: a second run with the
    same set, settings and models asks only what is missing, and another one is refused with ConfigError. One answer
    that fails (ModelCrashed, ContextOverflow) is recorded as such and counts as wrong; other errors end the run.
    """
    chosen, parts = settings or Settings(), parts or Parts()
    asked = drawn(datasets.questions(data), n, seed, impossible_share)
    with opened(data, kb, chosen, parts) as corpus:
        parameters = {"questions": len(asked), "seed": seed, "impossible_share": impossible_share}
        facts = described(corpus, data, chosen, parameters)
        with Records(records, facts) as kept:
            rows = tuple(_answered(corpus, asked, kept, parts.progress))
    return AnswersRun(about=facts, figures={"": figures(rows)}, records=rows)


def described(corpus: Corpus, data: Path, settings: Settings, parameters: Mapping[str, Any]) -> About:
    """The facts of a run that puts questions to `corpus`, the set in `data`."""
    status = corpus.kb.status()
    return about(
        data,
        parameters=parameters,
        settings=settings,
        models={"embedder": corpus.kb.embedder.name, "llm": corpus.kb.llm.name},
        counts=(status.documents, status.chunks),
        ingest=corpus.ingest,
    )


def drawn(asked: Sequence[Question], n: int, seed: int, impossible_share: float | None) -> list[Question]:
    """`n` questions in an order that `seed` gives; a smaller `n` asks the first of what a larger one asks.

    Raises ConfigError when the set has too few questions of a kind to keep `impossible_share`.
    """
    if n < 1 or not asked:
        raise ConfigError(f"questions = {n} of a set of {len(asked)}: there is nothing to ask")
    shuffled = [asked[index] for index in np.random.default_rng(seed).permutation(len(asked))]
    if impossible_share is None:
        return shuffled[:n]
    if not 0.0 <= impossible_share <= 1.0:
        raise ConfigError(f"impossible_share = {impossible_share}: must be in 0..1")
    return _mixed(shuffled, n, impossible_share)


def _mixed(shuffled: Sequence[Question], n: int, share: float) -> list[Question]:
    """The first questions of both kinds, spread so that every beginning has the wanted mix as nearly as can be."""
    turns = [int((place + 1) * share + 0.5) > int(place * share + 0.5) for place in range(n)]
    kinds = {kind: [item for item in shuffled if item.impossible is kind] for kind in (True, False)}
    for kind, items in kinds.items():
        if len(items) < turns.count(kind):
            name = "without an answer" if kind else "with an answer"
            raise ConfigError(f"{turns.count(kind)} questions {name} are needed, but the set has {len(items)}")
    taken = {kind: iter(items) for kind, items in kinds.items()}
    return [next(taken[turn]) for turn in turns]


def _answered(
    corpus: Corpus, asked: Sequence[Question], kept: Records, progress: Progress | None
) -> Iterator[QuestionRecord]:
    for done, question in enumerate(asked, start=1):
        record = kept.recorded(question.id, functools.partial(ask, corpus.kb, question))
        if progress:
            progress.update("answers", done, len(asked), question.text)
        yield record


def ask(kb: KnowledgeBase, question: Question, *, where: Where | None = None) -> QuestionRecord:
    """Asks one question, of the documents that `where` lets through; what was refused counts as saying nothing."""
    begin = time.perf_counter()
    try:
        answer = kb.ask(question.text, where=where)
    except (ModelCrashed, ContextOverflow) as error:
        return _failed(question, error, time.perf_counter() - begin)
    seconds = time.perf_counter() - begin
    return recorded(kb.document, question, answer, seconds)


def recorded(document: Documents, question: Question, answer: Answer, seconds: float) -> QuestionRecord:
    """The record of an answer, its citations checked against the documents' texts."""
    refused = answer.status == "refused"
    citations = tuple(checked(document, citation, question.answers) for citation in answer.citations)
    evidence = [passage.text for passage in answer.evidence.passages] if answer.evidence else []
    return QuestionRecord(
        id=question.id,
        question=question.text,
        golds=question.answers,
        impossible=question.impossible,
        answer=answer.text,
        status=answer.status,
        confidence=answer.confidence,
        reason=answer.reason,
        refused=refused,
        citations=citations,
        scores=scores("" if refused else answer.text, question, citations, evidence),
        seconds=round(seconds, 4),
        prompt_tokens=answer.usage.prompt_tokens,
        reused_tokens=answer.usage.reused_tokens,
        completion_tokens=answer.usage.completion_tokens,
        signals=asdict(answer.signals) if answer.signals else {},
    )


def scores(
    answer: str, question: Question, citations: Sequence[CitationRecord], evidence: Sequence[str]
) -> Mapping[str, float]:
    """The figures of one answer by name, each in 0..1. Of a question without an answer, only silence is right."""
    golds = () if question.impossible else question.answers
    found: dict[str, Any] = {"EM": metrics.exact_match(answer, golds), "F1": metrics.f1(answer, golds)}
    if golds:
        found["contains"] = metrics.contains(answer, golds)
        found["gold cited"] = any(item.exact and item.contains_gold for item in citations)
        found["gold in evidence"] = any(metrics.contains(text, golds) for text in evidence)
    return {name: float(value) for name, value in found.items()}


def checked(document: Documents, citation: Citation, golds: Sequence[str]) -> CitationRecord:
    """A citation with the verdict of a check of its own: is the quote what stands at the span, to the character?"""
    source = document(citation.document_id)
    text = source.text if source else ""
    return CitationRecord(
        quote=citation.quote,
        document_id=citation.document_id,
        span=citation.span,
        page=citation.page,
        verified=citation.verified,
        exact=metrics.quote_is_exact(text, citation.quote, citation.span),
        contains_gold=metrics.contains(citation.quote, golds),
    )


def _failed(question: Question, error: Exception, seconds: float) -> QuestionRecord:
    wrong = scores("(no answer)", question, (), ())
    return QuestionRecord(
        id=question.id,
        question=question.text,
        golds=question.answers,
        impossible=question.impossible,
        answer="",
        status="failed",
        confidence=0.0,
        reason=str(without_folder(f"{type(error).__name__}: {error}")),
        refused=False,
        citations=(),
        scores=dict.fromkeys(wrong, 0.0),
        seconds=round(seconds, 4),
    )
