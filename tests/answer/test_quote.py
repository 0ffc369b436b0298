"""Runs of the evidence: what the grammar admits, and where a run stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.answer import quote
from ragagent.models.grammar import check
from ragagent.retrieve import pack
from ragagent.text import unicode
from ragagent.types import Document, Evidence, Message, Passage, Sampling, Span

Library = Callable[..., tuple[Evidence, dict[str, Document]]]

signs = st.sampled_from(
    [*"ab 1,.-'\"\\/|<>{}\n\t", "é", "e\u0301", "日", "本", "👩\u200d💻", "שלום", "नमस्ते", "\u200b", "ß"]
)
texts = st.lists(signs, min_size=1, max_size=60).map("".join)


@given(line=texts)
def test_chunks_are_the_line_cut_into_parts(line: str) -> None:
    found = quote.chunks(line)
    assert "".join(found) == line
    assert all(found)


@pytest.mark.parametrize(
    ("line", "chunks"),
    [
        ("It cost $1,234.50.", ["It", " ", "cost", " ", "$", "1,234.50", "."]),
        ("don't re-use snake_case", ["don't", " ", "re-use", " ", "snake_case"]),
        ("日本語", ["日", "本", "語"]),
        ("cafe\u0301 नमस्ते", ["cafe\u0301", " ", "नमस्ते"]),
        ("a👩\u200d💻b", ["a", "👩\u200d💻", "b"]),
        ("(5) | x", ["(", "5", ")", " ", "|", " ", "x"]),
    ],
)
def test_a_run_cannot_begin_or_end_inside_a_word_a_number_or_a_sign(line: str, chunks: list[str]) -> None:
    assert quote.chunks(line) == chunks


@settings(max_examples=40, deadline=None)
@given(found=st.lists(texts.filter(str.strip), min_size=1, max_size=3))
def test_every_evidence_makes_grammars_that_are_valid(found: list[str], library: Library) -> None:
    evidence, _ = library(*found)
    for grammar in (quote.answers(evidence), quote.sentence_choice(evidence), quote.yes()):
        assert check(grammar) is grammar


@given(found=st.lists(texts.filter(str.strip), min_size=1, max_size=3), data=st.data())
def test_a_run_of_chunks_is_found_and_resolves_to_the_documents_own_words(
    found: list[str], data: st.DataObject, library: Library
) -> None:
    evidence, documents = library(*found)
    passage = data.draw(st.sampled_from(evidence.passages))
    line = data.draw(st.sampled_from([line.strip() for line in passage.text.splitlines() if line.strip()]))
    chunks = quote.chunks(line)
    start = data.draw(st.integers(0, len(chunks) - 1))
    run = "".join(chunks[start : data.draw(st.integers(start + 1, len(chunks)))]).strip()
    if not run:
        return
    place = quote.find(run, evidence)
    assert place is not None
    assert place.text == run
    wide = quote.widened(place)
    assert wide.start <= place.start < place.end <= wide.end
    citation = quote.citation(wide, documents.get)
    assert citation.verified
    assert citation.span is not None
    assert citation.span.of(documents[citation.document_id].text) == citation.quote
    assert run in citation.quote


@pytest.mark.parametrize(
    ("said", "stands"),
    [
        ("began  in\nOctober 1973", "began in October 1973"),
        ("His “death ray” was", 'His "death ray" was'),
        ("US$3 to nearly $12.", "US$3 to nearly $12."),
    ],
)
def test_white_space_and_kinds_of_quotation_marks_do_not_matter(said: str, stands: str, library: Library) -> None:
    evidence, _ = library()
    place = quote.find(said, evidence)
    assert place is not None
    assert place.text == stands


@pytest.mark.parametrize("said", ["", "  ", "began in November 1973", "OAPEC proclaimed a embargo", "1856. The 1973"])
def test_what_does_not_stand_in_the_evidence_is_not_found(said: str, library: Library) -> None:
    assert quote.find(said, library()[0]) is None


def test_a_run_over_two_pieces_is_not_found() -> None:
    text = "One here. Two there. Three."
    pieces = (Span(0, 9), Span(21, 27))
    passage = Passage(
        number=1, chunk_id="c", document_id="d", uri="u", title="", text="One here. Three.", pieces=pieces
    )
    evidence = Evidence(question="?", passages=(passage,))
    assert quote.find("here. Three", evidence) is None
    assert pack.locate(passage, 10, 16) == Span(21, 27)
    assert Span(21, 27).of(text) == "Three."


def test_of_several_places_the_one_that_fits_the_question_is_taken(library: Library) -> None:
    evidence, _ = library("It rained in 1973. Nobody cared. The embargo began in 1973. It ended soon.")
    place = quote.find("1973", evidence, near="When did the embargo begin?")
    assert place is not None
    assert quote.widened(place).text == "The embargo began in 1973."


def test_a_citation_is_the_sentence_around_the_run_with_its_page(library: Library) -> None:
    evidence, documents = library()
    place = quote.find("Smiljan", evidence)
    assert place is not None
    citation = quote.citation(quote.widened(place), documents.get)
    assert (citation.quote, citation.page, citation.uri) == ("Nikola Tesla was born in Smiljan in 1856.", 8, "file:d1")


def test_a_long_sentence_is_quoted_in_part_and_by_whole_words(library: Library) -> None:
    text = "word " * 100 + "needle " + "word " * 60
    evidence, _ = library(text)
    place = quote.find("needle", evidence)
    assert place is not None
    wide = quote.widened(place)
    assert len(wide.text) <= quote.MAX_QUOTE_CHARS
    assert set(wide.text.split()) == {"word", "needle"}


@pytest.mark.parametrize(
    "now", [None, "Something else stands here now, and it is long enough to hold every offset there was."]
)
def test_a_quote_of_a_document_that_is_gone_or_changed_is_not_verified(now: str | None, library: Library) -> None:
    evidence, documents = library()
    place = quote.find("October", evidence)
    assert place is not None
    held = {} if now is None else {key: Document(id=key, text=now) for key in documents}
    citation = quote.citation(place, held.get)
    assert (citation.verified, citation.span, citation.page) == (False, None, None)


def test_the_grammar_of_a_yes_says_nothing_else() -> None:
    assert quote.yes().source == 'start: "Yes"'


@pytest.mark.model
def test_whatever_a_real_model_decodes_under_the_grammar_resolves_exactly(tiny_gguf: Path, library: Library) -> None:
    from ragagent.models.llama import LlamaModel
    from ragagent.settings import LlmSettings

    odd = (
        "Er sagte „nein“ – und ging.\nZeile | 1.234,50 € | (5)\n"
        '石油危机始于1973年。价格上涨了。 👩\u200d💻 e\u0301té <|im_end|> \\n "x"'
    )
    model = LlamaModel(tiny_gguf, LlmSettings(context_tokens=1024, threads=1))
    try:
        for seed, found in enumerate([(odd,), (odd, "The crisis began in October 1973. It ended."), ()] * 3):
            evidence, documents = library(*found)
            completion = model.chat(
                [Message(role="user", content=f"{pack.rendered(evidence.passages)}\nSay something {seed}.")],
                max_tokens=60,
                sampling=Sampling(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=seed),
                grammar=quote.answers(evidence),
            )
            if completion.finish == "length" or completion.text == quote.NOT_FOUND:
                continue
            for line in completion.text.split("\n"):
                place = quote.find(line, evidence)
                assert place is not None, line
                assert place.text == line
                assert quote.citation(place, documents.get).verified
    finally:
        model.close()


def test_words_with_hidden_characters_are_shown_with_marks_and_cited_as_they_stand() -> None:
    text = "The fee is \u202e100\u202c euros\u200b today."
    document = Document(text=text, id="d", uri="file:d")
    passage = Passage(
        number=1,
        chunk_id="c",
        document_id="d",
        uri="file:d",
        title="",
        text=unicode.shown(text),
        pieces=(Span(0, len(text)),),
    )
    evidence = Evidence(question="q", passages=(passage,))
    assert "\u202e" not in pack.rendered(evidence.passages)
    place = quote.find(unicode.shown(text), evidence)
    assert place is not None
    citation = quote.citation(place, lambda _: document)
    assert citation.verified
    assert citation.quote == text
    assert citation.span is not None
    assert citation.span.of(text) == citation.quote


def test_a_run_that_stands_somewhere_exactly_is_not_taken_from_where_it_stands_nearly(library: Library) -> None:
    evidence, _ = library("the “death ray” of Tesla", 'the "death ray" of Tesla')
    place = quote.find('"death ray"', evidence)
    assert place is not None
    assert (place.text, place.passage.number) == ('"death ray"', 2)
