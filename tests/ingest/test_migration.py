"""A knowledge base changes its parts while it answers: as good as built anew, never mixed, never half-done."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ragagent import Document, KnowledgeBase, Settings
from ragagent.connectors import readers
from ragagent.errors import (
    ConfigError,
    EmbedderChanged,
    FingerprintMismatch,
    IndexStateError,
    ModelError,
    RagAgentError,
)
from ragagent.index import schema
from ragagent.index.embedded import stored_fingerprint
from ragagent.ingest import chunking, parts
from ragagent.settings import ChunkingSettings, EmbeddingSettings, IngestSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Hit, SearchMode, Vector

SMALL = Settings(
    chunking=ChunkingSettings(max_tokens=24, min_tokens=1), ingest=IngestSettings(batch_chunks=12, lock_timeout_s=60)
)
LARGE = Settings(
    chunking=ChunkingSettings(max_tokens=60, min_tokens=1), ingest=IngestSettings(batch_chunks=12, lock_timeout_s=60)
)
DOCUMENTS = 40


class TurnedEmbedder(HashEmbedder):
    """Vectors of the same dimension as `HashEmbedder`'s that have nothing to do with them."""

    def __init__(self, dimension: int = 64) -> None:
        super().__init__(dimension)
        self.name = f"turned-{dimension}"
        self.fingerprint = f"turned words {dimension}"

    def _direction(self, word: str) -> Vector:
        return super()._direction(f"turned {word}")


class Stopped(Exception):
    """Stands for Ctrl-C at a chosen moment."""


class StopAfter:
    """A progress that ends the run once so many documents are built."""

    def __init__(self, documents: int) -> None:
        self.documents = documents
        self.seen: list[tuple[int, int | None]] = []

    def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        assert stage == "migrate"
        self.seen.append((done, total))
        if done >= self.documents:
            raise Stopped


def embedder_of(name: str) -> HashEmbedder:
    kind, dimension = name.split("-")
    return (TurnedEmbedder if kind == "turned" else HashEmbedder)(int(dimension))


def document(number: int, version: int = 1) -> Document:
    lines = [
        f"Log {number} of version {version}, part {part}: the ferry named {name(number, part)} carried salt and timber "
        f"past the lighthouse on day {part + number} of the year."
        for part in range(3)
    ]
    return Document(uri=f"log:{number:03}", text="\n\n".join(lines))


def name(number: int, part: int) -> str:
    return "qk" + "".join("abcdefghij"[int(digit)] for digit in f"{number:03}{part}") + "x"


def opened(
    folder: Path, embedder: HashEmbedder | None = None, settings: Settings = SMALL, **more: Any
) -> KnowledgeBase:
    return KnowledgeBase.open(
        folder, settings=settings, embedder=embedder or HashEmbedder(), embedders=embedder_of, **more
    )


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    with opened(tmp_path / "kb") as kb:
        kb.ingest([document(number) for number in range(DOCUMENTS)])
        yield kb


def answers(kb: KnowledgeBase) -> list[list[tuple[str, float]]]:
    """What the knowledge base finds, with its scores."""
    queries = ["ferry with salt", "lighthouse day 7", *(name(number, 1) for number in range(0, DOCUMENTS, 7))]
    modes: tuple[SearchMode, ...] = ("dense", "sparse", "hybrid")
    return [
        [(hit.chunk.id, hit.score) for hit in kb.search(query, k=20, mode=mode)] for query in queries for mode in modes
    ]


def as_built_anew(folder: Path, kb: KnowledgeBase, embedder: HashEmbedder, settings: Settings) -> None:
    """Asserts that `kb` cannot be told from one that was made of its documents with those parts."""
    with opened(folder, embedder, settings) as fresh:
        fresh.ingest(list(kb.documents()))
        assert answers(kb) == answers(fresh)
        assert kb.status().fingerprint == fresh.status().fingerprint
        assert kb.status().chunks == fresh.status().chunks
    assert kb.check() == ()


