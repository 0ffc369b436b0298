"""The server about itself: health, metrics, status, models, settings."""

from __future__ import annotations

import time
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

import ragagent
from ragagent.models.store import ModelStore
from ragagent.serve.http import shapes
from ragagent.serve.http.access import Admin, Reader, Session, Shared
from ragagent.serve.http.errors import RESPONSES
from ragagent.serve.http.service import Service
from ragagent.settings import SECRET_KEYS, values

router = APIRouter(tags=["server"], responses=RESPONSES)


@router.get("/health", summary="Whether the server is there")
async def health(service: Shared) -> shapes.Health:
    """Needs no token; touches neither models nor files."""
    return shapes.Health(status="closing" if service.closing.is_set() else "ok")


@router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
async def metrics(caller: Admin, service: Shared) -> PlainTextResponse:
    """Counts and times, without a word of any document or question."""
    return PlainTextResponse(await service.reading.run(service.metrics.text))


@router.get("/api/status", summary="What there is")
async def status(request: Request, caller: Reader, kb: Session, service: Shared) -> shapes.StatusOut:
    """Counts of what who asks may read, and whom the server takes them for."""
    facts = await service.reading.run(kb.status)
    owner = caller.principal is None
    return shapes.StatusOut(
        version=ragagent.__version__,
        documents=facts.documents,
        chunks=facts.chunks,
        size_bytes=facts.size_bytes if owner else None,
        findings=list(facts.findings) if owner else [],
        model=service.kb.settings.llm.model,
        embedder=facts.fingerprint.get("embedder_name", ""),
        principal=None if caller.principal is None else str(caller.principal),
        scopes=sorted(caller.scopes),
        token_needed=caller.key != "local",
        model_waiting=service.turns.waiting,
        jobs=service.jobs.waiting,
        uptime_seconds=time.time() - service.started_at,
    )


@router.get("/api/models", summary="The models")
async def models(caller: Reader, service: Shared) -> shapes.ModelList:
    """Those that have a name, which of them are on this machine, and which are in use."""
    return shapes.ModelList(models=await service.reading.run(lambda: _models(service)))


@router.get("/api/settings", summary="The settings in force")
async def settings(caller: Admin, service: Shared) -> shapes.SettingList:
    """Every setting with its value and where that comes from; they are changed in ragagent.toml."""
    found = [
        shapes.SettingOut(
            key=key,
            value="(secret)" if key in SECRET_KEYS and value else _shown(value),
            origin=service.loaded.origins.get(key, "default"),
        )
        for key, value in values(service.kb.settings).items()
    ]
    return shapes.SettingList(settings=found)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _models(service: Service) -> list[shapes.ModelOut]:
    chosen = service.kb.settings
    store = ModelStore(Path(chosen.models.folder) if chosen.models.folder else None)
    used = {chosen.llm.model, service.kb.status().fingerprint.get("embedder_name", "")}
    found = [
        shapes.ModelOut(
            name=one.name,
            kind=one.kind,
            state=one.state,
            description=one.description,
            licence=one.licence,
            size_bytes=one.size_bytes or None,
            context_tokens=one.context_tokens or None,
            in_use=one.name in used,
        )
        for one in store.list()
    ]
    return sorted(found, key=lambda one: not one.in_use)
