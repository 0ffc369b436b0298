"""A run as a file of JSON and as Markdown, and two runs side by side.

A run file holds `kind`, `about` (set, settings, models, environment), `figures` (row -> figure -> interval) and
`records` (each with `id`, `row` and `scores`), so that any two runs over the same questions can be compared later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragagent import atomic
from ragagent.errors import ConfigError
from ragagent.eval.answer_records import AnswersRun
from ragagent.eval.retrieval import RetrievalRun
from ragagent.eval.statistics import Difference, Interval, paired_difference
from ragagent.jsonable import jsonable

Run = RetrievalRun | AnswersRun
MAX_RUN_BYTES = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the second run gained over the first, by row and figure, over the `questions` both have."""

    first: str
    second: str
    questions: int
    differences: Mapping[str, Mapping[str, Difference]]


def write(run: Run, path: Path) -> None:
    """Writes the run to `path` as JSON, whole or not at all. Raises ConfigError when `path` cannot be written."""
    text = json.dumps(jsonable(run), ensure_ascii=False, indent=1) + "\n"
    try:
        with atomic.placed(path, mode=0o644) as file:
            file.write(text.encode("utf-8", "surrogatepass"))
    except OSError as error:
        raise ConfigError(f"{path}: the run cannot be written there: {error.strerror}") from error


def read(path: Path) -> dict[str, Any]:
    """A run file as plain values. Raises ConfigError when it is none."""
    try:
        if path.stat().st_size > MAX_RUN_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_RUN_BYTES} bytes; this is no run file")
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(values, dict) or not {"kind", "about", "figures", "records"} <= values.keys():
        raise ConfigError(f"{path}: not a run file; write one with: ragagent eval retrieval|answers --out FILE")
    return values


def markdown(run: Run) -> str:
    """The run as a Markdown section: what ran where, and its figures with 95 % intervals."""
    facts = run.about
    head = [
        f"## {run.kind}: {facts.data}",
        "",
        f"{facts.documents} documents in {facts.chunks} chunks; "
        + ", ".join(f"{role} {name}" for role, name in facts.models.items())
        + "; "
        + ", ".join(f"{key} {_value(value)}" for key, value in facts.parameters.items()),
        "",
    ]
    table = _wide(run.figures) if isinstance(run, RetrievalRun) else _long(run.figures[""])
    return "\n".join([*head, *table, "", _environment(facts.environment), ""])


def compare(first: Path, second: Path, *, seed: int = 0) -> Comparison:
    """The paired bootstrap difference of each figure of two run files, over the questions that both hold.

    Raises ConfigError when the runs are of different kinds or sets, or have no question in common.
    """
    one, two = read(first), read(second)
    for what, a, b in (("kind", one["kind"], two["kind"]), ("set", one["about"]["data"], two["about"]["data"])):
        if a != b:
            raise ConfigError(f"{first} and {second} cannot be compared: their {what} is {a!r} and {b!r}")
    rows = _by_row(one["records"]), _by_row(two["records"])
    differences = {row: _differences(rows[0][row], rows[1][row], seed) for row in rows[0] if row in rows[1]}
    shared = {item for row in differences for item in rows[0][row].keys() & rows[1][row].keys()}
    if not shared:
        raise ConfigError(f"{first} and {second} have no question in common")
    return Comparison(first=first.stem, second=second.stem, questions=len(shared), differences=differences)


def comparison_markdown(comparison: Comparison) -> str:
    """The differences as a Markdown table; a difference whose interval leaves 0 out is in bold."""
    lines = [
        f"`{comparison.second}` minus `{comparison.first}` over {comparison.questions} questions, 95 % interval",
        "",
        "| | figure | difference |",
        "|---|---|---:|",
    ]
    for row, figures in comparison.differences.items():
        for name, difference in figures.items():
            text = _signed(difference.interval)
            lines.append(f"| {row} | {name} | {f'**{text}**' if difference.clear else text} |")
    return "\n".join([*lines, ""])


def _by_row(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, float]]]:
    rows: dict[str, dict[str, Mapping[str, float]]] = {}
    for record in records:
        rows.setdefault(record["row"], {})[record["id"]] = record["scores"]
    return rows


def _differences(
    first: Mapping[str, Mapping[str, float]], second: Mapping[str, Mapping[str, float]], seed: int
) -> dict[str, Difference]:
    """Each figure over the questions that have it in both runs, in a fixed order of the questions."""
    shared = sorted(first.keys() & second.keys())
    names = dict.fromkeys(name for item in shared for name in first[item] if name in second[item])
    found: dict[str, Difference] = {}
    for name in names:
        pairs = [(first[item][name], second[item][name]) for item in shared if name in first[item]]
        found[name] = paired_difference([a for a, _ in pairs], [b for _, b in pairs], seed=seed)
    return found


def _wide(figures: Mapping[str, Mapping[str, Interval | None]]) -> list[str]:
    names = list(next(iter(figures.values())))
    lines = [f"| mode | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    lines += [f"| {row} | {' | '.join(_cell(cells[name]) for name in names)} |" for row, cells in figures.items()]
    return lines


def _long(figures: Mapping[str, Interval | None]) -> list[str]:
    lines = ["| figure | value | 95 % interval | of |", "|---|---:|---:|---:|"]
    for name, found in figures.items():
        if found is None:
            lines.append(f"| {name} | - | - | 0 |")
        else:
            lines.append(f"| {name} | {_number(found.estimate)} | {_bounds(found)} | {found.count} |")
    return lines


def _cell(found: Interval | None) -> str:
    return "-" if found is None else f"{_number(found.estimate)} [{_bounds(found)}]"


def _bounds(found: Interval) -> str:
    return f"{_number(found.low)}, {_number(found.high)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3f}" if abs(value) >= 0.1 or not value else f"{value:.4f}"


def _signed(found: Interval) -> str:
    return f"{found.estimate:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _environment(facts: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items() if version)
    return (
        f"ragagent {facts['ragagent']}, Python {facts['python']}, {facts['system']}, "
        f"{facts['processor']} ({facts['cpus']} CPUs); {packages}"
    )
