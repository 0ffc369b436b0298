"""A small library as evidence, and the documents it was taken from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ragagent.types import Block, Document, Evidence, Passage, Span

CRISIS = (
    "The 1973 oil crisis began in October 1973. The members of OAPEC proclaimed an embargo. "
    "The price of a barrel rose from US$3 to nearly $12."
)
TESLA = 'Nikola Tesla was born in Smiljan in 1856. He never married. His "death ray" was not built.'

Library = Callable[..., tuple[Evidence, dict[str, Document]]]


@pytest.fixture(scope="session")
def library() -> Library:
    """Evidence of whole texts (by default two), one passage and one document for each, and the documents by id."""

    def build(*texts: str, question: str = "?") -> tuple[Evidence, dict[str, Document]]:
        documents = [_document(number, text) for number, text in enumerate(texts or (CRISIS, TESLA))]
        passages = tuple(_passage(number, document) for number, document in enumerate(documents, 1))
        return Evidence(question=question, passages=passages), {document.id: document for document in documents}

    return build


def _document(number: int, text: str) -> Document:
    page = Block(kind="page", span=Span(0, len(text)), number=number + 7)
    return Document(id=f"d{number}", uri=f"file:d{number}", title=f"Text {number}", text=text, blocks=(page,))


def _passage(number: int, document: Document) -> Passage:
    return Passage(
        number=number,
        chunk_id=f"c{number}",
        document_id=document.id,
        uri=document.uri,
        title=document.title,
        text=document.text,
        pieces=(Span(0, len(document.text)),),
    )
