"""The prompts that clients offer to their users: files of `ragagent.prompts`, with the documents they are of."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError as ShownError
from mcp.server.mcpserver.prompts.base import Message, UserMessage
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, EmbeddedResource, TextResourceContents
from pydantic import Field

from ragagent import prompts
from ragagent.serve.mcp import addresses
from ragagent.serve.mcp.limits import MAX_QUESTION_CHARS, Limits, cut
from ragagent.serve.mcp.reading import document_of
from ragagent.serve.mcp.sessions import Served, seen
from ragagent.serve.mcp.working import Workers
from ragagent.types import Document

_Asked = Annotated[str, Field(min_length=1, max_length=MAX_QUESTION_CHARS)]
_Named = Annotated[str, Field(min_length=1, max_length=4096, description="the id of a document, or document://...")]


def add_prompts(server: MCPServer[Any], kb: Served, workers: Workers, limits: Limits) -> None:
    """Gives `server` the prompts."""

    async def shown(named: str, share: int) -> Message:
        session = seen(kb)
        try:
            found = await workers.run(lambda: document_of(session, named))
        except ShownError as error:
            raise MCPError(code=INVALID_PARAMS, message=str(error)) from error
        return UserMessage(_embedded(found, limits.max_tokens // share))

    @server.prompt(title="Answer from my documents")
    def answer_from_documents(
        question: Annotated[_Asked, Field(description="the question to answer")],
    ) -> str:
        """An answer with numbered sources, or the word that the documents do not say."""
        return prompts.load("mcp_answer").render(question=question)

    @server.prompt(title="Summarise a document")
    async def summarise_document(
        document: _Named, sentences: Annotated[str, Field(description="at most so many sentences")] = "5"
    ) -> list[Message]:
        """A summary of one document in a few sentences."""
        asked = prompts.load("mcp_summarise").render(sentences=sentences[:20])
        return [await shown(document, 1), UserMessage(asked)]

    @server.prompt(title="Compare two documents")
    async def compare_documents(document: _Named, other_document: _Named) -> list[Message]:
        """What differs between two documents, point by point."""
        asked = prompts.load("mcp_compare").render()
        return [await shown(document, 2), await shown(other_document, 2), UserMessage(asked)]

    @server.prompt(title="Make a timeline")
    def timeline(topic: Annotated[_Asked, Field(description="what to trace")]) -> str:
        """What happened when, each event with its source."""
        return prompts.load("mcp_timeline").render(topic=topic)


def _embedded(document: Document, budget: int) -> EmbeddedResource:
    """As much of a document as there is room for, with the address of the rest."""
    text = cut(document.text[: 4 * budget], budget)
    left = len(document.text) - len(text)
    note = f"\n\n[{left} characters follow: {addresses.part(document.id, len(text))}]" if left else ""
    return EmbeddedResource(
        type="resource",
        resource=TextResourceContents(
            uri=addresses.document(document.id), mime_type="text/plain", text=f"{document.title}\n\n{text}{note}"
        ),
    )
