"""Leases: who works on which slice, and until when.

    free ──lease──> active ──submit──> submitted
      ▲               ├──release─────> released ──┐
      │               ├──skip────────> skipped  ──┤ (unsuitable, bad_image: the slice is excluded instead)
      │               ├──takeover────> taken_over │ (by a manager, who holds it then)
      └───────────────┴──clock ran out, and somebody else took it──> expired

Two clocks. Idle: `until` = the last edit (a draft) + max(floor, 3 x the holder's median lead time). Liveness: a client
that sends heartbeats is gone when one is missing for `alive_s`; a client that never sent one (a curl loop, the oracle)
has the idle clock alone. A lease whose clock ran out still is its holder's until somebody else takes the slice.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from sqlalchemy import ColumnElement, and_, exists, or_, select, text, update
from sqlalchemy.orm import Session

from app.db.models import Annotation, AnnotationVersion, Assignment, Lease, Project
from app.db.session import database_now
from app.errors import LeaseGone, LeaseInUse, LeaseLimit, ProjectSettingRefused, RoundPending
from app.names import LeaseState, Purpose, RoundState, SkipReason
from app.services import assignments, rounds
from app.services.lookup import find_row

HELD_AT_MOST = 8  # live leases of one person in one project
_LEAD_TIMES = 50  # of so many newest versions the median is taken
_IDLE_AT_MOST_S = 4 * 3600.0  # lead times are what clients claim; no claim holds a slice for a day


@dataclass(frozen=True)
class Clocks:
    """The floor of the idle clock and the length of the liveness clock, seconds."""

    idle_s: float
    alive_s: float


def lease_next_slices(
    session: Session, project: Project, holder: str, n: int, clocks: Clocks, purpose: Purpose = Purpose.ANNOTATE
) -> list[Lease]:
    """The next `n` slices for `holder` in pick order: first those already held, then free ones.

    An empty list means that everything proposed is done or held by others, and nothing more is coming. Raises
    RoundPending while a job is at work that will propose more, LeaseLimit when leases for other purposes use up all.
    """
    if not 1 <= n <= HELD_AT_MOST:
        raise ProjectSettingRefused("lease size n", f"between 1 and {HELD_AT_MOST}", n)
    _lock_person(session, project, holder)
    now = database_now(session)
    live = _live_leases(session, project, holder, now)
    held = [lease for lease in live if lease.purpose == purpose]
    missing = min(n - len(held), HELD_AT_MOST - len(live))
    taken = _take_free(session, project, holder, purpose, missing, now, held, clocks) if missing > 0 else []
    if not held and not taken:
        if missing <= 0:
            raise LeaseLimit(HELD_AT_MOST)
        _refuse_while_pending(session, project)
    return held[:n] + taken


def find_lease(session: Session, reference: str) -> Lease:
    """The lease with this id; raises RecordNotFound."""
    return find_row(session, Lease, "lease", reference)


def live_until(lease: Lease) -> datetime:
    """When the first of the two clocks runs out."""
    return lease.until if lease.live_until is None else min(lease.until, lease.live_until)


def heartbeat(session: Session, lease: Lease, clocks: Clocks) -> None:
    """Say that the client is still there: moves the liveness clock and never the idle one; raises LeaseGone."""
    now = database_now(session)
    _lock_active(session, lease)
    if lease.until <= now:
        raise LeaseGone(lease.id, LeaseState.EXPIRED)
    lease.live_until = now + timedelta(seconds=clocks.alive_s)
    _show(session, lease)


def note_edit(session: Session, slice_id: uuid.UUID, holder: str, clocks: Clocks) -> bool:
    """Move the idle clock of the holder's lease of a slice; False when they have none, or somebody else took it."""
    lease = session.scalar(
        select(Lease).where(Lease.slice_id == slice_id, Lease.holder == holder, Lease.state == LeaseState.ACTIVE)
    )
    if lease is None:
        return False
    try:
        _lock_active(session, lease)
    except LeaseGone:
        return False
    now = database_now(session)
    lease.until = now + timedelta(seconds=_idle_s(session, holder, clocks))
    if lease.live_until is not None:
        lease.live_until = now + timedelta(seconds=clocks.alive_s)
    _show(session, lease)
    return True


