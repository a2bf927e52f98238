"""Routes of uploads in parts and of imports: a file or folder in, volumes and a report of every file out."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, Field

from app.api.deps import Body, Reading, TheHouse, Writing
from app.api.idempotency import CreatingRoute
from app.api.schemas import Asked, JobWire
from app.api.wires import job_wires
from app.datasets.registry import KNOWN_DATASETS
from app.db.models import Upload
from app.errors import ProjectSettingRefused, RecordNotFound, UnknownDataset, UploadIncomplete
from app.names import UNLABELLED, JobKind, JobState, Split
from app.outbox import unit_of_work
from app.services import imports, jobs, projects, uploads

router = APIRouter(prefix="/v1", tags=["imports"], route_class=CreatingRoute)


class UploadDraft(Asked):
    """A file that will come in parts."""

    file_name: str = Field(examples=["scans.zip"])
    size_bytes: int
    part_bytes: int = Field(default=8 << 20, description="Length of every part but the last, bytes.")
    sha256: str | None = Field(default=None, description="Of the whole file; known content need not be sent again.")


class UploadWire(BaseModel):
    """An upload, and which of its parts (numbered from 0) have not come yet."""

    id: uuid.UUID
    file_name: str
    size_bytes: int
    part_bytes: int
    parts: int
    missing: list[int]
    complete: bool
    sha256: str | None


class ImportDraft(Asked):
    """What to import: a complete upload, or a path below the folder that the server opened to imports."""

    upload: uuid.UUID | None = None
    path: str | None = Field(default=None, max_length=4096)
    dataset: str = Field(default="auto", description="Name of an importer; auto: told by the layout.")
    split: Split | None = Field(default=None, description="For all patients; else as published, listed or drawn.")
    seed: int = Field(default=0, description="Of the draw of splits.")
    axis: int | None = Field(default=None, ge=0, le=2, description="Axis of the files to cut slices along.")
    axes: dict[str, Annotated[int, Field(ge=0, le=2)]] = Field(
        default_factory=dict, description="The same for single volumes, by their names in `needs_axis` of a report."
    )
    mask_values: dict[int, int] | None = Field(default=None, description="Value in a mask file -> class.")
    untouched: bool = Field(default=False, description="Keep DICOM files with all that they say of people.")


class ImportReportWire(BaseModel):
    """What came of an import; a volume's line has its id, and remarks such as slices that are missing."""

    dataset: str
    source: str
    counts: dict[str, dict[str, int]] = Field(description="Patients, volumes and slices of each split.")
    volumes: list[dict[str, Any]]
    refused: list[dict[str, str]] = Field(description="Volumes that cannot be used, with the reason.")
    needs_axis: list[dict[str, Any]] = Field(
        default_factory=list,
        description="Volumes not taken in because their grid does not tell along which axis slices were taken: shape, "
        "spacing in mm, and what slices across each axis show. Import again with `axis`, or `axes` for some.",
    )
    left_out: list[dict[str, str]] = Field(description="Files that are part of no volume, with the reason.")
    remarks: list[str]
    deidentified: dict[str, Any] | None = Field(description="What was taken out of DICOM files, attribute -> times.")


@router.post("/projects/{project}/uploads", status_code=201)
def begin_upload(project: str, draft: UploadDraft, house: TheHouse, session: Writing, response: Response) -> UploadWire:
    """Announce a file that will come in parts; content that the project had before is complete at once."""
    found = projects.find_project(session, project)
    upload = uploads.begin_upload(
        session, house.blobs, found, draft.file_name, draft.size_bytes, draft.part_bytes, draft.sha256
    )
    response.headers["Location"] = f"/v1/uploads/{upload.id}"
    return _upload_wire(upload, uploads.missing_parts(session, upload))


@router.get("/uploads/{upload}")
def read_upload(upload: str, session: Reading) -> UploadWire:
    """An upload, with the parts that are still missing: where to go on after a broken line."""
    found = uploads.find_upload(session, upload)
    return _upload_wire(found, uploads.missing_parts(session, found))


@router.put("/uploads/{upload}/parts/{number}", status_code=204)
def put_part(
    upload: str,
    number: int,
    house: TheHouse,
    content: Body,
    x_content_sha256: Annotated[str, Header(description="Of this part; it is checked where it is given.")] = "",
) -> None:
    """Send one part, as often as need be; answered, it is durable."""
    with house.database.reading() as session:
        uploads.check_part(uploads.find_upload(session, upload), number, content, x_content_sha256)
    key = house.blobs.put(content)
    with unit_of_work(house.database, house.dispatcher) as session:
        uploads.record_part(session, uploads.find_upload(session, upload), number, key)


@router.post("/uploads/{upload}/complete")
def complete_upload(upload: str, house: TheHouse) -> UploadWire:
    """Join the parts; refused, with their numbers, where some are missing, and where the whole has another digest."""
    with house.database.reading() as session:
        key = uploads.join_parts(session, house.blobs, uploads.find_upload(session, upload))
    with unit_of_work(house.database, house.dispatcher) as session:
        return _upload_wire(uploads.close_upload(session, uploads.find_upload(session, upload), key), [])


@router.delete("/uploads/{upload}", status_code=204)
def drop_upload(upload: str, session: Writing) -> None:
    """Forget an upload that is no longer needed; volumes that were imported from it stay."""
    uploads.drop_upload(session, uploads.find_upload(session, upload))


@router.post("/projects/{project}/imports", status_code=202)
def request_import(project: str, draft: ImportDraft, house: TheHouse, session: Writing, response: Response) -> JobWire:
    """Import an upload or a folder of the server; the job's report names every file that is not taken in."""
    found = projects.find_project(session, project)
    if (draft.upload is None) == (draft.path is None):
        raise ProjectSettingRefused("source of the import", "either an upload or a path", draft.upload or draft.path)
    if draft.dataset not in ("auto", *KNOWN_DATASETS) or draft.dataset == "phantom":
        raise UnknownDataset(draft.dataset, ("auto", *KNOWN_DATASETS))
    if any(not 0 <= to <= UNLABELLED for to in (draft.mask_values or {}).values()):
        raise ProjectSettingRefused("mask values", "a table of whole numbers, classes at the right", draft.mask_values)
    if draft.upload is not None:
        upload = uploads.find_upload(session, str(draft.upload))
        if upload.project_id != found.id:
            raise RecordNotFound("upload", draft.upload)
        if upload.blob_key is None:
            raise UploadIncomplete(upload.file_name, uploads.missing_parts(session, upload))
    else:
        imports.server_folder(house.settings.import_root, draft.path or "")
    job = jobs.queue_job(session, project_id=found.id, kind=JobKind.IMPORT, payload=draft.model_dump(mode="json"))
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_wires(session, [job])[0]


@router.get("/imports/{job}")
def read_import(job: str, session: Reading) -> ImportReportWire:
    """The report of a finished import."""
    found = jobs.find_job(session, job)
    if found.kind != JobKind.IMPORT or found.state != JobState.SUCCEEDED or found.result is None:
        raise RecordNotFound("finished import", job)
    return ImportReportWire.model_validate(found.result)


def _upload_wire(upload: Upload, missing: list[int]) -> UploadWire:
    return UploadWire(
        id=upload.id,
        file_name=upload.file_name,
        size_bytes=upload.size_bytes,
        part_bytes=upload.part_bytes,
        parts=uploads.part_count(upload),
        missing=missing,
        complete=upload.blob_key is not None,
        sha256=upload.sha256,
    )
