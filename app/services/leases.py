"""Leases: who works on which slice, and until when.

    free ──lease──> active ──submit──> submitted
      ▲               ├──release─────> released ──┐
      │               ├──skip────────> skipped  ──┤ (unsuitable, bad_image: the slice is excluded instead,
      │               │                           │  and what others hold of it ends as excluded)
      │               ├──takeover────> taken_over │ (by a manager, who holds it then)
      └───────────────┴──clock ran out, and somebody else took it──> expired

Two clocks. Idle: `until` = the last edit (a draft) + max(floor, 3 x the holder's median lead time). Liveness: a client
that sends heartbeats is gone when one is missing for `alive_s`; a client that never sent one (a curl loop, the oracle)
has the idle clock alone. A lease whose clock ran out still is its holder's until somebody else takes the slice.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.db.models import Assignment, Lease, Project, Slice
from app.db.session import database_now
from app.errors import LeaseGone, LeaseInUse, LeaseLimit, ProjectSettingRefused, RoundPending, SliceExcluded
from app.names import LeaseState, Purpose, RoundState, SkipReason
from app.services import assignments, rounds
from app.services.lease_queue import HELD_AT_MOST, Clocks, idle_s, live_leases, lock_person, refuse_unfit, take_free
from app.services.lookup import find_row


def lease_next_slices(
    session: Session, project: Project, holder: str, n: int, clocks: Clocks, purpose: Purpose = Purpose.ANNOTATE
) -> list[Lease]:
    """The next `n` slices for `holder` in pick order: first those already held, then free ones.

    An empty list means that everything proposed is done or held by others, and nothing more is coming. Raises
    RoundPending while a job is at work that will propose more, LeaseLimit when leases for other purposes use up all.
    """
    if not 1 <= n <= HELD_AT_MOST:
        raise ProjectSettingRefused("lease size n", f"between 1 and {HELD_AT_MOST}", n)
    lock_person(session, project, holder)
    now = database_now(session)
    live = live_leases(session, project, holder, now)
    held = [lease for lease in live if lease.purpose == purpose]
    missing = min(n - len(held), HELD_AT_MOST - len(live))
    taken = take_free(session, project, holder, purpose, missing, now, held, clocks) if missing > 0 else []
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
    """Say that the client is still there: moves the liveness clock and never the idle one.

    Raises LeaseGone and SliceExcluded.
    """
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
    except (LeaseGone, SliceExcluded):
        return False
    now = database_now(session)
    lease.until = now + timedelta(seconds=idle_s(session, holder, clocks))
    if lease.live_until is not None:
        lease.live_until = now + timedelta(seconds=clocks.alive_s)
    _show(session, lease)
    return True


def release_lease(session: Session, lease: Lease) -> None:
    """Give the slice back; releasing again is no error, releasing what was submitted or taken is."""
    if lease.state in {LeaseState.RELEASED, LeaseState.EXPIRED, LeaseState.SKIPPED, LeaseState.EXCLUDED}:
        return
    _end(session, lease, LeaseState.RELEASED)


def release_all(
    session: Session, holder: str, project_id: uuid.UUID | None = None, purposes: Collection[Purpose] = tuple(Purpose)
) -> None:
    """Give back what this person holds, in this project or in all, to do this: they will not go on. Drafts stay."""
    # In the order in which a volume's masks lock their seats: in another one the two would wait for each other.
    held = select(Lease).join(Slice, Lease.slice_id == Slice.id).order_by(Slice.volume_id, Slice.index, Lease.id)
    held = held.where(Lease.holder == holder, Lease.state == LeaseState.ACTIVE, Lease.purpose.in_(purposes))
    if project_id is not None:
        held = held.where(Lease.project_id == project_id)
    for lease in session.scalars(held).all():
        with suppress(LeaseGone):  # submitted, or taken by somebody else, at this very moment
            release_lease(session, lease)


def skip_lease(session: Session, lease: Lease, reason: SkipReason, note: str) -> None:
    """Pass the slice on, for ever for this holder; where the reason excludes it, for everybody. Raises LeaseGone."""
    if reason.excludes:
        assignments.lock_slice(session, lease.slice_id)
    _end(session, lease, LeaseState.SKIPPED)
    lease.skip_reason, lease.skip_note = reason, note
    if reason.excludes:
        assignments.exclude_slice(session, lease.slice_id)


def take_over(session: Session, lease: Lease, manager: str, clocks: Clocks, *, force: bool) -> Lease:
    """The manager's own lease of what somebody held.

    Raises LeaseInUse where the holder is at work, OwnWork for a slice that the manager may not read again or judge,
    LeaseLimit, and LeaseGone or SliceExcluded for a lease that is over.
    """
    lock_person(session, session.get_one(Project, lease.project_id), manager)
    now = database_now(session)
    _lock_active(session, lease)  # first: of a lease that is over nothing else is true any more
    if lease.live_until is not None and lease.live_until > now and lease.until > now and not force:
        raise LeaseInUse(lease.id, lease.holder)
    refuse_unfit(session, lease, manager, now)
    _end(session, lease, LeaseState.TAKEN_OVER)
    taken = Lease(
        project_id=lease.project_id,
        assignment_id=lease.assignment_id,
        slice_id=lease.slice_id,
        purpose=lease.purpose,
        holder=manager,
        until=now + timedelta(seconds=idle_s(session, manager, clocks)),
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


def _lock_active(session: Session, lease: Lease) -> Assignment:
    """The lease's assignment, locked, the lease read anew behind the lock.

    Raises LeaseGone or SliceExcluded unless it is active.
    """
    seat = session.get_one(Assignment, lease.assignment_id, with_for_update=True, populate_existing=True)
    session.refresh(lease)
    if lease.state == LeaseState.EXCLUDED:
        raise SliceExcluded(lease.slice_id)
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
