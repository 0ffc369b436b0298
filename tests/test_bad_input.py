"""Bad input gets a clear error or a line in the report, stops nothing else, and loses nothing."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ragagent import Document, KnowledgeBase, Settings
from ragagent.connectors.files import file_uri
from ragagent.errors import (
    ConfigError,
    ConnectorError,
    ContextOverflow,
    FingerprintMismatch,
    ModelCrashed,
    ModelLoadError,
    NewerVersion,
)
from ragagent.models.llama import LlamaModel
from ragagent.settings import AnswerSettings, EmbeddingSettings, LlmSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import root_uri

GOOD = "The ferry to the island leaves at seven in the morning.\n"


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as opened:
        opened.ingest([Document(id="kept", text="What was here before stays: quokka.")])
        yield opened
        assert opened.search("quokka", mode="sparse"), "what was there before was lost"
        assert opened.check() == ()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.txt").write_text(GOOD)
    return folder


def failures(kb: KnowledgeBase, folder: Path) -> dict[str, tuple[str, str]]:
    """The report's failures by file name, after checking that the good file came in all the same."""
    report = kb.ingest(folder)
    assert kb.search("ferry", mode="sparse"), "the good file did not come in"
    assert report.failed == len(report.failures)
    return {Path(failure.uri).name: (failure.kind, failure.reason) for failure in report.failures}


def test_an_empty_folder_is_an_empty_report(kb: KnowledgeBase, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = kb.ingest(tmp_path / "empty")
    assert (report.added, report.failed, report.removed) == (0, 0, 0)


def test_a_missing_path_is_named(kb: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(ConnectorError, match="no-such-place"):
        kb.ingest(tmp_path / "no-such-place")


def test_an_unreadable_file_is_reported(kb: KnowledgeBase, folder: Path) -> None:
    (folder / "locked.txt").write_text("secret")
    (folder / "locked.txt").chmod(0)
    if hasattr(os, "geteuid") and os.geteuid() != 0:
        assert failures(kb, folder)["locked.txt"][0] == "ReadError"
        return
    # Nothing is forbidden to this user; a file that opens and cannot be read is the nearest thing.
    target = Path("/proc/self/mem")
    if not target.exists():
        pytest.skip("needs a file that cannot be read by the superuser")
    (failure,) = kb.ingest(target).failures
    assert (failure.kind, failure.reason) == ("ReadError", "cannot be read: Input/output error")
    assert Path(failure.uri).name == "mem"


def test_an_empty_file_is_reported(kb: KnowledgeBase, folder: Path) -> None:
    (folder / "nothing.txt").touch()
    assert failures(kb, folder)["nothing.txt"][0] == "EmptyDocument"


def test_cut_off_and_broken_files_are_reported(kb: KnowledgeBase, folder: Path) -> None:
    examples = Path(__file__).resolve().parent.parent / "examples" / "documents"
    (pdf,) = sorted(examples.glob("*.pdf"))[:1]
    (docx,) = sorted(examples.glob("*.docx"))[:1]
    (folder / "cut.pdf").write_bytes(pdf.read_bytes()[: pdf.stat().st_size // 3])
    (folder / "cut.docx").write_bytes(docx.read_bytes()[: docx.stat().st_size // 3])
    found = failures(kb, folder)
    assert {"cut.pdf", "cut.docx"} <= set(found)
    for kind, reason in found.values():
        assert kind == "ReadError"
        assert reason


def test_an_encrypted_pdf_is_reported_as_such(kb: KnowledgeBase, folder: Path, shared_data: Path) -> None:
    messy = shared_data / "messy_docs"
    entries = map(json.loads, (messy / "manifest.jsonl").read_text().splitlines())
    encrypted = [
        messy / entry["path"] for entry in entries if entry["expect"] == "encrypted" and entry["kind"] == "pdf"
    ]
    assert encrypted
    for number, file in enumerate(encrypted):
        (folder / f"{number}.pdf").write_bytes(file.read_bytes())
    found = failures(kb, folder)
    assert {kind for kind, _ in found.values()} == {"EncryptedDocument"}
    assert len(found) == len(encrypted)


def test_a_binary_that_calls_itself_text_is_reported(kb: KnowledgeBase, folder: Path) -> None:
    (folder / "program.txt").write_bytes(b"\x7fELF\x02\x01\x01\x00" + bytes(range(256)) * 40)
    assert failures(kb, folder)["program.txt"][0] == "UnsupportedFormat"


def test_a_file_over_the_size_limit_is_refused_unread(kb: KnowledgeBase, folder: Path) -> None:
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(2 * 1024**3)
    kind, reason = failures(kb, folder)["huge.txt"]
    assert kind == "TooLarge"
    assert "max_file_bytes" in reason


def test_invalid_utf8_is_read_or_reported_and_never_breaks_the_text(kb: KnowledgeBase, folder: Path) -> None:
    (folder / "latin.txt").write_bytes(
        "Der Zug fährt über die Brücke nach Köln, sagte der Schaffner.\n".encode("latin-1")
    )
    (folder / "mixed.txt").write_bytes(
        "Größe in UTF-8 ".encode() + b"\xff\xfe\xc3" + b" and more plain words follow here\n"
    )
    found = failures(kb, folder)
    for document in kb.documents():
        document.text.encode("utf-8")
    texts = " ".join(document.text for document in kb.documents())
    assert "latin.txt" in found or "Brücke" in texts


def test_a_zip_bomb_in_a_docx_is_refused(kb: KnowledgeBase, folder: Path) -> None:
    with zipfile.ZipFile(folder / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", b" " * 600_000_000)
    assert "bomb.docx" in failures(kb, folder)


def test_a_knowledge_base_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()).close()
    database = tmp_path / "kb" / "ragagent.db"
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version = 9999")
    connection.close()
    before = database.read_bytes()
    with pytest.raises(NewerVersion, match="newer"):
        KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder())
    assert database.read_bytes() == before


def test_another_embedder_than_the_index_was_built_with_is_refused(tmp_path: Path, minilm: Path) -> None:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        kb.ingest([Document(id="a", text=GOOD)])
    with pytest.raises(FingerprintMismatch, match="built with"):
        KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(dimension=32))
    other = Settings(embedding=EmbeddingSettings(model=str(minilm)))
    with pytest.raises(FingerprintMismatch, match="built with"):
        KnowledgeBase.open(tmp_path / "kb", settings=other)
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        assert kb.search("ferry")


def test_a_model_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "fake.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    settings = Settings(llm=LlmSettings(model=str(tmp_path / "fake.gguf")))
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(), settings=settings) as kb:
        kb.ingest([Document(id="a", text=GOOD)])
        with pytest.raises(ModelLoadError, match=r"fake\.gguf"):
            kb.ask("When does the ferry leave?")
        assert kb.search("ferry")


FULL = """
import resource, sys
from ragagent import Document, KnowledgeBase
from ragagent.errors import StorageFull
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import root_uri

with KnowledgeBase.open(sys.argv[1], embedder=HashEmbedder()) as kb:
    kb.ingest([Document(id="first", text="The first one fits: quokka.")])
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    try:
        kb.ingest([Document(id=str(n), text=f"number {n} " + "word " * 2000) for n in range(500)])
    except StorageFull as error:
        print("FULL", error)
"""


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    # A limit on the size of files is what a full disk looks like to the process that meets it.
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "kb")], capture_output=True, text=True, timeout=300, check=False
    )
    assert "FULL" in done.stdout, done.stderr
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        assert kb.search("quokka", mode="sparse")
        assert kb.check() == ()
        report = kb.ingest([Document(id=str(n), text=f"number {n} " + "word " * 2000) for n in range(500)])
        assert report.added + report.unchanged == 500


