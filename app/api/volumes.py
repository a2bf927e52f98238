"""Routes of volumes and slices: files in, slices and pixels out."""

from __future__ import annotations

import json
import zlib
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, File, Form, Query, Response, UploadFile
from fastapi.responses import StreamingResponse

from app.api.deps import House, Reading, TakesGzip, TheHouse, ThePerson
from app.api.paging import Paged, page_of
from app.api.schemas import Page, SliceWire, VolumeWire
from app.api.wires import slice_wires, volume_wire
from app.db.models import Project
from app.errors import EmptyBody, ProjectSettingRefused
from app.names import UNLABELLED, AnnotationKind, Split
from app.outbox import unit_of_work
from app.services import ground_truth, projects, volumes
from app.services.volumes import IngestedMask, IngestedVolume, VolumeDraft
from app.storage import planes

router = APIRouter(prefix="/v1", tags=["volumes"])

# A slice's pixels never change, so whoever holds them need not ask again.
_FOREVER = "private, max-age=31536000, immutable"


@router.post("/projects/{project}/volumes", status_code=201)
def add_volume(
    project: str,
    house: TheHouse,
    response: Response,
    image: Annotated[UploadFile, File(description="NIfTI file, .nii or .nii.gz.")],
    patient: Annotated[str, Form(description="Pseudonym of the patient.")],
    name: Annotated[str, Form(description="Name of the volume, unique for the patient.")],
    split: Annotated[Split, Form()] = Split.TRAIN,
    group: Annotated[str, Form(max_length=64)] = "",
    attributes: Annotated[str, Form(description="JSON object of facts about the patient.")] = "{}",
    axis: Annotated[int | None, Form(description="Axis of the file to cut slices along.")] = None,
    full_mask: Annotated[UploadFile | None, File(description="Dense ground truth, for the oracle only.")] = None,
    scribble_mask: Annotated[UploadFile | None, File(description="Scribbles, for the oracle only.")] = None,
    original: Annotated[
        UploadFile | None, File(description="What the image was converted from; kept in its place.")
    ] = None,
    unlabelled_value: Annotated[int | None, Form(description="What the scribble file calls unlabelled.")] = None,
    mask_values: Annotated[
        str, Form(description='JSON object: value in the full mask -> class, e.g. {"255": 1}.')
    ] = "",
) -> VolumeWire:
    """Take in one volume, with its ground truth where the oracle shall know it. All of it is stored, or nothing."""
    with house.database.reading() as session:
        classes = projects.class_values(projects.find_project(session, project))
    draft = VolumeDraft(patient, split, name, group, _attributes(attributes), axis)
    kept = None if original is None else (_file(original), original.filename or "original")
    ingested = volumes.ingest_volume(house.blobs, _file(image), image.filename or "image", axis, kept)
    geometry = ingested.image.geometry
    masks = [
        volumes.ingest_mask(house.blobs, _content(file), file.filename or kind, geometry, kind, classes, value_map)
        for file, kind, value_map in (
            (full_mask, AnnotationKind.FULL, parse_value_map(mask_values)),
            (scribble_mask, AnnotationKind.SCRIBBLE, volumes.scribble_values(classes, unlabelled_value)),
        )
        if file is not None
    ]
    wire = _record(house, project, draft, ingested, masks)
    response.headers["Location"] = f"/v1/volumes/{wire.id}"
    return wire.model_copy(update={"remarks": list(ingested.image.remarks)})


@router.get("/projects/{project}/volumes")
def list_volumes(project: str, session: Reading, span: Paged, split: Split | None = None) -> Page[VolumeWire]:
    """The project's volumes by patient and name."""
    found = volumes.list_volumes(session, projects.find_project(session, project), split, span)
    kinds = ground_truth.ground_truth_kinds(session, [volume.id for volume in found])
    return page_of(found, lambda volume: volume_wire(volume, kinds[volume.id]))


@router.get("/volumes/{volume}")
def read_volume(volume: str, session: Reading) -> VolumeWire:
    """One volume."""
    found = volumes.find_volume(session, volume)
    return volume_wire(found, ground_truth.ground_truth_kinds(session, [found.id])[found.id])


@router.get(
    "/volumes/{volume}/file",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}, "application/gzip": {}, "application/zip": {}}}},
)
def read_original(volume: str, house: TheHouse, session: Reading) -> StreamingResponse:
    """The file as it was taken in."""
    found = volumes.find_volume(session, volume)
    headers = {"ETag": f'"{found.original_sha256}"', "Cache-Control": _FOREVER}
    return StreamingResponse(
        house.blobs.stream(found.original_key), headers=headers, media_type=_media_type(found.original_name)
    )


