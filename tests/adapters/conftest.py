from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ragagent import Document, KnowledgeBase
from ragagent.testing.embedding import HashEmbedder

NOTES = [
    Document(uri=f"notes:{number}", title=f"Note {number}", text=text, metadata={"team": team})
    for number, (text, team) in enumerate(
        [
            ("Hives stand behind the barn, away from the road.", "farm"),
            ("Honey is taken in July and again in August.", "farm"),
            ("The rent of the barn is due on the third of each month.", "office"),
            ("The road is closed in winter.", "office"),
        ]
    )
]


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as opened:
        opened.ingest(NOTES)
        yield opened
