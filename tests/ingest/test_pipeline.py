"""Laws of an ingest: what counts as unchanged, what is embedded again, what is removed and what is reported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragagent import Document, KnowledgeBase
from ragagent.errors import ConfigError, ConnectorError
from ragagent.testing.embedding import HashEmbedder


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("alpha", "beta", "gamma"):
        (folder / f"{name}.txt").write_text(f"The {name} report.\n\nIt says that {name} went well this year.\n")
    return folder


def test_an_unchanged_source_costs_nothing(kb: KnowledgeBase, folder: Path) -> None:
    first = kb.ingest(folder)
    assert (first.added, first.embedded) == (3, first.chunks)
    second = kb.ingest(folder)
    assert (second.added, second.updated, second.unchanged, second.chunks, second.embedded) == (0, 0, 3, 0, 0)


def test_a_touched_file_with_the_same_content_is_unchanged(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder)
    text = (folder / "beta.txt").read_bytes()
    (folder / "beta.txt").unlink()
    (folder / "beta.txt").write_bytes(text)
    report = kb.ingest(folder)
    assert report.embedded == 0
    assert report.added == 0


def test_an_edit_replaces_the_document_and_embeds_only_what_is_new(kb: KnowledgeBase, tmp_path: Path) -> None:
    lines = [f"Paragraph {n} speaks of subject number {n} at some length, as paragraphs do. " * 12 for n in range(40)]
    kb.ingest([Document(id="long", text="\n\n".join(lines))])
    lines[20] = "This one was edited: zebra. " + lines[20]
    report = kb.ingest([Document(id="long", text="\n\n".join(lines))])
    assert (report.added, report.updated) == (0, 1)
    assert 1 <= report.embedded <= 3 < report.chunks
    assert "zebra" in kb.search("zebra", mode="sparse")[0].text
    assert len(list(kb.documents())) == 1


def test_what_is_gone_stays_until_it_is_pruned(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder)
    (folder / "alpha.txt").unlink()
    assert kb.ingest(folder).removed == 0
    assert len(list(kb.documents())) == 3
    assert kb.ingest(folder, prune=True).removed == 1
    assert kb.search("alpha", mode="sparse") == []


def test_an_empty_source_never_empties_a_knowledge_base(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder)
    for file in folder.iterdir():
        file.unlink()
    assert kb.ingest(folder, prune=True).removed == 0
    assert len(list(kb.documents())) == 3


def test_pruning_one_source_leaves_the_others_alone(kb: KnowledgeBase, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "documents2"
    other.mkdir()
    (other / "delta.txt").write_text("The delta report.")
    kb.ingest(folder)
    kb.ingest(other)
    (folder / "alpha.txt").unlink()
    assert kb.ingest(folder, prune=True).removed == 1
    assert len(kb.search("delta", mode="sparse")) == 1


def test_a_document_that_became_unreadable_keeps_its_old_version(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder)
    (folder / "beta.txt").write_bytes(b"%PDF-1.7\nthis is no PDF any more")
    report = kb.ingest(folder, prune=True)
    assert (report.failed, report.removed) == (1, 0)
    assert report.failures[0].uri.endswith("/beta.txt")
    assert len(kb.search("beta", mode="sparse")) >= 1


def test_a_document_that_cannot_be_read_stops_nothing_else(kb: KnowledgeBase, folder: Path) -> None:
    (folder / "aaa.txt").write_bytes(b"")
    (folder / "bbb.pdf").write_bytes(b"%PDF-1.4 cut off")
    report = kb.ingest(folder)
    assert (report.added, report.failed) == (3, 2)
    assert {Path(failure.uri).name for failure in report.failures} == {"aaa.txt", "bbb.pdf"}


def test_a_missing_source_is_an_error_that_names_it(kb: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(ConnectorError, match="nowhere"):
        kb.ingest(tmp_path / "nowhere")


def test_a_single_document_is_refused_with_what_to_do(kb: KnowledgeBase) -> None:
    with pytest.raises(ConfigError, match="into a list"):
        kb.ingest(Document(text="x"))  # type: ignore[arg-type]


def test_a_document_without_text_is_reported(kb: KnowledgeBase) -> None:
    report = kb.ingest([Document(id="blank", text=" \n "), Document(id="full", text="Something.")])
    assert (report.added, report.failed, report.failures[0].kind) == (1, 1, "EmptyDocument")


def test_a_failing_iterable_keeps_what_was_committed(tmp_path: Path) -> None:
    def documents() -> Iterator[Document]:
        for number in range(600):
            yield Document(id=str(number), text=f"Document number {number}.")
        raise RuntimeError("the application's own failure")

    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        with pytest.raises(RuntimeError, match="own failure"):
            kb.ingest(documents())
        kept = len(list(kb.documents()))
        assert 0 < kept <= 600
        assert kb.check() == ()


class Watched:
    """Keeps the Progress protocol: what each stage told."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[int, int | None]]] = {}

    def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        self.told.setdefault(stage, []).append((done, total))


