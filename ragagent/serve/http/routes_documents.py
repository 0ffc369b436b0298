"""The documents: listed, read, looked at, removed and restored."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Annotated

from fastapi import APIRouter, Query, Response

from ragagent.access import principal_of
from ragagent.app import KnowledgeBase
from ragagent.serve.http import shapes
from ragagent.serve.http.access import Reader, Session, Shared, Writer
from ragagent.serve.http.errors import RESPONSES, Refusal
from ragagent.serve.http.guard import Caller
from ragagent.serve.http.service import Service
from ragagent.serve.http.trash import Removed
from ragagent.serve.http.uploads import space_of
from ragagent.types import Citation, Document, Span, inner_uri, root_uri

router = APIRouter(prefix="/api", tags=["documents"], responses=RESPONSES)

Start = Annotated[int, Query(ge=0, le=2**31)]
Mark = Annotated[str, Query(pattern=r"^[0-9]{1,10}-[0-9]{1,10}$")]
Dots = Annotated[int, Query(ge=36, le=200, description="dots per inch")]
PageNumber = Annotated[int | None, Query(ge=1, le=1_000_000)]


@router.get("/documents", summary="List the documents")
async def list_documents(
    caller: Reader,
    kb: Session,
    service: Shared,
    limit: Annotated[int, Query(ge=1, le=shapes.MOST_PAGE)] = 50,
    cursor: Annotated[str | None, Query(max_length=8192)] = None,
    name: Annotated[str | None, Query(max_length=200, description="only uris that hold this, in any case")] = None,
) -> shapes.DocumentPage:
    """Some of them in the order of uri; a cursor stands for a uri, so changes in between lose nothing."""
    return await service.reading.run(lambda: _listed(service, caller, kb, limit, _from_cursor(cursor), name))


@router.get("/documents/{document_id}", summary="One document")
async def get_document(
    document_id: shapes.Identifier, caller: Reader, kb: Session, service: Shared
) -> shapes.DocumentOut:
    """What is known of it, without its text."""
    document = await service.reading.run(lambda: found(kb, document_id))
    return shapes.document_out(document, deletable=_deletable(service, caller, document))


@router.get("/documents/{document_id}/text", summary="The text of a document")
async def get_text(
    document_id: shapes.Identifier,
    kb: Session,
    service: Shared,
    start: Start = 0,
    length: Annotated[int, Query(ge=1, le=shapes.MOST_TEXT)] = 50_000,
    mark: Annotated[list[Mark], Query(max_length=100, description="START-END of a passage to mark; repeatable")] = [],  # noqa: B006
) -> shapes.TextPage:
    """A part of the text, with the passages that are to be marked cut out as pieces."""
    document = await service.reading.run(lambda: found(kb, document_id))
    begin = min(start, len(document.text))
    text = document.text[begin : begin + length]
    marks = [(int(first), int(last)) for first, last in (one.split("-") for one in mark)]
    end = begin + len(text)
    return shapes.TextPage(
        document_id=document.id,
        title=document.title,
        start=begin,
        end=end,
        characters=len(document.text),
        text=text,
        pieces=shapes.pieces_of(text, begin, marks),
        next_start=end if end < len(document.text) else None,
    )


@router.get(
    "/documents/{document_id}/page.png",
    summary="A page as a picture",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
async def get_page_image(
    document_id: shapes.Identifier,
    kb: Session,
    service: Shared,
    page: PageNumber = None,
    start: Start = 0,
    end: Start = 0,
    dpi: Dots = 110,
) -> Response:
    """The page that `start` is on (or `page`, counted from 1), with `start`..`end` marked; PDF files and pictures."""
    image, number = await service.reading.run(lambda: _page(kb, document_id, page, start, end, dpi)[:2])
    return Response(image, media_type="image/png", headers={"X-Page": str(number)})


@router.get("/documents/{document_id}/page", summary="Where on a page a passage stands")
async def get_page_boxes(
    document_id: shapes.Identifier,
    kb: Session,
    service: Shared,
    page: PageNumber = None,
    start: Start = 0,
    end: Start = 0,
) -> shapes.PageBoxes:
    """The boxes of `start`..`end` on its page, and how large that is."""
    image, number, boxes = await service.reading.run(lambda: _page(kb, document_id, page, start, end, 72))
    width, height = struct.unpack(">II", image[16:24])
    return shapes.PageBoxes(document_id=document_id, page=number, width=width, height=height, boxes=boxes)


@router.delete("/documents/{document_id}", summary="Remove a document")
async def delete_document(document_id: shapes.Identifier, caller: Writer, service: Shared) -> shapes.RemovedOut:
    """Removes it with all that is inside it; /api/removed/ID/restore undoes that for seven days.

    The owner removes any document, a principal those that it uploaded. A file that was uploaded is moved away; files
    elsewhere stay where they are, and come back when their folder is ingested again.
    """
    return _removed_out(await service.writing.run(lambda: _remove(service, caller, document_id)))


@router.get("/removed", summary="What can be restored")
async def list_removed(caller: Writer, service: Shared) -> shapes.RemovedList:
    """The removals of who asks that can be undone, the latest first."""
    kept = await service.writing.run(service.trash.list)
    return shapes.RemovedList(removed=[_removed_out(one) for one in kept if _own(caller, one)])


@router.post("/removed/{removed_id}/restore", summary="Undo a removal")
async def restore(removed_id: shapes.Identifier, caller: Writer, service: Shared) -> shapes.RemovedOut:
    """Brings the documents back."""
    return _removed_out(await service.writing.run(lambda: _restore(service, caller, removed_id)))


def found(kb: KnowledgeBase, document_id: str) -> Document:
    """The document. Raises Refusal where there is none, or none that may be seen: the same, in the same words."""
    document = kb.document(document_id)
    if document is None:
        raise Refusal(404, "no_document", "there is no such document", param="document_id")
    return document


def _listed(
    service: Service, caller: Caller, kb: KnowledgeBase, limit: int, after: str | None, name: str | None
) -> shapes.DocumentPage:
    wanted = name.casefold() if name else ""
    rows = sorted((one.uri, one.id) for one in kb.known().values() if wanted in one.uri.casefold())
    later = [(uri, key) for uri, key in rows if after is None or uri > after]
    page = [document for _, key in later[:limit] if (document := kb.document(key)) is not None]
    return shapes.DocumentPage(
        documents=[shapes.document_out(one, deletable=_deletable(service, caller, one)) for one in page],
        total=len(rows),
        next_cursor=_cursor(later[limit - 1][0]) if len(later) > limit else None,
    )


def _cursor(uri: str) -> str:
    return base64.urlsafe_b64encode(uri.encode("utf-8", "surrogatepass")).decode()


def _from_cursor(cursor: str | None) -> str | None:
    if not cursor:
        return None
    try:
        return base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode("utf-8", "surrogatepass")
    except (ValueError, binascii.Error):
        raise Refusal(400, "invalid_cursor", "the cursor is not one that a list gave", param="cursor") from None


def _page(
    kb: KnowledgeBase, document_id: str, page: int | None, start: int, end: int, dpi: int
) -> tuple[bytes, int, list[shapes.BoxOut]]:
    document = found(kb, document_id)
    if page is not None:
        start, end = _page_start(document, page)
    length = len(document.text)
    span = Span(min(start, max(0, length - 1)), min(max(end, start), length))
    citation = Citation(
        quote=span.of(document.text),
        document_id=document_id,
        uri=document.uri,
        title=document.title,
        span=span,
        verified=True,
    )
    view = kb.page_view(citation, dpi=dpi)
    return view.png, view.page, [shapes.box_out(box) for box in view.boxes]


def _page_start(document: Document, page: int) -> tuple[int, int]:
    for block in document.blocks:
        if block.kind == "page" and block.number == page:
            return block.span.start, block.span.start
    raise Refusal(404, "no_page", f"the document has no page {page} with text", param="page")


def _deletable(service: Service, caller: Caller, document: Document) -> bool:
    if not caller.may("write"):
        return False
    return caller.principal is None or _space_file(service, caller, document) is not None


def _space_file(service: Service, caller: Caller, document: Document) -> object:
    return space_of(service.kb.path, caller.principal).holds(document.uri)


def _remove(service: Service, caller: Caller, document_id: str) -> Removed:
    document = found(service.seen_by(caller), document_id)
    if not _deletable(service, caller, document):
        raise Refusal(403, "access_denied", "only documents that were uploaded by the same principal can be removed")
    kb = service.kb
    inside = [one.id for one in kb.known().values() if one.uri.startswith(inner_uri(document.uri, ""))]
    inner = [found(kb, key) for key in inside]
    own = space_of(kb.path, caller.principal).holds(document.uri) if root_uri(document.uri) == document.uri else None
    names = None if caller.principal is None else caller.principal.names
    removed = service.trash.keep([document, *inner], client=caller.key, principal=names, file=own)
    for one in (*inner, document):
        kb.remove(one.id)
    service.trash.take_file(removed)
    return removed


def _own(caller: Caller, removed: Removed) -> bool:
    return caller.principal is None or removed.principal == caller.principal.names


def _restore(service: Service, caller: Caller, removed_id: str) -> Removed:
    removed = service.trash.get(removed_id)
    if removed is None or not _own(caller, removed):
        raise Refusal(404, "no_removal", "there is nothing to restore under this id", param="removed_id")
    kb = service.kb
    if removed.file is not None:
        service.trash.give_file(removed)
        principal = None if removed.principal is None else principal_of(removed.principal)
        space = space_of(kb.path, principal)
        place = space.holds(removed.uri)
        if place is not None:
            connector = space.connector([space.folder / place.relative_to(space.folder.resolve())], kb.settings.ingest)
            kb.ingest(connector, acl=removed.acl)
    else:
        kb.ingest(service.trash.documents(removed))
    service.trash.drop(removed)
    return removed


def _removed_out(removed: Removed) -> shapes.RemovedOut:
    return shapes.RemovedOut(
        id=removed.id,
        uri=removed.uri,
        title=removed.title,
        documents=removed.documents,
        removed_at=removed.removed_at,
        until=removed.until,
    )
