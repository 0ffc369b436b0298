"""How long until a folder of HTML files can be searched, against the documented ways of LangChain and LlamaIndex?

Each side runs in a process of its own, one after another, on the same files, with the same model, and with no network
where the system lets it be taken away. The clock runs from the folder to an index that answers; opening the model is
on nobody's account. ragagent writes everything to the disk within that time, the others keep it in memory. A side has
to find files by words out of their middle before its figures count.

    python -m ragagent.eval.perf.ingest_peers --data /usr/share/doc/postgresql-doc-15/html --files 200 --python PYTHON

PYTHON is that of an environment with langchain-community, langchain-huggingface, langchain-text-splitters,
llama-index-core, llama-index-embeddings-huggingface, llama-index-readers-file, llama-index-retrievers-bm25,
llama-index-vector-stores-faiss, sentence-transformers, faiss-cpu, rank-bm25, beautifulsoup4 and lxml.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from ragagent.connectors import readers
from ragagent.eval.environment import facts
from ragagent.models.embedding import DEFAULT_EMBEDDER
from ragagent.models.store import ModelStore

QUESTION = "How long until a folder of HTML files can be searched, against LangChain and LlamaIndex?"
OURS = "ragagent"
PROBES = 30
FOUND_SHARE = 0.7
_PROBE_WORDS = 20
_LEAST_WORDS = 120
_TIMEOUT_S = 3600.0
_HERE = Path(__file__).parent

Record = dict[str, Any]


def main() -> None:
    """Prints one line of JSON."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="ingest-peers-") as name:
        folder, questions = Path(name, "files"), Path(name, "questions.json")
        files = _sampled(arguments.data, arguments.files, arguments.seed)
        size = _copied(files, folder)
        wanted = _questions(folder)
        questions.write_text(json.dumps(list(wanted.values())), encoding="utf-8")
        model = str(ModelStore().resolve(arguments.model))
        commands = _commands(arguments, [model, str(questions)])
        rounds = [_round(commands, folder, list(wanted), turn) for turn in range(arguments.repeats)]
    print(json.dumps({"question": QUESTION, "files": len(files), "bytes": size, **_summary(rounds, len(files))}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--data", type=Path, required=True, help="folder with HTML files")
    parser.add_argument("--files", type=int, default=200, help="so many of them, chosen by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--python", help="the interpreter of the others' environment; without it, ragagent alone")
    parser.add_argument("--tokens", type=int, nargs="*", default=[256, 1024], help="LlamaIndex's sizes of a chunk")
    parser.add_argument("--model", default=DEFAULT_EMBEDDER)
    return parser.parse_args()


def _sampled(data: Path, count: int, seed: int) -> list[Path]:
    files = sorted(data.rglob("*.html"))
    if not files:
        raise SystemExit(f"no HTML files in {data}")
    return sorted(random.Random(seed).sample(files, min(count, len(files))))


def _copied(files: Sequence[Path], folder: Path) -> int:
    """Copies the files side by side under names of their own; returns their bytes."""
    folder.mkdir(exist_ok=True)
    for number, path in enumerate(files):
        shutil.copy2(path, folder / f"{number:05}-{path.name}")
    return sum(path.stat().st_size for path in files)


def _questions(folder: Path) -> dict[str, str]:
    """For some files, spread over all, the words in their middle."""
    texts = {path.name: readers.read_document(path).text.split() for path in sorted(folder.iterdir())}
    long = [name for name, words in texts.items() if len(words) >= _LEAST_WORDS]
    chosen = long[:: max(1, len(long) // PROBES)]
    return {name: " ".join(texts[name][len(texts[name]) // 2 :][:_PROBE_WORDS]) for name in chosen}


def _commands(arguments: argparse.Namespace, rest: list[str]) -> dict[str, list[str]]:
    """What each side runs; the folder comes in the place of FOLDER."""
    commands = {OURS: [sys.executable, "-m", "ragagent.eval.perf.ingest_ours", "FOLDER", *rest]}
    if arguments.python:
        # -P: the programs stand in a folder whose other modules have names that libraries use too.
        peer = [arguments.python, "-P"]
        commands["langchain"] = [*peer, str(_HERE / "ingest_langchain.py"), "FOLDER", *rest]
        for tokens in arguments.tokens:
            command = [*peer, str(_HERE / "ingest_llamaindex.py"), "FOLDER", *rest, str(tokens)]
            commands[f"llamaindex-{tokens}"] = command
    return commands


def _round(commands: Mapping[str, list[str]], folder: Path, wanted: Sequence[str], turn: int) -> dict[str, Record]:
    """What each side reports, the order turned by one each round; each has a copy of the files, as ours edits one."""
    names = list(commands)
    shift = turn % len(names)
    found = {}
    for name in names[shift:] + names[:shift]:
        own = folder.with_name(f"{folder.name}-{name}-{turn}")
        shutil.copytree(folder, own)
        found[name] = _run([str(own) if part == "FOLDER" else part for part in commands[name]])
        shutil.rmtree(own)
        _check(name, found[name], wanted)
    return found


def _run(command: list[str]) -> Record:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    done = subprocess.run(
        [*_without_network(), *command], env=environment, stdout=subprocess.PIPE, timeout=_TIMEOUT_S, check=True
    )
    record: Record = json.loads(done.stdout.decode().splitlines()[-1])
    return record


def _without_network() -> list[str]:
    """The words before a command that take the network from it, or none where that is not allowed."""
    prefix = ["unshare", "--net"]
    able = (
        shutil.which("unshare") and not subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode
    )
    return prefix if able else []


def _check(name: str, record: Record, wanted: Sequence[str]) -> None:
    right = sum(one in names for one, names in zip(wanted, record["found"], strict=True))
    record["found"] = round(right / len(wanted), 3)
    if record["found"] < FOUND_SHARE:
        raise AssertionError(f"{name} finds only {record['found']:.0%} of the files by their own words")


def _summary(rounds: Sequence[Mapping[str, Record]], files: int) -> Record:
    """Medians over the rounds, and how many times faster ours was than each, the median of the rounds' ratios."""
    seconds = {name: [one[name]["seconds"]["all"] for one in rounds] for name in rounds[0]}
    ours = [one[OURS] for one in rounds]
    return {
        "documents_per_second": {name: _figure(files / median(values)) for name, values in seconds.items()},
        "times_faster": {
            name: _figure(median(theirs / mine for theirs, mine in zip(values, seconds[OURS], strict=True)))
            for name, values in seconds.items()
            if name != OURS
        },
        "unchanged_times_faster": _figure(median(one["seconds"]["all"] / one["unchanged"]["seconds"] for one in ours)),
        "edit_embedded": max(one["edited"]["embedded"] for one in ours),
        "network": "none" if _without_network() else "not used",
        "rounds": rounds,
        "environment": facts(),
    }


def _figure(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main()
