"""Bringing documents in: uploads and sources, as jobs that can be followed and cancelled."""

from __future__ import annotations

import asyncio
import urllib.parse
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, UploadFile

from ragagent.access import acl_of
from ragagent.atomic import placed
from ragagent.serve.http import shapes
from ragagent.serve.http.access import Admin, Shared, Writer
from ragagent.serve.http.errors import RESPONSES, Refusal
from ragagent.serve.http.events import EventStream, either, event, kept_alive, stream_of
from ragagent.serve.http.guard import Caller
from ragagent.serve.http.jobs import Job
from ragagent.serve.http.service import Service
from ragagent.serve.http.uploads import Space, space_of

router = APIRouter(prefix="/api", tags=["ingest"], responses=RESPONSES)

_PIECE = 1024 * 1024
Acl = Annotated[
    list[Annotated[str, Form(max_length=1000)]],
    Form(max_length=100, description="who may read them, such as group:law; without it the principal of the token"),
]


@router.post("/uploads", status_code=202, summary="Upload files")
async def upload(
    files: Annotated[list[UploadFile], Form(min_length=1, description="the files; a name may hold folders")],
    caller: Writer,
    service: Shared,
    acl: Acl = [],  # noqa: B006
) -> shapes.JobOut:
    """Keeps the files and brings them in. When this answers they are on disk, and the job outlasts a restart.

    A file of the same name replaces the one before.
    """
    service.require_open()
    service.jobs.require_room()
    if len(files) > service.limits.upload_files:
        raise Refusal(413, "too_many", f"at most {service.limits.upload_files} files come in one upload", param="files")
    space = space_of(service.kb.path, caller.principal)
    readers = space.acl(acl or None)
    targets = [space.path(file.filename or "") for file in files]
    for file, target in zip(files, targets, strict=True):
        await _kept(file, target, service.kb.settings.ingest.max_file_bytes)
    return job_out(await service.writing.run(lambda: _added(service, caller, space, targets, readers)))


@router.post("/ingest", status_code=202, summary="Bring a source in")
async def ingest(body: shapes.IngestRequest, caller: Admin, service: Shared) -> shapes.JobOut:
    """Brings in a path on the server, or an address. For the owner: it reads whatever the server can read."""
    service.require_open()
    if caller.principal is not None:
        raise Refusal(403, "access_denied", "sources are the owner's to bring in; upload files instead")
    acl = None if body.acl is None else acl_of(list(body.acl))
    return job_out(
        await service.writing.run(
            lambda: service.jobs.add(caller.key, source=body.source.strip(), prune=body.prune, acl=acl)
        )
    )


@router.get("/jobs", summary="List the ingests")
async def list_jobs(
    caller: Writer, service: Shared, limit: Annotated[int, Query(ge=1, le=shapes.MOST_PAGE)] = 50
) -> shapes.JobList:
    """Those of who asks, the latest first; the owner sees all."""
    own = [job_out(job) for job in service.jobs.list() if _own(caller, job)]
    return shapes.JobList(jobs=own[:limit])


@router.get("/jobs/{job_id}", summary="One ingest")
async def get_job(job_id: shapes.Identifier, caller: Writer, service: Shared) -> shapes.JobOut:
    """How far it is, or what it did."""
    return job_out(_found(service, caller, job_id))


@router.post("/jobs/{job_id}/cancel", summary="Cancel an ingest")
async def cancel_job(job_id: shapes.Identifier, caller: Writer, service: Shared) -> shapes.JobOut:
    """Ends it at its next step; what was brought in by then stays. One that has ended stays as it is."""
    _found(service, caller, job_id)
    await service.reading.run(lambda: service.jobs.cancel(job_id))
    return job_out(_found(service, caller, job_id))


@router.get(
    "/jobs/{job_id}/events",
    summary="Follow an ingest",
    response_class=EventStream,
    responses=stream_of("`job` (JobOut) now and at each change, at most ten a second; ends with the job"),
)
async def job_events(job_id: shapes.Identifier, caller: Writer, service: Shared) -> EventStream:
    """How far it is, as it goes."""
    _found(service, caller, job_id)
    return EventStream(kept_alive(_followed(service, job_id)))


async def _followed(service: Service, job_id: str) -> AsyncIterator[str]:
    loop, changed, said = asyncio.get_running_loop(), asyncio.Event(), -1

    def told(job: Job) -> None:
        if job.id == job_id and not loop.is_closed():
            loop.call_soon_threadsafe(changed.set)

    with service.jobs.listening(told):
        while True:
            changed.clear()
            job = service.jobs.get(job_id)
            if job is None:
                return
            if job.version != said:
                said = job.version
                yield event("job", job_out(job))
            if job.ended or service.closing.is_set():
                return
            await either(changed, service.closing)
            await asyncio.sleep(0.1)


async def _kept(file: UploadFile, target: Path, most: int) -> None:
    """Copies one file to its place, and to disk."""
    if file.size is not None and file.size > most:
        raise Refusal(413, "too_large", f"{file.filename!r:.100} has more than {most} bytes", param="files")

    def copied() -> None:
        try:
            with placed(target) as out:
                while piece := file.file.read(_PIECE):
                    out.write(piece)
        except (IsADirectoryError, NotADirectoryError, FileExistsError):
            raise Refusal(
                409, "taken", f"{file.filename!r:.100}: a file or folder of that name is in its way", param="files"
            ) from None
        except OSError as error:
            raise Refusal(
                503, "storage_full", f"the file cannot be kept: {error.strerror}", retry_after_s=60
            ) from error

    await asyncio.to_thread(copied)


def _added(
    service: Service, caller: Caller, space: Space, targets: Sequence[Path], readers: tuple[str, ...] | None
) -> Job:
    principal = None if caller.principal is None else caller.principal.names
    places = tuple(dict.fromkeys(str(target.relative_to(space.folder)) for target in targets))
    return service.jobs.add(caller.key, places=places, principal=principal, acl=readers)


def _own(caller: Caller, job: Job) -> bool:
    return caller.principal is None or job.principal == caller.principal.names


def _found(service: Service, caller: Caller, job_id: str) -> Job:
    job = service.jobs.get(job_id)
    if job is None or not _own(caller, job):
        raise Refusal(404, "no_job", "there is no such job", param="job_id")
    return job


def job_out(job: Job) -> shapes.JobOut:
    """A job as it is given back."""
    return shapes.JobOut(
        id=job.id,
        state=job.state,
        source=job.source,
        files=list(job.places),
        stage=job.stage,
        done=job.done,
        total=job.total,
        detail=job.detail,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        error=job.error,
        report=None if job.report is None else _report_out(dict(job.report)),
    )


def _report_out(report: dict[str, Any]) -> shapes.ReportOut:
    failures = [{**one, "name": _name(one["uri"])} for one in report["failures"]]
    return shapes.ReportOut.model_validate({**report, "failures": failures})


def _name(uri: str) -> str:
    return urllib.parse.unquote(uri.rstrip("/").rsplit("/", 1)[-1])
