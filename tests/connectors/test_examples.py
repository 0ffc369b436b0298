"""The example documents say what `examples/README.md` says they do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragagent.connectors.readers import read_document
from ragagent.types import Document

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "documents"


def _read(name: str) -> Document:
    return read_document(FOLDER / name)


@pytest.mark.parametrize(
    ("name", "title", "facts"),
    [
        (
            "house-handbook-2025.pdf",
            "House Handbook 2025",
            ["Linden Room | 60 | 34.00 | 20.00 | 150", "A lost key costs 75 euros"],
        ),
        (
            "cleaning-contract.docx",
            "Cleaning contract AY-2024-117",
            ["with three months' notice to the end of a quarter"],
        ),
        ("energy-report-2024.html", "Energy report 2024", ["30 September 2024 | 204,090 | 6,125"]),
        (
            "board-minutes-2025-03.md",
            "Minutes of the board meeting of 12 March 2025",
            ["closed from 2 June to 22 June 2025", "Cleaning | 16,440 | 2,740"],
        ),
        ("volunteer-guide.txt", "volunteer guide", ["The defibrillator is in the entrance hall"]),
    ],
)
def test_titles_and_facts_are_read(name: str, title: str, facts: list[str]) -> None:
    document = _read(name)
    assert document.title == title
    assert all(fact in document.text for fact in facts)
    assert "password" not in document.text


def test_pages_and_headings_of_the_handbook_are_found() -> None:
    document = _read("house-handbook-2025.pdf")
    assert document.metadata["pages"] == 3
    assert document.page_at(document.text.index("Linden Room | 60")) == 2
    assert document.page_at(document.text.index("A lost key")) == 3
    headings = [block.span.of(document.text) for block in document.blocks if block.kind == "heading"]
    assert headings[:4] == ["House Handbook 2025", "1. About the house", "2. Opening hours", "3. Hiring a room"]


def test_navigation_and_style_are_left_out_of_the_report() -> None:
    text = _read("energy-report-2024.html").text
    assert "All reports" not in text
    assert "sans-serif" not in text
