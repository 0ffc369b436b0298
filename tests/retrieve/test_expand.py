from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.retrieve.expand import around, expanded
from ragagent.settings import ChunkingSettings
from ragagent.types import Chunk, Document, Hit, Span

PARENTS = ChunkingSettings(strategy="parents", parent_tokens=16)
SENTENCES = ChunkingSettings(strategy="sentences", window_sentences=1)


def made(parts: list[tuple[str, str]]) -> tuple[Document, list[Chunk]]:
    """A document of (heading, text) parts and its chunks."""
    text, chunks = "", []
    for position, (heading, part) in enumerate(parts):
        span = Span(len(text), len(text) + len(part))
        chunks.append(
            Chunk(id=str(position), document_id="d", span=span, text=part, headings=(heading,), position=position)
        )
        text += part + "\n"
    return Document(text=text, id="d"), chunks


def hit(chunk: Chunk) -> Hit:
    return Hit(chunk=chunk, rank=1, score=1.0, via="hybrid", title="", uri="")


PARTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.text("xyz \u00e9", min_size=1, max_size=40)), min_size=1, max_size=9
)


@given(PARTS, st.integers(0, 8), st.sampled_from([PARENTS, SENTENCES]))
def test_the_passage_holds_the_chunk_and_is_the_documents_own_text(
    parts: list[tuple[str, str]], at: int, settings: ChunkingSettings
) -> None:
    document, chunks = made(parts)
    at %= len(chunks)
    (wide,) = expanded([hit(chunks[at])], chunks=lambda _: chunks, document=lambda _: document, settings=settings)
    span = wide.chunk.span
    assert span.start <= chunks[at].span.start < chunks[at].span.end <= span.end
    assert wide.text == span.of(document.text)
    assert wide.chunk.id == chunks[at].id


@given(PARTS)
def test_parents_part_the_document_and_stay_in_their_sections(parts: list[tuple[str, str]]) -> None:
    _, chunks = made(parts)
    spans = [around(chunks, at, PARENTS) for at in range(len(chunks))]
    assert all(one == other or one.end <= other.start for one, other in itertools.pairwise(spans))
    for chunk, span in zip(chunks, spans, strict=True):
        inside = [one for one in chunks if span.start <= one.span.start < span.end]
        assert {one.headings for one in inside} == {chunk.headings}
        assert len(inside) == 1 or sum(len(one.text.encode()) for one in inside) <= 4 * PARENTS.parent_tokens


def test_sentences_give_their_neighbours() -> None:
    document, chunks = made([("a", word) for word in ("one", "two", "three", "four")])
    assert around(chunks, 1, SENTENCES).of(document.text) == "one\ntwo\nthree"
    assert around(chunks, 3, SENTENCES).of(document.text) == "three\nfour"


@pytest.mark.parametrize("strategy", ["structure", "tokens", "semantic", "code"])
def test_other_ways_give_the_chunk_as_it_is(strategy: str) -> None:
    _, chunks = made([("a", "one"), ("a", "two")])
    settings = ChunkingSettings(strategy=strategy)  # type: ignore[arg-type]
    assert expanded([hit(chunks[0])], chunks=lambda _: chunks, document=lambda _: None, settings=settings) == [
        hit(chunks[0])
    ]


@given(PARTS, st.integers(0, 8), st.integers(0, 4))
def test_neighbours_stay_in_the_section_and_within_the_budget(
    parts: list[tuple[str, str]], at: int, neighbours: int
) -> None:
    _, chunks = made(parts)
    at %= len(chunks)
    span = around(chunks, at, ChunkingSettings(parent_tokens=16), neighbours)
    inside = [one for one in chunks if span.start <= one.span.start < span.end]
    assert chunks[at] in inside
    assert {one.headings for one in inside} == {chunks[at].headings}
    assert all(abs(one.position - at) <= neighbours for one in inside)
    assert len(inside) == 1 or sum(len(one.text.encode()) for one in inside) <= 64
    beside = [place for place in (at - 1, at + 1) if 0 <= place < len(chunks)]
    near = [chunks[place] for place in beside if chunks[place].headings == chunks[at].headings]
    if neighbours and len(near) == 1 and len((near[0].text + chunks[at].text).encode()) <= 64:
        assert near[0] in inside


def test_a_hit_whose_document_changed_meanwhile_stays_as_it_is() -> None:
    document, chunks = made([("a", "one"), ("a", "two")])
    found = [hit(chunks[0])]
    for now in (None, replace(document, text="other words altogether")):
        assert expanded(found, chunks=lambda _: chunks, document=lambda _, now=now: now, settings=PARENTS) == found  # type: ignore[misc]
    assert expanded(found, chunks=lambda _: [], document=lambda _: document, settings=PARENTS) == found
