"""Routes of what further people say: reviews, adjudication of readings, and how far the readers agree."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.deps import Reading, TheHouse, ThePerson, Writing
from app.api.idempotency import CreatingRoute
from app.api.masks import Annotator, IfMatch, plain_tag
from app.api.paging import Paged, page_of
from app.api.schemas import AgreementWire, Page, PairAgreementWire, ReviewAsked, ReviewWire, VersionWire
from app.db.models import Project
from app.errors import AnnotationPreconditionMissing, ReadingsIncomplete
from app.services import annotations as slice_annotations, assignments, projects, reviews, volumes
from app.services.agreement import measure_agreement
from app.services.paging import list_items
from app.services.reviews import Opinion

router = APIRouter(prefix="/v1", tags=["reviews"], route_class=CreatingRoute)


@router.post("/annotation-versions/{version}/reviews", status_code=201)
def review_version(version: str, asked: ReviewAsked, session: Writing, person: ThePerson) -> ReviewWire:
    """Accept the current version of a slice, or reject it with a comment; a mask with `purpose=review` fixes it."""
    found = slice_annotations.find_version(session, version)
    opinion = Opinion(person.signing_as(asked.annotator), asked.verdict, asked.comment, asked.x, asked.y)
    return ReviewWire.model_validate(reviews.review_version(session, found, opinion))


@router.get("/slices/{slice_}/reviews")
def list_reviews(slice_: str, session: Reading, span: Paged) -> Page[ReviewWire]:
    """What was said of the versions of a slice, the oldest first."""
    return page_of(reviews.list_reviews(session, volumes.find_slice(session, slice_), span), ReviewWire.model_validate)


@router.get("/slices/{slice_}/readings")
def list_readings(slice_: str, session: Reading, span: Paged) -> Page[VersionWire]:
    """Each reader's newest version, once all readings are in."""
    found = volumes.find_slice(session, slice_)
    project = session.get_one(Project, found.project_id)
    if assignments.blind_slices(session, project, [found.id]):
        raise ReadingsIncomplete(found.id)
    readings = assignments.latest_readings(session, found.id)
    return page_of(list_items(readings, lambda each: each.number, span), VersionWire.model_validate)


@router.post("/annotation-versions/{version}/adjudicate", status_code=201)
def choose_reading(
    version: str,
    house: TheHouse,
    session: Writing,
    response: Response,
    annotator: Annotator,
    person: ThePerson,
    if_match: IfMatch = None,
) -> VersionWire:
    """Make a reading the slice's annotation; to draw one instead, submit a mask with `purpose=adjudicate`."""
    expected = plain_tag(if_match)
    if expected is None:
        raise AnnotationPreconditionMissing
    found = slice_annotations.find_version(session, version)
    chosen = reviews.choose_reading(session, house.blobs, found, person.signing_as(annotator), expected)
    response.headers["ETag"] = f'"{chosen.id}"'
    return VersionWire.model_validate(chosen)


@router.get("/projects/{project}/agreement")
def read_agreement(
    project: str,
    house: TheHouse,
    session: Reading,
    slices: Annotated[int, Query(ge=1, le=1000, description="Of so many newest completely read slices.")] = 200,
) -> AgreementWire:
    """Dice, HD95 and Cohen's kappa of each class and pair of readers."""
    found = projects.find_project(session, project)
    pairs, compared = measure_agreement(session, house.blobs, found, slices)
    return AgreementWire(slices=compared, items=[PairAgreementWire.model_validate(each) for each in pairs])
