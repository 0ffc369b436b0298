"""When an answer is refused, and whether its confidence means what it says.

    python -m ragagent.eval.refusal --data sets/squad --foreign sets/nq_open --questions 600 --out refusal.json

Half of the questions have their answer in the documents. The others have none, in three ways: the set says so (a
quarter), the document that holds the answer is kept out of the search (an eighth), or they are those of another set (an
eighth). `--half fit` and `--half test` draw from different articles, so that what was fitted on one is measured on the
other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ragagent.eval import datasets, metrics
from ragagent.eval.corpus import opened
from ragagent.eval.datasets import Question
from ragagent.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question as it is put: `kind` is answerable, impossible, removed or foreign."""

    kind: str
    question: Question

    @property
    def where(self) -> str | None:
        """Keeps the documents with the answer out of the search, where they are to be missing."""
        if self.kind != "removed":
            return None
        return " and ".join(f"id != {json.dumps(name)}" for name in self.question.document_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a case. `right`: a gold answer stands in what was shown, or would have been."""

    kind: str
    id: str
    refused: bool
    right: bool
    confidence: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a question set with documents")
    parser.add_argument("--foreign", type=Path, required=True, help="questions that these documents say nothing about")
    parser.add_argument("--half", choices=("fit", "test"), default="test")
    parser.add_argument("--questions", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kb", type=Path, help="where the knowledge base of the set is kept")
    parser.add_argument("--out", type=Path, help="JSON lines, one for each question; a second run asks what is missing")
    options = parser.parse_args()
    cases = drawn(options.data, options.foreign, options.half, options.questions, options.seed)
    found = list(outcomes(options.data, cases, options.kb, options.out))
    sys.stdout.write(json.dumps(figures(found), indent=2) + "\n")


def drawn(data: Path, foreign: Path, half: str, count: int, seed: int) -> list[Case]:
    """`count` cases in the order that `seed` gives: 1/2 answerable, 1/4 impossible, 1/8 removed, 1/8 foreign."""
    rng = np.random.default_rng(seed)
    own = _shuffled([one for one in datasets.questions(data) if _half(_article(one)) == half], rng)
    others = [one for one in datasets.questions(foreign) if _half(one.id) == half]
    told, untold = [one for one in own if not one.impossible], [one for one in own if one.impossible]
    answerable, impossible, removed = count // 2, count // 4, count // 8
    parts = {
        "answerable": told[:answerable],
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


def outcomes(data: Path, cases: Sequence[Case], folder: Path | None, out: Path | None) -> Iterator[Outcome]:
    """Puts the cases one by one; what `out` has already is not put again."""
    known = _known(out)
    with opened(data, folder, Settings()) as corpus:
        for case in cases:
            kept = known.get((case.kind, case.question.id))
            if kept is None:
                answer = corpus.kb.ask(case.question.text, where=case.where)
                shown = "\n".join(claim.text for claim in answer.claims if claim.supported)
                kept = Outcome(
                    kind=case.kind,
                    id=case.question.id,
                    refused=answer.status == "refused",
                    right=case.kind == "answerable" and bool(metrics.contains(shown, case.question.answers)),
                    confidence=answer.confidence,
                    seconds=answer.usage.seconds,
                )
                if out is not None:
                    with out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(kept)) + "\n")
            yield kept


def _known(out: Path | None) -> dict[tuple[str, str], Outcome]:
    if out is None or not out.exists():
        return {}
    found = [Outcome(**json.loads(line)) for line in out.read_text(encoding="utf-8").splitlines()]
    return {(one.kind, one.id): one for one in found}


def figures(found: Sequence[Outcome]) -> dict[str, object]:
    """Precision and recall of refusals, false refusals, calibration error and AURC over all answers, seconds."""
    told = np.array([one.kind == "answerable" for one in found])
    refused = np.array([one.refused for one in found])
    right = [one.right for one in found]
    sure = [one.confidence for one in found]
    kinds = {kind: [one.refused for one in found if one.kind == kind] for kind in ("impossible", "removed", "foreign")}
    return {
        "questions": len(found),
        "refusal precision": round(float((~told[refused]).mean()), 3),
        "refusal recall": round(float(refused[~told].mean()), 3),
        "refused by kind": {kind: round(float(np.mean(values)), 3) for kind, values in kinds.items() if values},
        "false refusals": round(float(refused[told].mean()), 3),
        "right answers refused": round(float(refused[np.array(right)].mean()), 3),
        "answerable and right": round(float((np.array(right) & ~refused)[told].mean()), 3),
        "calibration error": round(metrics.calibration_error(sure, right), 3),
        "AURC": round(metrics.aurc(sure, right), 3),
        "median seconds": round(float(np.median([one.seconds for one in found])), 2),
    }


if __name__ == "__main__":
    main()
