"""Which free slices are this person's next, and for how long they are theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from sqlalchemy import ColumnElement, and_, exists, or_, select, text, update
from sqlalchemy.orm import Session

from app.db.models import Annotation, AnnotationVersion, Assignment, Lease, Project
from app.errors import LeaseLimit, OwnWork
from app.names import LeaseState, Purpose
from app.services.assignments import is_work_of

HELD_AT_MOST = 8  # live leases of one person in one project
_LEAD_TIMES = 50  # of so many newest versions the median is taken
_IDLE_AT_MOST_S = 4 * 3600.0  # lead times are what clients claim; no claim holds a slice for a day


@dataclass(frozen=True)
class Clocks:
    """The floor of the idle clock and the length of the liveness clock, seconds."""

    idle_s: float
    alive_s: float


def lock_person(session: Session, project: Project, holder: str) -> None:
    """Let no other transaction give this person anything until this one ends."""
    # Two tabs of one person must not get two seats of one slice, nor more than the limit. SQLite has one writer anyway.
    if session.get_bind().dialect.name == "postgresql":
        digest = hashlib.sha256(f"lease {project.id} {holder}".encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})


def live_leases(session: Session, project: Project, holder: str, now: datetime) -> list[Lease]:
    """What this person holds, in pick order."""
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


def take_free(
    session: Session,
    project: Project,
    holder: str,
    purpose: Purpose,
    missing: int,
    now: datetime,
    held: Sequence[Lease],
    clocks: Clocks,
) -> list[Lease]:
    """At most `missing` new leases of free slices in pick order, none of a slice that is `held`."""
    until = now + timedelta(seconds=idle_s(session, holder, clocks))
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
        is_work_of(holder),
        AnnotationVersion.purpose.in_(_barred(project, purpose)),
    )
    return [*fit, ~own]


def _barred(project: Project, purpose: Purpose) -> tuple[Purpose, ...]:
    """As what nobody may have drawn on a slice to be handed it for this."""
    if purpose == Purpose.REVIEW:
        return tuple(Purpose)
    # A rejected adjudication may go back to its adjudicator, never to a reader; no reader reads twice.
    return (Purpose.ANNOTATE,) if project.overlap > 1 else ()


def refuse_unfit(session: Session, lease: Lease, person: str, now: datetime) -> None:
    """Refuse to hand this person what `_fit_for` would not: by a takeover too nobody reads twice or judges their own.

    Raises OwnWork and LeaseLimit.

    Read without a lock on the slice: a submission at the very same moment is refused by `find_seat` or `check_turn`.
    """
    project = session.get_one(Project, lease.project_id)
    live = live_leases(session, project, person, now)
    if len(live) >= HELD_AT_MOST:
        raise LeaseLimit(HELD_AT_MOST)
    drawn = exists().where(
        Annotation.slice_id == lease.slice_id,
        AnnotationVersion.annotation_id == Annotation.id,
        is_work_of(person),
        AnnotationVersion.purpose.in_(_barred(project, Purpose(lease.purpose))),
    )
    if any(each.slice_id == lease.slice_id and each.id != lease.id for each in live) or session.scalar(select(drawn)):
        raise OwnWork(person)


def idle_s(session: Session, holder: str, clocks: Clocks) -> float:
    """Seconds without an edit after which the holder counts as gone."""
    newest = session.scalars(
        select(AnnotationVersion.lead_time_ms)
        .where(AnnotationVersion.author == holder)
        .order_by(AnnotationVersion.id.desc())
        .limit(_LEAD_TIMES)
    )
    known = [each for each in newest if each is not None]
    return max(clocks.idle_s, min(3 * median(known) / 1000, _IDLE_AT_MOST_S) if known else 0.0)