@pytest.mark.parametrize(
    ("embedder", "settings", "words"),
    [
        (TurnedEmbedder(), SMALL, "re-embed"),
        (HashEmbedder(24), SMALL, "re-embed"),
        (TurnedEmbedder(48), LARGE, "re-chunk"),
        (HashEmbedder(), LARGE, "re-chunk"),
    ],
)
def test_a_migrated_knowledge_base_is_as_good_as_one_built_anew(
    kb: KnowledgeBase, tmp_path: Path, embedder: HashEmbedder, settings: Settings, words: str
) -> None:
    plan = kb.migration_plan(settings=settings, embedder=embedder)
    assert plan.work.startswith(words)
    assert (plan.documents, plan.chunks_now) == (DOCUMENTS, kb.status().chunks)
    before = answers(kb)
    report = kb.migrate(settings=settings, embedder=embedder)
    assert report.work == plan.work
    assert report.changes == plan.changes
    assert (report.documents, report.resumed) == (DOCUMENTS, 0)
    assert report.chunks == pytest.approx(plan.chunks, rel=0.2)
    assert 0 < report.embedded <= report.chunks
    assert answers(kb) != before
    as_built_anew(tmp_path / "fresh", kb, embedder, settings)
    assert kb.status().tail_chunks == 0
    assert kb.migrate(settings=settings, embedder=embedder).documents == 0


def test_a_plan_changes_nothing(kb: KnowledgeBase) -> None:
    before = kb.status().fingerprint, answers(kb)
    plan = kb.migration_plan(embedder=TurnedEmbedder(32))
    assert {change.key for change in plan.changes} == {"embedder", "embedder_name", "dimension"}
    assert plan.to_embed == plan.chunks == plan.chunks_now
    assert plan.sampled_chunks > 0
    assert 0 < plan.bytes < plan.free_bytes
    assert (kb.status().fingerprint, answers(kb)) == before
    same = kb.migration_plan()
    assert (same.changes, same.seconds, same.bytes) == ((), 0.0, 0)


def test_texts_that_the_embedder_knows_are_not_embedded_again(tmp_path: Path) -> None:
    with opened(tmp_path / "kb", settings=LARGE) as kb:
        kb.ingest([Document(uri="short", text="A note of one line."), document(1)])
        plan = kb.migration_plan(settings=SMALL)
        report = kb.migrate(settings=SMALL)
        assert plan.to_embed < plan.chunks
        assert report.embedded == report.chunks - 1


@pytest.mark.parametrize("documents", [1, 17, DOCUMENTS])
def test_an_interrupted_migration_goes_on_where_it_was(kb: KnowledgeBase, tmp_path: Path, documents: int) -> None:
    before, target = answers(kb), TurnedEmbedder()
    stop = StopAfter(documents)
    with pytest.raises(Stopped):
        kb.migrate(embedder=target, progress=stop)
    assert answers(kb) == before
    assert kb.check() == ()
    built = stop.seen[-1][0]
    assert kb.migration_plan(embedder=target).built == built
    report = kb.migrate(embedder=target)
    assert (report.resumed, report.documents) == (built, DOCUMENTS - built)
    as_built_anew(tmp_path / "fresh", kb, target, SMALL)


