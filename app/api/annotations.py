"""Routes of annotations: masks up and down, by slice and by volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Header, Query, Response
from sqlalchemy.orm import Session

from app.api.deps import Body, Reading, TakesGzip, TheHouse, Writing
from app.api.schemas import Page, VersionWire, VolumeAnnotated
from app.api.volumes import gzip_answer
from app.db.models import Prediction, Project, Round, Slice
from app.errors import AnnotationPreconditionMissing, AnnotationStale, EmptyBody, MaskTypeRefused
from app.formats.nifti import read_nifti_mask, write_nifti
from app.names import AnnotationKind
from app.services import annotations as slice_annotations
from app.services import exports, volumes
from app.services.annotations import Submission
from app.services.predictions import latest_prediction, read_uncertainty_body
from app.storage.masks import decode_mask, encode_mask, mask_from_png, mask_to_png
from app.storage.planes import grey_to_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

router = APIRouter(prefix="/v1", tags=["annotations"])

_GZIP_START = b"\x1f\x8b"
_RAW_TYPES = ("application/octet-stream", "application/gzip")
_TYPES = (*_RAW_TYPES, "image/png")

MaskFormat = Annotated[Literal["raw", "png"], Query()]
IfMatch = Annotated[str | None, Header(description="ETag of the current version, or '\"0\"' when there is none.")]
Annotator = Annotated[str, Query(min_length=1, max_length=200)]


@router.post("/slices/{slice_}/annotations", status_code=201)
def submit_annotation(
    slice_: str,
    house: TheHouse,
    session: Writing,
    body: Body,
    response: Response,
    kind: AnnotationKind,
    annotator: Annotator = "local",
    lead_time_ms: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
    if_match: IfMatch = None,
    content_type: Annotated[str, Header()] = "application/octet-stream",
) -> VersionWire:
    """Submit a mask: uint8 (H, W), raw or gzipped, or an indexed or 8-bit grey PNG; 255 is unlabelled."""
    found = volumes.find_slice(session, slice_)
    expected = _expected_version(if_match)
    project = session.get_one(Project, found.project_id)
    mask = _read_mask(body, content_type, project, found)
    submission = Submission(kind, annotator, expected, lead_time_ms=lead_time_ms)
    version = slice_annotations.submit_annotation(session, house.blobs, project, found, mask, submission)
    response.headers["ETag"] = f'"{version.id}"'
    return VersionWire.model_validate(version)


@router.get("/slices/{slice_}/annotations")
def list_versions(slice_: str, session: Reading) -> Page[VersionWire]:
    """Every version of the slice's annotation, the oldest first."""
    versions = slice_annotations.list_versions(session, volumes.find_slice(session, slice_))
    return Page(items=[VersionWire.model_validate(each) for each in versions])


@router.get("/slices/{slice_}/annotation", response_class=Response)
def read_annotation(
    slice_: str,
    house: TheHouse,
    session: Reading,
    takes_gzip: TakesGzip,
    format: MaskFormat = "raw",  # noqa: A002 - the word of the URL
) -> Response:
    """The current mask of the slice; its ETag is what the next submission sends as If-Match."""
    found = volumes.find_slice(session, slice_)
    version = slice_annotations.current_version(session, found)
    body = slice_annotations.read_mask_body(session, house.blobs, version.id)
    headers = {"ETag": f'"{version.id}"', "X-Kind": version.kind}
    return _mask_answer(session, found, body, format, takes_gzip, headers)


@router.get("/slices/{slice_}/prediction", response_class=Response)
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
    return _mask_answer(session, found, encode_mask(mask), format, takes_gzip, _origin(session, prediction))


@router.get("/slices/{slice_}/uncertainty", response_class=Response)
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


@router.get("/annotation-versions/{version}/mask", response_class=Response)
def read_version_mask(version: str, house: TheHouse, session: Reading, takes_gzip: TakesGzip) -> Response:
    """The mask of one version, raw uint8."""
    found = slice_annotations.find_version(session, version)
    body = slice_annotations.read_mask_body(session, house.blobs, found.id)
    return gzip_answer(body, takes_gzip, {"ETag": f'"{found.id}"', "X-Kind": found.kind})


