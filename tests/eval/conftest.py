"""A small set with a known answer to every question, in the format of the published sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TOWNS = {
    "Alderby": ("a market town on the river Ouse", "1204"),
    "Brackwell": ("a mining village under Stone Fell", "1771"),
    "Corrin": ("a fishing port with a lighthouse", "1533"),
    "Dunmere": ("a cathedral city in the marshes", "988"),
    "Eskdale": ("a mill town with three bridges", "1650"),
    "Farrow": ("a spa on the old salt road", "1840"),
}


def lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def towns(tmp_path: Path) -> Path:
    """Six documents, a query and a question for each, and one question that no document answers."""
    folder = tmp_path / "towns"
    folder.mkdir()
    lines(
        folder / "documents.jsonl",
        [
            {"id": name, "title": name, "text": f"{name} is {kind}. The charter of {name} was granted in {year}."}
            for name, (kind, year) in TOWNS.items()
        ],
    )
    lines(folder / "queries.jsonl", [{"id": f"q-{name}", "text": kind} for name, (kind, _) in TOWNS.items()])
    lines(folder / "qrels.jsonl", [{"qid": f"q-{name}", "docid": name, "score": 1} for name in TOWNS])
    questions: list[dict[str, object]] = [
        {"id": name, "question": f"When was the charter of {name} granted?", "answers": [year], "doc_ids": [name]}
        for name, (_, year) in TOWNS.items()
    ]
    questions.append({"id": "none", "question": "Who was mayor of Corrin in 1999?", "is_impossible": True})
    lines(folder / "qa.jsonl", questions)
    return folder
