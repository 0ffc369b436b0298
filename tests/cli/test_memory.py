"""`ragagent memory`: what agents remember, as its owner sees and changes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragagent import Document, KnowledgeBase
from ragagent.app import parts
from ragagent.cli.context import Context
from ragagent.testing.embedding import HashEmbedder

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Run) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(parts, "open_named", lambda settings, name: HashEmbedder())
    monkeypatch.setattr(Context, "fetch", lambda self, name: None)
    with KnowledgeBase.open(tmp_path / ".ragagent", embedder=HashEmbedder()) as kb:
        kb.ingest([Document(id="a", text="The mill.")])
    return call


def listed(run: Run, *more: str) -> list[dict[str, Any]]:
    code, out, _ = run("memory", "list", "--json", *more)
    assert code == 0
    return list(json.loads(out))


def test_facts_are_added_listed_found_changed_and_forgotten(run: Run) -> None:
    assert listed(run) == []
    assert run("memory", "add", "Prices are in euros.")[0] == 0
    code, out, _ = run("memory", "add", "The ferry leaves at seven.", "--json")
    added = json.loads(out)
    assert (code, added["came"], added["owner"], added["label"]["trusted"]) == (0, "user", "owner", True)
    assert [one["text"] for one in listed(run)] == ["Prices are in euros.", "The ferry leaves at seven."]
    out = run("memory", "list")[1]
    assert f"{added['id'][:12]}  " in out
    assert out.endswith("2 facts\n")
    found = json.loads(run("memory", "search", "ferry", "-k", "1", "--json")[1])
    assert [one["text"] for one in found] == ["The ferry leaves at seven."]
    assert run("memory", "edit", added["id"][:12], "The ferry leaves at eight.")[0] == 0
    assert "at eight" in run("memory", "search", "ferry")[1]
    code, out, _ = run("memory", "forget", added["id"][:12])
    assert (code, out.splitlines()[-1]) == (0, "1 facts forgotten")
    assert run("memory", "forget", "--all")[0] == 0
    assert listed(run) == []


def test_each_user_sees_their_own(run: Run) -> None:
    run("memory", "add", "Ann's.", "--as", "user:ann")
    assert listed(run) == listed(run, "--as", "user:bob") == []
    assert [one["text"] for one in listed(run, "--as", "user:ann", "--group", "law")] == ["Ann's."]
    assert [one["owner"] for one in listed(run, "--as", "user:ann")] == ["user:ann"]
    for looks in (["--as", "public"], ["--group", "law"]):
        code, _, err = run("memory", "list", *looks)
        assert code == 1
        assert "only users remember" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["forget"], "name the facts"),
        (["forget", "abcd", "--all"], "name the facts"),
        (["forget", "abcdef"], "no one fact 'abcdef'"),
        (["edit", "abcdef", "x"], "no one fact 'abcdef'"),
        (["add", ""], "the fact is empty"),
        (["add", "x" * 600], "at most 500"),
        (["search", " "], "the query is empty"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, arguments: list[str], said: str) -> None:
    code, _, err = run("memory", *arguments)
    assert code != 0
    assert said in err
