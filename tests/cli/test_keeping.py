"""Snapshots, backups and compacting from the command line."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ragagent import Document, KnowledgeBase
from ragagent.testing.embedding import HashEmbedder

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Run) -> Run:
    """Runs a command beside a knowledge base of two documents: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    with KnowledgeBase.open(embedder=HashEmbedder(32)) as kb:
        kb.ingest([Document(uri="a", text="Hives stand behind the barn."), Document(uri="b", text="Rent is due.")])
    return call


def test_a_snapshot_is_made_compared_restored_and_removed(run: Run) -> None:
    assert run("snapshot", "create", "monday")[:2] == (0, "snapshot 'monday' of 2 documents\n")
    run("documents", "remove", "a")
    code, out, _ = run("snapshot", "diff", "monday")
    assert (code, out) == (0, "- a\n0 added, 1 removed, 0 changed\n")
    assert "monday" in run("snapshot", "list")[1]
    code, out, _ = run("snapshot", "restore", "monday", "--json")
    restored = json.loads(out)
    assert code == 0
    assert [one["uri"] for one in restored["difference"]["added"]] == ["a"]
    listed = json.loads(run("snapshot", "list", "--json")[1])
    assert [(one["name"], one["documents"], one["automatic"]) for one in listed] == [
        ("monday", 2, False),
        (restored["before"], 1, True),
    ]
    assert run("snapshot", "remove", "monday", restored["before"])[0] == 0
    assert json.loads(run("snapshot", "list", "--json")[1]) == []
    code, _, err = run("snapshot", "restore", "monday")
    assert code == 2
    assert "no snapshot 'monday'" in err


def test_a_backup_comes_back_in_another_folder(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("backup", "monday.zip")
    assert code == 0
    assert "2 documents" in out
    report = json.loads(run("restore", "monday.zip", "--kb", "restored", "--json")[1])
    assert report["documents"] == 2
    assert "2 documents" in run("status", "--kb", "restored")[1]
    assert "not empty" in run("restore", "monday.zip", "--kb", "restored")[2]
    (tmp_path / "monday.zip").write_bytes(b"something else")
    code, _, err = run("restore", "monday.zip", "--kb", "another")
    assert code == 1
    assert "monday.zip: not a whole backup" in err


def test_compacting_erases_when_asked(run: Run, tmp_path: Path) -> None:
    run("snapshot", "create", "monday")
    run("documents", "remove", "a")
    assert run("compact")[0] == 0
    code, _, err = run("compact", "--erase")
    assert code == 1
    assert "'monday'" in err
    code, out, _ = run("compact", "--erase", "--drop-snapshots", "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["erased"], report["dropped"]) == (True, ["monday"])
    files = [file.read_bytes() for file in (tmp_path / ".ragagent").rglob("*") if file.is_file()]
    assert not any(b"Hives" in data or b"barn" in data for data in files)
    assert any(b"Rent" in data for data in files)


def test_a_damaged_document_is_named_and_can_be_removed_by_name(run: Run, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / ".ragagent" / "ragagent.db")
    connection.execute("UPDATE texts SET text = replace(text, 'barn', 'barm')")
    connection.commit()
    connection.close()
    code, _, err = run("documents", "show", "a")
    assert code == 1
    assert "a: its text in the database is damaged" in err
    assert "ragagent documents remove" in err
    assert run("documents", "remove", "a")[:2] == (0, "removed a\n")
    assert json.loads(run("documents", "list", "--json")[1])[0]["uri"] == "b"
