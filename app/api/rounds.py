"""Routes of rounds: open, look, train; what was picked and what came of it."""

from __future__ import annotations

from fastapi import APIRouter, Response
from sqlalchemy import select

from app.api.deps import Reading, TheHouse, Writing
from app.api.idempotency import CreatingRoute
from app.api.paging import Paged, page_of
from app.api.schemas import (
    MetricWire,
    OracleAsked,
    OracleWire,
    Page,
    PickWire,
    RoundAsked,
    RoundWire,
)
from app.api.wires import pick_wires, round_wires
from app.db.models import Metric, Volume
from app.services import oracle, projects, rounds
from app.services.paging import list_rows

router = APIRouter(prefix="/v1", tags=["rounds"], route_class=CreatingRoute)


@router.post("/projects/{project}/rounds", status_code=202)
def open_round(project: str, session: Writing, response: Response, asked: RoundAsked | None = None) -> RoundWire:
    """Begin the next round: a worker proposes its slices (training the encoder first where the strategy needs one)."""
    budget = asked.budget_percent if asked is not None else None
    opened = rounds.open_round(session, projects.find_project(session, project), budget)
    wire = round_wires(session, [opened])[0]
    response.headers["Location"] = f"/v1/jobs/{wire.job_id}"
    return wire


@router.get("/projects/{project}/rounds")
def list_rounds(project: str, session: Reading, span: Paged) -> Page[RoundWire]:
    """All rounds in their order."""
    found = rounds.list_rounds(session, projects.find_project(session, project), span)
    return Page(items=round_wires(session, found), next_cursor=found.next_cursor)


@router.get("/rounds/{round_}")
def read_round(round_: str, session: Reading) -> RoundWire:
    """One round."""
    return round_wires(session, [rounds.find_round(session, round_)])[0]


@router.get("/rounds/{round_}/picks")
def list_picks(round_: str, session: Reading, span: Paged) -> Page[PickWire]:
    """What the round proposed, in pick order, with the value and the reason of each."""
    picks = rounds.list_picks(session, rounds.find_round(session, round_), span)
    return Page(items=pick_wires(session, picks), next_cursor=picks.next_cursor)


@router.get("/rounds/{round_}/metrics")
def list_metrics(round_: str, session: Reading, span: Paged) -> Page[MetricWire]:
    """Dice and HD95 per member, class and volume."""
    found = rounds.find_round(session, round_)
    # Not of volumes that were deleted: the join leaves them out.
    shown = select(Metric).join(Volume, Volume.id == Metric.volume_id).where(Metric.round_id == found.id)
    metrics = list_rows(session, shown, [Metric.id], span)
    return page_of(metrics, MetricWire.model_validate)


@router.post("/rounds/{round_}/training", status_code=202)
def begin_training(round_: str, session: Writing, response: Response) -> RoundWire:
    """Train on what is annotated, where the project does not do so by itself."""
    found = rounds.find_round(session, round_)
    rounds.begin_training(session, found)
    wire = round_wires(session, [found])[0]
    response.headers["Location"] = f"/v1/jobs/{wire.job_id}"
    return wire


@router.post("/projects/{project}/oracle")
def ask_oracle(project: str, house: TheHouse, session: Writing, asked: OracleAsked | None = None) -> OracleWire:
    """Annotate the slices now proposed with their stored ground truth."""
    found = projects.find_project(session, project)
    kind = asked.kind if asked is not None else None
    versions = oracle.annotate_proposed_slices(session, house.blobs, found, kind)
    latest = rounds.latest_round(session, found)
    return OracleWire(annotated=len(versions), round=None if latest is None else round_wires(session, [latest])[0])
