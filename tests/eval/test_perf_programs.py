"""The programs of speed run, check what they time, and print one line; no figure of time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ragagent.eval.perf import embedding, generated, steps


def _run(program: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", f"ragagent.eval.perf.{program}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=500)
    printed = done.stdout.splitlines()
    assert len(printed) == 1
    found: dict[str, Any] = json.loads(printed[0])
    return found


def test_embedding_is_compared_on_texts_whose_vectors_agree(minilm: Path) -> None:
    pytest.importorskip("sentence_transformers")
    found = _run("embedding", "--model", str(minilm), "--texts", "6", "--tokens", "60", "--repeats", "1")
    assert found["cosine_min"] > 0.995
    assert found["texts"] == 6
    assert found["timings"].keys() == {"ragagent", "sentence-transformers"}


def test_vectors_that_disagree_are_an_error_and_not_a_figure() -> None:
    with pytest.raises(AssertionError, match="cosine"):
        embedding._agreement({"ragagent": [[1.0, 0.0]], "sentence-transformers": [[0.0, 1.0]]})


def test_start_up_is_measured_on_processes_that_load_no_engine_too_many(minilm: Path, tmp_path: Path) -> None:
    found = _run("startup", "--repeats", "1", "--chunks", "40", "--kb", str(tmp_path / "kb"))
    assert found["chunks"] == 40
    assert found["timings"].keys() == {"python", "import ragagent", "ragagent --help", "first hits"}
    again = _run("startup", "--repeats", "1", "--chunks", "40", "--kb", str(tmp_path / "kb"))
    assert again["chunks"] == 40


def test_generated_text_is_the_same_for_the_same_seed_and_long_enough() -> None:
    first, again, other = (list(generated.texts(3, 100, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert all(len(text.split()) == 100 for text in first)


def test_filters_are_timed_after_they_were_held_to_brute_force() -> None:
    found = _run("filters", "--chunks", "1500", "--filters", "4", "--checked", "4")
    assert found["equal_to_brute_force"].keys() == {"0.5", "0.01", "0.0001"}
    assert all(one["dense_recall"] == 1 for one in found["equal_to_brute_force"].values())
    assert found["timings"].keys() == {"1", "0.5", "0.01", "0.0001"}


def test_sessions_are_timed_after_they_were_held_to_an_index_of_what_they_may_read() -> None:
    found = _run("access", "--chunks", "1500", "--questions", "4", "--words", "40")
    assert found["equal_to_an_index_of_the_visible"] == 4
    assert found["word_frequencies_told"] == {"visible": 0.0, "all": 1.0}
    assert {"owner", "half, visible", "hundredth, all", "first of a session"} <= found["timings"].keys()


def test_readers_beside_a_writer_see_nothing_torn() -> None:
    found = _run("readers", "--readers", "3", "--seconds", "2", "--turn", "1", "--documents", "60")
    assert (found["torn"], found["errors"]) == (0, 0)
    assert found["commits"] > 0
    assert found["reads"] > 0


def test_queries_do_not_notice_a_migration_that_is_killed_resumed_and_rolled_back() -> None:
    found = _run("migration", "--chunks", "300", "--target", "hash-32")
    assert found["failed_or_mixed"] == 0
    assert found["queries"] > 0
    assert found["resumed"]["resumed"] >= found["killed_after_documents"] > 0
    assert found["rolled_back"]["documents"] == 20


def test_cutting_is_timed_on_chunks_that_are_the_text_at_their_spans(shared_data: Path) -> None:
    found = _run(
        *("texts", "--set", str(shared_data / "squad_v2.0_dev"), "--documents", "2"),
        *("--repeats", "1", "--embedded", "4", "--hash-embedder"),
    )
    assert found["cpu_seconds"].keys() == {"tokenizing", "cutting", "language", "unicode", "signatures", "embedding"}
    assert found["chunks"] > 50


def test_ways_of_cutting_are_compared_on_the_same_questions(shared_data: Path) -> None:
    found = _run(
        *("chunking", "--sets", str(shared_data / "squad_v2.0_dev"), "--documents", "1", "--questions", "5"),
        *("--ways", "structure:200", "parents:60:parent=200", "--hash-embedder"),
    )
    first, second = found["ways"].values()
    assert found["sets"]["squad_v2.0_dev"] > 0
    assert first["sets"]["squad_v2.0_dev"]["against_first"]["400"] == [0, 0, 0]
    assert second["sets"]["squad_v2.0_dev"]["chunks"] > first["sets"]["squad_v2.0_dev"]["chunks"]


def test_ingestion_is_timed_on_files_that_are_found_afterwards(minilm: Path, tmp_path: Path) -> None:
    for number in range(3):
        words = " ".join(generated.texts(1, 130, seed=number))
        (tmp_path / f"page{number}.html").write_text(f"<html><body><h1>Page</h1><p>{words}</p></body></html>")
    found = _run("ingest_peers", "--data", str(tmp_path), "--files", "3", "--model", str(minilm))
    assert (found["files"], found["documents_per_second"].keys()) == (3, {"ragagent"})
    (ours,) = (one["ragagent"] for one in found["rounds"])
    assert (ours["found"], ours["unchanged"]["unchanged"], ours["unchanged"]["embedded"]) == (1, 3, 0)
    assert 1 <= found["edit_embedded"] <= 3


def test_the_memory_of_an_ingest_is_told_for_each_size() -> None:
    found = _run("ingest_memory", "--files", "5", "10")
    assert found["sizes"].keys() == {"5", "10"}
    assert all(one["peak_mb"] > 10 and one["reading_peak_mb"] > 10 for one in found["sizes"].values())


def _set(folder: Path) -> None:
    documents = [{"id": str(at), "title": "", "text": text} for at, text in enumerate(generated.texts(30, 40))]
    files = {
        "documents.jsonl": documents,
        "queries.jsonl": [{"id": "q", "text": documents[0]["text"][:60]}],
        "qrels.jsonl": [{"qid": "q", "docid": "0", "score": 1}],
    }
    for name, rows in files.items():
        (folder / name).write_text("\n".join(map(json.dumps, rows)), "utf-8")


def test_what_each_step_of_a_search_brings_is_told_beside_the_plain_one(tmp_path: Path) -> None:
    _set(tmp_path)
    command = [sys.executable, "-m", "ragagent.eval.perf.steps", str(tmp_path), "--hash-embedder", "--typos"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout.splitlines()
    assert [line.split()[1] for line in printed[1:-1]] == ["plain", "late", "spelling", "hops"]
    assert all("+0.000 [+0.000, +0.000]" in line for line in printed[2:-1])
    assert "1.00 of 1 where both searches agree, none elsewhere" in printed[-1]


def test_a_misspelled_text_differs_in_one_word() -> None:
    text = "the magnificent elephants remember"
    for seed in range(40):
        wrong = steps.misspelled(text, seed)
        assert sum(one != other for one, other in zip(text.split(), wrong.split(), strict=True)) <= 1
    assert steps.misspelled("a cat", 0) == "a cat"
    assert {len(steps.misspelled("великолепный", seed)) for seed in range(40)} == {11, 12}


def test_passages_are_judged_side_by_side_as_one_by_one(tmp_path: Path, tiny_gguf: Path) -> None:
    _set(tmp_path)
    found = _run("judging", "--set", str(tmp_path), "--hash-embedder", "--model", str(tiny_gguf), "--depth", "3")
    assert found["ways"].keys() == {"query likelihood", "yes or no"}
    assert all(one["difference"]["greatest"] < 0.5 for one in found["ways"].values())


def test_the_budget_of_reranking_is_measured_with_how_much_it_reaches(tmp_path: Path) -> None:
    _set(tmp_path)
    budgets = ["--budgets", "0.001", "60000"]
    found = _run("rerank", "--set", str(tmp_path), "--hash-embedder", "--depth", "10", *budgets)
    assert found["budgets"]["0.001 ms"]["cut_short"] == 1
    assert found["budgets"]["60000 ms"]["reached"] == 10
    assert found["budgets"]["60000 ms"]["over"] is None
