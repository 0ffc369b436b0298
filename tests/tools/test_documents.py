from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.errors import ToolError
from ragagent.tools.calling import invalid
from ragagent.tools.documents import list_documents, read_document, search_documents, short_id
from ragagent.types import Chunk, Document, Hit, Passage, Span
from ragagent.where import Eq, parse

DOCUMENTS = [
    Document(uri=f"file:///{n:02}.txt", title=f"Paper {n}", text=f"Words of paper {n}. " * 9) for n in range(45)
]
BY_ID = {document.id: document for document in DOCUMENTS}


def search(query: str, k: int) -> Sequence[Hit]:
    found = [document for document in DOCUMENTS if query in document.title][:k]
    return [
        Hit(
            chunk=Chunk(id=f"c{n}", document_id=one.id, span=Span(0, 19), text=one.text[:19], headings=("Top", "Sub")),
            rank=n + 1,
            score=1.0,
            via="sparse",
            title=one.title,
            uri=one.uri,
            page=3,
        )
        for n, one in enumerate(found)
    ]


def test_a_search_shows_each_passage_with_the_id_that_reading_takes() -> None:
    found = search_documents(search, k=2).find({"query": "Paper 1"})
    assert [hit.title for hit in found.hits] == ["Paper 1", "Paper 10"]
    assert found.documents == (DOCUMENTS[1].id, DOCUMENTS[10].id)
    assert found.content.split("\n\n")[0] == (
        f"[1] Paper 1 (document {short_id(DOCUMENTS[1].id)}, page 3, from 0)\nTop > Sub\nWords of paper 1. W"
    )


def test_a_search_can_show_only_what_bears_on_the_query() -> None:
    def pack(query: str, hits: Sequence[Hit]) -> list[Passage]:
        assert query == "Paper 1"
        best = hits[0]
        piece = Span(9, 17)
        return [
            Passage(
                number=1,
                chunk_id=best.chunk.id,
                document_id=best.document_id,
                uri=best.uri,
                title=best.title,
                text=piece.of(DOCUMENTS[1].text),
                pieces=(piece,),
                page=3,
            )
        ]

    found = search_documents(search, k=2, pack=pack).find({"query": "Paper 1"})
    assert found.content == f"[1] Paper 1 (document {short_id(DOCUMENTS[1].id)}, page 3, from 9)\npaper 1."
    assert [hit.title for hit in found.hits] == ["Paper 1", "Paper 10"], "all of them can be cited"


def test_a_search_takes_a_filter_where_it_is_offered_and_says_what_is_wrong_with_it() -> None:
    def filtered(query: str, k: int, where: str) -> list[Hit]:
        wanted = parse(where)
        assert wanted == Eq("title", "Paper 10")
        return [hit for hit in search(query, 100) if hit.title == wanted.value][:k]

    assert "where" not in search_documents(search).spec.parameters["properties"]
    tool = search_documents(search, k=2, filtered=filtered)
    assert tool.spec.parameters["required"] == ["query"]
    found = tool.find({"query": "Paper 1", "where": "title = 'Paper 10'"})
    assert [hit.title for hit in found.hits] == ["Paper 10"]
    assert tool.find({"query": "Paper 1"}) == tool.find({"query": "Paper 1", "where": ""})
    with pytest.raises(ToolError, match="wrong at character 8: expected a value"):
        tool.find({"query": "Paper 1", "where": "title ="})


def test_a_search_without_hits_says_so() -> None:
    found = search_documents(search).find({"query": "nowhere"})
    assert found.hits == ()
    assert "Nothing was found" in found.content


@given(st.text(alphabet="ab \n", min_size=1, max_size=300), st.integers(1, 50))
def test_reading_on_from_where_each_part_ends_gives_the_whole_text(text: str, page_chars: int) -> None:
    document = Document(id="d", text=text)
    reader = read_document({"d": document}.get, page_chars=page_chars)
    start, parts = 0, []
    while start < len(text):
        (hit,) = reader.find({"document": "d", "start": start}).hits
        assert hit.chunk.span.of(text) == hit.text
        assert 1 <= len(hit.text) <= page_chars
        assert hit.chunk.span.start == start
        parts.append(hit.text)
        start = hit.chunk.span.end
    assert "".join(parts) == text


def test_each_part_says_how_to_go_on_or_that_it_is_the_last() -> None:
    reader = read_document({"d": Document(id="d", text="one two three four")}.get, page_chars=10)
    first = reader.call({"document": "d"})
    assert first == "one two \n\n(10 characters follow: go on with start=8)"
    assert reader.call({"document": "d", "start": 8}).endswith("(end of the document)")


def test_reading_what_is_not_there_is_a_tool_error() -> None:
    reader = read_document(BY_ID.get)
    with pytest.raises(ToolError, match="no document 'nope'"):
        reader.call({"document": "nope"})
    with pytest.raises(ToolError, match="behind its end"):
        reader.call({"document": DOCUMENTS[0].id, "start": 10**6})


def test_the_pages_of_a_list_are_every_document_once() -> None:
    lister = list_documents(lambda: iter(DOCUMENTS), page=20)
    pages = [lister.find({"start": start}) for start in (0, 20, 40)]
    assert [document for page in pages for document in page.documents] == [document.id for document in DOCUMENTS]
    assert "start=20" in pages[0].content
    assert "more documents" not in pages[2].content
    assert "or fewer" in lister.call({"start": 60})


def test_an_empty_list_says_so() -> None:
    assert list_documents(list).call({}) == "There are no documents."


@pytest.mark.parametrize(
    "arguments", [{}, {"query": ""}, {"query": "x" * 301}, {"query": 3}, {"query": "x", "k": 10**9}]
)
def test_a_search_with_other_arguments_is_invalid(arguments: dict[str, object]) -> None:
    assert invalid(search_documents(search).spec.parameters, arguments)


def test_digests_are_shortened_and_other_ids_are_not() -> None:
    assert DOCUMENTS[0].id.startswith(short_id(DOCUMENTS[0].id))
    assert len(short_id(DOCUMENTS[0].id)) == 12
    assert short_id("contract-2024-with-a-name-of-32-") == "contract-2024-with-a-name-of-32-"
