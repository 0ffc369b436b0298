"""BM25 is the formula, over the live chunks: rank-bm25 is the oracle of the Okapi form."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25L, BM25Okapi, BM25Plus

from ragagent.index.embedded import EmbeddedIndex
from ragagent.settings import RetrievalSettings
from ragagent.testing.index import DIMENSION, entry
from ragagent.text.analyser import Analyser

ANALYSER = Analyser()
WORDS = [f"w{letter}{other}" for letter in "abcdefgh" for other in "abcdefgh"]


def corpus(seed: int, count: int) -> list[list[str]]:
    """Texts with a few very frequent words, so that some idf are negative in the Okapi form."""
    rng = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(len(WORDS))]
    return [rng.choices(WORDS, weights, k=rng.randint(1, 40)) for _ in range(count)]


def filled(folder: Path, texts: list[list[str]], retrieval: RetrievalSettings) -> EmbeddedIndex:
    """An index of those texts that went through edits, removals, folds and merges first."""
    index = EmbeddedIndex.open(
        folder, fingerprint={}, dimension=DIMENSION, retrieval=retrieval, fold_chunks=max(len(texts) // 5, 1)
    )
    entries = [entry(f"n:{number}", [" ".join(words)]) for number, words in enumerate(texts)]
    index.write([entry(one.document.uri, [f"{WORDS[0]} old text"]) for one in entries[::2]])
    index.write([entry("gone", [" ".join(WORDS)])])
    for start in range(0, len(entries), 10):
        index.write(entries[start : start + 10])
    index.write(remove=[entry("gone", []).document.id])
    return index


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.4), (1.2, 0.0)])
@pytest.mark.parametrize("count", [3, 120])
def test_the_okapi_form_is_rank_bm25_to_nine_digits(tmp_path: Path, k1: float, b: float, count: int) -> None:
    texts = corpus(7, count)
    oracle = BM25Okapi([ANALYSER.index_terms(" ".join(words)) for words in texts], k1=k1, b=b)
    with filled(tmp_path, texts, RetrievalSettings(bm25="okapi", k1=k1, b=b)) as index:
        for query in ("waa", "waa wab wac", "whh wgg waa waa", "wcd wde nowhere"):
            terms = ANALYSER.query_terms(query)
            scores = oracle.get_scores(terms)
            matching = [number for number, words in enumerate(texts) if set(words) & set(query.split())]
            found = {hit.uri: hit.score for hit in index.search(query, None, k=count, mode="sparse")}
            assert set(found) == {f"n:{number}" for number in matching}
            np.testing.assert_allclose(
                [found[f"n:{number}"] for number in matching], scores[matching], rtol=0, atol=1e-9
            )


def test_a_title_word_counts_as_many_words_as_it_is_told(tmp_path: Path) -> None:
    for weight in (0.0, 0.5, 1.0, 3.0):
        retrieval = RetrievalSettings(title_weight=weight)
        with EmbeddedIndex.open(
            tmp_path / str(weight), fingerprint={}, dimension=DIMENSION, retrieval=retrieval
        ) as index:
            index.write([entry("title", ["filler words only"], title="zebra"), entry("text", ["zebra words only"])])
            index.write([entry("neither", ["nothing to see"])])
            found = {hit.uri: hit.score for hit in index.search("zebra", None, k=5, mode="sparse")}
            assert ("title" in found) == (weight > 0)
            # By hand: lengths are 3 + weight, 3 and 3 (or what is left of them).
            average = (9 + weight) / 3
            frequency = len(found)
            idf = np.log(1 + (3 - frequency + 0.5) / (frequency + 0.5))
            expected = {"text": idf * 1 / (1 + 1.5 * (0.25 + 0.75 * 3 / average))}
            if weight:
                expected["title"] = idf * weight / (weight + 1.5 * (0.25 + 0.75 * (3 + weight) / average))
            assert found == pytest.approx(expected, abs=1e-12)


def test_the_arithmetic_that_is_shown_adds_up_to_the_score(tmp_path: Path) -> None:
    with filled(tmp_path, corpus(3, 50), RetrievalSettings()) as index:
        for hit in index.search("waa wbb wcc", None, k=10, mode="sparse"):
            (stage,) = hit.stages
            shown = sum(float(piece.split()[1]) for piece in stage.detail.split(" + "))
            assert shown == pytest.approx(hit.score, abs=2e-3)


def test_a_stop_word_finds_something_when_it_is_all_there_is(tmp_path: Path) -> None:
    with EmbeddedIndex.open(tmp_path, fingerprint={}, dimension=DIMENSION) as index:
        index.write([entry("q", ["to be or not to be"]), entry("x", ["something else"])])
        assert [hit.uri for hit in index.search("to be", None, k=5, mode="sparse")] == ["q"]
        assert index.search("what is the zebra", None, k=5, mode="sparse") == []