def release_lease(session: Session, lease: Lease) -> None:
    """Give the slice back; releasing again is no error, releasing what was submitted or taken is."""
    if lease.state in {LeaseState.RELEASED, LeaseState.EXPIRED, LeaseState.SKIPPED}:
        return
    _end(session, lease, LeaseState.RELEASED)


def skip_lease(session: Session, lease: Lease, reason: SkipReason, note: str) -> None:
    """Pass the slice on, for ever for this holder; where the reason excludes it, for everybody. Raises LeaseGone."""
    _end(session, lease, LeaseState.SKIPPED)
    lease.skip_reason, lease.skip_note = reason, note
    if reason.excludes:
        assignments.exclude_slice(session, lease.slice_id)


def take_over(session: Session, lease: Lease, manager: str, clocks: Clocks, *, force: bool) -> Lease:
    """The manager's own lease of what somebody held; raises LeaseInUse where the holder is at work."""
    now = database_now(session)
    if lease.live_until is not None and lease.live_until > now and lease.until > now and not force:
        raise LeaseInUse(lease.id, lease.holder)
    _end(session, lease, LeaseState.TAKEN_OVER)
    taken = Lease(
        project_id=lease.project_id,
        assignment_id=lease.assignment_id,
        slice_id=lease.slice_id,
        purpose=lease.purpose,
        holder=manager,
        until=now + timedelta(seconds=_idle_s(session, manager, clocks)),
    )
    session.add(taken)
    session.flush()
    _show(session, taken)
    return taken


def find_other_holder(session: Session, slice_id: uuid.UUID, holder: str) -> Lease | None:
    """The live lease of somebody else on this slice, if there is one."""
    now = database_now(session)
    return session.scalars(
        select(Lease)
        .where(
            Lease.slice_id == slice_id,
            Lease.state == LeaseState.ACTIVE,
            Lease.until > now,
            or_(Lease.live_until.is_(None), Lease.live_until > now),
            Lease.holder != holder,
        )
        .limit(1)
    ).first()


