"""The coverage map: train slices as points in a plane, so that one sees what the annotations cover and what not."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Job, Project
from app.errors import NothingLeft
from app.names import JobKind, JobState
from app.services import pools
from app.services.jobs import queue_job
from app.storage.blobs import BlobStore

MAPPED_AT_MOST = 10_000
"""More slices than these are sampled: t-SNE of more would take minutes, and nobody sees more points."""


@dataclass(frozen=True)
class MappedSlice:
    """A train slice with its place on the map; x and y are in [0, 1]."""

    slice_id: uuid.UUID
    patient: str
    index: int
    x: float
    y: float
    annotated: bool
    proposed: bool


def request_map(session: Session, project: Project) -> Job:
    """Queue the making of a map; one that waits already is given back."""
    waiting = session.scalar(
        select(Job).where(
            Job.project_id == project.id,
            Job.kind == JobKind.COVERAGE,
            Job.state.in_([JobState.QUEUED, JobState.RUNNING]),
        )
    )
    if waiting is not None:
        return waiting
    if not pools.list_pool(session, project):
        raise NothingLeft(f"project {project.slug!r} has no slices of train patients")
    return queue_job(session, project_id=project.id, kind=JobKind.COVERAGE)


def newest_map(session: Session, project: Project) -> Job | None:
    """The job that made the newest map."""
    return session.scalar(
        select(Job)
        .where(Job.project_id == project.id, Job.kind == JobKind.COVERAGE, Job.state == JobState.SUCCEEDED)
        .order_by(Job.id.desc())
        .limit(1)
    )


def store_places(blobs: BlobStore, slice_ids: Sequence[uuid.UUID], places: Sequence[Sequence[float]]) -> str:
    """Keep the (N, 2) places of N slices and give back their key."""
    entries = {str(slice_id): [round(x, 4), round(y, 4)] for slice_id, (x, y) in zip(slice_ids, places, strict=True)}
    return blobs.put(gzip.compress(json.dumps(entries).encode(), mtime=0))


def read_map(session: Session, blobs: BlobStore, project: Project, made: Job) -> list[MappedSlice]:
    """The places of a map with where each slice stands now."""
    assert made.result is not None
    places: dict[str, list[float]] = json.loads(gzip.decompress(blobs.get(made.result["key"])))
    return [
        MappedSlice(each.slice_id, each.patient_code, each.index, place[0], place[1], each.annotated, each.proposed)
        for each in pools.list_pool(session, project)
        if (place := places.get(str(each.slice_id))) is not None
    ]
