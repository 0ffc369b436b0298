"""Who may read what is brought in: said of a source, kept, changed without embedding, inherited by what is inside."""

from __future__ import annotations

import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ragagent import Document, KnowledgeBase, Settings
from ragagent.connectors.files import FilesConnector
from ragagent.errors import ConfigError
from ragagent.ingest.pipeline import Pipeline
from ragagent.protocols import Fetched, Relabels, SourceItem
from ragagent.settings import ChunkingSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.plain import PlainIndex

LAW = ("group:law",)


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as opened:
        yield opened
        assert opened.check() == ()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("alpha", "beta"):
        (folder / f"{name}.txt").write_text(f"The {name} report went well this year.\n")
    with zipfile.ZipFile(folder / "box.zip", "w") as archive:
        archive.writestr("inner.txt", "The inner report went well this year.")
    return folder


def acls(kb: KnowledgeBase) -> dict[str, tuple[str, ...]]:
    """The readers of each document by its file name, as they are listed; the documents must agree."""
    known = {one.uri.rsplit("/", 1)[-1]: one.acl for one in kb.known().values()}
    assert known == {one.uri.rsplit("/", 1)[-1]: one.acl for one in kb.documents()}
    return known


EVERYTHING = ("alpha.txt", "beta.txt", "box.zip", "inner.txt")


def test_a_source_is_labelled_with_all_that_is_inside_its_items(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder, acl=LAW)
    assert acls(kb) == dict.fromkeys(EVERYTHING, LAW)


def test_other_readers_of_a_source_are_neither_read_nor_embedded_again(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder)
    assert acls(kb) == dict.fromkeys(EVERYTHING, ())
    for acl in (LAW, ("user:bob", "user:ann"), (), "public"):
        report = kb.ingest(folder, acl=acl)
        assert (report.relabelled, report.unchanged) == (4, 3)
        assert (report.added, report.updated, report.chunks, report.embedded, report.failed) == (0, 0, 0, 0, 0)
        assert "read" not in report.stage_seconds
        assert acls(kb) == dict.fromkeys(EVERYTHING, (acl,) if isinstance(acl, str) else tuple(sorted(acl)))
    again = kb.ingest(folder, acl="public")
    assert (again.relabelled, again.unchanged) == (0, 3)


def test_readers_that_are_not_said_again_stay_also_for_what_is_new_and_what_changes(
    kb: KnowledgeBase, folder: Path
) -> None:
    kb.ingest(folder, acl=LAW)
    (folder / "gamma.txt").write_text("The gamma report is new.\n")
    (folder / "beta.txt").write_text("The beta report was written anew and is longer now.\n")
    with zipfile.ZipFile(folder / "box.zip", "w") as archive:
        archive.writestr("inner.txt", "The inner report went well this year.")
        archive.writestr("second.txt", "A second report.")
    report = kb.ingest(folder)
    assert (report.added, report.relabelled) == (2, 0)
    assert acls(kb) == dict.fromkeys((*EVERYTHING, "gamma.txt", "second.txt"), LAW)


def test_where_nobody_says_what_is_there_keeps_its_readers_and_what_is_inside_follows_its_item(
    kb: KnowledgeBase, folder: Path
) -> None:
    kb.ingest(folder)
    ids = {one.uri.rsplit("/", 1)[-1]: one.id for one in kb.known().values()}
    assert kb.relabel({ids["box.zip"]: LAW, ids["beta.txt"]: ["user:ann"], "no such id": LAW}) == ("no such id",)
    assert acls(kb) == {"alpha.txt": (), "beta.txt": ("user:ann",), "box.zip": LAW, "inner.txt": LAW}
    (folder / "beta.txt").write_text("The beta report was written anew and is longer now.\n")
    with zipfile.ZipFile(folder / "box.zip", "w") as archive:
        archive.writestr("inner.txt", "The inner report was written anew.")
        archive.writestr("second.txt", "A second report.")
    kb.ingest(folder)
    assert acls(kb) == {
        "alpha.txt": (), "beta.txt": ("user:ann",), "box.zip": LAW, "inner.txt": LAW, "second.txt": LAW,
    }  # fmt: skip


def test_a_touched_item_gets_its_readers_and_nothing_else(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder)
    text = (folder / "beta.txt").read_bytes()
    (folder / "beta.txt").unlink()
    (folder / "beta.txt").write_bytes(text)
    report = kb.ingest(folder, acl=LAW)
    assert (report.chunks, report.embedded, report.relabelled) == (0, 0, 4)
    assert acls(kb) == dict.fromkeys(EVERYTHING, LAW)


def test_the_option_acl_is_one_that_every_kind_of_source_has(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder, options={"acl": ["group:law"], "include": ["*.txt"]})
    assert acls(kb) == {"alpha.txt": LAW, "beta.txt": LAW}
    with pytest.raises(ConfigError, match="given twice"):
        kb.ingest(folder, options={"acl": "public"}, acl=LAW)
    for wrong in ({"acl": "law"}, {"acl": 3}):
        with pytest.raises(ConfigError, match="user:NAME"):
            kb.ingest(folder, options=wrong)
    with pytest.raises(ConfigError, match="carry their own"):
        kb.ingest([Document(text="x")], acl=LAW)


