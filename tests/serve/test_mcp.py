from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import mcp
import pytest

from ragagent.app import KnowledgeBase
from ragagent.serve.mcp import build_server
from ragagent.serve.mcp.limits import MAX_PASSAGE_CHARS
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.llm import ScriptedLLM
from ragagent.types import Answer, AnswerEvent, Document, Hit

DOCUMENTS = [
    Document(uri=f"file:///{n:02}.txt", title=f"Paper {n}", text=f"Paper {n} is about {word}. It is short.")
    for n, word in enumerate(["apples", "pears", "plums", "cherries", "quinces", "medlars", "grapes"])
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mcp") / "kb"
    with KnowledgeBase.open(path, embedder=HashEmbedder()) as kb:
        kb.ingest(DOCUMENTS)
    return path


@pytest.fixture(scope="module")
def kb(folder: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(folder, embedder=HashEmbedder()) as opened:
        yield opened


def with_client(server: Any, work: Callable[[mcp.Client], Awaitable[Any]]) -> Any:
    """What `work` returns, given a client that is connected to `server`."""

    async def main() -> Any:
        async with mcp.Client(server) as client:
            return await work(client)

    return anyio.run(main)


def called(kb: Any, name: str, **arguments: Any) -> Any:
    return with_client(build_server(kb), lambda client: client.call_tool(name, arguments))


def test_the_tools_are_listed_as_reading_only_with_schemas_of_what_goes_in_and_out(kb: KnowledgeBase) -> None:
    tools = with_client(build_server(kb), lambda client: client.list_tools()).tools
    assert [tool.name for tool in tools] == ["search", "ask", "read_document", "list_documents", "status"]
    assert all(tool.annotations.read_only_hint and not tool.annotations.destructive_hint for tool in tools)
    assert all(tool.description and tool.output_schema for tool in tools)
    assert tools[0].input_schema["properties"]["k"]["maximum"] == 50


def test_a_search_gives_passages_that_stand_in_the_documents(kb: KnowledgeBase) -> None:
    result = called(kb, "search", query="plums", k=3, mode="sparse")
    (passage,) = result.structured_content["passages"]
    document = next(one for one in DOCUMENTS if one.uri == passage["uri"])
    assert document.title == "Paper 2"
    assert document.id == passage["document_id"]
    assert document.text[passage["start"] : passage["end"]] == passage["text"]
    assert not passage["shortened"]


def test_a_search_finds_nothing_outside_its_filter(kb: KnowledgeBase) -> None:
    for where, titles in (
        ({"key": "title", "prefix": "Paper 2"}, ["Paper 2"]),
        ({"title": ["Paper 2", "Paper 3"]}, ["Paper 2"]),
        ({"not": {"key": "title", "eq": "Paper 2"}}, []),
        ('title in ("Paper 2", "Paper 3")', ["Paper 2"]),
        ("title != 'Paper 2'", []),
    ):
        found = called(kb, "search", query="plums", k=3, mode="sparse", where=where).structured_content["passages"]
        assert [passage["title"] for passage in found] == titles


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_the_pages_of_the_list_are_every_document_once_in_order(kb: KnowledgeBase, limit: int) -> None:
    async def all_pages(client: mcp.Client) -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await client.call_tool("list_documents", {"limit": limit, "cursor": cursor})
            found.extend(one["uri"] for one in page.structured_content["documents"])
            assert len(page.structured_content["documents"]) <= limit
            cursor = page.structured_content["next_cursor"]
            if cursor is None:
                return found

    assert with_client(build_server(kb), all_pages) == [document.uri for document in DOCUMENTS]


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("search", {}, "query"),
        ("search", {"query": ""}, "at least 1 character"),
        ("search", {"query": " "}, "query is empty"),
        ("search", {"query": "x", "k": 51}, "less than or equal to 50"),
        ("search", {"query": "x", "k": 0}, "greater than or equal to 1"),
        ("search", {"query": "x", "mode": "best"}, "hybrid"),
        ("search", {"query": "x", "where": {"key": "year", "near": 3}}, "write key, and one of eq"),
        ("search", {"query": "x", "where": "year near 3"}, "wrong at character 6: expected =, !=, <"),
        ("ask", {"question": "x", "where": "year ="}, "wrong at character 7: expected a value"),
        ("search", {"query": "x" * 4001}, "at most 4000"),
        ("list_documents", {"cursor": "!!"}, "leave it out to begin"),
        ("list_documents", {"limit": 101}, "less than or equal to 100"),
        ("remove", {}, "Unknown tool"),
    ],
)
def test_a_call_that_is_wrong_is_an_error_in_words(
    kb: KnowledgeBase, name: str, arguments: dict[str, Any], reason: str
) -> None:
    result = called(kb, name, **arguments)
    assert result.is_error
    assert reason in result.content[0].text


