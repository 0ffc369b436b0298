from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent import KnowledgeBase, Settings
from ragagent.retrieve import distinct
from ragagent.settings import ChunkingSettings, EmbeddingSettings, RetrievalSettings
from ragagent.testing.embedding import HashEmbedder
from ragagent.text import shingles
from ragagent.types import Chunk, Document, Hit, Span

FOOTER = (
    "Harbour Ferries Ltd is registered in Leith under number 4471.\n"
    "All rights reserved; timetables may change without warning.\n"
    "Write to desk@ferries.example with complaints."
)
NAMES = ("alder", "birch", "cedar", "elm", "fir", "gorse", "hazel", "ivy", "juniper", "larch", "maple", "oak")
CHUNKING = ChunkingSettings(max_tokens=120, min_tokens=20)


def sentences(rng: random.Random, count: int, words: list[str]) -> str:
    return " ".join(" ".join(rng.choices(words, k=11)).capitalize() + "." for _ in range(count))


def vocabulary(seed: int, size: int = 400) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghiklmnoprstuw", k=rng.randrange(4, 9))) for _ in range(size)]


def versions() -> list[Document]:
    """A long document three times: the second begins with a note, the third has other words here and there."""
    rng = random.Random(1)
    parts = [sentences(rng, 5, vocabulary(1)) for _ in range(60)]
    parts[30] = "The crossing to Inchkeith takes forty minutes when the tide is with the boat. " + parts[30]
    first = "\n\n".join(parts)
    second = "This copy was made for the archive of the harbour office.\n\n" + first
    edited = [part.replace(part.split()[7], "amended", 1) if n % 9 == 0 else part for n, part in enumerate(parts)]
    third = "\n\n".join(edited)
    return [
        Document(text=text, uri=f"files:manual-{name}.txt", title="Manual", metadata={"copy": name})
        for name, text in (("a", first), ("b", second), ("c", third))
    ]


def pages(count: int) -> list[Document]:
    rng = random.Random(2)
    words = vocabulary(2, 2000)
    return [
        Document(
            text=f"Berth {NAMES[n % 12]} {n}.\n\n{sentences(rng, 3 + n % 9, words)}\n\n{FOOTER}\n",
            uri=f"files:page-{n:04}.html",
            title=f"Page {n}",
        )
        for n in range(count)
    ]


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    folder = tmp_path_factory.mktemp("duplicates")
    with KnowledgeBase.open(folder, settings=Settings(chunking=CHUNKING), embedder=HashEmbedder()) as opened:
        opened.ingest([*versions(), *pages(1000)])
        yield opened


@pytest.mark.parametrize("mode", ["hybrid", "sparse", "dense"])
def test_three_versions_of_a_long_document_appear_once_and_name_one_another(kb: KnowledgeBase, mode: str) -> None:
    query = "The crossing to Inchkeith takes forty minutes when the tide is with the boat"
    hits = kb.search(query, mode=mode)  # type: ignore[arg-type]
    having = [hit for hit in hits if "Inchkeith" in hit.text]
    said = [shingles.said(hit.text) for hit in hits if "manual" in hit.uri]
    assert all(one.share_in(other) < 0.5 for one, other in itertools.permutations(said, 2))
    assert len(having) == 1
    assert {having[0].uri, *having[0].also} == {document.uri for document in versions()}
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


@pytest.mark.parametrize("mode", ["hybrid", "sparse", "dense"])
@pytest.mark.parametrize("query", [FOOTER, FOOTER.splitlines()[1], "complaints"])
def test_a_footer_of_a_thousand_pages_never_matches(kb: KnowledgeBase, mode: str, query: str) -> None:
    hits = kb.search(query, mode=mode)  # type: ignore[arg-type]
    assert not any(line in hit.text for hit in hits for line in FOOTER.splitlines())


def test_a_page_is_found_by_what_is_its_own(kb: KnowledgeBase) -> None:
    page = next(one for one in kb.documents() if one.uri == "files:page-0417.html")
    words = page.text.split("\n\n")[1].split(".")[0]
    for query in (words, f"{words} complaints registered"):
        assert kb.search(query, k=3, mode="sparse")[0].uri == page.uri


@pytest.mark.parametrize("copy", ["a", "b", "c"])
def test_behind_a_filter_the_copy_that_can_be_seen_comes_forward(kb: KnowledgeBase, copy: str) -> None:
    (hit, *_) = kb.search("crossing to Inchkeith forty minutes", where={"copy": copy})
    assert "Inchkeith" in hit.text
    assert hit.uri == f"files:manual-{copy}.txt"
    assert hit.also == ()


def test_when_the_copy_that_is_shown_goes_another_comes_forward(tmp_path: Path) -> None:
    with KnowledgeBase.open(tmp_path, settings=Settings(chunking=CHUNKING), embedder=HashEmbedder()) as kb:
        kb.ingest(versions())
        there = {document.uri: document.id for document in kb.documents()}
        while there:
            (hit,) = [hit for hit in kb.search("crossing to Inchkeith forty minutes") if "Inchkeith" in hit.text]
            assert {hit.uri, *hit.also} == set(there)
            kb.remove(there.pop(hit.uri))
        assert kb.search("crossing to Inchkeith forty minutes") == []


def test_the_setting_shows_all(kb: KnowledgeBase) -> None:
    shown = replace(kb.settings, retrieval=RetrievalSettings(duplicates="show"))
    query = "crossing to Inchkeith takes forty minutes"
    folded = kb.search(query)
    kb.settings, before = shown, kb.settings
    try:
        hits = kb.search(query)
        assert sum("Inchkeith" in hit.text for hit in hits) == 3
        assert any("page-" in hit.uri for hit in kb.search(FOOTER))
    finally:
        kb.settings = before
    assert kb.search(query) == folded