@pytest.mark.parametrize("question", ["", "   ", "\n\t"])
def test_an_empty_question_is_refused_before_anything_is_loaded(kb: KnowledgeBase, question: str) -> None:
    for call in (kb.search, kb.ask):
        with pytest.raises(ConfigError, match="empty"):
            call(question)


@pytest.mark.parametrize(("k", "mode"), [(0, "hybrid"), (-3, "dense"), (5, "magic")])
def test_a_search_that_makes_no_sense_is_refused(kb: KnowledgeBase, k: int, mode: str) -> None:
    with pytest.raises(ConfigError, match=str(k) if mode != "magic" else mode):
        kb.search("quokka", k=k, mode=mode)  # type: ignore[arg-type]


def test_a_question_longer_than_the_context_is_a_clear_error(tmp_path: Path, tiny_gguf: Path) -> None:
    settings = Settings(llm=LlmSettings(model=str(tiny_gguf), context_tokens=512))
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(), settings=settings) as kb:
        kb.ingest([Document(id="a", text=GOOD)])
        with pytest.raises(ContextOverflow, match="512"):
            kb.ask("When does the ferry leave? " * 2000)
        assert kb.ask("When does the ferry leave?").status in {"grounded", "partial", "refused"}


def test_a_model_process_killed_in_the_middle_of_an_answer_is_told_and_the_next_question_works(
    tmp_path: Path, tiny_gguf: Path
) -> None:
    settings = LlmSettings(model=str(tiny_gguf), context_tokens=1024)
    answering = AnswerSettings(min_confidence=0)
    llm = LlamaModel(tiny_gguf, settings)
    chosen = Settings(llm=settings, answer=answering)
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(), llm=llm, settings=chosen) as kb:
        kb.ingest([Document(id="a", text=GOOD)])
        events = kb.ask_stream("When does the ferry leave?")
        next(event for event in events if event.kind == "text")
        assert llm.pid is not None
        os.kill(llm.pid, signal.SIGKILL)
        with pytest.raises(ModelCrashed, match="SIGKILL"):
            list(events)
        assert kb.ask("When does the ferry leave?").status in {"grounded", "partial", "refused"}
        assert kb.check() == ()
    llm.close()


def test_every_messy_document_is_ingested_or_reported(tmp_path: Path, shared_data: Path) -> None:
    """Each file by itself, and with a reason; what is inside files is counted beside them, and belongs to one."""
    messy = shared_data / "messy_docs"
    files = {file_uri(str(file)) for file in messy.resolve().rglob("*") if file.is_file()}
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        report = kb.ingest(messy)
        assert kb.check() == ()
        documents = [document.uri for document in kb.documents()]
    failures = [failure.uri for failure in report.failures]
    ingested, failed = files.intersection(documents), files.intersection(failures)
    assert ingested | failed == files
    assert ingested & failed == set()
    assert all(root_uri(uri) in files for uri in documents + failures)
    # A child is never there without its file, and nothing is told twice or left out of the counts.
    assert all(root_uri(uri) in ingested for uri in documents + [uri for uri in failures if uri not in files])
    assert (report.added, report.failed) == (len(set(documents)), len(set(failures))) == (len(documents), len(failures))
    assert (report.updated, report.unchanged, report.removed) == (0, 0, 0)
    assert all(failure.reason and failure.kind for failure in report.failures)
