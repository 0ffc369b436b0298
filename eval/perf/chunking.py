"""Which way of cutting documents finds the most of what answers questions, in the same number of tokens?

Every way is measured on every set by `ragagent.eval.chunking`: recall in the first so many tokens of the retrieved
text, with the paired difference from the first way and its bootstrap interval over the questions. The sets of a run
weigh alike in the mean.

    python -m ragagent.eval.perf.chunking --sets sets/chunking_eval sets/sec_10q_pdf --ways structure:200 tokens:200
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from ragagent.errors import ConfigError
from ragagent.eval import chunking, statistics
from ragagent.eval.chunking import Outcome
from ragagent.ingest.chunking import fingerprint
from ragagent.models.embedding import open_embedder
from ragagent.protocols import Embedder
from ragagent.settings import ChunkingSettings, Settings, load
from ragagent.types import digest

QUESTION = "Which way of cutting documents finds the most of what answers questions, in the same number of tokens?"
WAYS = (
    *("structure:200", "structure:100", "structure:150", "structure:300", "structure:400", "structure:200:overlap=30"),
    *("tokens:200", "tokens:200:overlap=30", "tokens:400", "sentences:200", "semantic:200", "semantic:300"),
    *("parents:60:parent=200", "parents:100:parent=300", "parents:100:parent=400"),
)


def main() -> None:
    """Prints one line of JSON; a table and how far it is go to the error stream."""
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--sets", type=Path, nargs="+", required=True, help="folders of question sets")
    parser.add_argument("--ways", nargs="+", default=WAYS, help="STRATEGY:TOKENS[:overlap=N][:min=N][:parent=N]")
    parser.add_argument("--budgets", type=int, nargs="+", default=(400, 1000))
    parser.add_argument("--questions", type=int, help="at most so many of each set, evenly taken")
    parser.add_argument("--documents", type=int, help="at most so many of each set, evenly taken")
    parser.add_argument("--keep", type=Path, help="folder that keeps each outcome; what is there is not measured again")
    parser.add_argument("--hash-embedder", action="store_true", help="without a model, to try the program")
    options = parser.parse_args()
    embedder = _embedder(options.hash_embedder)
    found: dict[str, dict[str, Outcome]] = {}
    for folder in options.sets:
        data = chunking.load(folder, most_questions=options.questions, most_documents=options.documents)
        for way in options.ways:
            begin = time.perf_counter()
            outcome = _measured(data, way, embedder, options)
            found.setdefault(data.name, {})[way] = outcome
            _tell(f"{data.name} {way}: {outcome.chunks} chunks, {_shown(outcome)}, {time.perf_counter() - begin:.0f} s")
    result: dict[str, Any] = {
        "question": QUESTION,
        "embedder": embedder.name,
        "sets": {name: len(next(iter(ways.values())).recall[options.budgets[0]]) for name, ways in found.items()},
        "ways": {way: _row(way, options.ways[0], found, options.budgets) for way in options.ways},
    }
    _tell(_table(result["ways"], options.budgets))
    print(json.dumps(result))


def settings_of(way: str) -> ChunkingSettings:
    """The settings of a way as the command line writes it. Raises ConfigError."""
    strategy, *rest = way.split(":")
    names = {"overlap": "overlap_tokens", "min": "min_tokens", "parent": "parent_tokens", "window": "window_sentences"}
    given: dict[str, Any] = {"chunking.strategy": strategy}
    for part in rest:
        name, _, value = part.rpartition("=")
        if name and name not in names:
            raise ConfigError(f"--ways {way}: {name!r} is not one of {', '.join(names)}")
        given[f"chunking.{names.get(name, 'max_tokens')}"] = value
    return load(overrides=given).settings.chunking


def _measured(data: chunking.Set, way: str, embedder: Embedder, options: argparse.Namespace) -> Outcome:
    """The outcome that is kept for the same set, way and chunker, else a new one."""
    settings = settings_of(way)
    if options.keep is None:
        return chunking.measure(data, settings, embedder, options.budgets)
    budgets = "-".join(map(str, options.budgets))
    mark = digest(
        fingerprint(settings), repr(settings), embedder.fingerprint, budgets, *(one.text for one in data.questions)
    )
    file = options.keep / f"{data.name}-{way.replace(':', '-')}-{mark[:8]}.pickle"
    if file.is_file():
        return cast(Outcome, pickle.loads(file.read_bytes()))
    outcome = chunking.measure(data, settings, embedder, options.budgets)
    options.keep.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pickle.dumps(outcome))
    return outcome


def _embedder(hashed: bool) -> Embedder:
    if hashed:
        from ragagent.testing.embedding import HashEmbedder

        return HashEmbedder()
    return open_embedder(None, settings=Settings().embedding, store=None)


def _row(way: str, first: str, found: dict[str, dict[str, Outcome]], budgets: Sequence[int]) -> dict[str, Any]:
    sets: dict[str, Any] = {}
    for name, ways in found.items():
        mine, other = ways[way], ways[first]
        sets[name] = {
            "chunks": mine.chunks,
            "mean_tokens": round(mine.mean_tokens, 1),
            "recall": {str(budget): round(float(np.mean(mine.recall[budget])), 4) for budget in budgets},
            "against_first": {
                str(budget): _difference(other.recall[budget], mine.recall[budget]) for budget in budgets
            },
            "top_5": {key: round(float(np.mean(values)), 4) for key, values in mine.top.items()},
        }
    means = {
        str(budget): round(float(np.mean([sets[name]["recall"][str(budget)] for name in sets])), 4)
        for budget in budgets
    }
    return {"mean_recall": means, "sets": sets}


def _difference(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """The mean of the paired difference, and its 95 % interval."""
    interval = statistics.paired_difference(first, second, samples=2_000).interval
    return [round(one, 4) for one in (interval.estimate, interval.low, interval.high)]


def _shown(outcome: Outcome) -> str:
    return ", ".join(f"recall@{budget} {np.mean(values):.3f}" for budget, values in outcome.recall.items())


def _table(ways: dict[str, Any], budgets: Sequence[int]) -> str:
    """The result for people, the best mean of the largest budget first."""
    best = sorted(ways.items(), key=lambda one: -one[1]["mean_recall"][str(budgets[-1])])
    lines = []
    for way, row in best:
        cells = [f"{way:28}"]
        for budget in map(str, budgets):
            cells.append(f"@{budget}: {row['mean_recall'][budget]:.3f}")
            for one in row["sets"].values():
                estimate, low, high = one["against_first"][budget]
                sign = "*" if low > 0 or high < 0 else " "
                cells.append(f"{one['recall'][budget]:.3f} ({estimate:+.3f}{sign})")
        lines.append("  ".join(cells))
    return "\n".join(lines)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
