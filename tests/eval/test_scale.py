"""The program of scale: what it makes, what it takes for right, and what it prints, at a tiny size."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import faiss
import numpy as np
import pytest

from ragagent.eval.perf import curves, oracle
from ragagent.eval.perf.collection import BLOCK_CHUNKS, COMMON, WORDS, Collection
from ragagent.settings import RetrievalSettings
from ragagent.text.analyser import Analyser
from ragagent.where import Range

SMALL = Collection(chunks=300)


def test_a_collection_is_the_same_for_the_same_seed_and_block_by_block() -> None:
    first, again, other = (Collection(chunks=BLOCK_CHUNKS + 20, seed=seed) for seed in (1, 1, 2))
    assert first.blocks == 2
    last = first.block(1)
    assert len(last.words) == len(last.vectors) == 20
    assert np.array_equal(last.vectors, again.block(1).vectors)
    texts = [[entry.document for entry in one.entries(one.block(1))] for one in (first, again)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 2
    assert not np.array_equal(last.words, other.block(1).words)


def test_a_chunk_is_the_text_at_its_span_and_ids_are_unique() -> None:
    entries = SMALL.entries(SMALL.block(0))
    assert len(entries) == 30
    for entry in entries:
        assert all(chunk.span.of(entry.document.text) == chunk.text for chunk in entry.chunks)
        assert all(WORDS[0] <= len(chunk.text.split()) <= WORDS[1] for chunk in entry.chunks)
    assert len({chunk.id for entry in entries for chunk in entry.chunks}) == 300


def test_no_two_words_of_the_vocabulary_are_one_term() -> None:
    analyser = Analyser()
    terms = [analyser.index_terms(word) for word in SMALL.vocabulary]
    assert all(len(term) == 1 for term in terms)
    assert len({term for (term,) in terms}) == len(SMALL.vocabulary)


def test_words_fall_off_as_zipf_says_and_chunks_repeat_some() -> None:
    block = Collection(chunks=BLOCK_CHUNKS).block(0)
    words = block.words[block.words >= 0]
    counts = np.bincount(words, minlength=100)
    assert counts[0] / counts[9] == pytest.approx(10**1.07, rel=0.1)
    distinct = np.mean([len(np.unique(row[row >= 0])) for row in block.words[:500]])
    assert 80 < distinct < 95


def test_vectors_are_unit_and_a_question_lies_nearest_to_chunks_of_its_cluster() -> None:
    vectors = SMALL.block(0).vectors
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for question in SMALL.questions(5):
        scores = np.sort(vectors @ question.vector)[::-1]
        assert scores[0] > 0.4 > scores[150]


def test_questions_ask_for_no_stop_word() -> None:
    common = set(SMALL.vocabulary[:COMMON])
    assert all(len(question.text.split()) == 6 for question in SMALL.questions(20))
    assert not any(common & set(question.text.split()) for question in SMALL.questions(20))


def test_a_size_that_is_not_whole_documents_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 10"):
        Collection(chunks=15)


def test_the_nearest_are_those_of_a_flat_index_whatever_the_blocks() -> None:
    vectors, questions = SMALL.block(0).vectors, np.stack([one.vector for one in SMALL.questions(7)])
    nearest = oracle.Nearest(questions)
    for first in (0, 100, 250):
        nearest.add(first, vectors[first : {0: 100, 100: 250, 250: 300}[first]])
    flat = faiss.IndexFlatIP(SMALL.dimension)
    flat.add(vectors)
    _, expected = flat.search(questions, 10)
    assert [set(row) for row in nearest.numbers.tolist()] == [set(row) for row in expected.tolist()]
    assert nearest.recall(expected.tolist()) == 1.0
    assert nearest.recall([row[:9] for row in expected.tolist()]) == pytest.approx(0.9)


def test_a_filter_leaves_out_the_documents_it_does_not_accept() -> None:
    questions = np.stack([one.vector for one in SMALL.questions(3)])
    nearest = oracle.Nearest(questions, accepts=frozenset({4}))
    nearest.add(0, SMALL.block(0).vectors)
    assert all(set(row) == set(range(40, 50)) for row in nearest.numbers.tolist())
    shares = [one.document.metadata["share"] for one in SMALL.entries(SMALL.block(0))]
    for where, accepted in oracle.selections(30).values():
        wanted = {"share": where.lt} if isinstance(where, Range) else where
        assert accepted == {place for place, share in enumerate(shares) if _lets_in(wanted["share"], share)}


def _lets_in(wanted: Any, share: Any) -> bool:
    """A list of values, one value, or (15, for half of thirty) what must be more."""
    if isinstance(wanted, list):
        return share in wanted
    return bool(share < wanted) if wanted == 15 else bool(share == wanted)


def test_the_formula_written_out_is_bm25_counted_by_hand() -> None:
    block = SMALL.block(0)
    question = SMALL.questions(1)[0].text
    formula = oracle.Bm25(SMALL, [question], RetrievalSettings())
    formula.add(block)
    (scores,) = formula.scores()
    chunks = [
        [*entry.document.title.split(), *chunk.text.split()] for entry in SMALL.entries(block) for chunk in entry.chunks
    ]
    average = sum(map(len, chunks)) / len(chunks)
    for words, score in zip(chunks, scores, strict=True):
        expected = 0.0
        for word in question.split():
            having, times = sum(word in one for one in chunks), words.count(word)
            idf = math.log(1 + (len(chunks) - having + 0.5) / (having + 0.5))
            expected += idf * times / (times + 1.5 * (0.25 + 0.75 * len(words) / average))
        assert score == pytest.approx(expected, rel=1e-12)


def test_a_wrong_sparse_score_is_an_error_and_not_a_figure() -> None:
    scores = np.array([0.0, 3.0, 2.0, 1.0])
    oracle.require_equal(scores, [1, 2], [3.0, 2.0], "here")
    for numbers, found in (([1, 3], [3.0, 1.0]), ([2, 1], [3.0, 2.0]), ([1], [3.0 + 1e-6])):
        with pytest.raises(AssertionError, match="here"):
            oracle.require_equal(scores, numbers, found, "here")


def test_the_table_has_a_dash_and_the_curves_a_gap_where_nothing_was_measured() -> None:
    timing = {"median_s": 0.001, "p95_s": 0.002}
    records: list[dict[str, Any]] = [
        {"chunks": 10_000, "timings": {"dense": timing}, "rebuild": {"seconds": 1.0}},
        {"chunks": 100_000, "timings": {"dense": timing}},
    ]
    lines = curves.table(records).splitlines()
    assert lines[0] == "| | 10,000 | 100,000 |"
    assert "| dense | 1.00 / 2.00 | 1.00 / 2.00 |" in lines
    assert "| segments again from the database, s | 1.0 | - |" in lines
    drawn = ElementTree.fromstring(curves.svg(records))
    places = [one.get("points", "") for one in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(place.split()) for place in places] == [2, 1]


def test_the_program_measures_a_size_and_keeps_its_index(minilm: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ragagent.eval.perf.scale", "--chunks", "1000", "--queries", "30"]
    command += ["--kb", str(tmp_path), "--table", str(tmp_path / "table.md"), "--plot", str(tmp_path / "curves.svg")]
    found = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=500).stdout)
        for _ in range(2)
    ]
    assert found[0]["build"] == found[1]["build"]
    for record in found:
        assert record["recall@10"] == 1.0
        assert record["sparse_equal"] == 20
        assert record["filters"].keys() == {"50 %", "1 %", "0.01 %"}
        assert all(one["recall@10"] == 1.0 for one in record["filters"].values())
        assert record["disk"]["beside_text"] > record["disk"]["segments"] > 0
    assert " - " not in (tmp_path / "table.md").read_text()
    assert ElementTree.parse(tmp_path / "curves.svg").getroot().tag.endswith("svg")
