"""The addresses of resources: a document, a part of it by characters, a page of it."""

from __future__ import annotations

from urllib.parse import quote, unquote

SCHEME = "document://"
WHOLE = "document://{id}"
FROM = "document://{id}/from/{start}"
PASSAGE = "document://{id}/passage/{start}/{end}"
PAGE = "document://{id}/page/{page}"
PAGE_IMAGE = "document://{id}/page/{page}/image"


def document(document_id: str) -> str:
    """The address of a document as a whole."""
    return f"{SCHEME}{quote(document_id, safe='')}"


def part(document_id: str, start: int) -> str:
    """The address of what a document says from a character on."""
    return f"{document(document_id)}/from/{start}"


def passage(document_id: str, start: int, end: int) -> str:
    """The address of exactly these characters of a document."""
    return f"{document(document_id)}/passage/{start}/{end}"


def document_id(given: str) -> str:
    """The id in an address of ours; anything else is an id already."""
    if not given.startswith(SCHEME):
        return given
    return unquote(given.removeprefix(SCHEME).partition("/")[0])