@router.get("/volumes/{volume}/annotation", response_class=Response)
def read_volume_annotation(volume: str, house: TheHouse, session: Reading) -> Response:
    """The current masks of a volume's slices as one NIfTI in the original geometry; 255 is unlabelled."""
    found = volumes.find_volume(session, volume)
    mask = exports.annotated_volume(session, house.blobs, found)
    headers = {"ETag": f'"{_volume_tag(session, volume)}"'}
    return Response(write_nifti(mask, volumes.volume_geometry(found)), media_type="application/gzip", headers=headers)


@router.put("/volumes/{volume}/annotation")
def submit_volume_annotation(
    volume: str,
    house: TheHouse,
    session: Writing,
    body: Body,
    response: Response,
    kind: AnnotationKind,
    annotator: Annotator = "local",
    if_match: IfMatch = None,
) -> VolumeAnnotated:
    """Submit a NIfTI that covers several slices of a volume: all of its labelled slices are stored, or none.

    Slices without a labelled pixel (all 255) are left as they are.
    """
    found = volumes.find_volume(session, volume)
    if not body:
        raise EmptyBody("a NIfTI mask")
    expected, current = _expected_version(if_match), _volume_tag(session, volume)
    if expected != current:
        raise AnnotationStale(current)
    mask = read_nifti_mask(body, volumes.volume_geometry(found), name="The mask")
    project = session.get_one(Project, found.project_id)
    slices = {each.index: each for each in volumes.list_slices(session, found)}
    stored = {}
    for index, plane in slice_annotations.labelled_planes(mask):
        head = slice_annotations.version_tag(slice_annotations.find_annotation(session, slices[index]))
        submission = Submission(kind, annotator, head)
        version = slice_annotations.submit_annotation(session, house.blobs, project, slices[index], plane, submission)
        stored[index] = VersionWire.model_validate(version)
    if not stored:
        raise EmptyBody("a mask with at least one labelled pixel")
    response.headers["ETag"] = f'"{_volume_tag(session, volume)}"'
    return VolumeAnnotated(slices=stored)


def _expected_version(if_match: str | None) -> str:
    if if_match is None:
        raise AnnotationPreconditionMissing
    return if_match.strip().strip('"')


def _origin(session: Session, prediction: Prediction) -> dict[str, str]:
    number = session.get_one(Round, prediction.round_id).number
    return {"X-Round": str(prediction.round_id), "X-Model-Version": str(number)}


def _volume_tag(session: Session, volume: str) -> str:
    return slice_annotations.volume_tag(session, volumes.find_volume(session, volume))


def _palette(project: Project) -> dict[int, tuple[int, int, int]]:
    colors = {int(each["value"]): str(each["color"]).lstrip("#") for each in project.label_schema}
    return {value: (int(color[0:2], 16), int(color[2:4], 16), int(color[4:6], 16)) for value, color in colors.items()}


def _read_mask(body: bytes, content_type: str, project: Project, slice_: Slice) -> NDArray[np.uint8]:
    shape = (slice_.volume.height, slice_.volume.width)
    media_type = content_type.split(";", maxsplit=1)[0].strip().lower()
    if media_type not in _TYPES:
        raise MaskTypeRefused(content_type, _TYPES)
    if not body:
        raise EmptyBody("a mask")
    if media_type == "image/png":
        return mask_from_png(body, shape, _palette(project))
    if body.startswith(_GZIP_START) and len(body) != shape[0] * shape[1]:
        return decode_mask(body, shape)
    return slice_annotations.plain_mask(body, shape)


def _mask_answer(
    session: Session, slice_: Slice, body: bytes, format_: str, takes_gzip: bool, headers: dict[str, str]
) -> Response:
    if format_ == "raw":
        shape = f"{slice_.volume.height},{slice_.volume.width}"
        return gzip_answer(body, takes_gzip, headers | {"X-Dtype": "uint8", "X-Shape": shape})
    project = session.get_one(Project, slice_.project_id)
    mask = decode_mask(body, (slice_.volume.height, slice_.volume.width))
    return Response(mask_to_png(mask, _palette(project)), media_type="image/png", headers=headers)