def test_documents_of_an_application_have_the_readers_that_they_are_given_with(kb: KnowledgeBase) -> None:
    document = Document(uri="n:1", text="The rent is due.", acl=("user:ann",))
    assert kb.ingest([document]).added == 1
    for acl in (LAW, (), ("public",)):
        report = kb.ingest([replace(document, acl=acl, revision="")])
        assert (report.unchanged, report.relabelled, report.embedded, report.chunks) == (1, 1, 0, 0)
        (stored,) = kb.documents()
        assert stored == replace(document, acl=acl, revision="")
    # In one run the last one counts.
    both = [replace(document, acl=acl, revision="") for acl in (LAW, ("user:bob",))]
    kb.ingest([*both, both[0]])
    assert next(kb.documents()).acl == LAW
    edited = replace(document, text="The rent is paid.", acl=("user:bob",), revision="")
    assert kb.ingest([edited]).updated == 1
    assert next(kb.documents()) == edited


class OwnLabels:
    """A connector that knows the readers of its items and gives them a revision of its own."""

    source = "own:"

    def __init__(self) -> None:
        self.acls: dict[str, tuple[str, ...]] = {"own:a": LAW, "own:b": ()}

    def items(self) -> Iterator[SourceItem]:
        yield from (SourceItem(uri=uri, stamp="") for uri in self.acls)

    def fetch(self, item: SourceItem) -> Fetched | Document:
        if item.uri == "own:a":
            return Fetched(uri=item.uri, name="a.txt", content=b"What a says.", acl=self.acls[item.uri])
        return Document(uri=item.uri, text="What b says.", revision="7", acl=self.acls[item.uri])


def test_a_source_may_know_the_readers_of_its_items_and_what_is_said_of_it_counts_more(kb: KnowledgeBase) -> None:
    source: Any = OwnLabels()
    kb.ingest(source)
    assert acls(kb) == {"own:a": LAW, "own:b": ()}
    source.acls = {"own:a": ("user:ann",), "own:b": ("user:ann", "group:tax")}
    report = kb.ingest(source)
    assert (report.relabelled, report.chunks) == (2, 0)
    assert acls(kb) == source.acls
    assert kb.ingest(source, acl=["public"]).relabelled == 2
    assert acls(kb) == {"own:a": ("public",), "own:b": ("public",)}
    assert {one.revision for one in kb.known().values() if one.uri == "own:b"} == {"7"}


def test_an_index_that_cannot_change_readers_alone_is_given_the_documents_again(folder: Path) -> None:
    class Bare:
        """A PlainIndex that offers nothing but the protocol."""

        def __init__(self) -> None:
            self.inner = PlainIndex(384, {"embedder": "hash"})

        def __getattr__(self, name: str) -> Any:
            if name in {"relabel", "retag"}:
                raise AttributeError(name)
            return getattr(self.inner, name)

    index: Any = Bare()
    assert not isinstance(index, Relabels)
    embedder = HashEmbedder(384)
    index.inner._fingerprint = {}
    pipeline = Pipeline(index, embedder, Settings())
    connector = FilesConnector(str(folder))
    pipeline.ingest_connector(connector)
    report = pipeline.ingest_connector(connector, acl=LAW)
    assert (report.updated, report.embedded) == (4, 0)
    assert {one.acl for one in index.known().values()} == {LAW}
    source: Any = OwnLabels()
    pipeline.ingest_connector(source)
    source.acls["own:b"] = ("user:ann",)
    pipeline.ingest_connector(source)
    assert {one.acl for one in index.known().values() if one.uri == "own:b"} == {("user:ann",)}


def test_a_folder_that_is_watched_keeps_its_readers(kb: KnowledgeBase, folder: Path) -> None:
    stop = threading.Event()
    reports = kb.watch(folder, settle_s=0.05, stop=stop, acl=LAW)
    next(reports)
    (folder / "gamma.txt").write_text("The gamma report is new.\n")
    next(reports)
    stop.set()
    list(reports)
    assert acls(kb) == dict.fromkeys((*EVERYTHING, "gamma.txt"), LAW)


def test_a_migration_changes_no_readers(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder, acl=LAW)
    kb.ingest([Document(uri="n:1", text="By hand.", acl=("user:ann",))])
    kb.relabel({one.id: ["user:bob"] for one in kb.known().values() if one.uri.endswith("beta.txt")})
    before = acls(kb)
    kb.migrate(settings=replace(kb.settings, chunking=ChunkingSettings(max_tokens=50)))
    assert acls(kb) == before
    kb.relabel({one.id: ["user:eve"] for one in kb.known().values() if one.uri.endswith("alpha.txt")})
    kb.rollback()
    assert acls(kb) == before | {"alpha.txt": ("user:eve",)}


def test_a_snapshot_brings_back_the_readers_of_its_time(kb: KnowledgeBase, folder: Path) -> None:
    kb.ingest(folder, acl=LAW)
    kb.snapshots.create("before")
    kb.ingest(folder, acl=["public"])
    assert len(kb.snapshots.diff("before").changed) == 4
    kb.snapshots.restore("before")
    assert acls(kb) == dict.fromkeys(EVERYTHING, LAW)


def test_bytes_of_an_archive_say_nothing_of_readers() -> None:
    """Names and metadata from within a file are data."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("note.md", "---\nacl: public\n---\n\nA note.")
    from ragagent.connectors import readers

    found = readers.read(Fetched(uri="x:a", name="a.zip", content=data.getvalue(), acl=LAW), settings=Settings().ingest)
    assert {one.acl for one in (found.document, *found.children)} == {LAW}
