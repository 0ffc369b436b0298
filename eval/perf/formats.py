"""How much of each format is read? Over a folder of real files, beside texts that another tool took from them.

`manifest.jsonl` in the folder names the files: `path`, `kind`, `expect` (`ok` or what is wrong with the file), and
`expected_text` where there is one. Word recall is the share of the expected words, counted as often as they occur,
that are in the text; the expected texts are Markdown of another tool, so 1.0 is not the goal. Word order is the
share of the words common to both that stand in one order in both, for texts of up to 5,000 words.

    python -m ragagent.eval.perf.formats --files sets/messy_docs
    python -m ragagent.eval.perf.formats --files sets/messy_docs --table
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from ragagent.connectors import readers
from ragagent.errors import ReadError
from ragagent.eval.perf.measure import peak_rss_bytes
from ragagent.protocols import Fetched
from ragagent.settings import IngestSettings

QUESTION = "How much of each format is read?"
MAX_ORDERED_WORDS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one file; `recall` and `order` are None where nothing is expected."""

    path: str
    kind: str
    expect: str
    seconds: float
    reason: str = ""
    recall: float | None = None
    order: float | None = None


def main() -> None:
    """Prints one line of JSON, or a table in Markdown and the reason for each file that was not read."""
    arguments = _arguments()
    lines = (arguments.files / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    outcomes = [_outcome(arguments.files, json.loads(line)) for line in lines]
    kinds: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[outcome.kind].append(outcome)
    summary = {kind: _summary(kinds[kind]) for kind in sorted(kinds)} | {"all": _summary(outcomes)}
    if arguments.table:
        _print_table(summary, outcomes)
    else:
        figures = {"question": QUESTION, "files": len(outcomes), "peak_rss_bytes": peak_rss_bytes(), "formats": summary}
        print(json.dumps(figures | {"refused": {one.path: one.reason for one in outcomes if one.reason}}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--files", type=Path, required=True, help="folder with manifest.jsonl")
    parser.add_argument("--table", action="store_true", help="print Markdown instead of JSON")
    return parser.parse_args()


def _outcome(folder: Path, row: dict[str, str]) -> Outcome:
    started = time.perf_counter()
    text, reason = "", ""
    try:
        path = (folder / row["path"]).absolute()
        fetched = Fetched(uri=path.as_uri(), name=path.name, content=path)
        # Nothing that was recognised before may help.
        text = readers.read(fetched, settings=IngestSettings(ocr_cache_bytes=0)).document.text
    except ReadError as error:
        reason = f"{type(error).__name__}: {error}"
    seconds = time.perf_counter() - started
    recall = order = None
    if text and row.get("expected_text"):
        expected, found = _words((folder / row["expected_text"]).read_text(encoding="utf-8")), _words(text)
        recall = (Counter(expected) & Counter(found)).total() / max(1, len(expected))
        order = _order(expected, found)
    return Outcome(
        path=row["path"],
        kind=row["kind"],
        expect=row["expect"],
        seconds=seconds,
        reason=reason,
        recall=recall,
        order=order,
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _order(expected: list[str], found: list[str]) -> float | None:
    """The share of the words common to both that stand in the same order in both."""
    common = (Counter(expected) & Counter(found)).total()
    if not common or max(len(expected), len(found)) > MAX_ORDERED_WORDS:
        return None
    matcher = SequenceMatcher(None, expected, found, autojunk=True)
    return min(1.0, sum(block.size for block in matcher.get_matching_blocks()) / common)


def _summary(outcomes: list[Outcome]) -> dict[str, float | int | None]:
    """Files, how many of those in good order were read, mean recall and order, seconds for all of them."""
    good = [one for one in outcomes if one.expect == "ok"]
    return {
        "files": len(outcomes),
        "good": len(good),
        "read": sum(not one.reason for one in good),
        "compared": sum(one.recall is not None for one in outcomes),
        "recall": _mean([one.recall for one in outcomes if one.recall is not None]),
        "order": _mean([one.order for one in outcomes if one.order is not None]),
        "seconds": round(sum(one.seconds for one in outcomes), 2),
    }


def _mean(values: list[float]) -> float | None:
    return round(sum(values) / len(values), 3) if values else None


def _print_table(summary: dict[str, dict[str, float | int | None]], outcomes: list[Outcome]) -> None:
    print("| kind | files | in good order | read of these | compared | word recall | word order | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, figures in summary.items():
        print(f"| {kind} | {' | '.join('-' if value is None else str(value) for value in figures.values())} |")
    print(f"\nPeak memory: {peak_rss_bytes() / 2**20:.0f} MiB\n")
    for one in outcomes:
        if one.reason:
            print(f"- {one.path} ({one.expect}): {one.reason}")


if __name__ == "__main__":
    main()
