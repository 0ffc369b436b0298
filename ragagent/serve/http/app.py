"""The application: its parts put together, and every error in one form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.responses import Response

import ragagent
from ragagent.access import Principal
from ragagent.app import KnowledgeBase
from ragagent.errors import RagAgentError
from ragagent.serve.http import (
    routes_agents,
    routes_ask,
    routes_conversations,
    routes_documents,
    routes_ingest,
    routes_memory,
    routes_openai,
    routes_server,
)
from ragagent.serve.http.access import Reader
from ragagent.serve.http.errors import Refusal, refusal_of
from ragagent.serve.http.guard import Guard, Reach
from ragagent.serve.http.limits import Limits
from ragagent.serve.http.service import Extras, Service
from ragagent.settings import Loaded

PAGE = Path(__file__).with_name("page")
"""The web page that comes with the package; it goes into `Extras.web`."""
_ROUTERS = (
    routes_ask,
    routes_conversations,
    routes_documents,
    routes_ingest,
    routes_agents,
    routes_memory,
    routes_server,
    routes_openai,
)
_DESCRIPTION = (
    "Answers from your own documents, checked against their words. Errors have one form, `ErrorBody`. Streams are "
    "server-sent events. Without tokens the server answers this machine alone, as the owner."
)


def build_app(
    kb: KnowledgeBase,
    *,
    reach: Reach | None = None,
    limits: Limits | None = None,
    loaded: Loaded | None = None,
    extras: Extras | None = None,
    everybody: Principal | None = None,
) -> FastAPI:
    """The application over `kb`, which stays the caller's to close. `everybody` is who needs no token, where none does.

    Where `reach` is not a loopback address a token is needed for everything. `app.state.service` has the parts.
    """
    limits, extras = limits or Limits(), extras or Extras()
    service = Service(kb, limits=limits, loaded=loaded or Loaded(settings=kb.settings, origins={}), extras=extras)
    api = FastAPI(
        title="ragagent",
        version=ragagent.__version__,
        description=_DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    api.state.service = service
    for module in _ROUTERS:
        api.include_router(module.router)
    api.add_api_route("/openapi.json", _described(api), include_in_schema=False)
    for kind, handler in _HANDLERS.items():
        api.add_exception_handler(kind, handler)
    _mount_page(api, extras.web)
    api.add_middleware(
        Guard,
        tokens=service.tokens,
        reach=reach or Reach(),
        limits=limits,
        metrics=service.metrics,
        everybody=everybody,
    )
    return api


def _described(api: FastAPI) -> Callable[..., Awaitable[Response]]:
    async def described(caller: Reader) -> Response:
        return JSONResponse(_document(api))

    return described


def _document(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document. FastAPI gives errors the media type of what the route answers else; ours are all JSON."""
    document = api.openapi()
    for operation in (one for path in document["paths"].values() for one in path.values()):
        for status, response in operation["responses"].items():
            if not status.startswith("2") and "content" in response:
                response["content"] = {"application/json": next(iter(response["content"].values()))}
    return document


@asynccontextmanager
async def _lifespan(api: FastAPI) -> AsyncIterator[None]:
    service: Service = api.state.service
    service.start()
    try:
        yield
    finally:
        service.closing.set()
        await asyncio.to_thread(service.close)


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RagAgentError)
    return refusal_of(error).response()


async def _on_refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response()


async def _on_invalid(_: Request, error: Exception) -> Response:
    """The first thing that is wrong, by its place; never the value, which may be a document."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
    return Refusal(422, "invalid_request", f"{place or 'the body'}: {first['msg']}", param=place or None).response()


async def _on_http(_: Request, error: Exception) -> Response:
    """What the router and the parser of forms say."""
    assert isinstance(error, HTTPException)
    code = {404: "no_route", 405: "no_method"}.get(error.status_code, "invalid_request")
    return Refusal(error.status_code, code, str(error.detail), headers=error.headers).response()


_HANDLERS: Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
    RagAgentError: _on_error,
    Refusal: _on_refusal,
    RequestValidationError: _on_invalid,
    HTTPException: _on_http,
}


def _mount_page(api: FastAPI, folder: Path | None) -> None:
    """The files of a page at the root; where there are none, a line that says where the API is described."""
    if folder is not None:
        api.mount("/", StaticFiles(directory=folder, html=True), name="page")
    else:
        api.add_api_route("/", _no_page, include_in_schema=False, response_class=HTMLResponse)


async def _no_page() -> HTMLResponse:
    return HTMLResponse("<!doctype html><title>ragagent</title><p>This is ragagent. The API: /openapi.json</p>")
