"""The names that programs rely on, and the types they are promised with."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import ragagent
from ragagent import Agent, KnowledgeBase
from ragagent.testing.embedding import HashEmbedder


@pytest.mark.parametrize("name", ragagent.__all__)
def test_every_exported_name_resolves(name: str) -> None:
    assert getattr(ragagent, name) is not None


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = ragagent.Nothing


def test_the_signatures_are_the_promised_ones() -> None:
    assert list(inspect.signature(KnowledgeBase.open).parameters)[:1] == ["path"]
    assert {"settings", "create"} <= set(inspect.signature(KnowledgeBase.open).parameters)
    search = inspect.signature(KnowledgeBase.search).parameters
    assert list(search) == ["self", "query", "k", "mode", "where"]
    assert (search["k"].default, search["mode"].default, search["where"].default) == (10, "hybrid", None)
    for name in ("ingest", "ask", "ask_stream", "remove", "documents", "close"):
        assert callable(getattr(KnowledgeBase, name))
    for name in ("run", "stream", "resume"):
        assert callable(getattr(Agent, name))


@pytest.mark.parametrize("name", ragagent.__all__)
def test_every_public_class_and_function_is_documented(name: str) -> None:
    thing = getattr(ragagent, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert inspect.getdoc(thing), name
        if inspect.isclass(thing) and thing.__module__.startswith("ragagent.app."):
            for method, value in vars(thing).items():
                if not method.startswith("_") and callable(value) and method != "close":
                    assert inspect.getdoc(value), f"{name}.{method}"


def test_a_document_needs_only_what_the_application_knows(tmp_path: Path) -> None:
    document = ragagent.Document(
        id="a", title="Tides", text="The tide turns at noon.", metadata={"year": 2024}, uri="x:a"
    )
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        report = kb.ingest([document])
        assert (report.added, report.updated, report.unchanged, report.removed, report.failed) == (1, 0, 0, 0, 0)
        assert report.chunks == report.embedded == 1
        (hit,) = kb.search("tide")
        assert (hit.rank, hit.chunk.document_id, hit.title, hit.uri, hit.page) == (1, "a", "Tides", "x:a", None)
        assert document.text[hit.chunk.span.start : hit.chunk.span.end] == hit.chunk.text
        (stored,) = kb.documents()
        assert stored == document
        assert kb.remove("a")
        assert not kb.remove("a")
        assert list(kb.documents()) == []
