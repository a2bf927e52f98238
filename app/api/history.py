"""Routes of the versions of an annotation: masks, differences, restoring."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.deps import Reading, TakesGzip, TheHouse, ThePerson, Writing
from app.api.idempotency import CreatingRoute
from app.api.masks import Annotator, IfMatch, MaskFormat, mask_answer, plain_tag, rights_of
from app.api.schemas import DiffWire, VersionWire
from app.errors import AnnotationPreconditionMissing
from app.services import annotations as slice_annotations, history

router = APIRouter(prefix="/v1", tags=["annotations"], route_class=CreatingRoute)


@router.get("/annotation-versions/{version}")
def read_version(version: str, session: Reading, annotator: Annotator) -> VersionWire:
    """Who drew a version, when, over what."""
    return VersionWire.model_validate(slice_annotations.find_visible_version(session, version, annotator))


@router.get("/annotation-versions/{version}/mask", response_class=Response)
def read_version_mask(
    version: str,
    annotator: Annotator,
    house: TheHouse,
    session: Reading,
    takes_gzip: TakesGzip,
    format: MaskFormat = "raw",  # noqa: A002 - the word of the URL
) -> Response:
    """The mask of one version."""
    found = slice_annotations.find_visible_version(session, version, annotator)
    slice_, _ = history.slice_of(session, found)
    body = slice_annotations.read_mask_body(session, house.blobs, found.id)
    return mask_answer(session, slice_, body, format, takes_gzip, {"ETag": f'"{found.id}"', "X-Kind": found.kind})


@router.get("/annotation-versions/{version}/diff")
def diff_version(
    version: str,
    annotator: Annotator,
    house: TheHouse,
    session: Reading,
    against: Annotated[str | None, Query(description="Another version of the slice; default: the parent.")] = None,
) -> DiffWire:
    """What changed: pixels, and the Dice of each class."""
    found = slice_annotations.find_visible_version(session, version, annotator)
    reference = against if against is not None else str(found.parent_id or found.id)
    other = slice_annotations.find_visible_version(session, reference, annotator)
    diff = history.diff_versions(session, house.blobs, found, other)
    return DiffWire(version_id=found.id, against_id=other.id, changed_pixels=diff.changed_pixels, dice=diff.dice)


@router.post("/annotation-versions/{version}/restore", status_code=201)
def restore_version(
    version: str,
    annotator: Annotator,
    person: ThePerson,
    house: TheHouse,
    session: Writing,
    response: Response,
    if_match: IfMatch = None,
) -> VersionWire:
    """Make an old version the newest: a new one with its mask, over the version that If-Match names."""
    expected = plain_tag(if_match)
    if expected is None:
        raise AnnotationPreconditionMissing
    found = slice_annotations.find_visible_version(session, version, annotator)
    entered_by = person.entering_for(annotator)
    rights = rights_of(person)
    restored = history.restore_version(session, house.blobs, found, annotator, expected, rights, entered_by)
    response.headers["ETag"] = f'"{restored.id}"'
    return VersionWire.model_validate(restored)
