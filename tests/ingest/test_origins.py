from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from ragagent import KnowledgeBase
from ragagent.connectors import readers
from ragagent.ingest.origins import FILE, Origins
from ragagent.settings import IngestSettings
from ragagent.testing.embedding import HashEmbedder


def _run(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


def test_a_migration_opens_a_source_with_the_options_it_came_in_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sqlalchemy")
    _run(tmp_path / "a.db", "CREATE TABLE n (id INTEGER, body TEXT); INSERT INTO n VALUES (1, 'Bees.'), (2, 'Ants.')")
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(16)) as kb:
        report = kb.ingest(f"sql+sqlite:///{tmp_path}/a.db", options={"table": "n", "text": "body", "name": "notes"})
        assert report.added == 2
        _run(tmp_path / "a.db", "UPDATE n SET body = 'Walruses.' WHERE id = 1")
        monkeypatch.setattr(readers, "FINGERPRINT", "readers-of-tomorrow")
        assert kb.migrate().failures == ()
        assert sorted(document.text for document in kb.documents()) == ["Ants.", "Walruses."]


def test_what_is_remembered_of_a_source_holds_no_secret(tmp_path: Path) -> None:
    origins = Origins(tmp_path, IngestSettings())
    address = "https://ann:s3cret@example.org/page?token=s3cret&q=1"
    options = {"user": "ann", "password": "s3cret", "timeout_s": 3, "allow_networks": ["10.0.0.0/8"]}
    connector = origins.open(address, options)
    origins.remember(connector, address, options)
    assert "s3cret" not in (tmp_path / FILE).read_text()
    assert origins.reopen(connector.source).source == connector.source
    assert '"timeout_s": 3' in (tmp_path / FILE).read_text()
    (tmp_path / FILE).write_text("damaged")
    assert origins.reopen("https://example.org/page?q=1").source == "https://example.org/page?q=1"


def test_files_and_folders_need_nothing_but_their_name(tmp_path: Path) -> None:
    origins = Origins(tmp_path, IngestSettings())
    for address in (tmp_path, str(tmp_path), tmp_path.as_uri()):
        origins.remember(origins.open(address), address, {"include": "*.md"})
    assert not (tmp_path / FILE).exists()