@router.get("/volumes/{volume}/slices")
def list_slices(volume: str, session: Reading, person: ThePerson, span: Paged) -> Page[SliceWire]:
    """The slices of a volume by index."""
    found = volumes.list_slices(session, volumes.find_volume(session, volume), span, to_show=True)
    return Page(items=slice_wires(session, found, person.name), next_cursor=found.next_cursor)


@router.get("/slices/{slice_}")
def read_slice(slice_: str, session: Reading, person: ThePerson) -> SliceWire:
    """One slice: where it is, whether it is annotated (by oneself, while it is read blind), why it was proposed."""
    return slice_wires(session, [volumes.find_slice(session, slice_)], person.name)[0]


@router.get("/slices/{slice_}/image", response_class=Response)
def read_image(
    slice_: str,
    house: TheHouse,
    session: Reading,
    takes_gzip: TakesGzip,
    format: Annotated[Literal["png", "raw"], Query()] = "png",  # noqa: A002 - the word of the URL
    window: Annotated[float | None, Query(gt=0, allow_inf_nan=False, description="Width, in real values.")] = None,
    level: Annotated[float | None, Query(allow_inf_nan=False, description="Centre, in real values.")] = None,
) -> Response:
    """The pixels: `raw` little-endian in the volume's own type (see the X- headers), or `png` with window and level."""
    found = volumes.find_slice(session, slice_)
    volume, pack = found.volume, volumes.volume_pack(found.volume)
    session.close()  # reading a blob takes longer than reading a row; the connection is free for others
    if format == "raw":
        body = planes.read_plane_body(house.blobs, pack, found.index)
        headers = {
            "X-Dtype": pack.dtype,
            "X-Shape": ",".join(str(length) for length in pack.plane_shape),
            "X-Slope": repr(volume.slope),
            "X-Intercept": repr(volume.intercept),
            "Cache-Control": _FOREVER,
        }
        return gzip_answer(body, takes_gzip, headers)
    low, high = volume.window_low, volume.window_high
    if window is not None or level is not None:
        width = window if window is not None else max(high - low, 1e-6)
        centre = level if level is not None else (low + high) / 2
        low, high = centre - width / 2, centre + width / 2
    grey = planes.window_plane(
        planes.read_plane(house.blobs, pack, found.index), low, high, volume.slope, volume.intercept
    )
    return Response(planes.grey_to_png(grey), media_type="image/png", headers={"Cache-Control": _FOREVER})


def gzip_answer(body: bytes, takes_gzip: bool, headers: dict[str, str]) -> Response:
    """Stored gzip bytes as they are, or unpacked for a client that does not take gzip."""
    if takes_gzip:
        headers = headers | {"Content-Encoding": "gzip"}
    else:
        body = zlib.decompress(body, 31)
    return Response(body, media_type="application/octet-stream", headers=headers | {"Vary": "Accept-Encoding"})


def _media_type(name: str) -> str:
    if name.lower().endswith(".gz"):
        return "application/gzip"
    return "application/zip" if name.lower().endswith(".zip") else "application/octet-stream"


def _record(
    house: House, project: str, draft: VolumeDraft, ingested: IngestedVolume, masks: list[IngestedMask]
) -> VolumeWire:
    with unit_of_work(house.database, house.dispatcher) as session:
        owner: Project = projects.find_project(session, project)
        volume = volumes.record_volume(session, owner, draft, ingested)
        for mask in masks:
            ground_truth.add_ground_truth(session, volume, mask.kind, mask.mask_key, mask.original_key)
        return volume_wire(volume, ground_truth.ground_truth_kinds(session, [volume.id])[volume.id])


def _file(file: UploadFile) -> BinaryIO:
    if not file.size:
        raise EmptyBody(f"the file {file.filename!r}")
    return file.file


def _content(file: UploadFile) -> bytes:
    return _file(file).read()


def parse_value_map(text: str) -> dict[int, int] | None:
    """The table of values in a JSON object, None for no text; raises ProjectSettingRefused."""
    if not text:
        return None
    try:
        values = {int(value): int(to) for value, to in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        values = {0: -1}
    if any(not 0 <= to <= UNLABELLED for to in values.values()):
        raise ProjectSettingRefused("mask values", "a JSON object of whole numbers, classes at the right", text)
    return values


def _attributes(text: str) -> dict[str, Any]:
    try:
        attributes = json.loads(text)
    except (ValueError, RecursionError):
        attributes = None
    if not isinstance(attributes, dict):
        raise ProjectSettingRefused("patient attributes", "a JSON object", text)
    return attributes
