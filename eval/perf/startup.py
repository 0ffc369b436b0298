"""How long from the start of a process to `import ragagent`, to the help, and to the first hits of a saved index?

Each is a process of its own, run in turns, with the modules compiled beforehand, as those of an installed package are.
The index has 2,000 chunks and is built before, or taken from `--kb` when one is there. Importing and help must load no
engine, and the first hits no torch, or the program fails.

    python -m ragagent.eval.perf.startup
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ragagent.app import KnowledgeBase
from ragagent.eval.perf import generated
from ragagent.eval.perf.measure import interleaved, line
from ragagent.types import Document

QUESTION = "How long from the start of a process to import, help and first hits?"
ENGINES = ("torch", "faiss", "llama_cpp", "langgraph", "mcp", "onnxruntime", "openvino")
HEAVY = ("torch", "transformers", "sentence_transformers")

# Each ends at once when it has what was asked for, so that tidying up is not measured.
END = """
import os, sys
loaded = [name for name in {absent!r} if name in sys.modules]
sys.stderr.write(" ".join(loaded))
os._exit(1 if loaded else 0)
"""
HELP = """
from ragagent.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
"""
HITS = """
from ragagent import KnowledgeBase
hits = KnowledgeBase.open({folder!r}, create=False).search({query!r})
assert hits, "no hits"
"""


def main() -> None:
    """Prints one line of JSON."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.kb or Path(temporary) / "kb"
        chunks, query = _index(folder, arguments.chunks)
        codes = {
            "python": ("", ()),
            "import ragagent": ("import ragagent", ENGINES),
            "ragagent --help": (HELP, ENGINES),
            "first hits": (HITS.format(folder=str(folder), query=query), HEAVY),
        }
        compiled = Path(temporary) / "compiled"
        variants = {name: _process(code, absent, compiled) for name, (code, absent) in codes.items()}
        timings = interleaved(variants, repeats=arguments.repeats)
    print(line(QUESTION, timings, chunks=chunks))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=QUESTION)
    parser.add_argument("--kb", type=Path, help="keep the index here, and use the one that is here")
    parser.add_argument("--chunks", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=9)
    return parser.parse_args()


def _index(folder: Path, chunks: int) -> tuple[int, str]:
    """The number of chunks of the index in `folder`, made if it is not there, and a query with hits."""
    texts = list(generated.texts(chunks, 60))
    with KnowledgeBase.open(folder) as kb:
        if not any(True for _ in kb.documents()):
            kb.ingest(_documents(texts))
        return kb.status().chunks, " ".join(texts[chunks // 2].split()[:8])


def _documents(texts: list[str]) -> Iterator[Document]:
    return (Document(id=str(row), title="", text=text) for row, text in enumerate(texts))


def _process(code: str, absent: tuple[str, ...], compiled: Path) -> Callable[[], object]:
    command = [sys.executable, "-c", code + END.format(absent=absent)]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def run() -> None:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, env=environment
        )
        if done.returncode:
            raise AssertionError(f"this process failed or loaded what it must not:\n{command[2]}\n{done.stderr}")

    return run


if __name__ == "__main__":
    main()
