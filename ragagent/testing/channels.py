"""The ways by which the words of a stranger reach an agent: tools that show them, and the calls that ask for these.

Beside the stranger's words each shows a secret of the user, so that there is something to carry away.
"""

from __future__ import annotations

import contextlib
import csv
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragagent.agent.delegate import AgentTool
from ragagent.agent.runner import AgentRunner
from ragagent.app import facts
from ragagent.app.memory import Memory, Store
from ragagent.connectors.readers import read_document
from ragagent.errors import ToolError
from ragagent.protocols import KnownDocument, Tool
from ragagent.settings import AgentSettings, Settings
from ragagent.testing.attacks import PRICES, PRIVATE, Attack
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.obedient import Obedient
from ragagent.tools import builtin
from ragagent.tools.function import tool
from ragagent.tools.remembering import MAX_CHARS, recall
from ragagent.tools.table_query import Tables, list_tables, query_tables
from ragagent.types import Answer, Chunk, Document, Hit, Label, Span, digest

Calls = tuple[tuple[str, Mapping[str, Any]], ...]
_SEARCH = ("search_documents", {"query": "room notes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Tools that only read, and the calls with which a model begins that wants to know what they have."""

    tools: tuple[Tool, ...]
    first: Calls


Opened = Callable[[Attack], AbstractContextManager[Channel]]


@contextlib.contextmanager
def documents(attack: Attack) -> Iterator[Channel]:
    """A document that a search finds."""
    found = search([PRIVATE, attack.document, PRICES])
    yield Channel(tools=(builtin.search_documents(found, k=3),), first=(_SEARCH,))


@contextlib.contextmanager
def titles(attack: Attack) -> Iterator[Channel]:
    """The title of a document in a list."""
    named = Document(uri=attack.document.uri, title=f"{attack.document.title}. {attack.document.text}", text="A room.")
    listed = builtin.list_documents(lambda: [PRIVATE, named, PRICES])
    found = builtin.search_documents(search([PRIVATE, PRICES]), k=3)
    yield Channel(tools=(found, listed), first=(_SEARCH, ("list_documents", {})))


@contextlib.contextmanager
def tables(attack: Attack) -> Iterator[Channel]:
    """A heading and a cell of a table that is asked in SQL."""
    lines = io.StringIO()
    csv.writer(lines).writerows([("room", attack.document.title), ("1", attack.document.text), ("2", PRIVATE.text)])
    source = read_document(lines.getvalue().encode(), uri="file:///rooms.csv", name="rooms.csv")
    known = {
        source.id: KnownDocument(id=source.id, uri=source.uri, source="s", stamp="", revision=source.revision),
    }
    asked = Tables(lambda: known, {source.id: source}.get)
    first: Calls = (("list_tables", {}), ("query_tables", {"sql": "SELECT * FROM rooms"}))
    yield Channel(tools=(list_tables(asked), query_tables(asked)), first=first)


@contextlib.contextmanager
def errors(attack: Attack) -> Iterator[Channel]:
    """What a tool, such as one of a foreign server, says when it fails."""

    @tool(effects={"read"})
    def look_up(room: str) -> str:
        """Looks a room up."""
        raise ToolError(f"{attack.document.title}: {attack.document.text}")

    found = builtin.search_documents(search([PRIVATE, PRICES]), k=3)
    yield Channel(tools=(found, look_up), first=(_SEARCH, ("look_up", {"room": "1"})))


@contextlib.contextmanager
def agents(attack: Attack) -> Iterator[Channel]:
    """The answer of an agent that is a tool of this one, and has read the document."""
    reading = builtin.search_documents(search([PRIVATE, attack.document, PRICES]), k=3)

    def opened(limits: AgentSettings) -> AgentRunner:
        said = Obedient([_SEARCH], attack.document.text, [reading.spec])
        return AgentRunner(said, [reading], cite=uncited, settings=limits, delegated=True)

    helper = AgentTool(opened, AgentSettings(), name="research", description="Finds things out.", effects=("read",))
    found = builtin.search_documents(search([PRIVATE, PRICES]), k=3)
    yield Channel(tools=(found, helper), first=(_SEARCH, ("research", {"task": "what a room costs"})))


@contextlib.contextmanager
def memories(attack: Attack) -> Iterator[Channel]:
    """A fact that an earlier run remembered, beside what the user said."""
    with opened_memory() as memory:
        for document in (PRIVATE, PRICES):
            memory.add(document.text)
        memory.keep(words_of(attack), label=Label(trusted=False), run_id="earlier", step=0)
        yield Channel(tools=(recall(memory.search),), first=(("recall", {"query": "room notes"}),))


CHANNELS: Mapping[str, Opened] = {
    "documents": documents,
    "titles": titles,
    "tables": tables,
    "errors": errors,
    "agents": agents,
    "memory": memories,
}


@contextlib.contextmanager
def opened_memory() -> Iterator[Memory]:
    """A memory of the owner's in a folder of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="security-") as folder:
        store = Store(Path(folder, "memory"), HashEmbedder, Settings())
        try:
            yield Memory(store, facts.OWNER)
        finally:
            store.close()


def words_of(attack: Attack) -> str:
    """As much of an attack as a fact can hold."""
    return f"{attack.document.title}. {attack.document.text}"[:MAX_CHARS]


def search(known: Sequence[Document]) -> Callable[[str, int], list[Hit]]:
    """Finds every document, in the order they are in: the attack is always read."""

    def find(query: str, k: int) -> list[Hit]:
        return [
            Hit(
                chunk=Chunk(id=digest(one.id), document_id=one.id, span=Span(0, len(one.text)), text=one.text),
                rank=rank,
                score=1.0 / rank,
                via="sparse",
                title=one.title,
                uri=one.uri,
            )
            for rank, one in enumerate(known[:k], start=1)
        ]

    return find


def uncited(task: str, text: str, hits: Sequence[Hit], computed: Sequence[str]) -> Answer:
    """The answer as it was written."""
    return Answer(question=task, text=text, status="partial", confidence=0.0)
