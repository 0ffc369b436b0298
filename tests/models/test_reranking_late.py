from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.errors import ConfigError
from ragagent.models.embedding import open_embedder
from ragagent.models.reranking import passage
from ragagent.models.reranking_late import LateInteraction, TokenCache, max_sim
from ragagent.protocols import Embedder, EmbedsTokens, Reranker
from ragagent.settings import EmbeddingSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Chunk, Hit, Span, Vector

TEXTS = [
    "The lease ends on 31 March 2027 unless either party gives notice.",
    "Copper is a metal; it conducts electricity.",
    "El contrato termina en marzo.",
    "word " * 400,
    "?!",
    "",
]


def hit(text: str, title: str = "", headings: tuple[str, ...] = ()) -> Hit:
    chunk = Chunk(id=text, document_id="d", span=Span(0, len(text)), text=text, headings=headings)
    return Hit(chunk=chunk, rank=1, score=1.0, via="hybrid", title=title, uri="")


@pytest.fixture(scope="module")
def embedder(minilm: Path) -> Iterator[Embedder]:
    opened = open_embedder(minilm, settings=EmbeddingSettings(threads=2))
    yield opened
    opened.close()


def test_a_token_has_a_unit_vector_that_does_not_hang_on_what_else_is_embedded(embedder: Embedder) -> None:
    assert isinstance(embedder, EmbedsTokens)
    together = embedder.embed_tokens(TEXTS)
    for text, vectors in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
        (alone,) = embedder.embed_tokens([text])
        assert (alone * vectors).sum(1).min() > 0.98
    assert len(together[1]) == 7  # copper is a metal it conducts electricity
    assert len(together[3]) == embedder.max_tokens - 2
    assert [len(vectors) for vectors in together[4:]] == [4, 2]  # nothing but punctuation, and nothing
    assert embedder.embed_tokens([]) == []


def test_the_mean_of_all_tokens_points_where_the_text_does(embedder: Embedder) -> None:
    assert isinstance(embedder, EmbedsTokens)
    text = TEXTS[0]
    (tokens,) = embedder.embed_tokens([text])
    assert tokens.mean(0) @ embedder.embed_query(text) / np.linalg.norm(tokens.mean(0)) > 0.95


def test_what_says_the_same_in_other_words_comes_first(embedder: Embedder) -> None:
    late = LateInteraction(lambda: embedder)
    assert isinstance(late, Reranker)
    late.prepare()
    scores = late.scores("When does the rental agreement expire?", [hit(text) for text in TEXTS[:4]])
    assert np.argmax(scores) == 0
    assert late.scores("When does the rental agreement expire?", [hit(TEXTS[1])]) == pytest.approx(
        [scores[1]], abs=0.02
    )


vectors = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.floats(-1, 1), min_size=4, max_size=4), min_size=n, max_size=n)
)


@given(query=vectors, tokens=vectors)
def test_max_sim_is_the_mean_of_the_nearest(query: list[list[float]], tokens: list[list[float]]) -> None:
    by_hand = sum(max(sum(a * b for a, b in zip(q, t, strict=True)) for t in tokens) for q in query) / len(query)
    assert max_sim(np.array(query, np.float32), np.array(tokens, np.float32)) == pytest.approx(by_hand, abs=1e-5)


def test_nothing_is_near_to_nothing() -> None:
    some, none = np.ones((2, 4), np.float32), np.zeros((0, 4), np.float32)
    assert max_sim(none, some) == max_sim(some, none) == 0.0


class Counting(HashEmbedder):
    """Counts the texts whose tokens it was asked for."""

    asked = 0

    def embed_tokens(self, texts: Sequence[str], *, query: bool = False) -> list[Vector]:
        self.asked += 0 if query else len(texts)
        return super().embed_tokens(texts, query=query)


def test_a_passage_is_encoded_once_while_it_is_kept() -> None:
    embedder = Counting()
    late = LateInteraction(lambda: embedder)
    hits = [hit("one two"), hit("two three"), hit("one two")]
    first = late.scores("two", hits)
    assert embedder.asked == 2
    assert late.scores("two", hits) == first
    assert embedder.asked == 2
    embedder.fingerprint = "another"
    late.scores("two", hits)
    assert embedder.asked == 4


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 9)), max_size=40), st.integers(0, 200))
@settings(max_examples=60)
def test_the_cache_holds_the_last_used_and_no_more_than_it_may(puts: list[tuple[str, int]], most: int) -> None:
    cache, order = TokenCache(most), dict[str, int]()
    for key, rows in puts:
        cache.put(key, np.zeros((rows, 4), np.float16))
        order.pop(key, None)
        order[key] = rows * 8
        while sum(order.values()) > most:
            del order[next(iter(order))]
        assert cache.bytes == sum(order.values())
    assert {key for key in "abcdef" if cache.get(key) is not None} == set(order)


def test_an_embedder_without_token_vectors_is_refused_with_what_to_do() -> None:
    class Plain:
        name = "plain"

    with pytest.raises(ConfigError, match=r"plain gives no vectors of tokens.*retrieval\.rerank"):
        LateInteraction(Plain).prepare()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("title", "headings", "shown"),
    [
        ("", (), "text"),
        ("Title", ("One", "Two"), "Title > Two\ntext"),
        ("Text", (), "text"),
        ("A\n title", ("A title", "| table\nhead"), "A title\ntext"),
    ],
)
def test_a_passage_is_read_with_its_title_and_heading(title: str, headings: tuple[str, ...], shown: str) -> None:
    assert passage(hit("text", title, headings)) == shown
