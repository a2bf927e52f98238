"""Leases: who annotates which proposed slice, and until when."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from app.db.models import Lease, Pick, Project
from app.db.session import database_now
from app.errors import LeaseGone, ProjectSettingRefused, RoundPending
from app.names import LeaseState, RoundState
from app.services import rounds
from app.services.lookup import find_row

HELD_AT_MOST = 8  # live leases of one person in one project


def lease_next_slices(session: Session, project: Project, holder: str, n: int, lease_s: float) -> list[Lease]:
    """The next `n` slices for `holder` in pick order: first those already held (renewed), then free ones.

    An empty list means that everything proposed is annotated or held by others, and nothing more is coming.
    Raises RoundPending while a job is at work that will propose more.
    """
    if not 1 <= n <= HELD_AT_MOST:
        raise ProjectSettingRefused("lease size n", f"between 1 and {HELD_AT_MOST}", n)
    now = database_now(session)
    held = _renew_held(session, project, holder, now, now + timedelta(seconds=lease_s))[:n]
    taken = _take_free(session, project, holder, n - len(held), now, lease_s)
    if not held and not taken:
        _refuse_while_pending(session, project)
    return held + taken


def find_lease(session: Session, reference: str) -> Lease:
    """The lease with this id; raises RecordNotFound."""
    return find_row(session, Lease, "lease", reference)


def release_lease(session: Session, lease: Lease) -> None:
    """Give the slice back; releasing again is no error, releasing what was submitted is."""
    if lease.state == LeaseState.RELEASED:
        return
    if lease.state == LeaseState.SUBMITTED:
        raise LeaseGone(lease.id, lease.state)
    if lease.state == LeaseState.ACTIVE:
        session.execute(update(Pick).where(Pick.id == lease.pick_id).values(leased_until=None))
    lease.state = LeaseState.RELEASED


def find_other_holder(session: Session, slice_id: uuid.UUID, holder: str) -> Lease | None:
    """The live lease of somebody else on this slice, if there is one."""
    now = database_now(session)
    return session.scalar(
        select(Lease).where(
            Lease.slice_id == slice_id,
            Lease.state == LeaseState.ACTIVE,
            Lease.until > now,
            Lease.holder != holder,
        )
    )


def mark_submitted(session: Session, slice_id: uuid.UUID) -> None:
    """End the leases of a slice that has just been annotated."""
    session.execute(
        update(Lease)
        .where(Lease.slice_id == slice_id, Lease.state == LeaseState.ACTIVE)
        .values(state=LeaseState.SUBMITTED)
    )


def _renew_held(session: Session, project: Project, holder: str, now: datetime, until: datetime) -> list[Lease]:
    held = list(
        session.scalars(
            select(Lease)
            .join(Pick, Lease.pick_id == Pick.id)
            .where(
                Lease.project_id == project.id,
                Lease.holder == holder,
                Lease.state == LeaseState.ACTIVE,
                Lease.until > now,
            )
            .order_by(Pick.round_id, Pick.order)
            .with_for_update(of=Lease)
        )
    )
    for lease in held:
        lease.until = until
    if held:
        session.execute(update(Pick).where(Pick.id.in_([each.pick_id for each in held])).values(leased_until=until))
    return held


def _take_free(session: Session, project: Project, holder: str, n: int, now: datetime, lease_s: float) -> list[Lease]:
    if n <= 0:
        return []
    until = now + timedelta(seconds=lease_s)
    free = (
        select(Pick.id)
        .where(
            Pick.project_id == project.id,
            ~Pick.annotated,
            or_(Pick.leased_until.is_(None), Pick.leased_until <= now),
        )
        .order_by(Pick.round_id, Pick.order)
        .limit(n)
        .with_for_update(skip_locked=True)
    )
    rows: Sequence[tuple[uuid.UUID, uuid.UUID, uuid.UUID, int]] = session.execute(
        update(Pick)
        .where(Pick.id.in_(free.scalar_subquery()))
        .values(leased_until=until)
        .returning(Pick.id, Pick.slice_id, Pick.round_id, Pick.order)
        .execution_options(synchronize_session=False)
    ).all()
    if rows:
        # Who held these before let them expire; one live lease a slice is a unique index.
        session.execute(
            update(Lease)
            .where(and_(Lease.slice_id.in_([row[1] for row in rows]), Lease.state == LeaseState.ACTIVE))
            .values(state=LeaseState.EXPIRED)
        )
    leases = [
        Lease(project_id=project.id, pick_id=pick_id, slice_id=slice_id, holder=holder, until=until)
        for pick_id, slice_id, _, _ in sorted(rows, key=lambda row: (row[2], row[3]))
    ]
    session.add_all(leases)
    session.flush()
    return leases


def _refuse_while_pending(session: Session, project: Project) -> None:
    latest = rounds.latest_round(session, project)
    if latest is not None and latest.state in {RoundState.PROPOSING, RoundState.TRAINING, RoundState.EVALUATING}:
        raise RoundPending(latest.number, latest.state)
