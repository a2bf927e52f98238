"""The log of what people did in a project."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import AuditEvent, Project
from app.errors import RecordNotFound


@dataclass(frozen=True)
class AuditFilter:
    """Which rows; None: any."""

    actor: str | None = None
    action: str | None = None
    object: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_events(
    session: Session, project: Project, wanted: AuditFilter, after: str | None, limit: int
) -> Sequence[AuditEvent]:
    """At most `limit` rows of a project after the row with the id `after`, the oldest first."""
    query = select(AuditEvent).where(AuditEvent.project_id == project.id)
    if wanted.actor is not None:
        query = query.where(AuditEvent.actor == wanted.actor)
    if wanted.action is not None:
        query = query.where(AuditEvent.action == wanted.action)
    if wanted.object is not None:
        query = query.where(AuditEvent.object.contains(wanted.object, autoescape=True))
    if wanted.since is not None:
        query = query.where(AuditEvent.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEvent.at < wanted.until)
    if after is not None:
        try:
            query = query.where(AuditEvent.id > uuid.UUID(after))
        except ValueError:
            raise RecordNotFound("cursor", after) from None
    return session.scalars(query.order_by(AuditEvent.id).limit(limit)).all()
