"""Routes of annotations: masks up and down, by slice."""

from __future__ import annotations

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from app.api.deps import Body, Reading, TakesGzip, TheHouse, ThePerson, Writing
from app.api.idempotency import CreatingRoute
from app.api.masks import (
    Annotator,
    IfMatch,
    LeadTime,
    MaskFormat,
    MaskType,
    SchemaVersion,
    SourcePrediction,
    mask_answer,
    plain_tag,
    read_mask,
    rights_of,
)
from app.api.paging import Paged, page_of
from app.api.schemas import Page, VersionWire
from app.api.volumes import gzip_answer
from app.db.models import Prediction, Project, Round
from app.errors import AnnotationPreconditionMissing
from app.names import AnnotationKind, Purpose, Role
from app.services import annotations as slice_annotations, exports, projects, volumes
from app.services.predictions import find_prediction, latest_prediction, read_uncertainty_body
from app.services.turns import Submission
from app.storage.masks import decode_mask, encode_mask
from app.storage.planes import grey_to_png

router = APIRouter(prefix="/v1", tags=["annotations"], route_class=CreatingRoute)


@router.post("/slices/{slice_}/annotations", status_code=201)
def submit_annotation(
    slice_: str,
    annotator: Annotator,
    person: ThePerson,
    house: TheHouse,
    session: Writing,
    body: Body,
    response: Response,
    kind: AnnotationKind,
    lead_time_ms: LeadTime = None,
    purpose: Purpose = Purpose.ANNOTATE,
    prediction: SourcePrediction = None,
    schema_version: SchemaVersion = None,
    if_match: IfMatch = None,
    content_type: MaskType = "application/octet-stream",
) -> VersionWire:
    """Submit a mask: uint8 (H, W), raw or gzipped, or an indexed or 8-bit grey PNG; 255 is unlabelled."""
    if purpose != Purpose.ANNOTATE:
        person.require(Role.REVIEWER)
        person.signing_as(annotator)
    found = volumes.find_slice(session, slice_)
    expected = _expected_version(if_match)
    project = session.get_one(Project, found.project_id)
    projects.check_schema_version(project, schema_version)
    mask = read_mask(body, content_type, project, found)
    submission = Submission(
        kind,
        annotator,
        expected,
        lead_time_ms=lead_time_ms,
        purpose=purpose,
        prediction_id=None if prediction is None else find_prediction(session, found.volume_id, prediction).id,
        rights=rights_of(person),
        entered_by=person.entering_for(annotator),
    )
    version = slice_annotations.submit_annotation(session, house.blobs, project, found, mask, submission)
    response.headers["ETag"] = f'"{version.id}"'
    return VersionWire.model_validate(version)


@router.get("/slices/{slice_}/annotations")
def list_versions(slice_: str, session: Reading, annotator: Annotator, span: Paged) -> Page[VersionWire]:
    """Every version of the slice's annotation (one's own while it is read blind), the oldest first."""
    versions = slice_annotations.list_versions(session, volumes.find_slice(session, slice_), annotator, span)
    return page_of(versions, VersionWire.model_validate)


@router.get("/slices/{slice_}/annotation", response_class=Response)
def read_annotation(
    slice_: str,
    annotator: Annotator,
    house: TheHouse,
    session: Reading,
    takes_gzip: TakesGzip,
    format: MaskFormat = "raw",  # noqa: A002 - the word of the URL
) -> Response:
    """The current mask of the slice (one's own while it is read blind); its ETag is the next submission's If-Match."""
    found = volumes.find_slice(session, slice_)
    project = session.get_one(Project, found.project_id)
    version = slice_annotations.current_version(session, project, found, annotator)
    body = slice_annotations.read_mask_body(session, house.blobs, version.id)
    headers = {"ETag": f'"{version.id}"', "X-Kind": version.kind}
    return mask_answer(session, found, body, format, takes_gzip, headers)


@router.get("/slices/{slice_}/prediction", response_class=Response, responses={204: {"description": "None yet."}})
def read_prediction(
    slice_: str,
    house: TheHouse,
    session: Reading,
    takes_gzip: TakesGzip,
    format: MaskFormat = "raw",  # noqa: A002 - the word of the URL
) -> Response:
    """The newest predicted mask of the slice; 204 where none was made yet."""
    found = volumes.find_slice(session, slice_)
    prediction = latest_prediction(session, found.volume)
    if prediction is None:
        return Response(status_code=204)
    mask = exports.predicted_volume(house.blobs, found.volume, prediction.mask_key)[found.index]
    return mask_answer(session, found, encode_mask(mask), format, takes_gzip, _origin(session, prediction))


@router.get("/slices/{slice_}/uncertainty", response_class=Response, responses={204: {"description": "None yet."}})
def read_uncertainty(
    slice_: str,
    house: TheHouse,
    session: Reading,
    takes_gzip: TakesGzip,
    format: MaskFormat = "raw",  # noqa: A002 - the word of the URL
) -> Response:
    """How unsure the models are of each pixel of the prediction: uint8 (H, W), entropy of the mean probabilities.

    0: one class is certain; 255: all classes are equally probable. PNG: 8-bit grey. 204 where there is none yet.
    """
    found = volumes.find_slice(session, slice_)
    prediction = latest_prediction(session, found.volume)
    body = None if prediction is None else read_uncertainty_body(house.blobs, prediction, found)
    if prediction is None or body is None:
        return Response(status_code=204)
    shape, headers = (found.volume.height, found.volume.width), _origin(session, prediction)
    if format == "raw":
        return gzip_answer(body, takes_gzip, headers | {"X-Dtype": "uint8", "X-Shape": f"{shape[0]},{shape[1]}"})
    return Response(grey_to_png(decode_mask(body, shape)), media_type="image/png", headers=headers)


def _expected_version(if_match: str | None) -> str:
    expected = plain_tag(if_match)
    if expected is None:
        raise AnnotationPreconditionMissing
    return expected


def _origin(session: Session, prediction: Prediction) -> dict[str, str]:
    number = session.get_one(Round, prediction.round_id).number
    return {"X-Round": str(prediction.round_id), "X-Model-Version": str(number), "X-Prediction": str(prediction.id)}
