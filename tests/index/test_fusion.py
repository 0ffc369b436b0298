"""Two rankings become one: by scores that compare, by ranks, and words that single a chunk out come first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.index import fusion, quoted, sparse
from ragagent.index.embedded import EmbeddedIndex
from ragagent.index.ranking import Ranking
from ragagent.settings import RetrievalSettings
from ragagent.testing.entries import DIMENSION, entry, vector_of
from ragagent.text.analyser import Analyser

ANALYSER = Analyser()
SCORES = st.dictionaries(st.integers(1, 30), st.floats(0.001, 20, allow_subnormal=False), max_size=20)


def ranked(scores: Mapping[int, float]) -> Ranking:
    best = sorted(scores, key=lambda row: (-scores[row], str(row)))
    return Ranking(
        rows=np.array(best, np.int64),
        ids=np.array([str(row).encode() for row in best], np.bytes_),
        scores=np.array([scores[row] for row in best], np.float64),
    )


def side(scores: Mapping[int, float], others: float = 0.0) -> fusion.Side:
    return fusion.Side(found=ranked(scores), score=lambda rows: np.full(len(rows), others))


@given(SCORES, SCORES, st.floats(0, 1), st.integers(1, 40))
def test_every_chunk_that_either_search_found_is_there_once_and_in_order(
    near: dict[int, float], alike: dict[int, float], weight: float, count: int
) -> None:
    for fused in (
        fusion.by_scores(side(near), side(alike), weight, np.zeros(0, np.int64), count),
        fusion.by_ranks([ranked(near), ranked(alike)], 60, count),
    ):
        rows = fused.ranking.rows.tolist()
        assert len(set(rows)) == len(rows) == len(fused.details) == min(count, len(near.keys() | alike.keys()))
        assert set(rows) <= near.keys() | alike.keys()
        assert fused.ranking.scores.tolist() == sorted(fused.ranking.scores.tolist(), reverse=True)


@given(SCORES, SCORES, st.floats(0, 1))
def test_the_sum_is_the_formula(near: dict[int, float], alike: dict[int, float], weight: float) -> None:
    """With what the other search would give the rest, as if each had scored everything."""
    every = near.keys() | alike.keys()
    cosines = {row: near.get(row, 0.0005) for row in every}
    words = {row: alike.get(row, 0.0) for row in every}
    fused = fusion.by_scores(side(near, 0.0005), side(alike), weight, np.zeros(0, np.int64), 100)
    if not every:
        assert not len(fused.ranking)
        return
    least, greatest, most = min(cosines.values()), max(cosines.values()), max(words.values())
    for row, score in zip(fused.ranking.rows.tolist(), fused.ranking.scores.tolist(), strict=True):
        share = (cosines[row] - least) / (greatest - least) if greatest > least else 1.0
        expected = weight * share + (1 - weight) * (words[row] / most if most else 0.0)
        assert score == pytest.approx(expected, abs=1e-9)


@given(SCORES, SCORES, st.floats(0.1, 0.9), st.floats(0.5, 100), st.floats(0.5, 100))
def test_the_order_does_not_depend_on_the_units_of_either_score(
    near: dict[int, float], alike: dict[int, float], weight: float, first: float, second: float
) -> None:
    nothing = np.zeros(0, np.int64)
    plain = fusion.by_scores(side(near), side(alike), weight, nothing, 100)
    scaled = fusion.by_scores(
        side({row: score * first for row, score in near.items()}),
        side({row: score * second for row, score in alike.items()}),
        weight,
        nothing,
        100,
    )
    assert dict(zip(plain.ranking.rows.tolist(), plain.ranking.scores.tolist(), strict=True)) == pytest.approx(
        dict(zip(scaled.ranking.rows.tolist(), scaled.ranking.scores.tolist(), strict=True)), abs=1e-9
    )


@given(SCORES, SCORES, st.data())
def test_what_is_singled_out_comes_before_all_else(
    near: dict[int, float], alike: dict[int, float], data: st.DataObject
) -> None:
    singled = data.draw(st.sets(st.sampled_from(sorted(alike)))) if alike else set()
    rows = np.array(sorted(singled), np.int64)
    found = fusion.by_scores(side(near), side(alike), 0.5, rows, 100).ranking.rows.tolist()
    assert set(found[: len(singled)]) == singled


@given(SCORES, SCORES, st.data())
def test_up_to_three_that_are_singled_out_are_ranked_by_words_alone(
    near: dict[int, float], alike: dict[int, float], data: st.DataObject
) -> None:
    singled = data.draw(st.sets(st.sampled_from(sorted(alike)), max_size=3)) if alike else set()
    found = fusion.by_scores(side(near), side(alike), 0.5, np.array(sorted(singled), np.int64), 100).ranking
    words = [alike[row] for row in found.rows.tolist()[: len(singled)]]
    assert words == sorted(words, reverse=True)


def test_by_ranks_is_the_sum_of_reciprocal_ranks() -> None:
    fused = fusion.by_ranks([ranked({1: 9.0, 2: 8.0}), ranked({2: 5.0, 3: 4.0})], 60, 10)
    assert fused.ranking.rows.tolist() == [2, 1, 3]
    assert fused.ranking.scores.tolist() == [1 / 62 + 1 / 61, 1 / 61, 1 / 62]
    assert fused.details == ("1/(60+2) + 1/(60+1)", "1/(60+1)", "1/(60+2)")


@pytest.mark.parametrize(
    ("scores", "coverage", "singled"),
    [
        ([10.0, 4.0, 3.0], 1.0, 1),  # far ahead of the next
        ([10.0, 9.0, 4.0], 1.0, 2),
        ([10 * 0.7**n for n in range(12)], 1.0, 0),  # nowhere is the next one much less
        ([10.0, 4.0, 3.0], 0.4, 0),  # far ahead by a word that is little of the question
        ([3.0], 1.0, 1),  # no other chunk has any of its words
        ([3.0 - n / 100 for n in range(11)], 1.0, 0),
        ([3.0] * 11, 1.0, 0),  # so many are not singled out
        ([], 1.0, 0),
    ],
)
def test_few_that_are_far_ahead_with_most_of_the_question_are_singled_out(
    scores: list[float], coverage: float, singled: int
) -> None:
    found = ranked(dict(enumerate(scores, 1)))
    assert len(fusion.singled_out(found, lambda rows: np.full(len(rows), coverage))) == singled


CODE = "Fault QX-7741-B means that the left valve is stuck."


@pytest.fixture
def index(tmp_path: Path):
    texts = [
        f"The {word} valve of the left pump needs oil after {number} hours." for number, word in enumerate("abcdefghij")
    ]
    with EmbeddedIndex.open(tmp_path, fingerprint={}, dimension=DIMENSION, retrieval=RetrievalSettings()) as index:
        index.write([entry(f"n:{number}", [text]) for number, text in enumerate(texts)] + [entry("n:code", [CODE])])
        index.write([entry("n:quote", ["It was said that pride comes before a fall, by many."])])
        index.write([entry("n:other", ["A fall comes before pride, it was said by many many times."])])
        yield index


def test_a_part_number_is_found_first_whatever_the_vectors_say(index: EmbeddedIndex) -> None:
    far = -vector_of(CODE)
    found = index.search("what does qx-7741-b mean for the valve", far, k=3, mode="hybrid", dense_weight=0.95)
    assert found[0].uri == "n:code"
    assert "singled out by its words" in found[0].stages[-1].detail


@pytest.mark.parametrize("marks", ['"{}"', "\u201c{}\u201d", "\u201e{}\u201c", "\u00ab{}\u00bb"])
def test_words_between_quotation_marks_stand_in_what_comes_first(index: EmbeddedIndex, marks: str) -> None:
    for phrase, uri in (("pride comes before a fall", "n:quote"), ("FALL comes before: pride", "n:other")):
        question = f"who said {marks.format(phrase)}"
        found = index.search(question, -vector_of(phrase), k=3, mode="hybrid", dense_weight=0.9)
        assert found[0].uri == uri


def test_a_chunk_that_only_one_search_found_can_win(index: EmbeddedIndex) -> None:
    text = "The c valve of the left pump needs oil after 2 hours."
    found = index.search("zzz unheard of", vector_of(text), k=2, mode="hybrid")
    assert found[0].uri == "n:2"
    (found, *_) = index.search("pride", np.zeros(DIMENSION, np.float32) + 0.1, k=2, mode="hybrid", dense_weight=0.0)
    assert found.uri in {"n:quote", "n:other"}


@pytest.mark.parametrize("mode", ["scores", "ranks"])
def test_the_arithmetic_that_is_shown_adds_up(tmp_path: Path, mode) -> None:
    settings = RetrievalSettings(fusion=mode)
    with EmbeddedIndex.open(tmp_path, fingerprint={}, dimension=DIMENSION, retrieval=settings) as index:
        index.write([entry(f"n:{number}", [f"oil valve {'pump ' * number}"]) for number in range(8)])
        for hit in index.search("valve pump", vector_of("pump"), k=8, mode="hybrid"):
            shown = hit.stages[-1].detail
            if mode == "ranks":
                total = sum(1 / (60 + int(part.split("+")[1].rstrip(")"))) for part in shown.split(" + "))
            else:
                parts = [part.split(" (")[0] for part in shown.split(" + ")]
                total = sum(float(np.prod([float(factor) for factor in part.split(" * ")])) for part in parts)
            assert total == pytest.approx(hit.score, abs=2e-3)


@given(st.text(max_size=200) | st.text('ab1-_./ "', max_size=60))
def test_any_text_can_be_looked_through_and_holds_what_is_found_in_it(text: str) -> None:
    for phrase in quoted.phrases(text):
        assert phrase in quoted.plain(text)
    for identifier in quoted.identifiers(text):
        # The first term of one is the whole of it: that is how it is looked for.
        (whole, *_) = ANALYSER.index_terms(identifier)
        assert whole in ANALYSER.index_terms(text)


@pytest.mark.parametrize(
    ("question", "identifiers"),
    [
        ("where is report_fkp_8718.pdf", ("report_fkp_8718.pdf",)),
        ("QX-7741-B or QXR7741?", ("QX-7741-B", "QXR7741")),
        ("what happened on 2024-01-15 and in 1998", ("2024-01-15",)),
        ("error 0x80070005", ("0x80070005",)),
        ("os.path.join of well-known people, v2", ()),
    ],
)
def test_identifiers_are_digits_with_letters_or_joiners(question: str, identifiers: tuple[str, ...]) -> None:
    assert quoted.identifiers(question) == identifiers


def test_the_one_passage_with_all_rarities_of_a_question_comes_first(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sparse, "RARITY", 5)
    with EmbeddedIndex.open(tmp_path, fingerprint={}, dimension=DIMENSION) as index:
        index.write([entry(f"n:{number}", ["the results were said to be good"]) for number in range(12)])
        index.write([entry("n:right", ["Velmora Tastigan was there, for a long time and with many others"])])
        index.write([entry("n:like", ["Velmora Tastigen said results"])])
        question = "what did Velmora Tastigan say of the results"
        found = index.search(question, vector_of("Velmora Tastigen said results"), k=2, mode="hybrid", dense_weight=0.9)
        assert [hit.uri for hit in found] == ["n:right", "n:like"]
        assert "singled out" in found[0].stages[-1].detail


def test_an_identifier_that_differs_in_one_character_comes_after(tmp_path: Path) -> None:
    with EmbeddedIndex.open(tmp_path, fingerprint={}, dimension=DIMENSION) as index:
        index.write([entry("n:right", ["some words about report_abc_4711.final.pdf that nobody reads often"])])
        index.write([entry("n:like", ["report_abc_4712.final.pdf"]), entry("n:far", ["nothing of the sort"])])
        question = "who wrote report_abc_4711.final.pdf"
        found = index.search(question, vector_of("report_abc_4712.final.pdf"), k=2, mode="hybrid", dense_weight=0.9)
        assert [hit.uri for hit in found] == ["n:right", "n:like"]