def test_an_answer_comes_with_quotes_that_stand_in_the_documents(folder: Path) -> None:
    llm = ScriptedLLM(lambda messages: "plums\n> Paper 2 is about plums.")
    with KnowledgeBase.open(folder, embedder=HashEmbedder(), llm=llm) as kb:
        answer = called(kb, "ask", question="What is paper 2 about?").structured_content
    assert answer["status"] == "grounded", answer
    (quote,) = answer["citations"]
    assert quote["verified"]
    assert DOCUMENTS[2].text[quote["start"] : quote["end"]] == quote["quote"]
    assert "plums" in quote["quote"]


class Broken(KnowledgeBase):
    """A knowledge base with a bug, and with passages longer than anything that chunking makes."""

    def __init__(self, kb: KnowledgeBase) -> None:
        self._kb = kb

    def search(self, *args: Any, **kwargs: Any) -> list[Hit]:
        (hit,) = self._kb.search("plums", k=1, mode="sparse")
        return [replace(hit, chunk=replace(hit.chunk, text="x" * (MAX_PASSAGE_CHARS + 1)))]

    def ask_stream(self, *args: Any, **kwargs: Any) -> Iterator[AnswerEvent]:
        raise RuntimeError("the password is 1234")


def test_a_passage_is_cut_at_the_limit_and_says_so(kb: KnowledgeBase) -> None:
    (passage,) = called(Broken(kb), "search", query="x").structured_content["passages"]
    assert len(passage["text"]) == MAX_PASSAGE_CHARS
    assert passage["shortened"]


def test_an_unexpected_error_does_not_reach_the_client_in_detail(kb: KnowledgeBase) -> None:
    result = called(Broken(kb), "ask", question="x")
    assert result.is_error
    assert "1234" not in result.content[0].text


def test_other_calls_are_answered_while_one_takes_long(kb: KnowledgeBase) -> None:
    release = threading.Event()

    class Slow(Broken):
        def ask_stream(self, *args: Any, **kwargs: Any) -> Iterator[AnswerEvent]:
            assert release.wait(60)
            yield AnswerEvent(kind="answer", answer=Answer(question="x", text="done", status="partial", confidence=0.0))

    async def both(client: mcp.Client) -> list[str]:
        order: list[str] = []

        async def slow() -> None:
            result = await client.call_tool("ask", {"question": "x"})
            order.append(result.structured_content["text"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(slow)
            await client.call_tool("search", {"query": "x"})
            order.append("search")
            release.set()
        return order

    assert with_client(build_server(Slow(kb)), both) == ["search", "done"]


SERVER = """
import os, sys
from ragagent.app import KnowledgeBase
from ragagent.serve.mcp import serve_stdio
from ragagent.testing.embedding import HashEmbedder

class Noisy(HashEmbedder):
    def embed_query(self, text):
        print("noise", flush=True)
        os.write(1, b"more noise\\n")
        return super().embed_query(text)

with KnowledgeBase.open(sys.argv[1], embedder=Noisy()) as kb:
    serve_stdio(kb)
"""


def test_the_tools_work_over_standard_input_and_output_whatever_else_is_printed(folder: Path) -> None:
    async def work(client: mcp.Client) -> tuple[list[str], str, int]:
        names = [tool.name for tool in (await client.list_tools()).tools]
        found = await client.call_tool("search", {"query": "cherries"})
        listed = await client.call_tool("list_documents", {})
        titles = [passage["title"] for passage in found.structured_content["passages"]]
        return names, titles[0], len(listed.structured_content["documents"])

    server = mcp.StdioServerParameters(command=sys.executable, args=["-c", SERVER, str(folder)])
    names, title, documents = with_client(server, work)
    assert names == ["search", "ask", "read_document", "list_documents", "status"]
    assert title == "Paper 3"
    assert documents == len(DOCUMENTS)
