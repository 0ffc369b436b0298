from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import pytrec_eval

from ragagent.app import KnowledgeBase
from ragagent.errors import ConfigError
from ragagent.eval import retrieval
from ragagent.eval.corpus import Parts, opened
from ragagent.settings import ChunkingSettings, Settings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Document

PARTS = Parts(embedder=HashEmbedder())


def test_every_query_is_searched_in_every_mode(towns: Path) -> None:
    found = retrieval.run(towns, k=3, parts=PARTS)
    assert {(row.row, row.id) for row in found.records} == {
        (mode, f"q-{name}") for mode in ("dense", "sparse", "hybrid") for name in _names(towns)
    }
    assert list(found.figures) == ["dense", "sparse", "hybrid"]
    sparse = found.figures["sparse"]["nDCG@3"]
    assert sparse is not None
    assert sparse.estimate == 1.0
    assert found.about.documents == 6


def test_the_figures_are_those_of_trec_eval_on_the_recorded_rankings(towns: Path) -> None:
    found = retrieval.run(towns, k=5, modes=("dense",), parts=PARTS)
    qrels = {f"q-{name}": {name: 1} for name in _names(towns)}
    runs = {row.id: {doc: 1.0 / rank for rank, doc in enumerate(row.ranking, 1)} for row in found.records}
    expected = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.5"}).evaluate(runs)
    mean = sum(row["ndcg_cut_5"] for row in expected.values()) / len(expected)
    figure = found.figures["dense"]["nDCG@5"]
    assert figure is not None
    assert figure.estimate == pytest.approx(mean)


def test_the_second_run_embeds_nothing_and_finds_the_same(towns: Path, tmp_path: Path) -> None:
    first = retrieval.run(towns, kb=tmp_path / "kb", parts=PARTS)
    second = retrieval.run(towns, kb=tmp_path / "kb", parts=PARTS)
    assert first.about.embedded > 0
    assert second.about.embedded == 0
    assert [row.ranking for row in first.records] == [row.ranking for row in second.records]


def test_a_document_that_left_the_set_is_not_found_any_more(towns: Path, tmp_path: Path) -> None:
    retrieval.run(towns, kb=tmp_path / "kb", parts=PARTS)
    kept = (towns / "documents.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    (towns / "documents.jsonl").write_text("\n".join(kept) + "\n", encoding="utf-8")
    found = retrieval.run(towns, kb=tmp_path / "kb", k=6, parts=PARTS)
    assert found.about.documents == 5
    assert all("Alderby" not in row.ranking for row in found.records)


def test_other_chunks_and_other_vectors_have_a_place_of_their_own(towns: Path, tmp_path: Path) -> None:
    small = Settings(chunking=ChunkingSettings(max_tokens=16, min_tokens=1))
    for settings, embedder in (
        (Settings(), HashEmbedder()),
        (small, HashEmbedder()),
        (Settings(), HashEmbedder(32)),
        (Settings(), HashEmbedder()),
    ):
        retrieval.run(towns, settings=settings, kb=tmp_path / "kb", parts=Parts(embedder=embedder), modes=("dense",))
    assert len(list((tmp_path / "kb").iterdir())) == 3


def test_a_document_ranks_where_its_best_chunk_does(tmp_path: Path) -> None:
    settings = Settings(chunking=ChunkingSettings(max_tokens=16, min_tokens=1))
    long = "\n\n".join(f"the brown fox jumps over the lazy dog number {number} today" for number in range(30))
    with KnowledgeBase.open(tmp_path / "kb", settings=settings, embedder=HashEmbedder()) as kb:
        kb.ingest([Document(id="long", text=long), Document(id="short", text="a fox was seen")])
        chunks = kb.search("brown fox", k=6, mode="sparse")
        found = retrieval.ranked_documents(
            lambda count: kb.search("brown fox", k=count, mode="sparse"), 2, lambda hit: hit.document_id
        )
    assert {hit.document_id for hit in chunks} == {"long"}
    assert found == ["long", "short"]


def test_a_smaller_sample_is_part_of_a_larger_one(towns: Path) -> None:
    queries, _ = retrieval.load(towns)
    few, more = retrieval.drawn(queries, 2, 7), retrieval.drawn(queries, 4, 7)
    assert len(few) == 2
    assert set(few) < set(more)
    assert retrieval.drawn(queries, None, 7) == queries


def test_a_question_set_is_a_retrieval_set_too(towns: Path) -> None:
    (towns / "queries.jsonl").unlink()
    found = retrieval.run(towns, modes=("sparse",), parts=PARTS)
    assert sorted(row.id for row in found.records) == sorted(_names(towns))


def test_files_are_judged_by_their_names(tmp_path: Path) -> None:
    docs = tmp_path / "set" / "docs"
    docs.mkdir(parents=True)
    (docs / "red car.txt").write_text("The red car is fast.", encoding="utf-8")
    (docs / "boat.txt").write_text("The blue boat is slow.", encoding="utf-8")
    row = {"id": "1", "question": "red car", "answers": ["fast"], "doc_ids": ["red car.txt"]}
    (tmp_path / "set" / "qa.jsonl").write_text(json.dumps(row), encoding="utf-8")
    found = retrieval.run(tmp_path / "set", modes=("sparse",), parts=PARTS)
    assert found.records[0].ranking[0] == "red car.txt"
    assert str(tmp_path) not in str(found)


def test_a_document_that_cannot_be_read_is_named_in_the_run(towns: Path) -> None:
    with (towns / "documents.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": "blank", "text": "  "}) + "\n")
    found = retrieval.run(towns, modes=("sparse",), parts=PARTS)
    assert found.about.unreadable == ("document:blank: EmptyDocument",)


def test_without_documents_or_judgements_there_is_a_clear_error(towns: Path) -> None:
    (towns / "qrels.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="no query has a relevant document"):
        retrieval.run(towns, parts=PARTS)
    (towns / "documents.jsonl").unlink()
    with pytest.raises(ConfigError, match="no documents to search"), opened(towns, None, Settings(), PARTS):
        pass


def test_progress_is_told_to_the_end(towns: Path) -> None:
    told: list[tuple[str, int, int | None]] = []

    class Teller:
        def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
            told.append((stage, done, total))

    retrieval.run(towns, modes=("sparse",), parts=dataclasses.replace(PARTS, progress=Teller()))
    assert told[-1] == ("search", 6, 6)


@pytest.mark.model
@pytest.mark.parametrize(("mode", "least"), [("dense", 0.42), ("sparse", 0.44), ("hybrid", 0.46)])
def test_adi_is_searched_as_well_as_it_was(shared_data: Path, minilm: Path, mode: str, least: float) -> None:
    settings = dataclasses.replace(Settings(), embedding=dataclasses.replace(Settings().embedding, model=str(minilm)))
    found = retrieval.run(shared_data / "adi", settings=settings, modes=(mode,))  # type: ignore[arg-type]
    figure = found.figures[mode]["nDCG@10"]
    assert figure is not None
    assert figure.estimate >= least


def _names(folder: Path) -> list[str]:
    return [json.loads(line)["id"] for line in (folder / "documents.jsonl").read_text(encoding="utf-8").splitlines()]
