"""A project with a row of every kind that a path can name."""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import (
    Annotation,
    AnnotationVersion,
    Assignment,
    Lease,
    Model,
    Project,
    Snapshot,
    Upload,
    Webhook as Hook,
)
from app.db.session import database_now
from app.names import JobKind, ModelKind, Supervision, WebhookEvent
from app.protocols import resolve_protocol
from app.services import webhooks
from app.services.jobs import queue_job
from tests.rows import add_project, add_slices, propose_all

SIDE = 4
DEPTH = 3


def add_full_project(session: Session, slug: str, author: str) -> dict[str, str]:
    """The name of each path parameter -> the id of a row of this project; `author` holds the lease and the version."""
    project = add_project(session, slug)
    project.label_schema = [{"value": value, "name": str(value), "color": "#000000"} for value in (0, 1)]
    project.supervision = Supervision.FULL
    project.protocol = resolve_protocol("tiny").as_json()
    slices = add_slices(session, project, DEPTH, SIDE)
    round_ = propose_all(session, project, slices)
    version = _add_version(session, project, slices[0].id, author)
    seat = session.scalars(select(Assignment).where(Assignment.slice_id == slices[1].id)).one()
    until = database_now(session) + timedelta(hours=1)
    seat.leased_until = until
    hook = Hook(project_id=project.id, url="https://hook.invalid/", events=[WebhookEvent.ROUND_CLOSED], secret="s")
    rows = [
        Lease(project_id=project.id, assignment_id=seat.id, slice_id=slices[1].id, holder=author, until=until),
        Model(project_id=project.id, kind=ModelKind.ENCODER, weights_key="", config={}, manifest={}, metrics={}),
        Snapshot(project_id=project.id, content_key="", mask_keys=[], counts={}),
        Upload(project_id=project.id, file_name="scans.zip", size_bytes=70_000, part_bytes=65_536),
        hook,
    ]
    session.add_all(rows)
    session.flush()
    delivery = webhooks.address_delivery(session, hook, WebhookEvent.PING, {})
    session.flush()
    lease, model, snapshot, upload, _ = rows
    found = {
        "project": project,
        "round_": round_,
        "volume": slices[0].volume,
        "slice_": slices[0],
        "lease": lease,
        "version": version,
        "model": model,
        "snapshot": snapshot,
        "upload": upload,
        "webhook": hook,
        "delivery": delivery,
        "job": queue_job(session, project_id=project.id, kind=JobKind.EXPORT),
    }
    return {name: str(row.id) for name, row in found.items()}


def _add_version(session: Session, project: Project, slice_id: uuid.UUID, author: str) -> AnnotationVersion:
    head = Annotation(project_id=project.id, slice_id=slice_id, head_id=uuid.UUID(int=0))
    session.add(head)
    session.flush()
    version = AnnotationVersion(
        annotation_id=head.id, number=1, kind="full", author=author, source="annotator", pixel_counts={}
    )
    session.add(version)
    session.flush()
    head.head_id = version.id
    return version
