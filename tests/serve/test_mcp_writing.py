"""What clients may change, and that a person was asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import mcp
import pytest
from mcp.types import ElicitResult

from ragagent.app import KnowledgeBase
from ragagent.serve.mcp import Writes, build_server
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import Document

NOTE = {"text": "The rent is due in May.", "title": "Rent"}


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder()) as opened:
        opened.ingest([Document(uri="n:1", title="Paper", text="A paper.")])
        yield opened


def uris(kb: KnowledgeBase) -> list[str]:
    return [one.uri for one in kb.documents()]


def asked(
    kb: KnowledgeBase,
    writes: Writes,
    name: str,
    arguments: dict[str, Any],
    person: Callable[[Any, Any], Awaitable[ElicitResult]] | None,
    mode: str = "auto",
) -> Any:
    async def main() -> Any:
        async with mcp.Client(build_server(kb, writes=writes), elicitation_callback=person, mode=mode) as client:
            return await client.call_tool(name, arguments)

    return anyio.run(main)


def person(action: str, allow: bool, heard: list[str]) -> Callable[[Any, Any], Awaitable[ElicitResult]]:
    async def answer(_: Any, params: Any) -> ElicitResult:
        heard.append(params.message)
        return ElicitResult(action=action, content={"allow": allow} if action == "accept" else None)  # type: ignore[arg-type]

    return answer


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_what_a_person_allows_is_done_and_said_before(kb: KnowledgeBase, mode: str) -> None:
    heard: list[str] = []
    done = asked(kb, Writes(), "ingest", NOTE, person("accept", True, heard), mode)
    assert not done.is_error, done.content
    assert done.structured_content["added"] == 1
    assert uris(kb) == ["n:1", "note:Rent"]
    key = next(iter(kb.known()))
    title = kb.document(key).title  # type: ignore[union-attr]
    gone = asked(kb, Writes(), "remove", {"document": key}, person("accept", True, heard), mode)
    assert gone.structured_content["document_id"] == key
    assert key not in kb.known()
    assert heard[0] == "Keep a text of 23 characters as 'Rent' in the knowledge base?"
    assert heard[1].startswith(f"Remove '{title}'")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(("action", "allow"), [("accept", False), ("decline", True), ("cancel", True)])
def test_what_a_person_does_not_allow_is_not_done(kb: KnowledgeBase, mode: str, action: str, allow: bool) -> None:
    key = next(iter(kb.known()))
    for name, arguments in (("ingest", NOTE), ("remove", {"document": key})):
        refused = asked(kb, Writes(), name, arguments, person(action, allow, []), mode)
        assert refused.is_error
        assert "nothing was changed" in refused.content[0].text
    assert uris(kb) == ["n:1"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_where_nobody_can_be_asked_it_is_denied_unless_it_was_set(kb: KnowledgeBase, mode: str) -> None:
    refused = asked(kb, Writes(), "ingest", NOTE, None, mode)
    assert refused.is_error
    assert "--confirm possible" in refused.content[0].text
    assert uris(kb) == ["n:1"]
    assert not asked(kb, Writes(confirm="possible"), "ingest", NOTE, None, mode).is_error
    heard: list[str] = []
    assert not asked(
        kb,
        Writes(confirm="never"),
        "remove",
        {"document": next(iter(kb.known()))},
        person("decline", False, heard),
        mode,
    ).is_error
    assert heard == []


def test_tools_that_write_are_absent_unless_they_are_allowed(kb: KnowledgeBase) -> None:
    async def names(**given: Any) -> set[str]:
        async with mcp.Client(build_server(kb, **given)) as client:
            return {one.name for one in (await client.list_tools()).tools}

    async def both() -> tuple[set[str], set[str]]:
        return await names(), await names(writes=Writes())

    reading, writing = anyio.run(both)
    assert writing - reading == {"ingest", "remove"}


def test_only_what_was_allowed_is_brought_in(kb: KnowledgeBase, tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.txt").write_text(f"A text of {folder.name}.")
    (inside / "link").symlink_to(outside)
    writes = Writes(sources=(str(inside), "https://docs.example/help"), confirm="never")

    def refused(source: str) -> bool:
        return "may not be brought in" in str(asked(kb, writes, "ingest", {"source": source}, None).content)

    paths = [str(outside), "../out", "link/a.txt", "/etc/passwd", "file:///etc/passwd", "a\0b", "imap://x"]
    helps = ["help/../x", "help/%2e%2e/x", "helpers"]
    hosts = ["https://docs.example.evil/help", "http://docs.example/help", "https://u@docs.example/help"]
    for source in (*paths, *(f"https://docs.example/{one}" for one in helps), *hosts):
        assert refused(source), source
    assert asked(kb, writes, "ingest", {"source": "a.txt"}, None).structured_content["added"] == 1
    assert uris(kb) == [(inside / "a.txt").as_uri(), "n:1"]
    assert asked(kb, Writes(confirm="never"), "ingest", {"source": str(inside)}, None).is_error


@pytest.mark.parametrize("wrong", [{}, {"text": "x"}, {"title": "x"}, {"source": "a", "text": "b", "title": "c"}])
def test_an_ingest_of_nothing_or_of_two_things_is_refused(kb: KnowledgeBase, wrong: dict[str, str]) -> None:
    answer = asked(kb, Writes(confirm="never"), "ingest", wrong, None)
    assert answer.is_error
    assert "text and title, or source alone" in answer.content[0].text
