"""Deletions: what is deleted is hidden at once from every query, restorable for a while, and purged afterwards.

A row is hidden while its `deletion_id` is set (`app.db.session` adds the condition to every query). So that what was
deleted twice, a volume and then its patient, comes back one deletion at a time, each row knows which one hid it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from app.db.models import Assignment, Deletion, Job, Lease, Patient, Project, Slice, Volume
from app.db.session import WITH_DELETED, database_now
from app.errors import JobsAtWork, StillDeleted
from app.names import DeletedKind, JobState, LeaseState
from app.services import rounds
from app.services.lookup import find_row
from app.services.paging import ALL, Listed, Span, list_rows


def delete_project(session: Session, project: Project, author: str, days: float) -> Deletion:
    """Hide a project and everything in it; raises JobsAtWork."""
    deletion = _open(session, DeletedKind.PROJECT, project.id, project.id, project.slug, author, days)
    project.deletion_id = deletion.id
    session.flush()
    return deletion


def delete_patient(session: Session, patient: Patient, author: str, days: float) -> Deletion:
    """Hide a patient with all volumes; open work on them is withdrawn. Raises JobsAtWork."""
    _lock_slices(session, Volume.patient_id == patient.id)
    deletion = _open(session, DeletedKind.PATIENT, patient.project_id, patient.id, patient.code, author, days)
    patient.deletion_id = deletion.id
    session.flush()
    _hide_volumes(session, deletion, Volume.patient_id == patient.id)
    return deletion


def delete_volume(session: Session, volume: Volume, author: str, days: float) -> Deletion:
    """Hide a volume; open work on its slices is withdrawn. Raises JobsAtWork."""
    _lock_slices(session, Volume.id == volume.id)
    deletion = _open(session, DeletedKind.VOLUME, volume.project_id, volume.id, volume.name, author, days)
    _hide_volumes(session, deletion, Volume.id == volume.id)
    return deletion


def restore(session: Session, deletion: Deletion) -> None:
    """Show again what a deletion hid, its open work included; raises StillDeleted within something hidden."""
    _refuse_hidden_parent(session, deletion)
    slices = select(Slice.id).where(Slice.deletion_id == deletion.id).execution_options(**WITH_DELETED)
    hidden = list(session.scalars(slices))
    for table in (Slice, Volume, Patient, Project):
        session.execute(
            update(table).where(table.deletion_id == deletion.id).values(deletion_id=None),
            execution_options={"synchronize_session": False},
        )
    for chunk in _chunks(hidden):
        withdrawn = update(Assignment).where(Assignment.slice_id.in_(chunk), Assignment.withdrawn)
        session.execute(withdrawn.values(done=False, withdrawn=False), execution_options={"synchronize_session": False})
    session.delete(deletion)
    session.flush()


def find_deletion(session: Session, reference: str) -> Deletion:
    """The deletion with this id; raises RecordNotFound."""
    return find_row(session, Deletion, "deletion", reference)


def list_deletions(session: Session, project: Project | None = None, span: Span = ALL) -> Listed[Deletion]:
    """What waits to be purged, of a project or everywhere, the newest first."""
    query = select(Deletion)
    if project is not None:
        query = query.where(Deletion.project_id == project.id)
    return list_rows(session, query, [Deletion.id], span, descending=True)


def refuse_busy(session: Session, project_id: uuid.UUID) -> None:
    """Raise JobsAtWork while a job of the project waits or runs: it would write what is being removed."""
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update())
    busy = select(Job).where(Job.project_id == project_id, Job.state.in_([JobState.QUEUED, JobState.RUNNING]))
    job = session.scalars(busy.limit(1)).first()
    if job is not None:
        raise JobsAtWork(job.kind, job.state)


def _open(
    session: Session,
    kind: DeletedKind,
    project_id: uuid.UUID,
    object_id: uuid.UUID,
    label: str,
    author: str,
    days: float,
) -> Deletion:
    refuse_busy(session, project_id)
    now = database_now(session)
    deletion = Deletion(
        project_id=project_id,
        kind=kind,
        object_id=object_id,
        label=label,
        author=author,
        created_at=now,
        purge_after=now + timedelta(days=days),
    )
    session.add(deletion)
    session.flush()
    return deletion


def _lock_slices(session: Session, which: ColumnElement[bool]) -> None:
    # Before the project and the seats, as whoever submits locks them: in another order each would wait for the other.
    volumes = select(Volume.id).where(which)
    found = select(Slice.id).where(Slice.volume_id.in_(volumes)).order_by(Slice.id)
    session.execute(found.with_for_update(key_share=True))


def _hide_volumes(session: Session, deletion: Deletion, which: ColumnElement[bool]) -> None:
    volumes = list(session.scalars(select(Volume.id).where(which)))
    slices = list(session.scalars(select(Slice.id).where(Slice.volume_id.in_(volumes))))
    withdrawn_rounds: set[uuid.UUID] = set()
    for chunk in _chunks(slices):
        # Locked, so that nobody finishes one meanwhile.
        seats = select(Assignment).where(Assignment.slice_id.in_(chunk), ~Assignment.done).with_for_update()
        for seat in session.scalars(seats):
            seat.done, seat.withdrawn, seat.leased_until = True, True, None
            withdrawn_rounds.add(seat.round_id)
        held = update(Lease).where(Lease.slice_id.in_(chunk), Lease.state == LeaseState.ACTIVE)
        session.execute(held.values(state=LeaseState.RELEASED), execution_options={"synchronize_session": False})
    session.flush()
    for table, column, ids in ((Slice, Slice.volume_id, volumes), (Volume, Volume.id, volumes)):
        session.execute(
            update(table).where(column.in_(ids), table.deletion_id.is_(None)).values(deletion_id=deletion.id),
            execution_options={"synchronize_session": False},
        )
    session.expire_all()
    for round_id in sorted(withdrawn_rounds):
        rounds.close_annotation(session, round_id)


def _refuse_hidden_parent(session: Session, deletion: Deletion) -> None:
    project = session.get(Project, deletion.project_id, execution_options=WITH_DELETED)
    if project is not None and project.deletion_id not in (None, deletion.id):
        raise StillDeleted("project", project.slug)
    if deletion.kind == DeletedKind.VOLUME:
        volume = session.get(Volume, deletion.object_id, execution_options=WITH_DELETED)
        if volume is not None and volume.patient.deletion_id is not None:
            raise StillDeleted("patient", volume.patient.code)


def _chunks(ids: Sequence[uuid.UUID], size: int = 500) -> list[Sequence[uuid.UUID]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]