def test_a_dry_run_says_what_an_ingest_then_does_and_changes_nothing(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder)
    (folder / "alpha.txt").unlink()
    (folder / "beta.txt").write_text("The beta report was written again.")
    (folder / "delta.html").write_text("<html><body><p>The delta report is new.</p></body></html>")
    os.mkfifo(folder / "pipe")
    before = {one.uri: one.text for one in kb.documents()}
    plan = kb.plan_ingest(folder, prune=True)
    assert {one.uri: one.text for one in kb.documents()} == before
    report = kb.ingest(folder, prune=True)
    assert (plan.new, plan.changed, plan.unchanged, plan.gone) == (1, 1, 1, 1)
    assert (report.added, report.updated, report.unchanged, report.removed) == (1, 1, 1, 1)
    assert [Path(uri).name for uri in plan.to_read] == ["beta.txt", "delta.html"]
    assert [Path(uri).name for uri in plan.to_remove] == ["alpha.txt"]
    assert plan.failures == report.failures
    assert (plan.sampled, plan.chunks, plan.to_embed) == (2, report.chunks, report.embedded)
    assert kb.plan_ingest(folder).gone == 0


def test_each_stage_tells_how_far_it_is_from_the_first_item_on(kb: KnowledgeBase, folder: Path) -> None:
    progress = Watched()
    kb.ingest(folder, progress=progress)
    assert progress.told["plan"] == [(1, None), (2, None), (3, None)]
    assert progress.told["read"] == [(1, 3), (2, 3), (3, 3)]
    assert progress.told["write"][-1] == (3, 3)


def test_what_a_reader_has_to_say_is_in_the_report(kb: KnowledgeBase, folder: Path) -> None:
    (folder / "hidden.html").write_text("<html><body><p>Turned \u202eround.</p></body></html>")
    (note,) = kb.ingest(folder).notes
    assert Path(note.uri).name == "hidden.html"
    assert "hidden characters" in note.text


TEXTS = st.text(alphabet="abc dé\n中 .", max_size=60)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.lists(st.tuples(st.sampled_from("pqrs"), TEXTS), max_size=5), max_size=4))
def test_the_end_state_is_that_of_the_last_versions(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[str, str]]]
) -> None:
    """However documents came in, the knowledge base holds the last readable version of each."""
    expected: dict[str, str] = {}
    with KnowledgeBase.open(tmp_path_factory.mktemp("kb"), embedder=HashEmbedder()) as kb:
        for given_round in rounds:
            report = kb.ingest([Document(id=key, text=text) for key, text in given_round])
            unchanged = failed = 0
            for key, text in given_round:
                failed += not text.strip()
                unchanged += expected.get(key) == text
                if text.strip():
                    expected[key] = text
            assert (report.failed, report.unchanged) == (failed, unchanged)
            assert report.added + report.updated == len(given_round) - failed - unchanged
        assert {document.id: document.text for document in kb.documents()} == expected
