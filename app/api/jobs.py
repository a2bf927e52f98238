"""Routes of jobs, live ones included, and of what is started by asking for a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from app.api.deps import House, Reading, TheHouse, Writing
from app.api.idempotency import CreatingRoute
from app.api.paging import Paged, page_of
from app.api.schemas import JobWire, Page, PredictionsAsked
from app.api.wires import job_wire
from app.names import JobState
from app.services import jobs, predictions, projects

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=CreatingRoute)

_POLL_S = 0.5
_KEEP_ALIVE_S = 15.0


@router.get("/projects/{project}/jobs")
def list_jobs(project: str, session: Reading, span: Paged) -> Page[JobWire]:
    """All jobs of a project, the newest first."""
    found = jobs.list_jobs(session, projects.find_project(session, project).id, span)
    return page_of(found, lambda each: job_wire(session, each))


@router.get("/jobs/{job}")
def read_job(job: str, session: Reading) -> JobWire:
    """One job: state, progress, time left, error."""
    return job_wire(session, jobs.find_job(session, job))


@router.post("/jobs/{job}/cancel", status_code=202)
def cancel_job(job: str, session: Writing) -> JobWire:
    """Stop a job; a running one stops within seconds."""
    return job_wire(session, jobs.request_cancel(session, jobs.find_job(session, job)))


@router.post("/jobs/{job}/retry", status_code=202)
def retry_job(job: str, session: Writing) -> JobWire:
    """Queue a failed or cancelled job again."""
    return job_wire(session, jobs.retry_job(session, jobs.find_job(session, job)))


@router.get("/jobs/{job}/events")
async def follow_job(
    job: str, request: Request, house: TheHouse, last_event_id: Annotated[int | None, Header()] = None
) -> StreamingResponse:
    """The job as server-sent events, one a change, until it is finished; `Last-Event-ID` resumes."""
    await run_in_threadpool(_read_wire, house, job)  # an unknown job is a 404, not an empty stream
    events = _job_events(house, job, request, -1 if last_event_id is None else last_event_id)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.post("/projects/{project}/predictions", status_code=202)
def request_predictions(
    project: str, session: Writing, response: Response, asked: PredictionsAsked | None = None
) -> JobWire:
    """Predict volumes with the newest models."""
    found = projects.find_project(session, project)
    job = predictions.request_predictions(session, found, asked.split if asked is not None else None)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_wire(session, job)


async def _job_events(house: House, job: str, request: Request, seen: int) -> AsyncIterator[str]:
    silent_s = 0.0
    while not await request.is_disconnected():
        wire = await run_in_threadpool(_read_wire, house, job)
        if wire.revision > seen:
            seen, silent_s = wire.revision, 0.0
            yield f"id: {seen}\nevent: job\ndata: {wire.model_dump_json()}\n\n"
        if JobState(wire.state).is_final:
            return
        await asyncio.sleep(_POLL_S)
        silent_s += _POLL_S
        if silent_s >= _KEEP_ALIVE_S:
            silent_s = 0.0
            yield ": still here\n\n"


def _read_wire(house: House, job: str) -> JobWire:
    with house.database.reading() as session:
        return job_wire(session, jobs.find_job(session, job))
