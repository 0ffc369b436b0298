"""When an answer is refused, and whether its confidence means what it says.

    python -m ragagent.eval.refusal --data sets/squad --foreign sets/nq_open --questions 600 --out refusal.jsonl

Half of the questions have their answer in the documents. The others have none, in three ways: the set says so (a
quarter), the document that holds the answer is kept out of the search (an eighth), or they are those of another set (an
eighth). `--half fit` and `--half test` draw from different articles, so that what was fitted on one is measured on the
other. `--fit` prints the weights that explain what was seen, in the form of `calibration.json`, with the least
threshold that refuses the share `--recall` of the questions without an answer; `--plot FILE` draws the answers as SVG.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ragagent.answer.calibration import BARELY, Calibration, fitted, shipped
from ragagent.errors import ConfigError
from ragagent.eval import answers, confidence_plot, datasets, metrics
from ragagent.eval.answer_figures import ANSWERED
from ragagent.eval.answer_records import QuestionRecord, Records
from ragagent.eval.corpus import opened
from ragagent.eval.datasets import Question
from ragagent.settings import Settings
from ragagent.types import Signals

ANSWERABLE = "answerable"
_STRENGTH = 0.5
"""How much the shipped weights hold, in the place of what was seen: about as much as a few questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question as it is put: `kind` is answerable, impossible, removed or foreign."""

    kind: str
    question: Question

    @property
    def put(self) -> Question:
        """The question under an id of its own for each kind, as one without an answer where this kind has none."""
        name = f"{self.kind}:{self.question.id}"
        return replace(self.question, id=name, impossible=self.kind != ANSWERABLE)

    @property
    def where(self) -> str | None:
        """Keeps the documents with the answer out of the search, where they are to be missing."""
        if self.kind != "removed":
            return None
        return " and ".join(f"id != {json.dumps(name)}" for name in self.question.document_ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a question set with documents")
    parser.add_argument("--foreign", type=Path, required=True, help="questions that these documents say nothing about")
    parser.add_argument("--half", choices=("fit", "test"), default="test")
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kb", type=Path, help="where the knowledge base of the set is kept")
    parser.add_argument("--out", type=Path, help="file of records; a second run asks what is missing")
    parser.add_argument("--fit", action="store_true", help="print weights that are fitted to the answers")
    parser.add_argument("--recall", type=float, default=0.82, help="share of the unanswerable to refuse, with --fit")
    parser.add_argument("--plot", type=Path, help="draw risk over coverage, and confidence over truth, as SVG")
    options = parser.parse_args()
    cases = drawn(options.data, options.foreign, options.half, options.questions, options.seed)
    found = list(records(options.data, cases, options.kb, options.out))
    known = shipped(Settings().llm.model)
    if options.plot:
        options.plot.write_text(plotted(found, known.threshold), encoding="utf-8")
    told = asdict(fit(found, known, options.recall)) if options.fit else figures(found, known.threshold)
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


def drawn(data: Path, foreign: Path, half: str, count: int, seed: int) -> list[Case]:
    """`count` cases in the order that `seed` gives: 1/2 answerable, 1/4 impossible, 1/8 removed, 1/8 foreign."""
    rng = np.random.default_rng(seed)
    own = _shuffled([one for one in datasets.questions(data) if _half(_article(one)) == half], rng)
    others = [one for one in datasets.questions(foreign) if _half(one.id) == half]
    told, untold = [one for one in own if not one.impossible], [one for one in own if one.impossible]
    answerable, impossible, removed = count // 2, count // 4, count // 8
    parts = {
        ANSWERABLE: told[:answerable],
        "impossible": untold[:impossible],
        "removed": told[answerable : answerable + removed],
        "foreign": others[: count - answerable - impossible - removed],
    }
    cases = [Case(kind=kind, question=one) for kind, questions in parts.items() for one in questions]
    return [cases[place] for place in rng.permutation(len(cases))]


def _shuffled(questions: Sequence[Question], rng: np.random.Generator) -> list[Question]:
    return [questions[place] for place in rng.permutation(len(questions))]


def _article(question: Question) -> str:
    """What the documents of one source share: their id up to "#"."""
    return (question.document_ids or (question.id,))[0].partition("#")[0]


def _half(name: str) -> str:
    return "fit" if hashlib.sha256(name.encode()).digest()[-1] % 2 else "test"


def records(data: Path, cases: Sequence[Case], folder: Path | None, out: Path | None) -> Iterator[QuestionRecord]:
    """Puts the cases one by one; what `out` has already of this set and these models is not put again."""
    settings = Settings()
    settings = replace(settings, answer=replace(settings.answer, min_confidence=BARELY))
    with opened(data, folder, settings) as corpus:
        facts = answers.described(corpus, data, settings, {})
        with Records(out, facts) as kept:
            for case in cases:
                put = case.put
                yield kept.recorded(put.id, functools.partial(answers.ask, corpus.kb, put, where=case.where))


def fit(found: Sequence[QuestionRecord], prior: Calibration, recall: float) -> Calibration:
    """`prior` moved to what was seen of the answers, with the least threshold at which `recall` is reached.

    Raises ConfigError where there was no question without an answer.
    """
    signals = [_signals(one) for one in found]
    answered = [
        (known, one.scores.get("contains", 0.0) > 0) for known, one in zip(signals, found, strict=True) if known
    ]
    made = fitted([known for known, _ in answered], [hit for _, hit in answered], prior, strength=_STRENGTH)
    asked = [known for known, one in zip(signals, found, strict=True) if one.impossible]
    untold = sorted(made.confidence(known) if known else 0.0 for known in asked)
    if not untold:
        raise ConfigError("a threshold is fitted to questions without an answer, and there were none")
    at = min(len(untold), math.ceil(recall * len(untold))) - 1
    return replace(made, threshold=float(np.nextafter(untold[max(0, at)], 1.0)))


def _signals(record: QuestionRecord) -> Signals | None:
    known: dict[str, Any] = dict(record.signals)
    return Signals(**known) if known else None


def plotted(found: Sequence[QuestionRecord], threshold: float) -> str:
    """The picture of all answers, also those refused, as SVG."""
    right = [one.scores.get("contains", 0.0) > 0 for one in found]
    return confidence_plot.svg([one.confidence for one in found], right, threshold)


def figures(found: Sequence[QuestionRecord], threshold: float) -> dict[str, object]:
    """What comes of refusing below `threshold`; calibration error and AURC are over all answers, also those refused."""
    refused = np.array([one.refused or (one.status in ANSWERED and one.confidence < threshold) for one in found])
    right = np.array([one.scores.get("contains", 0.0) > 0 for one in found])
    told = np.array([not one.impossible for one in found])
    kinds = np.array([one.id.partition(":")[0] for one in found])
    placed = metrics.refusals(refused.tolist(), (~told).tolist())
    sure = [one.confidence for one in found]
    return {
        "questions": len(found),
        "refusal precision": _rounded(placed.precision),
        "refusal recall": _rounded(placed.recall),
        "refused by kind": {kind: _mean(refused[kinds == kind]) for kind in sorted({*kinds[~told].tolist()})},
        "false refusals": _rounded(placed.false_share),
        "right answers refused": _mean(refused[right]),
        "answerable and right": _mean((right & ~refused)[told]),
        "calibration error": _rounded(metrics.calibration_error(sure, right.tolist())),
        "AURC": _rounded(metrics.aurc(sure, right.tolist())),
        "median seconds": round(float(np.median([one.seconds for one in found])), 2),
    }


def _mean(values: npt.NDArray[np.bool_]) -> float | None:
    return _rounded(float(values.mean()) if len(values) else None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


if __name__ == "__main__":
    main()
