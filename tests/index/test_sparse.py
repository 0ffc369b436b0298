"""BM25 is the formula, over the live chunks: rank-bm25 is the oracle of the Okapi form."""

from __future__ import annotations

import hashlib
import math
import random
import threading
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25L, BM25Okapi, BM25Plus

from ragagent.index import acceleration, bm25, codes, loading, postings, scan, sparse
from ragagent.index.block import Block, Part, merged, total, whole
from ragagent.index.codes import Codes
from ragagent.index.dictionary import Terms
from ragagent.index.embedded import EmbeddedIndex
from ragagent.settings import RetrievalSettings
from ragagent.testing.entries import DIMENSION, entry
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


def words(terms: list[str]) -> list[tuple[str, ...]]:
    """Each term as a word that stands for nothing else."""
    return [(term,) for term in terms]


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


@pytest.mark.parametrize("form", ["plus", "l"])
def test_the_other_forms_are_rank_bm25_less_where_it_leaves_the_papers(
    tmp_path: Path, form: Literal["plus", "l"]
) -> None:
    texts = corpus(11, 60)
    terms = [ANALYSER.index_terms(" ".join(words)) for words in texts]
    with filled(tmp_path, texts, RetrievalSettings(bm25=form)) as index:
        for query in ("waa wab wac", "whh wgg waa waa", "wcd wde nowhere"):
            asked = [term for term in ANALYSER.query_terms(query) if any(term in words for words in terms)]
            expected = np.zeros(len(texts))
            for term in asked:
                times = np.array([words.count(term) for words in terms])
                if form == "plus":
                    expected += np.where(times > 0, BM25Plus(terms, delta=bm25.DELTA_PLUS).get_scores([term]), 0)
                else:
                    expected += BM25L(terms, delta=bm25.DELTA_L).get_scores([term]) / np.maximum(times, 1)
            found = {hit.uri: hit.score for hit in index.search(query, None, k=len(texts), mode="sparse")}
            assert len(found) == sum(bool(set(words) & set(asked)) for words in terms)
            for number in range(len(texts)):
                assert found.get(f"n:{number}", 0.0) == pytest.approx(expected[number], abs=1e-9)


LOOPS = loading.load()
COMPILED = None if LOOPS is None else partial(acceleration.compiled, LOOPS.search)
CHUNK = st.dictionaries(
    st.sampled_from([*"abcdef", "é"]), st.tuples(st.sampled_from([0, 0, 0, 1, 300]), st.sampled_from([0, 1, 1, 2, 300]))
)


@st.composite
def collections(draw: st.DrawFn) -> list[Part]:
    """A few parts with some of their chunks dead; chunk ids in no order."""
    parts, row = [], 1
    for number in range(draw(st.integers(1, 3))):
        chunks = [
            {term: counts for term, counts in chunk.items() if sum(counts)}
            for chunk in draw(st.lists(CHUNK, min_size=1, max_size=25))
        ]
        dead = draw(st.lists(st.integers(0, len(chunks) - 1), max_size=len(chunks)))
        parts.append(part_of(chunks, row, number).without(np.array(sorted(row + place for place in dead), np.int64)))
        row += len(chunks)
    return parts


def no_codes(count: int) -> Codes:
    none = codes.empty(DIMENSION)
    return Codes(*(np.zeros((count, array.shape[1]), np.uint8) for array in (none.bits, none.nibbles)))


def part_of(chunks: list[dict[str, tuple[int, int]]], row: int, segment: int | None) -> Part:
    rows = np.arange(row, row + len(chunks))
    analysed = [(list(one), np.array(list(one.values()), np.uint16).reshape(-1, 2)) for one in chunks]
    lengths = np.array([counts.sum(axis=0) for _, counts in analysed], np.uint32).reshape(-1, 2)
    return whole(
        Block(
            rows=rows,
            documents=rows,
            embeddings=rows,
            ids=np.array([hashlib.md5(str(one).encode()).hexdigest().encode() for one in rows.tolist()]),
            lengths=lengths,
            terms=total(lengths),
            postings=postings.build(analysed),
            codes=no_codes(len(rows)),
        ),
        segment,
    )


