"""How sure answers from these very documents are: questions are made of passages and put with and without them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ragagent import prompts
from ragagent.answer import calibration
from ragagent.answer.calibration import Calibration
from ragagent.app import answering
from ragagent.errors import ConfigError
from ragagent.protocols import Index, Progress
from ragagent.retrieve import rewrite
from ragagent.types import Answer, Chunk, Hit, Message, Signals, Span

_LEAST_WORDS = 25
_MOST_CHARS = 2000
_FOLDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An answer to a question that was made of a passage; `told` says whether the passage could be found.

    `signals` is None where the model itself found nothing; `right` means that the answer is of that passage.
    """

    question: str
    told: bool
    right: bool
    signals: Signals | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What comes of a calibration, as shares; None where there is nothing to take a share of.

    `wrong_shown` of the answers that are shown, `right_refused` of the right ones, `untold_refused` of those without
    their passage; `gap` is the mean of the confidences less the share of right answers.
    """

    wrong_shown: float | None
    right_refused: float | None
    untold_refused: float | None
    gap: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """`before` is with what was in force, `after` with `found`, on questions that it was not fitted to (five folds)."""

    model: str
    cases: tuple[Case, ...]
    found: Calibration
    before: Figures
    after: Figures


def calibrated(
    ask: answering.Parts,
    search: answering.Search,
    *,
    questions: int,
    risk: float | None,
    seed: int,
    progress: Progress | None = None,
) -> CalibrationReport:
    """Makes `questions` questions, asks each with and without its passage, and fits the weights to what came of it.

    Takes about three answers a question. `risk` is the share of shown answers that may be wrong; the threshold that
    keeps it is found on answers that the weights were not fitted to, and None leaves the threshold as it is. Raises
    ConfigError where the documents have too little text for a single question.
    """
    if questions < 1 or (risk is not None and not 0 < risk < 1):
        raise ConfigError(f"questions = {questions}, risk = {risk}: at least one question, and a risk between 0 and 1")
    prior = ask.calibration or calibration.shipped(ask.llm.name)
    barely = replace(ask.settings, answer=replace(ask.settings.answer, min_confidence=calibration.BARELY))
    ask = replace(ask, settings=barely)
    pairs = []
    for done, chunk in enumerate(_drawn(ask.index, questions, random.Random(seed)), start=1):
        pairs.append(_put(chunk, ask, search))
        if progress is not None:
            progress.update("questions", done, questions)
    pairs = [pair for pair in pairs if pair]
    if not pairs:
        raise ConfigError(f"no passage of these documents has {_LEAST_WORDS} words to make a question of")
    return _report(ask.llm.name, pairs, prior, risk)


def _drawn(index: Index, count: int, rng: random.Random) -> Iterator[Chunk]:
    """At most `count` passages with enough words, of as many documents as can be."""
    names = [known.id for known in index.each_known()]
    rng.shuffle(names)
    left = {name: list(index.chunks(name)) for name in names[: 4 * count]}
    for chunks in left.values():
        rng.shuffle(chunks)
    while count and left:
        for name in list(left):
            chunk = next((one for one in left[name] if len(one.text.split()) >= _LEAST_WORDS), None)
            if chunk is None:
                del left[name]
            elif count:
                left[name] = left[name][left[name].index(chunk) + 1 :]
                count -= 1
                yield chunk


def _put(chunk: Chunk, ask: answering.Parts, search: answering.Search) -> tuple[Case, ...]:
    """What came of the question made of `chunk`, with it and without it; empty where none could be made.

    Where another passage says the same as the answer, leaving this one out makes no question without an answer.
    """
    question = _question(chunk, ask)
    if not question:
        return ()
    hits = answering.expanded(search(rewrite.searched(question)), ask)
    own = _answer(question, hits, ask)
    case = Case(question=question, told=True, right=_is_of(own, chunk), signals=own.signals)
    others = _answer(question, [hit for hit in hits if not _touches(hit.document_id, hit.chunk.span, chunk)], ask)
    if case.right and others.text and _plain(others.text) == _plain(own.text):
        return (case,)
    return case, Case(question=question, told=False, right=False, signals=others.signals)


def _question(chunk: Chunk, ask: answering.Parts) -> str:
    headings = " - ".join(chunk.headings)
    text = prompts.load("calibrate").render(headings=headings, passage=chunk.text[:_MOST_CHARS])
    written = ask.llm.chat([Message(role="user", content=text)], max_tokens=64).text.strip()
    return written.splitlines()[0].strip(" \"'*") if written else ""


def _answer(question: str, hits: Sequence[Hit], ask: answering.Parts) -> Answer:
    for event in answering.answered(question, hits, ask):
        if event.answer is not None:
            return event.answer
    raise AssertionError("the events of an answer end with the answer")


def _is_of(answer: Answer, chunk: Chunk) -> bool:
    """Whether it cites the passage, or words that stand in it as well."""
    said = _plain(chunk.text)
    return any(
        (one.span and _touches(one.document_id, one.span, chunk)) or _plain(one.quote) in said
        for one in answer.citations
    )


def _touches(document_id: str, span: Span, chunk: Chunk) -> bool:
    return document_id == chunk.document_id and span.start < chunk.span.end and chunk.span.start < span.end


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _report(model: str, pairs: Sequence[tuple[Case, ...]], prior: Calibration, risk: float | None) -> CalibrationReport:
    cases = [case for pair in pairs for case in pair]
    unseen = _unseen(pairs, prior)
    before = [prior.confidence(case.signals) if case.signals else 0.0 for case in cases]
    right = [case.right for case in cases]
    least = prior.threshold if risk is None else calibration.threshold(unseen, right, risk)
    return CalibrationReport(
        model=model,
        cases=tuple(cases),
        found=replace(_fitted(cases, prior), threshold=least),
        before=_figures(cases, before, prior.threshold),
        after=_figures(cases, unseen, least),
    )


def _unseen(pairs: Sequence[tuple[Case, ...]], prior: Calibration) -> list[float]:
    """The confidence of each case by weights that were fitted without its question."""
    found = []
    for place, pair in enumerate(pairs):
        fold = place % _FOLDS
        others = [case for other, cases in enumerate(pairs) if other % _FOLDS != fold for case in cases]
        model = _fitted(others, prior)
        found += [model.confidence(case.signals) if case.signals else 0.0 for case in pair]
    return found


def _fitted(cases: Sequence[Case], prior: Calibration) -> Calibration:
    known = [(case.signals, case.right) for case in cases if case.signals is not None]
    return calibration.fitted([one for one, _ in known], [hit for _, hit in known], prior)


def _figures(cases: Sequence[Case], sure: Sequence[float], least: float) -> Figures:
    shown = [one >= least and case.signals is not None for one, case in zip(sure, cases, strict=True)]
    answered = [(one, case.right) for one, case in zip(sure, cases, strict=True) if case.signals is not None]
    return Figures(
        wrong_shown=_share([not case.right for case, seen in zip(cases, shown, strict=True) if seen]),
        right_refused=_share([not seen for case, seen in zip(cases, shown, strict=True) if case.right]),
        untold_refused=_share([not seen for case, seen in zip(cases, shown, strict=True) if not case.told]),
        gap=sum(one - hit for one, hit in answered) / len(answered) if answered else None,
    )


def _share(found: Sequence[bool]) -> float | None:
    return sum(found) / len(found) if found else None
