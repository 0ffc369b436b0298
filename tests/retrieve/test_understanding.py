"""What is done with a question before and beside the plain search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.app import KnowledgeBase
from ragagent.models.tokenizer import read_tokenizer
from ragagent.retrieve import confidence, hops, spelling, variants
from ragagent.retrieve.explanation import why
from ragagent.retrieve.variants import Variant
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Chunk, Document, Hit, Span, Stage


def hit(key: str, rank: int = 1, text: str = "", stages: tuple[Stage, ...] = ()) -> Hit:
    chunk = Chunk(id=key, document_id=key, span=Span(0, len(text)), text=text)
    return Hit(chunk=chunk, rank=rank, score=1 / rank, via="hybrid", title="", uri=key, stages=stages)


def ranking(keys: Sequence[str]) -> list[Hit]:
    return [hit(key, rank) for rank, key in enumerate(keys, 1)]


keys = st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8)


@given(rankings=st.lists(st.tuples(keys, st.sampled_from([0.3, 1.0])), min_size=1, max_size=4))
def test_rankings_are_fused_by_the_weighted_sum_of_their_scores(rankings: list[tuple[list[str], float]]) -> None:
    found = variants.fused([(Variant(kind="x", text="", weight=weight), ranking(one)) for one, weight in rankings])

    def share(one: list[str], key: str) -> float:
        least = 1 / len(one)
        return (1 / (one.index(key) + 1) - least) / (1 - least) if len(one) > 1 else 1.0

    sums = {
        key: sum(weight * share(one, key) for one, weight in rankings if key in one)
        for key in {key for one, _ in rankings for key in one}
    }
    assert {one.chunk.id: one.score for one in found} == pytest.approx(sums)
    assert [one.rank for one in found] == list(range(1, len(sums) + 1))
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


@given(one=keys)
def test_a_ranking_alone_stays_as_it_is(one: list[str]) -> None:
    found = variants.fused([(Variant(kind="question", text=""), ranking(one))])
    assert [item.chunk.id for item in found] == one


def test_what_the_words_of_the_question_single_out_stays_first() -> None:
    mark = Stage(name="fusion", rank=1, score=2.0, detail="0.5 + 0.4 + 1 (singled out by its words)")
    own = [hit("a", 1, stages=(mark,)), hit("b", 2)]
    rankings = [(Variant(kind="question", text=""), own), (Variant(kind="hop", text=""), ranking("bc"))]
    found = variants.fused(rankings)
    assert [one.chunk.id for one in found] == ["a", "b", "c"]
    assert found[0].score >= found[1].score


def test_a_fused_hit_says_how_its_score_came_about() -> None:
    rankings = [
        (Variant(kind="question", text=""), ranking("ab")),
        (Variant(kind="hop", text="", weight=0.3), ranking("b")),
    ]
    found = variants.fused(rankings)
    assert [(one.chunk.id, one.stages[-1].detail) for one in found] == [
        ("a", "1 x 1.00 question"),
        ("b", "1 x 0.00 question + 0.3 x 1.00 hop"),
    ]


def test_the_second_search_has_the_names_of_what_was_found_and_the_question_has_not() -> None:
    question = "Who directed the film in which the singer of ABBA played?"
    passage = hit("a", text="Agnetha Fältskog, the singer of ABBA, played in Raskenstam, a film by Gunnar Hellström.")
    assert hops.second(question, [passage, hit("b", text="nothing but lower case")]) == [
        f"{question} Agnetha Fältskog Raskenstam Gunnar Hellström"
    ]
    assert hops.second(question, []) == []


@given(st.text(max_size=200))
def test_names_begin_with_a_capital_and_stand_in_the_text(text: str) -> None:
    for name in hops.names(text):
        assert name[0].isupper()
        assert name in " ".join(text.split())


def test_what_the_second_search_is_given_is_bounded() -> None:
    text = " ".join(f"Name{chr(97 + at % 26)}{chr(97 + at // 26)}" for at in range(500))
    (found,) = hops.second("who", [hit("a", text=text)])
    assert len(found.split()) == 1 + 6 * hops.MOST_NAMES


def stages(dense: int | None, sparse: int | None) -> tuple[Stage, ...]:
    return Stage(name="dense", rank=dense, score=0.5), Stage(name="sparse", rank=sparse, score=0.5)


@pytest.mark.parametrize(("dense", "sparse", "sure"), [(1, 1, True), (1, 2, False), (None, 1, False), (2, 2, False)])
def test_a_search_is_sure_where_both_ways_find_the_same_one_first(
    dense: int | None, sparse: int | None, sure: bool
) -> None:
    assert confidence.sure([hit("a", stages=stages(dense, sparse))]) == sure
    assert not confidence.sure([])


def test_only_words_are_looked_up_and_the_nearest_is_added() -> None:
    asked: list[Sequence[str]] = []

    def similar(words: Sequence[str]) -> Mapping[str, Sequence[str]]:
        asked.append(words)
        return {"vacine": ["vaccin", "vacant"]}

    found = spelling.mended("Is the vacine E1234 safe-ish, the vacine of 2020?", similar)
    assert asked == [["vacine"]]
    assert found.text == "Is the vacine E1234 safe-ish, the vacine of 2020? vaccin"
    assert found.added == {"vacine": "vaccin"}
    assert spelling.mended("who is it", similar).text == "who is it"
    assert len(asked) == 1


def test_a_word_that_the_embedder_knows_is_no_slip(minilm: Path) -> None:
    is_word = spelling.words_of(read_tokenizer(minilm / "tokenizer.json"))
    assert is_word("contact")
    assert is_word("Kitchen")
    assert not is_word("kichen")
    assert not spelling.words_of(HashEmbedder().tokenizer)("contact")
    found = spelling.mended("contact in the kichen", lambda words: {word: [word[::-1]] for word in words}, is_word)
    assert found.added == {"kichen": "nehcik"}


DOCUMENTS = [
    Document(text="The vaccine was tested by Anna Berg in Malta.", uri="a", title="Trial"),
    Document(text="Anna Berg was born in the town of Visby.", uri="b", title="Berg"),
    Document(text="Copper, tin and lead are metals.", uri="c", title="Metals"),
]


def test_a_slip_of_the_pen_is_mended_and_told(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        kb.ingest(DOCUMENTS)
        found = kb.explain("vacine", mode="sparse")
        assert [one.title for one in found.hits] == ["Trial"]
        assert found.hits == tuple(kb.search("vacine", mode="sparse"))
        assert found.searched == "vacine vaccine"
        assert [step.name for step in found.steps] == ["spelling", "search"]
        assert found.steps[0].detail == "no document has 'vacine'; 'vaccine' is searched too"
        assert not kb.explain("vacine", mode="sparse", understand=()).hits


def test_a_second_hop_is_searched_and_told(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        kb.ingest(DOCUMENTS)
        found = kb.explain("who tested the vaccine", mode="sparse", understand=["hops"])
        assert [one.title for one in found.hits] == ["Trial", "Berg"]
        assert "hop (x 0.5): who tested the vaccine Anna Berg Malta" in found.steps[-2].detail
        assert found.hits[1].stages[-1].detail == "0.5 x 0.00 hop"
        assert "variants: rank 2" in found.text()
        assert [one.rank for one in found.hits] == [1, 2]


def test_without_understanding_the_hits_are_those_of_the_index(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as kb:
        kb.ingest(DOCUMENTS)
        plain = kb.explain("copper in Visby", understand=())
        assert [step.name for step in plain.steps] == ["search"]
        assert plain.hits == tuple(replace(one, rank=rank) for rank, one in enumerate(kb.search("copper in Visby"), 1))


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (Stage(name="dense", rank=2, score=0.4898, detail="cosine; exact"), "2nd by meaning (cosine 0.49)"),
        (Stage(name="dense", rank=None, score=None, detail="not among the best 100"), "not found by meaning"),
        (
            Stage(name="sparse", rank=11, score=2.2, detail="base 1.091 (idf 1.5, tf 3) + rent 1.2 (idf 1, tf 2)"),
            "11th by words (rent, base)",
        ),
        (Stage(name="sparse", rank=3, score=2.2), "3rd by words"),
        (Stage(name="fusion", rank=1, score=0.03, detail="1/(60+2)"), "together 1st"),
        (Stage(name="rerank", rank=22, score=0.5, detail="late interaction; sum"), "judged 22nd by late interaction"),
        (Stage(name="rerank", rank=None, score=None, detail="late; not within 1 s"), "not judged (not within 1 s)"),
        (
            Stage(name="recency", rank=1, score=1, detail="2024-01-01, 9 days old: 1 x"),
            "by age (2024-01-01, 9 days old) 1st",
        ),
        (Stage(name="filter", rank=None, score=None, detail="passed 3"), ""),
    ],
)
def test_each_stage_of_a_hit_is_told_in_words(stage: Stage, told: str) -> None:
    assert why(hit("a", stages=(stage,))) == (f"{told}; rank 1" if told else "rank 1")


@given(detail=st.text(max_size=80), name=st.sampled_from(["dense", "sparse", "rerank", "recency", "other"]))
def test_whatever_a_stage_says_can_be_told(detail: str, name: str) -> None:
    assert why(hit("a", stages=(Stage(name=name, rank=1, score=1.0, detail=detail),))).endswith("rank 1")
