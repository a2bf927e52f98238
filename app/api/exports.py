"""Routes of snapshots and exports."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from app.api.deps import Reading, TheHouse, Writing
from app.api.idempotency import CreatingRoute
from app.api.paging import Paged, page_of
from app.api.schemas import Asked, JobWire, Page, Wire
from app.api.wires import job_wires
from app.db.models import Snapshot
from app.errors import RangeNotSatisfiable, RecordNotFound
from app.names import ExportFormat, ExportPart, JobKind, JobState
from app.services import exports, jobs, projects, snapshots
from app.services.snapshots import FrozenVolume
from app.storage.blobs import CHUNK_BYTES, BlobStore, blob_digest

router = APIRouter(prefix="/v1", tags=["exports"], route_class=CreatingRoute)

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")  # no file is longer


class SnapshotAsked(Asked):
    """A new snapshot."""

    name: str = Field(default="", max_length=200, examples=["before the second reading"])


class SnapshotWire(Wire):
    """A snapshot."""

    id: uuid.UUID
    name: str
    counts: dict[str, int]
    created_at: datetime


class SnapshotContent(SnapshotWire):
    """A snapshot with everything that it holds."""

    volumes: list[FrozenVolume]


class ExportAsked(Asked):
    """What to export, and as what."""

    format: ExportFormat = ExportFormat.NIFTI
    parts: list[ExportPart] = Field(
        default_factory=list,
        description="Default: the annotations, and the predictions where the format has room for both.",
    )
    snapshot_id: uuid.UUID | None = Field(default=None, description="Default: a new snapshot, taken now.")


@router.post("/projects/{project}/snapshots", status_code=201)
def take_snapshot(
    project: str, session: Writing, house: TheHouse, response: Response, asked: SnapshotAsked | None = None
) -> SnapshotWire:
    """Freeze which annotations and predictions there are now."""
    found = projects.find_project(session, project)
    snapshot = snapshots.take_snapshot(session, house.blobs, found, asked.name if asked else "")
    response.headers["Location"] = f"/v1/snapshots/{snapshot.id}"
    return SnapshotWire.model_validate(snapshot)


@router.get("/projects/{project}/snapshots")
def list_snapshots(project: str, session: Reading, span: Paged) -> Page[SnapshotWire]:
    """All snapshots of a project, the newest first."""
    found = snapshots.list_snapshots(session, projects.find_project(session, project), span)
    return page_of(found, SnapshotWire.model_validate)


@router.get("/snapshots/{snapshot}")
def read_snapshot(snapshot: str, session: Reading, house: TheHouse) -> SnapshotContent:
    """One snapshot, with every annotation version and prediction in it."""
    found = snapshots.find_snapshot(session, snapshot)
    volumes = snapshots.read_snapshot(house.blobs, found).volumes
    return SnapshotContent(
        id=found.id, name=found.name, counts=found.counts, created_at=found.created_at, volumes=volumes
    )


@router.post("/projects/{project}/exports", status_code=202)
def request_export(
    project: str, session: Writing, house: TheHouse, response: Response, asked: ExportAsked | None = None
) -> JobWire:
    """Write a snapshot into one zip, in a format that other software opens."""
    found = projects.find_project(session, project)
    wanted = asked or ExportAsked()
    snapshot: Snapshot
    if wanted.snapshot_id is None:
        snapshot = snapshots.take_snapshot(session, house.blobs, found)
    else:
        snapshot = snapshots.find_snapshot(session, wanted.snapshot_id)
        if snapshot.project_id != found.id:
            raise RecordNotFound("snapshot", wanted.snapshot_id)
    job = exports.request_export(session, snapshot, wanted.format, wanted.parts)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job_wires(session, [job])[0]


@router.get("/exports/{job}/file", responses={206: {}, 304: {}})
def read_export(
    job: str,
    house: TheHouse,
    session: Reading,
    if_none_match: Annotated[str, Header()] = "",
    range_: Annotated[str, Header(alias="Range")] = "",
) -> Response:
    """The zip of a finished export; `Range` goes on where a broken download stopped."""
    found = jobs.find_job(session, job)
    if found.kind != JobKind.EXPORT or found.state != JobState.SUCCEEDED or found.result is None:
        raise RecordNotFound("finished export", job)
    key, size = str(found.result["key"]), int(found.result["size_bytes"])
    tag = f'"{blob_digest(key)}"'
    headers = {
        "Content-Disposition": f'attachment; filename="{found.result["file_name"]}"',
        "ETag": tag,
        "Accept-Ranges": "bytes",
    }
    if if_none_match == tag:
        return Response(status_code=304, headers=headers)
    begin, end = _asked_range(range_, size)
    headers["Content-Length"] = str(end - begin)
    if end - begin < size:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    status = 206 if end - begin < size else 200
    return StreamingResponse(
        _chunks(house.blobs, key, begin, end), status, headers=headers, media_type="application/zip"
    )


def _asked_range(header: str, size: int) -> tuple[int, int]:
    """[begin, end) of a single range; anything else that is no range, several included, means the whole."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match[0] == "bytes=-":
        return 0, size
    begin = int(match[1]) if match[1] else max(0, size - int(match[2]))
    end = min(size, int(match[2]) + 1) if match[1] and match[2] else size
    if begin >= end:
        raise RangeNotSatisfiable(begin, size)
    return begin, end


def _chunks(blobs: BlobStore, key: str, begin: int, end: int) -> Iterator[bytes]:
    for start in range(begin, end, CHUNK_BYTES):
        yield blobs.get_range(key, start, min(CHUNK_BYTES, end - start))
