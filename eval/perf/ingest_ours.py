"""From a folder of files to hybrid search with ragagent, timed: our side of `ingest_peers`.

Timed besides: the same folder unchanged, and the folder after a line was edited in the middle of its longest file.

    python -m ragagent.eval.perf.ingest_ours FOLDER MODEL QUESTIONS
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from ragagent.app import KnowledgeBase
from ragagent.models.embedding import open_embedder
from ragagent.types import IngestReport


def main(folder: str, model: str, questions: str) -> None:
    """Prints one line of JSON: seconds by stage, what was made, and the files found for the questions."""
    files = Path(folder)
    with closing(open_embedder(model)) as embedder, tempfile.TemporaryDirectory() as place:
        embedder.embed_query("warm-up")
        with KnowledgeBase.open(Path(place, "kb"), embedder=embedder) as kb:
            first, all_seconds = _timed(kb, files)
            asked = json.loads(Path(questions).read_text(encoding="utf-8"))
            found = [[Path(hit.uri).name for hit in kb.search(one, k=5)] for one in asked]
            again, again_seconds = _timed(kb, files)
            _edit(max(files.rglob("*.html"), key=lambda path: path.stat().st_size))
            edited, edited_seconds = _timed(kb, files)
    record = {
        "seconds": {**first.stage_seconds, "all": all_seconds},
        "documents": first.added,
        "failed": [failure.reason for failure in first.failures],
        "chunks": first.chunks,
        "found": found,
        "unchanged": {"seconds": again_seconds, "unchanged": again.unchanged, "embedded": again.embedded},
        "edited": {"seconds": edited_seconds, "updated": edited.updated, "embedded": edited.embedded},
    }
    print(json.dumps(record))


def _timed(kb: KnowledgeBase, folder: Path) -> tuple[IngestReport, float]:
    begin = time.perf_counter()
    report = kb.ingest(folder)
    return report, time.perf_counter() - begin


def _edit(path: Path) -> None:
    """Puts a sentence into the paragraph that is nearest to the middle of an HTML file."""
    text = path.read_text(encoding="utf-8")
    place = text.find("</p>", len(text) // 2)
    place = text.rfind("</p>") if place < 0 else place
    path.write_text(f"{text[:place]} This sentence was put in later.{text[place:]}", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