def hit_of(number: int, text: str, document: str) -> Hit:
    chunk = Chunk(id=f"{document}-{number}", document_id=document, span=Span(0, len(text)), text=text)
    return Hit(chunk=chunk, rank=number, score=1 / number, via="hybrid", title="", uri=f"files:{document}")


def folded(hits: list[Hit]) -> list[Hit]:
    return distinct.Folding(lambda _: []).of(hits)


def test_versions_that_differ_in_a_figure_are_both_shown() -> None:
    text = " ".join(vocabulary(3)[:60]) + " notice is {} days"
    assert len(folded([hit_of(1, text.format(30), "a"), hit_of(2, text.format(60), "b")])) == 2
    assert len(folded([hit_of(1, text.format(30), "a"), hit_of(2, text.format(30), "b")])) == 1


def test_a_longer_passage_is_not_folded_into_a_part_of_it() -> None:
    part, rest = " ".join(vocabulary(4)[:40]), " ".join(vocabulary(5)[:40])
    assert len(folded([hit_of(1, part, "a"), hit_of(2, f"{part} {rest}", "b")])) == 2
    assert len(folded([hit_of(1, f"{part} {rest}", "a"), hit_of(2, part, "b")])) == 1


TEXTS = st.sampled_from(
    [" ".join(vocabulary(6)[at : at + 30]) for at in range(0, 60, 3)] + ["", "word", "\u6e21\u8f6e"]
)


@given(st.lists(st.tuples(TEXTS, st.sampled_from("abcd")), max_size=12))
def test_what_is_folded_is_named_and_the_order_of_the_rest_stays(parts: list[tuple[str, str]]) -> None:
    hits = [hit_of(number, *part) for number, part in enumerate(parts, 1)]
    kept = folded(hits)
    ranks = [hit.score for hit in kept]
    assert ranks == sorted(ranks, reverse=True)
    assert kept[:1] == [replace(hit, also=kept[0].also) for hit in hits[:1]]
    assert {hit.uri for hit in hits} == {uri for hit in kept for uri in (hit.uri, *hit.also)}
    assert all(hit.uri not in hit.also for hit in kept)
    assert len({hit.chunk.id for hit in kept}) == len(kept)


@given(st.lists(st.tuples(TEXTS, st.sampled_from("abcd")), max_size=12), st.integers(0, 12), st.booleans())
def test_a_list_that_grows_is_folded_as_if_it_came_at_once(
    parts: list[tuple[str, str]], first: int, reordered: bool
) -> None:
    hits = [hit_of(number, *part) for number, part in enumerate(parts, 1)]
    folding = distinct.Folding(lambda _: [])
    folding.of(hits[:first][::-1] if reordered else hits[:first])
    assert folding.of(hits) == folded(hits)


def test_copies_of_one_document_are_no_boilerplate(tmp_path: Path) -> None:
    text = sentences(random.Random(7), 4, vocabulary(7)) + "\nThe lighthouse keeper lives at Fidra.\n"
    copies = [Document(text=text, uri=f"files:{n}.txt") for n in range(40)]
    with KnowledgeBase.open(tmp_path, settings=Settings(chunking=CHUNKING), embedder=HashEmbedder()) as kb:
        kb.ingest(copies)
        (hit,) = kb.search("lighthouse keeper lives at Fidra")
        assert len(hit.also) == 39


def test_what_is_folded_depends_on_the_documents_and_not_on_their_history(tmp_path: Path) -> None:
    documents = [*versions(), *pages(24)]
    extra = [replace(document, id="", uri=f"{document.uri}-old") for document in documents[:10]]
    settings = Settings(chunking=CHUNKING)
    with (
        KnowledgeBase.open(tmp_path / "a", settings=settings, embedder=HashEmbedder()) as first,
        KnowledgeBase.open(tmp_path / "b", settings=settings, embedder=HashEmbedder()) as second,
    ):
        first.ingest(documents)
        second.ingest([*extra, *documents[20:]])
        second.ingest(reversed(documents))
        for document in extra:
            second.remove(Document(text="", uri=document.uri).id)
        for query in ("crossing to Inchkeith forty minutes", FOOTER, documents[9].text):
            one, other = ([(hit.chunk.id, hit.also) for hit in kb.search(query)] for kb in (first, second))
            assert one == other


def test_what_answers_in_other_words_is_found_although_the_footer_has_those_of_the_question(
    tmp_path: Path, minilm: Path
) -> None:
    rng = random.Random(8)
    subjects = ("the café", "parking", "lost luggage", "dogs on board", "the museum", "ticket refunds")
    written = [
        f"Page {n} is about {subjects[n % 6]}. {sentences(rng, 1, vocabulary(n, 30))}\n\n{FOOTER}\n" for n in range(40)
    ]
    written.append(f"Departures from the pier: 07:15, 09:40, 12:05 and 17:30 each day.\n\n{FOOTER}\n")
    documents = [Document(text=text, uri=f"files:{n}.txt", title=f"{n}") for n, text in enumerate(written)]
    settings = Settings(embedding=EmbeddingSettings(model=str(minilm)))
    with KnowledgeBase.open(tmp_path, settings=settings) as kb:
        kb.ingest(documents)
        (first, *_) = kb.search("When do the ferries leave?")
        assert first.uri == "files:40.txt"
        for query in (FOOTER, *FOOTER.splitlines(), "registered in Leith"):
            assert not any(line in hit.text for hit in kb.search(query) for line in FOOTER.splitlines())
