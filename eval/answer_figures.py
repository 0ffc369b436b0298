"""The figures of an answers run, each with a 95 % bootstrap interval over the questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ragagent.eval import metrics
from ragagent.eval.answer_records import QuestionRecord
from ragagent.eval.statistics import Floats, Interval, figure_interval, mean_interval

ANSWERABLE = ("EM", "F1", "contains", "gold cited", "gold in evidence")
Rows = Sequence[Sequence[float]]
ANSWERED = ("grounded", "partial")


def figures(records: Sequence[QuestionRecord]) -> dict[str, Interval | None]:
    """Every figure by name; None where there is nothing to take it of."""
    return {**_answers(records), **_citations(records), **_refusals(records), **_confidence(records), **_costs(records)}


def _answers(records: Sequence[QuestionRecord]) -> dict[str, Interval | None]:
    """Over the answerable questions; EM and F1 of all questions too, as SQuAD 2.0 scores them."""
    answerable = [record for record in records if not record.impossible]
    found = {name: mean_interval([record.scores.get(name, 0.0) for record in answerable]) for name in ANSWERABLE}
    for name in ("EM", "F1"):
        found[f"{name} of all"] = mean_interval([record.scores[name] for record in records])
    return found


def _citations(records: Sequence[QuestionRecord]) -> dict[str, Interval | None]:
    """Shares of citations; the questions are resampled, because citations of one answer stand or fall together."""
    shown = [
        (
            len(row.citations),
            sum(item.exact for item in row.citations),
            sum(item.verified for item in row.citations),
            sum(item.verified and not item.exact for item in row.citations),
        )
        for row in records
    ]
    cited = [(1.0, any(item.exact for item in row.citations)) for row in records if row.status in ANSWERED]
    return {
        "citations exact": _share(shown, 1, 0),
        "citations verified": _share(shown, 2, 0),
        "verified but wrong": _share(shown, 3, 2),
        "answers cited": _share(cited, 1, 0),
    }


def _refusals(records: Sequence[QuestionRecord]) -> dict[str, Interval | None]:
    rows = [
        (row.refused, row.impossible, not row.impossible, row.refused and row.impossible, row.refused > row.impossible)
        for row in records
    ]
    return {
        "refusal precision": _share(rows, 3, 0),
        "refusal recall": _share(rows, 3, 1),
        "false refusals": _share(rows, 4, 2),
    }


def _confidence(records: Sequence[QuestionRecord]) -> dict[str, Interval | None]:
    """How far the confidence of what was answered tells right (it contains a gold answer) from wrong."""
    rows = [(row.confidence, row.scores.get("contains", 0.0)) for row in records if row.status in ANSWERED]
    return {
        "AURC": _of_pairs(rows, metrics.aurc),
        "calibration error": _of_pairs(rows, metrics.calibration_error),
    }


def _costs(records: Sequence[QuestionRecord]) -> dict[str, Interval | None]:
    rows = [(row.seconds, row.prompt_tokens, row.reused_tokens, row.completion_tokens) for row in records]
    return {
        "seconds p50": _figure(rows, lambda data: np.median(data[:, :, 0], axis=1)),
        "seconds p95": _figure(rows, lambda data: np.percentile(data[:, :, 0], 95, axis=1)),
        "prompt tokens": mean_interval([row[1] for row in rows]),
        "reused tokens": mean_interval([row[2] for row in rows]),
        "written tokens": mean_interval([row[3] for row in rows]),
        "failed": mean_interval([float(row.status == "failed") for row in records]),
    }


def _share(rows: Rows, part: int, whole: int) -> Interval | None:
    def ratio(data: Floats) -> Floats:
        parts, wholes = data[:, :, part].sum(axis=1), data[:, :, whole].sum(axis=1)
        found: Floats = np.divide(parts, wholes, out=np.full(len(wholes), np.nan), where=wholes > 0)
        return found

    return _figure(rows, ratio)


def _of_pairs(rows: Rows, figure: Callable[[Floats, Floats], float]) -> Interval | None:
    return _figure(rows, lambda data: np.array([figure(part[:, 0], part[:, 1]) for part in data]), samples=500)


def _figure(rows: Rows, figure: Callable[[Floats], Floats], samples: int = 2_000) -> Interval | None:
    return figure_interval(np.asarray(rows, dtype=np.float64), figure, samples=samples) if rows else None
