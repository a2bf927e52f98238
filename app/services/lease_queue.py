"""Which free slices are this person's next, and for how long they are theirs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from sqlalchemy import Integer, Update, bindparam, exists, or_, select, update
from sqlalchemy.orm import Session

from app.db.models import Annotation, AnnotationVersion, Assignment, Lease, Project
from app.db.session import lock_key, prepared
from app.errors import LeaseLimit, OwnWork
from app.names import LeaseState, Purpose
from app.services.assignments import is_work_of

HELD_AT_MOST = 8  # live leases of one person in one project
_LEAD_TIMES_COUNTED = 50  # of so many newest versions the median is taken
_IDLE_AT_MOST_S = 4 * 3600.0  # lead times are what clients claim; no claim holds a slice for a day


@dataclass(frozen=True)
class Clocks:
    """The floor of the idle clock and the length of the liveness clock, seconds."""

    idle_s: float
    alive_s: float


def lock_person(session: Session, project: Project, holder: str) -> None:
    """Let no other transaction give this person anything until this one ends."""
    # Two tabs of one person must not get two seats of one slice, nor more than the limit.
    digest = hashlib.sha256(f"lease {project.id} {holder}".encode()).digest()
    lock_key(session, int.from_bytes(digest[:8], "big", signed=True))


def live_leases(session: Session, project: Project, holder: str, now: datetime) -> list[Lease]:
    """What this person holds, in pick order."""
    return list(session.scalars(_LIVE, {"project": project.id, "holder": holder, "now": now}))


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
            wanted = {
                "project": project.id,
                "holder": holder,
                "stage": purpose,
                "passed": passed,
                "mine": [lease.slice_id for lease in (*held, *taken)],
                "now": now,
                "until": until,
                "size": size,
            }
            found = _take(session, _TAKINGS[_barred(project, purpose)], wanted)
            taken += found
            if len(found) < size:
                break
    return taken


def _take(session: Session, taking: Update, wanted: Mapping[str, Any]) -> list[Lease]:
    rows = session.execute(taking, wanted).all()
    if not rows:
        return []
    # Who held these before let them expire; one live lease an assignment is a unique index.
    session.execute(_EXPIRE, {"assignments": [row[0] for row in rows]})
    leases = [
        Lease(
            project_id=wanted["project"],
            assignment_id=assignment_id,
            slice_id=slice_id,
            purpose=wanted["stage"],
            holder=wanted["holder"],
            until=wanted["until"],
        )
        for assignment_id, slice_id, _, _ in sorted(rows, key=lambda row: (row[2], row[3]))
    ]
    session.add_all(leases)
    session.flush()
    return leases


def _taking(barred: Sequence[Purpose]) -> Update:
    """The one statement that takes free seats: not passed on by this person, and not their own work."""
    passed_on = exists().where(
        Lease.slice_id == Assignment.slice_id,
        Lease.holder == bindparam("holder"),
        Lease.purpose == bindparam("stage"),
        Lease.state.in_(bindparam("passed", expanding=True)),
    )
    own = exists().where(
        Annotation.slice_id == Assignment.slice_id,
        AnnotationVersion.annotation_id == Annotation.id,
        is_work_of(bindparam("holder")),
        AnnotationVersion.purpose.in_(barred),
    )
    free = (
        select(Assignment.id)
        .where(
            Assignment.project_id == bindparam("project"),
            Assignment.purpose == bindparam("stage"),
            ~Assignment.done,
            or_(Assignment.leased_until.is_(None), Assignment.leased_until <= bindparam("now")),
            Assignment.slice_id.not_in(bindparam("mine", expanding=True)),
            ~passed_on,
            *([~own] if barred else []),
        )
        .order_by(Assignment.round_id, Assignment.order, Assignment.seat)
        .limit(bindparam("size", type_=Integer))
        .with_for_update(skip_locked=True, of=Assignment)
        .cte("free")
    )
    return (
        update(Assignment)
        .where(Assignment.id.in_(select(free.c.id)))
        .values(leased_until=bindparam("until"))
        .returning(Assignment.id, Assignment.slice_id, Assignment.round_id, Assignment.order)
        .execution_options(synchronize_session=False)
    )


def _barred(project: Project, purpose: Purpose) -> tuple[Purpose, ...]:
    """As what nobody may have drawn on a slice to be handed it for this."""
    if purpose == Purpose.REVIEW:
        return tuple(Purpose)
    # A rejected adjudication may go back to its adjudicator, never to a reader; no reader reads twice.
    return (Purpose.ANNOTATE,) if project.overlap > 1 else ()


_LIVE = prepared(
    select(Lease)
    .join(Assignment, Lease.assignment_id == Assignment.id)
    .where(
        Lease.project_id == bindparam("project"),
        Lease.holder == bindparam("holder"),
        Lease.state == LeaseState.ACTIVE,
        Assignment.leased_until > bindparam("now"),
    )
    .order_by(Assignment.round_id, Assignment.order, Assignment.seat)
)
_LEAD_TIMES = prepared(
    select(AnnotationVersion.lead_time_ms)
    .where(AnnotationVersion.author == bindparam("holder"))
    .order_by(AnnotationVersion.id.desc())
    .limit(_LEAD_TIMES_COUNTED)
)
_EXPIRE = (
    update(Lease)
    .where(Lease.assignment_id.in_(bindparam("assignments", expanding=True)), Lease.state == LeaseState.ACTIVE)
    .values(state=LeaseState.EXPIRED)
)
_TAKINGS = {barred: _taking(barred) for barred in ((), (Purpose.ANNOTATE,), tuple(Purpose))}


def refuse_unfit(session: Session, lease: Lease, person: str, now: datetime) -> None:
    """Refuse to hand this person what `_taking` would not: by a takeover too nobody reads twice or judges their own.

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
    newest = session.scalars(_LEAD_TIMES, {"holder": holder})
    known = [each for each in newest if each is not None]
    return max(clocks.idle_s, min(3 * median(known) / 1000, _IDLE_AT_MOST_S) if known else 0.0)
