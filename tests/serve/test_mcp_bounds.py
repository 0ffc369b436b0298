"""Results stay within the client's budget, what is cut is had with a cursor, and long work tells how far it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import mcp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.app import KnowledgeBase
from ragagent.errors import ToolError
from ragagent.serve.mcp import Limits, build_server
from ragagent.serve.mcp.cursors import cursor, number_place
from ragagent.serve.mcp.limits import cut, tokens_of
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Answer, AnswerEvent, Block, Document, Span

LONG = "".join(f'Sentence {n} says "something" about plüms and 苹果 in the year {1000 + n}.\n' for n in range(400))
PAGES = tuple(Block(kind="page", span=Span(n * 100, (n + 1) * 100), number=n + 1) for n in range(3))
DOCUMENTS = [
    Document(uri="n:long", title="Long", text=LONG),
    Document(uri="n:pages", title="Pages", text="p" * 100 + "q" * 100 + "r" * 100, blocks=PAGES),
    *(Document(uri=f"n:{n:03}", title=f"Paper {n}", text=f"Paper {n} of plums.") for n in range(150)),
]


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    llm = ScriptedLLM(lambda messages: "plums\n> Paper 2 of plums.")
    with KnowledgeBase.open(tmp_path_factory.mktemp("mcp") / "kb", embedder=HashEmbedder(), llm=llm) as opened:
        opened.ingest(DOCUMENTS)
        yield opened


def with_client(kb: Any, work: Any, **given: Any) -> Any:
    async def main() -> Any:
        async with mcp.Client(build_server(kb, **given)) as client:
            return await work(client)

    return anyio.run(main)


async def every_page(client: mcp.Client, name: str, budget: int, **arguments: Any) -> list[dict[str, Any]]:
    pages, following = [], None
    while True:
        found = await client.call_tool(name, {**arguments, "max_tokens": budget, "cursor": following})
        assert not found.is_error, found.content
        shown = (one.text if one.type == "text" else one.model_dump(mode="json") for one in found.content)
        taken = sum(map(tokens_of, shown))
        assert taken <= budget + 60, (taken, budget)
        pages.append(found.structured_content)
        following = found.structured_content["next_cursor"]
        if following is None:
            return pages


@pytest.mark.parametrize("budget", [500, 900, 3000, 100_000])
def test_a_document_is_read_to_its_end_in_parts_of_any_budget(kb: KnowledgeBase, budget: int) -> None:
    pages = with_client(kb, lambda client: every_page(client, "read_document", budget, document=DOCUMENTS[0].id))
    assert "".join(page["text"] for page in pages) == LONG
    assert all(LONG[page["start"] : page["end"]] == page["text"] for page in pages)
    assert (len(pages) == 1) == (budget == 100_000)


@pytest.mark.parametrize("budget", [500, 2000, 50_000])
def test_a_search_gives_the_same_passages_in_pages_of_any_budget(kb: KnowledgeBase, budget: int) -> None:
    pages = with_client(kb, lambda client: every_page(client, "search", budget, query="plums paper", k=30))
    found = [(one["rank"], one["document_id"], one["start"]) for page in pages for one in page["passages"]]
    assert found == [(h.rank, h.document_id, h.chunk.span.start) for h in kb.search("plums paper", k=30)]


def test_a_cursor_of_another_call_is_refused(kb: KnowledgeBase) -> None:
    async def work(client: mcp.Client) -> Any:
        first = await client.call_tool("search", {"query": "plums", "k": 30, "max_tokens": 600})
        given = first.structured_content["next_cursor"]
        return [
            await client.call_tool("search", {"query": "plums", "k": 29, "cursor": given}),
            await client.call_tool("list_documents", {"cursor": given}),
        ]

    for answer in with_client(kb, work):
        assert answer.is_error
        assert "leave it out to begin" in answer.content[0].text


@given(of=st.text(max_size=20), given=st.text(max_size=60) | st.binary(max_size=40).map(lambda b: b.hex()))
def test_whatever_comes_as_a_cursor_is_one_of_ours_or_refused(of: str, given: str) -> None:
    assert number_place(of, cursor(of, 7)) == 7
    if given:
        with pytest.raises(ToolError):
            number_place(of, given)


@given(text=st.text(max_size=300), tokens=st.integers(0, 100))
def test_a_cut_text_is_the_longest_beginning_that_fits(text: str, tokens: int) -> None:
    kept = cut(text, tokens)
    assert text.startswith(kept)
    assert tokens_of([kept]) <= tokens + 2
    if kept != text:
        assert tokens_of([text[: len(kept) + 1]]) >= tokens


def test_resources_are_every_document_once_and_each_can_be_read(kb: KnowledgeBase) -> None:
    async def work(client: mcp.Client) -> tuple[list[Any], list[int], str]:
        found, sizes, following = [], [], None
        while True:
            page = await client.list_resources(cursor=following)
            found += page.resources
            sizes.append(len(page.resources))
            following = page.next_cursor
            if not following:
                break
        read = await client.read_resource(next(str(one.uri) for one in found if one.name == "Paper 7"))
        return found, sizes, read.contents[0].text

    found, sizes, text = with_client(kb, work)
    assert [one.description for one in found] == sorted(document.uri for document in DOCUMENTS)
    assert sizes == [100, len(DOCUMENTS) - 100]
    assert text == "Paper 7 of plums."


def test_what_a_citation_links_to_is_exactly_what_it_quotes(kb: KnowledgeBase) -> None:
    async def work(client: mcp.Client) -> tuple[Any, str, list[str]]:
        answer = await client.call_tool("ask", {"question": "What is paper 2 of?"})
        (quote,) = answer.structured_content["citations"]
        read = await client.read_resource(quote["resource"])
        return quote, read.contents[0].text, [str(one.uri) for one in answer.content[1:]]

    quote, text, links = with_client(kb, work)
    assert quote["quote"] == text
    assert links == [quote["resource"]]


def test_pages_are_read_by_their_number(kb: KnowledgeBase) -> None:
    key = DOCUMENTS[1].id

    async def work(client: mcp.Client) -> tuple[str, dict[str, Any]]:
        read = await client.read_resource(f"document://{key}/page/2")
        called = await client.call_tool("read_document", {"document": f"document://{key}", "page": 3})
        return read.contents[0].text, called.structured_content

    text, called = with_client(kb, work)
    assert text == "q" * 100
    assert (called["start"], called["page"], called["text"]) == (200, 3, "r" * 100)


def test_a_long_resource_says_where_it_goes_on(kb: KnowledgeBase) -> None:
    async def work(client: mcp.Client) -> str:
        text, uri = "", f"document://{DOCUMENTS[0].id}"
        while uri:
            read = (await client.read_resource(uri)).contents[0].text
            part, mark, rest = read.partition("\n\n[")
            text, uri = text + part, rest.rpartition(": ")[2].rstrip("]") if mark else ""
        return text

    assert with_client(kb, work, limits=Limits(max_tokens=2000)) == LONG


@pytest.mark.parametrize("rest", ["", "/from/99999999", "/passage/9/3", "/page/9", "/from/x", "/../x", "/page/1/image"])
def test_what_is_not_there_is_an_error_of_the_request(kb: KnowledgeBase, rest: str) -> None:
    async def work(client: mcp.Client) -> None:
        with pytest.raises(mcp.MCPError):
            await client.read_resource(f"document://{'0' * 32 if not rest else DOCUMENTS[0].id}{rest}")

    with_client(kb, work)


def test_asking_tells_how_far_it_is(kb: KnowledgeBase) -> None:
    told: list[float] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async def work(client: mcp.Client) -> Any:
        return await client.call_tool("ask", {"question": "What is paper 2 of?"}, progress_callback=heard)

    assert with_client(kb, work).structured_content["status"] == "grounded"
    assert told
    assert told == sorted(set(told))


def test_a_cancelled_call_ends_its_work(kb: KnowledgeBase) -> None:
    begun, ended = threading.Event(), threading.Event()

    class Slow(KnowledgeBase):
        def __init__(self) -> None:
            pass

        def ask_stream(self, *args: Any, **kwargs: Any) -> Iterator[AnswerEvent]:
            try:
                for _ in range(2000):
                    begun.set()
                    ended.wait(0.02)
                    yield AnswerEvent(kind="text", text="and ")
                yield AnswerEvent(kind="answer", answer=Answer(question="", text="", status="refused", confidence=0))
            finally:
                ended.set()

    async def work(client: mcp.Client) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "ask", {"question": "x"})
            await anyio.to_thread.run_sync(begun.wait)
            tasks.cancel_scope.cancel()
        assert await anyio.to_thread.run_sync(ended.wait, 20)

    with_client(Slow(), work)


def test_calls_over_the_bound_are_told_to_come_back(kb: KnowledgeBase) -> None:
    release = threading.Event()

    class Slow(KnowledgeBase):
        def __init__(self) -> None:
            pass

        def ask_stream(self, *args: Any, **kwargs: Any) -> Iterator[AnswerEvent]:
            release.wait(30)
            yield AnswerEvent(kind="answer", answer=Answer(question="", text="", status="refused", confidence=0))

    async def work(client: mcp.Client) -> list[bool]:
        errors: list[bool] = []

        async def call() -> None:
            answer = await client.call_tool("ask", {"question": "x"})
            errors.append(answer.is_error)
            release.set()

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call)
        return errors

    assert sorted(with_client(Slow(), work, limits=Limits(concurrent=1, waiting=1))) == [False, False, True]


def test_prompts_bring_the_document_they_are_about(kb: KnowledgeBase) -> None:
    async def work(client: mcp.Client) -> Any:
        return await client.get_prompt("summarise_document", {"document": DOCUMENTS[5].id, "sentences": "2"})

    document, asked = with_client(kb, work).messages
    assert str(document.content.resource.uri) == f"document://{DOCUMENTS[5].id}"
    assert DOCUMENTS[5].text in document.content.resource.text
    assert "at most 2 sentences" in asked.content.text


def test_ids_are_completed_by_their_beginning_and_by_the_uri(kb: KnowledgeBase, tmp_path: Path) -> None:
    reference = mcp.types.ResourceTemplateReference(type="ref/resource", uri="document://{id}")

    async def work(client: mcp.Client) -> list[list[str]]:
        key = DOCUMENTS[7].id
        typed = [key[:12], "n:005", "no such"]
        return [(await client.complete(reference, {"name": "id", "value": one})).completion.values for one in typed]

    assert with_client(kb, work) == [[DOCUMENTS[7].id], [DOCUMENTS[7].id], []]
