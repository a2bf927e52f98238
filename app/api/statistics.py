"""Routes of what a board shows: pace, worst volumes, and the coverage map."""

from __future__ import annotations

import uuid
from datetime import datetime

from fastapi import APIRouter, Response

from app.api.deps import Reading, TheHouse, Writing
from app.api.idempotency import CreatingRoute
from app.api.schemas import JobWire, Wire
from app.api.wires import job_wires
from app.services import coverage, projects, statistics

router = APIRouter(prefix="/v1", tags=["statistics"], route_class=CreatingRoute)


class PaceWire(Wire):
    """One author's work; times are null where the tool never said how long it took."""

    author: str
    source: str
    slices: int
    versions: int
    total_ms: int | None
    median_ms: float | None
    last_at: datetime


class VolumeScoreWire(Wire):
    """How well the newest evaluated round does on one volume."""

    volume_id: uuid.UUID
    patient: str
    name: str
    dice: float | None
    missed: int


class StatisticsWire(Wire):
    """Who annotated how much, and where the models are worst."""

    annotators: list[PaceWire]
    scored_round: int | None
    worst_volumes: list[VolumeScoreWire]


class MappedSliceWire(Wire):
    """A slice on the map."""

    slice_id: uuid.UUID
    patient: str
    index: int
    x: float
    y: float
    annotated: bool
    proposed: bool


class CoverageWire(Wire):
    """The newest map; `features` says what it was made from, `of` how many slices there were to choose from."""

    made_at: datetime
    method: str
    features: str
    of: int
    slices: list[MappedSliceWire]


@router.get("/projects/{project}/statistics")
def read_statistics(project: str, session: Reading) -> StatisticsWire:
    """Pace of each annotator, and the volumes of the newest evaluation, the worst first."""
    found = projects.find_project(session, project)
    scored, worst = statistics.list_worst_volumes(session, found)
    return StatisticsWire(
        annotators=[PaceWire.model_validate(each) for each in statistics.list_pace(session, found)],
        scored_round=None if scored is None else scored.number,
        worst_volumes=[VolumeScoreWire.model_validate(each) for each in worst],
    )


@router.post("/projects/{project}/coverage", status_code=202)
def request_coverage(project: str, session: Writing, response: Response) -> JobWire:
    """Have a worker lay out the train slices (at most 10,000, sampled) by t-SNE of the encoder's features."""
    job = coverage.request_map(session, projects.find_project(session, project))
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_wires(session, [job])[0]


@router.get("/projects/{project}/coverage", response_model=None, responses={200: {"model": CoverageWire}, 204: {}})
def read_coverage(project: str, house: TheHouse, session: Reading) -> CoverageWire | Response:
    """The newest map with what is annotated and proposed by now; 204: none was made yet."""
    found = projects.find_project(session, project)
    made = coverage.newest_map(session, found)
    if made is None or made.result is None or made.finished_at is None:
        return Response(status_code=204)
    return CoverageWire(
        made_at=made.finished_at,
        method=made.result["method"],
        features=made.result["features"],
        of=made.result["of"],
        slices=[MappedSliceWire.model_validate(each) for each in coverage.read_map(session, house.blobs, found, made)],
    )