def plain(parts: list[Part], asked: list[str], retrieval: RetrievalSettings, masks) -> dict[int, float]:
    """BM25 chunk by chunk, straight from the formulas."""
    weight = retrieval.title_weight
    chunks: dict[int, dict[str, float]] = {}
    for part in parts:
        for place in np.flatnonzero(part.live):
            chunks[int(part.block.rows[place])] = {}
        for term in part.block.postings.terms:
            for place, counts in zip(*part.block.postings.of(term), strict=True):
                if part.live[place] and (frequency := counts[1] + weight * counts[0]):
                    chunks[int(part.block.rows[place])][term.decode()] = float(frequency)
    lengths = {row: sum(chunk.values()) for row, chunk in chunks.items()}
    average = sum(lengths.values()) / len(chunks) if sum(lengths.values()) else 1.0
    number = {term: sum(term in chunk for chunk in chunks.values()) for term in "abcdefé"}
    k1, b, many = retrieval.k1, retrieval.b, len(chunks)

    def okapi(term: str) -> float:
        return math.log(many - number[term] + 0.5) - math.log(number[term] + 0.5)

    def idf(term: str) -> float:
        if retrieval.bm25 == "okapi":
            known = [okapi(one) for one in number if number[one]]
            return okapi(term) if okapi(term) >= 0 else 0.25 * sum(known) / len(known)
        if retrieval.bm25 == "lucene":
            return math.log(1 + (many - number[term] + 0.5) / (number[term] + 0.5))
        return math.log((many + 1) / (number[term] + (0.5 if retrieval.bm25 == "l" else 0)))

    def share(tf: float, length: float) -> float:
        spread = 1 - b + b * length / average
        if retrieval.bm25 == "l":
            return (k1 + 1) * (tf / spread + 0.5) / (k1 + tf / spread + 0.5)
        top = tf if retrieval.bm25 == "lucene" else tf * (k1 + 1)
        return top / (tf + k1 * spread) + (1.0 if retrieval.bm25 == "plus" else 0.0)

    allowed = {
        int(row)
        for part, mask in zip(parts, masks, strict=True)
        for row in part.block.rows[slice(None) if mask is None else mask]
    }
    return {
        row: sum(asked.count(term) * idf(term) * share(chunk[term], lengths[row]) for term in set(asked) & set(chunk))
        for row, chunk in chunks.items()
        if row in allowed and set(asked) & set(chunk)
    }


@settings(deadline=None, max_examples=200)
@given(
    parts=collections(),
    asked=st.lists(st.sampled_from([*"abcdefé", "missing"]), min_size=1, max_size=8),
    form=st.sampled_from(bm25.FORMS),
    title_weight=st.sampled_from([0.0, 0.7, 1.0, 3.0]),
    b=st.sampled_from([0.0, 0.75, 1.0]),
    count=st.integers(1, 12),
    data=st.data(),
)
def test_every_way_of_searching_gives_the_best_by_the_formula(
    parts, asked: list[str], form: str, title_weight: float, b: float, count: int, data: st.DataObject
) -> None:
    masks = [
        data.draw(st.none() | st.lists(st.booleans(), min_size=len(part.block), max_size=len(part.block)))
        for part in parts
    ]
    masks = [None if mask is None else np.array(mask, np.bool_) for mask in masks]
    retrieval = RetrievalSettings(bm25=form, title_weight=title_weight, b=b)
    scorer = sparse.Scorer(parts, words(asked), retrieval)
    everything = scorer.best(10_000, masks)
    expected = plain(parts, asked, retrieval, masks)
    assert set(everything.rows.tolist()) == set(expected)
    for row, score in zip(everything.rows.tolist(), everything.scores.tolist(), strict=True):
        assert score == pytest.approx(expected[row], abs=1e-9)
    ways = [scorer.best(count, masks)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scan, "_WORTH", 0)
        ways.append(scorer.best(count, masks))
        # Looking up few chunks never, and whenever there is a filter.
        for few in (0, 10_000):
            patched.setattr(scan, "FEW", few)
            ways.append(scorer.best(count, masks))
            if COMPILED is not None:
                ways.append(scorer.best(count, masks, COMPILED))
    for found in ways:
        # Not nearly: the same floats, in the same order.
        assert found.rows.tolist() == everything.rows.tolist()[:count]
        assert found.scores.tolist() == everything.scores.tolist()[:count]