def test_another_target_takes_the_place_of_one_that_was_not_finished(kb: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        kb.migrate(embedder=TurnedEmbedder(), progress=StopAfter(9))
    assert kb.migrate(embedder=HashEmbedder(32)).resumed == 0
    as_built_anew(tmp_path / "fresh", kb, HashEmbedder(32), SMALL)
    with database(tmp_path) as connection:
        assert connection.execute("SELECT count(*) FROM editions").fetchone() == (2,)


def test_what_is_written_meanwhile_is_in_the_new_edition(kb: KnowledgeBase, tmp_path: Path) -> None:
    chance = random.Random(3)
    writes = 0

    class Writing:
        """Another application that writes and removes between the batches."""

        def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
            nonlocal writes
            if writes < 12:
                writes += 1
                other.ingest([document(chance.randrange(DOCUMENTS + 5), version=writes + 1)])
                other.remove(document(chance.randrange(DOCUMENTS)).id)

    with opened(tmp_path / "kb") as other:
        kb.migrate(embedder=TurnedEmbedder(), progress=Writing())
        assert writes == 12
    as_built_anew(tmp_path / "fresh", kb, TurnedEmbedder(), SMALL)


def test_a_rollback_brings_the_old_edition_with_what_was_written_since(kb: KnowledgeBase, tmp_path: Path) -> None:
    before = answers(kb)
    kb.migrate(settings=LARGE, embedder=TurnedEmbedder())
    assert kb.rollback().documents == 0
    assert answers(kb) == before
    assert kb.settings.chunking == SMALL.chunking
    # There and back again costs nothing but the swap, and what was written comes along.
    kb.ingest([document(3, version=2), document(99)])
    report = kb.migrate(settings=LARGE, embedder=TurnedEmbedder())
    assert (report.resumed, report.documents) == (DOCUMENTS - 1, 2)
    kb.ingest([document(4, version=2)])
    kb.remove(document(5).id)
    assert kb.rollback().documents == 1
    as_built_anew(tmp_path / "fresh", kb, HashEmbedder(), SMALL)
    assert kb.finish_migration()
    assert not kb.finish_migration()
    with pytest.raises(IndexStateError, match="nothing to roll back to"):
        kb.rollback()
    with database(tmp_path) as connection:
        for table in ("editions", "built", "dead", "postings", "segments", "chunks"):
            column = "id" if table == "editions" else "edition"
            found = connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall()
            assert len(found) == (0 if table in {"built", "dead"} else 1) or table in {"postings", "dead"}, table
        orphans = "SELECT count(*) FROM embeddings WHERE row NOT IN (SELECT embedding FROM chunks)"
        assert connection.execute(orphans).fetchone() == (0,)
    assert kb.check() == ()


@contextlib.contextmanager
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "kb" / "ragagent.db")
    try:
        yield connection
    finally:
        connection.close()


def fitting(hits: list[Hit], text: str) -> bool:
    """Whether query and vectors were of one embedder: a chunk's own text is nearest to it, at no distance."""
    return bool(hits) and hits[0].chunk.text == text and hits[0].score > 0.99


class Asking(threading.Thread):
    """Asks for chunks by their own words until told to stop, and notes everything that is not as it has to be."""

    def __init__(self, kb: KnowledgeBase, texts: list[str], seed: int) -> None:
        super().__init__()
        self._kb, self._texts, self._chance = kb, texts, random.Random(seed)
        self.done = threading.Event()
        self.asked = 0
        self.wrong: list[object] = []

    def run(self) -> None:
        while not self.done.is_set():
            text = self._chance.choice(self._texts)
            try:
                if not fitting(self._kb.search(text, k=3, mode="dense"), text):
                    self.wrong.append(text)
                if not self._kb.search(text, k=3):
                    self.wrong.append(f"nothing for {text}")
            except RagAgentError as error:
                self.wrong.append(error)
            self.asked += 1


@contextlib.contextmanager
def asked(kb: KnowledgeBase, texts: list[str], threads: int = 2) -> Iterator[list[Asking]]:
    asking = [Asking(kb, texts, seed) for seed in range(threads)]
    for one in asking:
        one.start()
    try:
        yield asking
    finally:
        for one in asking:
            one.done.set()
            one.join()
    assert [one.wrong for one in asking] == [[]] * threads
    assert all(one.asked for one in asking)


def texts_of(kb: KnowledgeBase) -> list[str]:
    return [
        chunk.text for one in kb.documents() for chunk in chunking.chunk(one, HashEmbedder().tokenizer, SMALL.chunking)
    ]


def test_no_query_of_any_thread_fails_or_mixes_editions(kb: KnowledgeBase, tmp_path: Path) -> None:
    with opened(tmp_path / "kb") as reader, asked(kb, texts_of(kb)) as here, asked(reader, texts_of(kb)) as there:
        kb.migrate(embedder=TurnedEmbedder())
        kb.migrate(embedder=HashEmbedder(48))
        kb.rollback()
        kb.migrate(embedder=HashEmbedder())
    assert all(one.asked > 1 for one in (*here, *there))


ASKING = """
import sys
from ragagent import KnowledgeBase, Settings
from ragagent.settings import ChunkingSettings
from ragagent.testing.embedding import HashEmbedder

settings = Settings(chunking=ChunkingSettings(max_tokens=24, min_tokens=1))
texts = sys.stdin.readline().rstrip("\\n").split("\\t")
embedders = lambda name: HashEmbedder(int(name.split("-")[1]))
with KnowledgeBase.open(sys.argv[1], settings=settings, embedder=HashEmbedder(), embedders=embedders) as kb:
    print("ready", flush=True)
    wrong = asked = 0
    dimensions = set()
    stopped = False
    while not stopped:
        stopped = (kb.path / "stop").exists()  # all texts are asked once more after it
        for text in texts:
            hits = kb.search(text, k=3, mode="dense")
            wrong += not hits or hits[0].chunk.text != text or hits[0].score < 0.99
            dimensions.add(kb.embedder.dimension)
            asked += 1
    print(asked, wrong, sorted(dimensions), flush=True)
"""


