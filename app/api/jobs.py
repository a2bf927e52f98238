"""Routes of jobs, live ones included, and of what is started by asking for a job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator
from sqlalchemy.exc import OperationalError
from starlette.concurrency import run_in_threadpool

from app.api.deps import House, Reading, TheHouse, Writing
from app.api.idempotency import CreatingRoute
from app.api.paging import Paged
from app.api.schemas import JobWire, Page, PredictionsAsked
from app.api.wires import job_wires
from app.log import get_log
from app.names import JobState
from app.services import jobs, predictions, projects

router = APIRouter(prefix="/v1", tags=["jobs"], route_class=CreatingRoute)

_log = get_log(__name__)

EventId = Annotated[int | None, BeforeValidator(lambda sent: None if sent == "" else sent)]
"""A `Last-Event-ID`; sent empty, as proxies may, it is none."""

_POLL_S = 0.5
_KEEP_ALIVE_S = 15.0


@router.get("/projects/{project}/jobs")
def list_jobs(project: str, session: Reading, span: Paged) -> Page[JobWire]:
    """All jobs of a project, the newest first."""
    found = jobs.list_jobs(session, projects.find_project(session, project).id, span)
    return Page(items=job_wires(session, found), next_cursor=found.next_cursor)


@router.get("/jobs/{job}")
def read_job(job: str, session: Reading) -> JobWire:
    """One job: state, progress, time left, error."""
    return job_wires(session, [jobs.find_job(session, job)])[0]


@router.post("/jobs/{job}/cancel", status_code=202)
def cancel_job(job: str, session: Writing) -> JobWire:
    """Stop a job; a running one stops within seconds."""
    return job_wires(session, [jobs.request_cancel(session, jobs.find_job(session, job))])[0]


@router.post("/jobs/{job}/retry", status_code=202)
def retry_job(job: str, session: Writing) -> JobWire:
    """Queue a failed or cancelled job again."""
    return job_wires(session, [jobs.retry_job(session, jobs.find_job(session, job))])[0]


@router.get("/jobs/{job}/events", responses={204: {"description": "It is finished, and its last event was seen."}})
async def follow_job(
    job: str, request: Request, house: TheHouse, last_event_id: Annotated[EventId, Header()] = None
) -> Response:
    """The job as server-sent events, one a change, until it is finished; `Last-Event-ID` resumes.

    One that the job has not come to yet is of a time before a back-up was restored: the stream begins with the present.
    """
    seen = -1 if last_event_id is None else last_event_id
    wire = await run_in_threadpool(_read_wire, house, job)  # an unknown job is a 404, not an empty stream
    if JobState(wire.state).is_final and wire.revision == seen:
        return Response(status_code=204)  # the one answer after which an EventSource does not come back
    events = _job_events(house, job, request, seen)
    return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@router.post("/projects/{project}/predictions", status_code=202)
def request_predictions(
    project: str, session: Writing, response: Response, asked: PredictionsAsked | None = None
) -> JobWire:
    """Predict volumes with the newest models."""
    found = projects.find_project(session, project)
    job = predictions.request_predictions(session, found, asked.split if asked is not None else None)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_wires(session, [job])[0]


async def _job_events(house: House, job: str, request: Request, seen: int) -> AsyncIterator[str]:
    silent_s = 0.0
    while not await request.is_disconnected():
        try:
            wire = await run_in_threadpool(_read_wire, house, job)
        except OperationalError as error:
            # The answer has begun, so no status can tell; the client comes back, with the id of the last event.
            _log.warning("stream_without_database", job=job, reason=str(error.orig))
            return
        if wire.revision != seen:
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
        return job_wires(session, [jobs.find_job(session, job)])[0]