@settings(deadline=None, max_examples=50)
@given(parts=collections(), form=st.sampled_from(["lucene", "plus", "l"]), data=st.data())
def test_terms_that_stand_for_one_word_are_as_rare_as_all_of_them_together(
    parts, form: str, data: st.DataObject
) -> None:
    """Two stems that no chunk has both of score as one term would that stands wherever either does."""
    asked = data.draw(st.lists(st.lists(st.sampled_from("abcdefé"), min_size=1, max_size=3), min_size=1, max_size=3))
    retrieval = RetrievalSettings(bm25=form)
    scorer = sparse.Scorer(parts, [tuple(word) for word in asked], retrieval)
    chunks = sum(part.count for part in parts)
    counted = {term: len(plain(parts, [term], retrieval, [None] * len(parts))) for term in "abcdefé"}
    expected: dict[int, float] = {}
    for word in asked:
        together = min(chunks, sum(counted[term] for term in set(word)))
        for term in set(word):
            alone = plain(parts, [term], retrieval, [None] * len(parts))
            if counted[term]:
                own, shared = scorer._idf(counted[term]), scorer._idf(together)
                for row, score in alone.items():
                    expected[row] = expected.get(row, 0.0) + (score / own * shared if own else 0.0)
    found = scorer.best(10_000, [None] * len(parts))
    assert {row: pytest.approx(score, abs=1e-9) for row, score in expected.items()} == dict(
        zip(found.rows.tolist(), found.scores.tolist(), strict=True)
    )


@settings(deadline=None, max_examples=50)
@given(parts=collections(), form=st.sampled_from(bm25.FORMS), title_weight=st.sampled_from([0.0, 1.0]))
def test_scores_do_not_depend_on_how_chunks_lie_in_parts(parts, form: str, title_weight: float) -> None:
    retrieval = RetrievalSettings(bm25=form, title_weight=title_weight)
    asked = list("abcdefé")
    worn = sparse.Scorer(parts, words(asked), retrieval).best(100, [None] * len(parts))
    fresh = whole(merged(parts, DIMENSION))
    new = sparse.Scorer([fresh], words(asked), retrieval).best(100, [None])
    assert worn.rows.tolist() == new.rows.tolist()
    assert worn.scores.tolist() == new.scores.tolist()
    rows = worn.rows.tolist()
    arithmetic = [sparse.Scorer(one, words(asked), retrieval).explain(rows) for one in (parts, [fresh])]
    assert arithmetic[0] == arithmetic[1]


@pytest.mark.skipif(COMPILED is None, reason="needs the extra 'fast'")
def test_the_compiled_loop_agrees_over_several_buckets() -> None:
    """Frequent terms and rare ones, over the borders of buckets, with some dead chunks and a filter."""
    rng = np.random.default_rng(3)
    size = 2 * postings.BUCKET + 1000
    names = [f"t{number:02}".encode() for number in range(12)]
    entries = [np.flatnonzero(rng.random(size) < 0.6 / 2**number) for number in range(12)]
    chunks = np.concatenate(entries)
    numbers = np.repeat(np.arange(12), [len(one) for one in entries])
    order = np.lexsort((numbers, chunks))
    counts = np.minimum(rng.geometric(0.6, (len(chunks), 2)) - 1, 400).astype(np.uint16)
    counts[:, 1] += 1
    rows = np.arange(1, size + 1)
    lengths = rng.integers(50, 200, (size, 2)).astype(np.uint32)
    block = Block(
        rows=rows,
        documents=rows,
        embeddings=rows,
        ids=np.char.mod("%d", rows).astype(np.bytes_),
        lengths=lengths,
        terms=total(lengths),
        postings=postings.assembled(
            terms=Terms.of(names)[0], numbers=numbers[order], chunks=chunks[order], counts=counts[order], size=size
        ),
        codes=no_codes(size),
    )
    parts = [whole(block).without(rows[rng.random(size) < 0.01])]
    for asked in (["t00", "t05", "t11"], [f"t{n:02}" for n in range(12)]):
        scorer = sparse.Scorer(parts, words(asked), RetrievalSettings())
        for mask in (None, rng.random(size) < 0.5, rng.random(size) < 0.001):
            slow, fast = scorer.best(10, [mask], scan.best), scorer.best(10, [mask], COMPILED)
            everything = scorer.best(size, [mask], scan.best)
            for one in (slow, fast):
                assert one.rows.tolist() == everything.rows.tolist()[:10]
                assert one.scores.tolist() == everything.scores.tolist()[:10]


@pytest.mark.skipif(COMPILED is None, reason="needs the extra 'fast'")
def test_the_compiled_loops_are_loaded_beside_the_searches_that_make_it_worth_while() -> None:
    background = loading.Loading()
    for chunks in (loading.LARGE, *[loading.LARGE - 1] * loading._SEARCHES):
        background.asked(chunks)
    assert background._thread is None
    for _ in range(loading._SEARCHES):
        background.asked(loading.LARGE)
    assert background._thread is not None
    assert background._thread is not threading.current_thread()
    background.wait()
    assert background.loops == LOOPS
