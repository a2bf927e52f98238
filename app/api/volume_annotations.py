"""Routes of annotations by volume: a file that covers several slices, up and down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from sqlalchemy.orm import Session

from app.api.deps import Body, Reading, TheHouse, ThePerson, Writing
from app.api.idempotency import CreatingRoute
from app.api.masks import Annotator, IfMatch, LeadTime, SchemaVersion, SourcePrediction, plain_tag, rights_of
from app.api.schemas import SliceResultWire, VersionWire, VolumeAnnotated
from app.api.volumes import parse_value_map
from app.db.models import Project, Volume
from app.errors import AnnotationPreconditionMissing, EmptyBody
from app.formats.nifti import write_nifti
from app.formats.nrrd import write_nrrd
from app.formats.volume_masks import is_dicom, read_volume_mask
from app.names import AnnotationKind, Role
from app.services import projects, volume_annotations, volumes
from app.services.predictions import find_prediction
from app.services.volume_annotations import SliceResult, VolumeSubmission

if TYPE_CHECKING:  # numpy loads with the first file that needs it
    import numpy as np
    from numpy.typing import NDArray

router = APIRouter(prefix="/v1", tags=["annotations"], route_class=CreatingRoute)


@router.get("/volumes/{volume}/annotation", response_class=Response)
def read_volume_annotation(
    volume: str,
    annotator: Annotator,
    house: TheHouse,
    session: Reading,
    format: Literal["nifti", "nrrd"] = "nifti",  # noqa: A002 - the word of the URL
) -> Response:
    """The current masks of a volume's slices (one's own of those read blind) in the original geometry; 255: unlabelled.

    A DICOM segmentation is written by an export.
    """
    found = volumes.find_volume(session, volume)
    versions = volume_annotations.visible_versions(session, found, annotator)
    masks = {index: version.id for index, version in versions.items()}
    stack = volume_annotations.lay_masks(session, house.blobs, found, masks)
    headers = {"ETag": f'"{volume_annotations.tag_of(versions)}"'}
    geometry = volumes.volume_geometry(found)
    if format == "nrrd":
        return Response(write_nrrd(stack, geometry), media_type="application/octet-stream", headers=headers)
    return Response(write_nifti(stack, geometry), media_type="application/gzip", headers=headers)


@dataclass(frozen=True)
class _Drawn:
    """What a file holds for each slice that it speaks for (index -> (H, W)), and the state its author had seen.

    `named`: the request says for which slices it speaks.
    """

    planes: dict[int, NDArray[np.uint8]]
    named: bool
    expected: str


def _read_file(
    volume: str,
    house: TheHouse,
    body: Body,
    kind: AnnotationKind,
    slices: Annotated[
        list[int] | None,
        Query(description="Slices that the file speaks for; default: those with a labelled pixel that you lease."),
    ] = None,
    mask_values: Annotated[
        str, Query(description='JSON object: value in the file, or segment number -> class, e.g. {"2": 1}.')
    ] = "",
    schema_version: SchemaVersion = None,
    if_match: IfMatch = None,
) -> _Drawn:
    expected = plain_tag(if_match)
    if expected is None:
        raise AnnotationPreconditionMissing
    if not body:
        raise EmptyBody("a mask")
    with house.database.reading() as session:
        found, classes = _look_up(session, volume)
        projects.check_schema_version(session.get_one(Project, found.project_id), schema_version)
        geometry = volumes.volume_geometry(found)
    mask = read_volume_mask(body, geometry, classes, parse_value_map(mask_values))
    fill = kind == AnnotationKind.FULL and is_dicom(body)
    planes = volume_annotations.cover_planes(mask, slices, fill_background=fill)
    return _Drawn(planes, bool(slices), expected)


@router.put("/volumes/{volume}/annotation")
def submit_volume_annotation(
    volume: str,
    annotator: Annotator,
    person: ThePerson,
    house: TheHouse,
    drawn: Annotated[_Drawn, Depends(_read_file)],
    session: Writing,  # opened after the file is read: on SQLite nobody else writes while one is open
    response: Response,
    kind: AnnotationKind,
    lead_time_ms: LeadTime = None,
    prediction: SourcePrediction = None,
) -> VolumeAnnotated:
    """Submit a NIfTI, an NRRD or a DICOM segmentation that covers several slices; the answer says what became of each.

    Written are the slices that are leased to you; of those that `slices` names also your own work that is nobody's
    lease (for managers: any that nobody else holds). A file that is wrong anywhere writes nothing. Pixels in no segment
    of a DICOM segmentation are background in a full mask, and unlabelled in scribbles. The written slices share
    the lead time evenly.
    """
    # Whoever judges does so in their own name; a lease outlives the role that it was given to.
    judges = person.covers(Role.REVIEWER) and (person.account_id is None or annotator == person.name)
    found, _ = _look_up(session, volume)
    asked = VolumeSubmission(
        kind,
        annotator,
        drawn.expected,
        named=drawn.named,
        anywhere=person.covers(Role.MANAGER),
        judges=judges,
        rights=rights_of(person),
        entered_by=person.entering_for(annotator),
        lead_time_ms=lead_time_ms,
        prediction_id=None if prediction is None else find_prediction(session, found.id, prediction).id,
    )
    results = volume_annotations.submit_volume(session, house.blobs, found, drawn.planes, asked)
    tag = volume_annotations.tag_of(volume_annotations.visible_versions(session, found, annotator))
    response.headers["ETag"] = f'"{tag}"'
    return VolumeAnnotated(slices={each.index: _result_wire(each) for each in results})


def _look_up(session: Session, reference: str) -> tuple[Volume, dict[int, str]]:
    volume = volumes.find_volume(session, reference)
    project = session.get_one(Project, volume.project_id)
    return volume, {int(each["value"]): str(each["name"]) for each in project.label_schema}


def _result_wire(result: SliceResult) -> SliceResultWire:
    return SliceResultWire(
        outcome=result.outcome,
        version=None if result.version is None else VersionWire.model_validate(result.version),
        code=None if result.refusal is None else result.refusal.code,
        detail=None if result.refusal is None else str(result.refusal),
    )