def _lock_person(session: Session, project: Project, holder: str) -> None:
    # Two tabs of one person must not get two seats of one slice, nor more than the limit. SQLite has one writer anyway.
    if session.get_bind().dialect.name == "postgresql":
        digest = hashlib.sha256(f"lease {project.id} {holder}".encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def _live_leases(session: Session, project: Project, holder: str, now: datetime) -> list[Lease]:
    return list(
        session.scalars(
            select(Lease)
            .join(Assignment, Lease.assignment_id == Assignment.id)
            .where(
                Lease.project_id == project.id,
                Lease.holder == holder,
                Lease.state == LeaseState.ACTIVE,
                Assignment.leased_until > now,
            )
            .order_by(Assignment.round_id, Assignment.order, Assignment.seat)
        )
    )


def _take_free(
    session: Session,
    project: Project,
    holder: str,
    purpose: Purpose,
    missing: int,
    now: datetime,
    held: Sequence[Lease],
    clocks: Clocks,
) -> list[Lease]:
    until = now + timedelta(seconds=_idle_s(session, holder, clocks))
    taken: list[Lease] = []
    # What one gave back comes again only when nothing else is left.
    for passed in ((LeaseState.SKIPPED, LeaseState.RELEASED), (LeaseState.SKIPPED,)):
        while len(taken) < missing:
            # Two seats of one slice are not for one person, so with several readers they are taken one by one.
            size = 1 if project.overlap > 1 else missing - len(taken)
            mine = [lease.slice_id for lease in (*held, *taken)]
            fit = [*_fit_for(project, holder, purpose, passed), Assignment.slice_id.not_in(mine)]
            found = _take(session, project, holder, purpose, size, now, until, fit)
            taken += found
            if len(found) < size:
                break
    return taken


def _take(
    session: Session,
    project: Project,
    holder: str,
    purpose: Purpose,
    size: int,
    now: datetime,
    until: datetime,
    fit: Collection[ColumnElement[bool]],
) -> list[Lease]:
    free = (
        select(Assignment.id)
        .where(
            Assignment.project_id == project.id,
            Assignment.purpose == purpose,
            ~Assignment.done,
            or_(Assignment.leased_until.is_(None), Assignment.leased_until <= now),
            *fit,
        )
        .order_by(Assignment.round_id, Assignment.order, Assignment.seat)
        .limit(size)
        .with_for_update(skip_locked=True, of=Assignment)
        .cte("free")
    )
    rows = session.execute(
        update(Assignment)
        .where(Assignment.id.in_(select(free.c.id)))
        .values(leased_until=until)
        .returning(Assignment.id, Assignment.slice_id, Assignment.round_id, Assignment.order)
        .execution_options(synchronize_session=False)
    ).all()
    if not rows:
        return []
    # Who held these before let them expire; one live lease an assignment is a unique index.
    session.execute(
        update(Lease)
        .where(and_(Lease.assignment_id.in_([row[0] for row in rows]), Lease.state == LeaseState.ACTIVE))
        .values(state=LeaseState.EXPIRED)
    )
    leases = [
        Lease(
            project_id=project.id,
            assignment_id=assignment_id,
            slice_id=slice_id,
            purpose=purpose,
            holder=holder,
            until=until,
        )
        for assignment_id, slice_id, _, _ in sorted(rows, key=lambda row: (row[2], row[3]))
    ]
    session.add_all(leases)
    session.flush()
    return leases


def _fit_for(
    project: Project, holder: str, purpose: Purpose, passed: Sequence[LeaseState]
) -> list[ColumnElement[bool]]:
    """What makes an assignment one for this person: not passed on by them, and not their own work."""
    fit: list[ColumnElement[bool]] = [
        ~exists().where(
            Lease.slice_id == Assignment.slice_id,
            Lease.holder == holder,
            Lease.purpose == purpose,
            Lease.state.in_(passed),
        )
    ]
    own = exists().where(
        Annotation.slice_id == Assignment.slice_id,
        AnnotationVersion.annotation_id == Annotation.id,
        AnnotationVersion.author == holder,
    )
    if purpose == Purpose.REVIEW:
        fit.append(~own)
    elif project.overlap > 1:
        # A rejected adjudication may go back to its adjudicator, never to a reader.
        fit.append(~own.where(AnnotationVersion.purpose == Purpose.ANNOTATE))
    return fit


def _idle_s(session: Session, holder: str, clocks: Clocks) -> float:
    newest = session.scalars(
        select(AnnotationVersion.lead_time_ms)
        .where(AnnotationVersion.author == holder)
        .order_by(AnnotationVersion.id.desc())
        .limit(_LEAD_TIMES)
    )
    known = [each for each in newest if each is not None]
    return max(clocks.idle_s, min(3 * median(known) / 1000, _IDLE_AT_MOST_S) if known else 0.0)


def _lock_active(session: Session, lease: Lease) -> Assignment:
    """The lease's assignment, locked, the lease read anew behind the lock; raises LeaseGone unless it is active."""
    seat = session.get_one(Assignment, lease.assignment_id, with_for_update=True, populate_existing=True)
    session.refresh(lease)
    if lease.state != LeaseState.ACTIVE or seat.done:
        raise LeaseGone(lease.id, lease.state)
    return seat


def _show(session: Session, lease: Lease) -> None:
    session.execute(
        update(Assignment).where(Assignment.id == lease.assignment_id).values(leased_until=live_until(lease))
    )
    session.flush()


def _end(session: Session, lease: Lease, state: LeaseState) -> None:
    seat = _lock_active(session, lease)
    seat.leased_until = None
    lease.state = state
    session.flush()


def _refuse_while_pending(session: Session, project: Project) -> None:
    latest = rounds.latest_round(session, project)
    if latest is not None and latest.state in {RoundState.PROPOSING, RoundState.TRAINING, RoundState.EVALUATING}:
        raise RoundPending(latest.number, latest.state)