def test_queries_of_another_process_follow_the_swap(kb: KnowledgeBase, tmp_path: Path) -> None:
    texts = texts_of(kb)[:30]
    child = subprocess.Popen(
        [sys.executable, "-c", ASKING, str(tmp_path / "kb")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\t".join(texts) + "\n")
    child.stdin.flush()
    assert child.stdout.readline() == "ready\n"
    for dimension in (48, 64, 24):
        kb.migrate(embedder=HashEmbedder(dimension))
        kb.finish_migration()
    (tmp_path / "kb" / "stop").touch()
    output, _ = child.communicate()
    asked, wrong, dimensions = output.split(" ", 2)
    assert int(asked) >= len(texts)
    assert wrong == "0"
    assert "24" in dimensions
    assert child.returncode == 0


MIGRATING = """
import sys
from ragagent import KnowledgeBase, Settings
from ragagent.settings import ChunkingSettings, IngestSettings
from ragagent.testing.embedding import HashEmbedder

settings = Settings(
    chunking=ChunkingSettings(max_tokens=24, min_tokens=1), ingest=IngestSettings(batch_chunks=12, lock_timeout_s=60)
)

def sink(event):
    if event["name"].startswith("migrate."):
        print(event["name"], flush=True)

embedders = lambda name: HashEmbedder(int(name.split("-")[1]))
print("ready", flush=True)
with KnowledgeBase.open(sys.argv[1], settings=settings, embedders=embedders, trace=sink,
                        embedder=HashEmbedder(int(sys.argv[2]))) as kb:
    kb.migrate(embedder=HashEmbedder(int(sys.argv[3])))
    print("migrated", flush=True)
"""


def test_a_killed_migration_leaves_one_edition_whole_and_is_resumed(kb: KnowledgeBase, tmp_path: Path) -> None:
    chance, moments = random.Random(7), 12
    live, other, resumed, texts = 64, 48, 0, texts_of(kb)
    kb.close()
    for _ in range(moments):
        child = subprocess.Popen(
            [sys.executable, "-c", MIGRATING, str(tmp_path / "kb"), str(live), str(other)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        for _ in range(chance.randint(2, 34)):
            if child.stdout.readline() == "":
                break
        child.kill()
        child.communicate()
        stored = (stored_fingerprint(tmp_path / "kb") or {})["embedder_name"]
        with opened(tmp_path / "kb", embedder_of(stored)) as again:
            assert again.check() == ()
            assert again.status().documents == DOCUMENTS
            for text in chance.sample(texts, 20):
                assert fitting(again.search(text, k=1, mode="dense"), text)
            if stored == f"hash-{live}":
                resumed += again.migration_plan(embedder=HashEmbedder(other)).built > 0
            else:
                live, other = other, live
                # Else the way back would be nothing but a swap.
                again.finish_migration()
    assert resumed > 2
    with opened(tmp_path / "kb", HashEmbedder(live)) as again:
        again.migrate(embedder=HashEmbedder(other))
        as_built_anew(tmp_path / "fresh", again, HashEmbedder(other), SMALL)


def test_a_vector_of_another_embedder_is_refused(kb: KnowledgeBase) -> None:
    index, one, other = kb._index, HashEmbedder(), TurnedEmbedder()
    vector = one.embed_query("ferry")
    assert index.search("ferry", vector, k=1, mode="dense", embedder=one.fingerprint)
    for mode in ("dense", "hybrid"):
        with pytest.raises(EmbedderChanged, match="turned words 64"):
            index.search("ferry", vector, k=1, mode=mode, embedder=other.fingerprint)
    assert index.search("ferry", None, k=1, mode="sparse", embedder=other.fingerprint)


def test_an_ingest_that_a_migration_overtook_writes_nothing(kb: KnowledgeBase, tmp_path: Path) -> None:
    def documents() -> Iterator[Document]:
        for number in range(50, 60):
            if number == 55:
                with opened(tmp_path / "kb") as other:
                    other.migrate(embedder=TurnedEmbedder())
            yield document(number)

    with pytest.raises(FingerprintMismatch, match="turned words 64"):
        kb.ingest(documents())
    as_built_anew(tmp_path / "fresh", kb, TurnedEmbedder(), SMALL)
    # The next one begins with the parts that are in force.
    assert kb.ingest([document(77)]).added == 1
    as_built_anew(tmp_path / "fresh2", kb, TurnedEmbedder(), SMALL)


def test_other_chunking_stands_in_the_way_of_ingesting_and_not_of_searching(kb: KnowledgeBase, tmp_path: Path) -> None:
    with opened(tmp_path / "kb", settings=LARGE) as other:
        assert answers(other) == answers(kb)
        with pytest.raises(FingerprintMismatch, match=r"chunker is .*ragagent migrate --plan"):
            other.ingest([document(60)])
        other.migrate()
        assert other.ingest([document(60)]).added == 1
    with pytest.raises(FingerprintMismatch, match="chunker"):
        kb.ingest([document(61)])


def test_an_embedder_that_cannot_be_opened_here_is_named(kb: KnowledgeBase, tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path / "kb", settings=SMALL, embedder=HashEmbedder()) as other:
        kb.migrate(embedder=TurnedEmbedder())
        with pytest.raises(FingerprintMismatch, match="turned-64"):
            other.search("ferry")
        assert other.search("ferry", mode="sparse")


def test_an_index_of_another_analyser_is_searched_by_vectors_until_it_is_migrated(
    kb: KnowledgeBase, tmp_path: Path
) -> None:
    wanted = answers(kb)
    kb.close()
    with database(tmp_path) as connection:
        edition = schema.edition(connection)
        built = {**schema.fingerprint(connection), "analyser": "terms-0"}
        schema.change_edition(connection, edition, fingerprint=json.dumps(built, sort_keys=True))
        connection.commit()
    with opened(tmp_path / "kb") as older:
        assert older.search("ferry", mode="dense")
        for refused in (
            lambda: older.search("ferry", mode="sparse"),
            lambda: older.search("ferry"),
            lambda: older.ingest([document(70)]),
        ):
            with pytest.raises(FingerprintMismatch, match=r"analyser is 'terms-0'.*ragagent migrate --plan"):
                refused()
        assert older.migration_plan().work.startswith("re-analyse")
        report = older.migrate()
        assert (report.documents, report.embedded) == (DOCUMENTS, 0)
        assert answers(older) == wanted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.txt").write_text(document(number).text)
    return folder


def test_documents_are_read_again_and_what_cannot_be_keeps_its_text(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "kb") as kb:
        kb.ingest(folder)
        kb.ingest([document(30)])
        old = {one.uri: one.text for one in kb.documents()}
        before = answers(kb)
        (folder / "1.txt").write_text("Read by the newer reader: walruses.\n")
        (folder / "2.txt").unlink()
        monkeypatch.setattr(readers, "FINGERPRINT", "readers-of-tomorrow")
        assert kb.migration_plan().work.startswith("re-parse")
        with pytest.raises(Stopped):
            kb.migrate(progress=StopAfter(7))
        assert {one.uri: one.text for one in kb.documents()} == old
        assert answers(kb) == before
        report = kb.migrate()
        assert [failure.uri.rsplit("/", 1)[1] for failure in report.failures] in (["2.txt"], [])
        texts = {one.uri.rsplit("/", 1)[-1]: one.text for one in kb.documents()}
        assert "walruses" in texts["1.txt"]
        assert texts["2.txt"] == document(2).text
        assert "walruses" in kb.search("walruses", k=1)[0].text
        as_built_anew(tmp_path / "fresh", kb, HashEmbedder(), SMALL)
        monkeypatch.undo()
        kb.rollback()
        assert {one.uri: one.text for one in kb.documents()} == old
        assert answers(kb) == before
        assert kb.check() == ()


def test_an_unreadable_source_is_reported_document_by_document(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "kb") as kb:
        kb.ingest(folder)
        folder.rename(tmp_path / "elsewhere")
        monkeypatch.setattr(readers, "FINGERPRINT", "readers-of-tomorrow")
        report = kb.migrate()
        assert len(report.failures) == 6
        assert report.reread == 0
        assert kb.status().documents == 6
        assert kb.status().fingerprint["readers"] == "readers-of-tomorrow"


def test_a_model_of_another_name_that_is_not_here_is_an_error_before_any_work(kb: KnowledgeBase) -> None:
    with pytest.raises(ModelError, match="no-such-model"):
        kb.migrate(settings=Settings(embedding=EmbeddingSettings(model="no-such-model")))


def test_an_engine_without_editions_says_so(tmp_path: Path) -> None:
    class Engine:
        """Another engine behind the protocol."""

        def close(self) -> None: ...

    with (
        KnowledgeBase(Engine(), path=tmp_path, settings=SMALL) as kb,
        pytest.raises(ConfigError, match="kept in a folder"),
    ):  # type: ignore[arg-type]
        kb.rollback()


def test_tokenizers_that_count_alike_have_one_fingerprint(minilm: Path) -> None:
    from ragagent.models.embedding import open_embedder

    embedder = open_embedder(minilm)
    try:
        real = parts.tokenizer_fingerprint(embedder.tokenizer)
    finally:
        embedder.close()
    assert parts.tokenizer_fingerprint(HashEmbedder(8).tokenizer) == parts.tokenizer_fingerprint(
        HashEmbedder(9).tokenizer
    )
    assert real != parts.tokenizer_fingerprint(HashEmbedder(8).tokenizer)


def test_a_fingerprint_of_chunking_leads_back_to_its_settings() -> None:
    assert chunking.settings_of(chunking.fingerprint(LARGE.chunking)) == LARGE.chunking
    assert chunking.settings_of("chunking-0:1:2:3") is None


def test_new_metadata_while_documents_are_read_again_leaves_the_index_sound(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "kb") as kb:
        kb.ingest(folder)
        for file in folder.iterdir():
            file.write_text(file.read_text() + "\nOne line more.\n")
        monkeypatch.setattr(readers, "FINGERPRINT", "readers-of-tomorrow")
        with pytest.raises(Stopped):
            kb.migrate(progress=StopAfter(4))
        some = [one.id for one in kb.documents()][:3]
        kb.retag({key: {"shelf": "north"} for key in some})
        assert kb.check() == ()
        # How many the first one had done depends on its threads; what has changed since is read in any case.
        report = kb.migrate()
        assert report.reread + report.resumed == 6
        assert report.reread >= 3
        assert kb.check() == ()
        assert all("One line more." in one.text for one in kb.documents())


def test_other_readers_stay_whatever_records_a_migration_or_a_rollback_puts_in_place(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path / "kb") as kb:
        kb.ingest(folder, acl=["public"])
        for file in folder.iterdir():
            file.write_text(file.read_text() + "\nOne line more.\n")
        monkeypatch.setattr(readers, "FINGERPRINT", "readers-of-tomorrow")
        with pytest.raises(Stopped):
            kb.migrate(progress=StopAfter(4))
        keys = [one.id for one in kb.documents()]
        wanted = dict.fromkeys(keys, ("public",)) | dict.fromkeys(keys[:3], ("group:law",))
        kb.relabel({key: ["group:law"] for key in keys[:3]})
        # How many the first one had done depends on its threads; what has changed since is read in any case.
        report = kb.migrate()
        assert report.reread + report.resumed == 6
        assert report.reread >= 3
        assert {key: one.acl for key, one in kb.known().items()} == wanted
        assert all("One line more." in one.text for one in kb.documents())
        kb.relabel({key: ["user:ann"] for key in keys[2:4]})
        kb.rollback()
        assert {key: one.acl for key, one in kb.known().items()} == wanted | dict.fromkeys(keys[2:4], ("user:ann",))
        assert kb.check() == ()


def test_compacting_drops_the_edition_that_was_kept(kb: KnowledgeBase, tmp_path: Path) -> None:
    kb.migrate(embedder=HashEmbedder(512))
    kb.migrate(embedder=HashEmbedder(8))
    kb.compact()
    with database(tmp_path) as connection:
        assert connection.execute("SELECT state FROM editions").fetchall() == [("live",)]
    with pytest.raises(IndexStateError, match="nothing to roll back to"):
        kb.rollback()
    as_built_anew(tmp_path / "fresh", kb, HashEmbedder(8), SMALL)
