"""The log of what people did in a project."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import AuditEvent, Project
from app.services.paging import ALL, Listed, Span, list_rows


@dataclass(frozen=True)
class AuditFilter:
    """Which rows; None: any."""

    actor: str | None = None
    action: str | None = None
    object: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    newest_first: bool = False


def list_events(session: Session, project: Project, wanted: AuditFilter, span: Span = ALL) -> Listed[AuditEvent]:
    """What was done in a project, the oldest first unless the newest are wanted first."""
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
    return list_rows(session, query, [AuditEvent.id], span, descending=wanted.newest_first)
