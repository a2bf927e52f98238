"""Assignments: the queue of what people are to do, and what follows when one of them is done.

    picked ── annotate (seats 1 to n) ──> [adjudicate, where readings differ] ──> [review, a share] ──> settled
                  ▲                              ▲                                      │
                  └────── one reader ────────────┴────── several readers ──── reject ───┘

The two stages in brackets are settings of the project. An excluded slice leaves the queue at any stage.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Uuid, and_, bindparam, exists, false, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.db.models import Annotation, AnnotationVersion, Assignment, Lease, Pick, Project, Slice
from app.db.session import database_now, prepared
from app.errors import ReadingsComplete, RecordNotFound, SliceExcluded, SliceLeasedElsewhere
from app.names import LeaseState, Purpose
from app.services import rounds

_SLICE: BindParameter[uuid.UUID] = bindparam("slice", type_=Uuid())
_LOCK_SLICE = prepared(select(Slice.id).where(Slice.id == _SLICE).with_for_update(key_share=True))
_LOCK_OPEN_SEATS = prepared(
    select(Assignment)
    .where(Assignment.slice_id == _SLICE, ~Assignment.done)
    .order_by(Assignment.purpose, Assignment.seat)
    .with_for_update()
    .execution_options(populate_existing=True)
)
_OPEN_SEAT = prepared(select(Assignment.id).where(Assignment.slice_id == _SLICE, ~Assignment.done).limit(1))
_HOLDERS = prepared(
    select(Lease.assignment_id, Lease.holder).where(
        Lease.assignment_id.in_(bindparam("seats", expanding=True)), Lease.state == LeaseState.ACTIVE
    )
)
_END_LEASE = (
    update(Lease)
    .where(Lease.assignment_id == bindparam("seat"), Lease.state == LeaseState.ACTIVE)
    .values(state=bindparam("ended"))
)


def lock_slice(session: Session, slice_id: uuid.UUID) -> None:
    """Hold the slice until the transaction ends; raises RecordNotFound where it was deleted meanwhile.

    Whoever changes what is said of a slice, or takes it out, locks it before any of its seats: in another order two of
    them would wait for each other. Rows that refer to it may be added meanwhile (key_share): a lease, perhaps.
    """
    if session.scalar(_LOCK_SLICE, {"slice": slice_id}) is None:
        raise RecordNotFound("slice", slice_id)


def find_seat(
    session: Session, project: Project, slice_id: uuid.UUID, person: str, purpose: Purpose
) -> Assignment | None:
    """The assignment that a submission of this person fulfils; None where it only corrects what is there.

    One's own lease comes first, even one that has expired while nobody else took the slice. Raises
    SliceLeasedElsewhere while others hold what is open, ReadingsComplete when a blind reading comes too late, and
    SliceExcluded where it is of a slice that left the queue and that this person was never leased.
    """
    now = database_now(session)
    seats = _lock_open_seats(session, slice_id)
    wanted = [seat for seat in seats if seat.purpose == purpose]
    several = project.overlap > 1 and purpose == Purpose.ANNOTATE
    if several and not wanted and any_seat(session, slice_id) is not None:
        _refuse_further_reading(session, project, slice_id, person)
        return None
    active = session.execute(_HOLDERS, {"seats": [seat.id for seat in seats]}) if seats else ()
    holders = {row[0]: row[1] for row in active}
    mine = next((seat for seat in wanted if holders.get(seat.id) == person), None)
    if mine is not None:
        return mine
    if several and latest_reading(session, slice_id, person) is not None:
        return None
    free = next((seat for seat in wanted if not _is_held(seat, now)), None)
    taken = any(_is_held(seat, now) for seat in (wanted if several else seats) if holders.get(seat.id) != person)
    if taken and not (several and free is not None):
        raise SliceLeasedElsewhere(slice_id)
    return free


def complete(session: Session, project: Project, assignment: Assignment) -> None:
    """Note that an assignment is done, end its lease, and open what comes next; the last one of a round trains it."""
    _finish(session, assignment)
    if has_open_seat(session, assignment.slice_id):
        return
    following = _next_stage(session, project, assignment)
    if following is not None:
        reopen(session, assignment, following)
        return
    rounds.close_annotation(session, assignment.round_id)


def reopen(session: Session, model: Assignment, purpose: Purpose) -> Assignment:
    """Open the first seat of a stage, again if it was done once, at the pick's old place in the queue."""
    seat = session.scalar(
        select(Assignment).where(
            Assignment.slice_id == model.slice_id, Assignment.purpose == purpose, Assignment.seat == 1
        )
    )
    if seat is None:
        seat = Assignment(
            project_id=model.project_id,
            round_id=model.round_id,
            slice_id=model.slice_id,
            order=model.order,
            purpose=purpose,
            seat=1,
        )
        session.add(seat)
    seat.done = False
    seat.leased_until = None
    session.flush()
    return seat


def reject(session: Session, project: Project, slice_id: uuid.UUID) -> None:
    """Send a slice back to where its annotation came from: its reader, or the adjudicator of several."""
    model = any_seat(session, slice_id)
    if model is None or is_excluded(session, slice_id):
        return  # there is no queue to send it to
    reopen(session, model, Purpose.ANNOTATE if project.overlap == 1 else Purpose.ADJUDICATE)
    # The row of its review says that it was reviewed once, and so will be again.
    _finish(session, reopen(session, model, Purpose.REVIEW))


def reopen_review(session: Session, slice_id: uuid.UUID) -> None:
    """Have what replaced accepted work reviewed in its turn; a slice that is in no queue is not."""
    model = any_seat(session, slice_id)
    if model is not None and not is_excluded(session, slice_id):
        reopen(session, model, Purpose.REVIEW)


def exclude_slice(session: Session, slice_id: uuid.UUID) -> None:
    """Take a slice out of the queue and of every later selection; what was submitted stays and is learned from.

    Whoever else holds it may still submit what they have drawn: `find_seat` takes it, and no seat opens again.
    Whoever has locked a seat of it has locked the slice before.
    """
    session.execute(update(Slice).where(Slice.id == slice_id).values(excluded=True))
    seats = _lock_open_seats(session, slice_id)
    for seat in seats:
        _finish(session, seat, LeaseState.EXCLUDED)
    if seats:
        rounds.close_annotation(session, seats[0].round_id)


def close_late_lease(session: Session, slice_id: uuid.UUID, person: str) -> None:
    """Note that this person's lease of an excluded slice came to its submission all the same."""
    late = update(Lease).where(Lease.slice_id == slice_id, Lease.holder == person, Lease.state == LeaseState.EXCLUDED)
    session.execute(late.values(state=LeaseState.SUBMITTED))


def is_excluded(session: Session, slice_id: uuid.UUID) -> bool:
    """Whether somebody found the slice unfit, asked of the database: whoever read its row did so before its lock."""
    return bool(session.scalar(select(Slice.excluded).where(Slice.id == slice_id)))


def any_seat(session: Session, slice_id: uuid.UUID) -> Assignment | None:
    """One of the assignments of a slice, open or done; None where no round ever proposed it."""
    return session.scalars(select(Assignment).where(Assignment.slice_id == slice_id).limit(1)).first()


def has_open_seat(session: Session, slice_id: uuid.UUID) -> bool:
    """Whether anything is still to be done with a slice."""
    return session.scalar(_OPEN_SEAT, {"slice": slice_id}) is not None


def blind_slices(session: Session, project: Project, slice_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the slices whose readings are not complete, so that each reader may see only their own."""
    if project.overlap == 1 or not slice_ids:
        return set()
    return set(session.scalars(select(Slice.id).where(Slice.id.in_(slice_ids), is_read_blind(project, Slice.id))))


def is_read_blind(project: Project, slice_id: InstrumentedAttribute[uuid.UUID]) -> ColumnElement[bool]:
    """Whether the readings of the slice in this column are not complete, as a condition of a query.

    Of an excluded slice no seat is open, and still somebody may hand in what they drew.
    """
    if project.overlap == 1:
        return false()
    seat = exists().where(Assignment.slice_id == slice_id, Assignment.purpose == Purpose.ANNOTATE)
    unfit, annotation = aliased(Slice), aliased(Annotation)
    readers = (
        select(func.count(AnnotationVersion.author.distinct()))
        .join(annotation, AnnotationVersion.annotation_id == annotation.id)
        .where(annotation.slice_id == slice_id, AnnotationVersion.purpose == Purpose.ANNOTATE)
    )
    excluded = exists().where(unfit.id == slice_id, unfit.excluded)
    incomplete = readers.scalar_subquery() < project.overlap
    return or_(seat.where(~Assignment.done), and_(excluded, seat, incomplete))


def latest_reading(session: Session, slice_id: uuid.UUID, person: str) -> AnnotationVersion | None:
    """The newest version that this person drew as a reader of the slice."""
    return own_readings(session, [slice_id], person).get(slice_id)


def own_readings(session: Session, slice_ids: Collection[uuid.UUID], person: str) -> dict[uuid.UUID, AnnotationVersion]:
    """Slice id -> the newest version that this person drew as its reader, for those of the slices that they read."""
    rows = session.execute(
        select(Annotation.slice_id, AnnotationVersion)
        .join(AnnotationVersion, AnnotationVersion.annotation_id == Annotation.id)
        .where(
            Annotation.slice_id.in_(slice_ids),
            AnnotationVersion.author == person,
            AnnotationVersion.purpose == Purpose.ANNOTATE,
        )
        .order_by(AnnotationVersion.number)
    )
    return {row[0]: row[1] for row in rows}


def latest_readings(session: Session, slice_id: uuid.UUID) -> list[AnnotationVersion]:
    """Each reader's newest version, in the order in which they first submitted."""
    versions = session.scalars(
        select(AnnotationVersion)
        .join(Annotation, AnnotationVersion.annotation_id == Annotation.id)
        .where(Annotation.slice_id == slice_id, AnnotationVersion.purpose == Purpose.ANNOTATE)
        .order_by(AnnotationVersion.number)
    )
    return list({version.author: version for version in versions}.values())


def is_work_of(person: str | BindParameter[Any]) -> ColumnElement[bool]:
    """Whether this person drew the version of a query's row, or entered it in its author's name."""
    return or_(AnnotationVersion.author == person, AnnotationVersion.entered_by == person)


def has_drawn(
    session: Session, annotation: Annotation, person: str, purposes: Collection[Purpose] = tuple(Purpose)
) -> bool:
    """Whether this person drew any version of an annotation, as one of these."""
    drawn = select(AnnotationVersion.id).where(
        AnnotationVersion.annotation_id == annotation.id,
        is_work_of(person),
        AnnotationVersion.purpose.in_(purposes),
    )
    return session.scalar(drawn.limit(1)) is not None


def _refuse_further_reading(session: Session, project: Project, slice_id: uuid.UUID, person: str) -> None:
    """Of a slice whose seats are done, let through only what was begun before it was excluded."""
    if not blind_slices(session, project, [slice_id]):
        raise ReadingsComplete(slice_id)
    leased = select(Lease.id).where(
        Lease.slice_id == slice_id, Lease.holder == person, Lease.purpose == Purpose.ANNOTATE
    )
    if session.scalar(leased.limit(1)) is None and latest_reading(session, slice_id, person) is None:
        raise SliceExcluded(slice_id)


def _finish(session: Session, assignment: Assignment, ended: LeaseState = LeaseState.SUBMITTED) -> None:
    assignment.done = True
    assignment.leased_until = None
    session.flush()
    session.execute(_END_LEASE, {"seat": assignment.id, "ended": ended})


def _lock_open_seats(session: Session, slice_id: uuid.UUID) -> list[Assignment]:
    return list(session.scalars(_LOCK_OPEN_SEATS, {"slice": slice_id}))


def _is_held(seat: Assignment, now: datetime) -> bool:
    return seat.leased_until is not None and seat.leased_until > now


def _next_stage(session: Session, project: Project, done: Assignment) -> Purpose | None:
    if done.purpose == Purpose.ANNOTATE and project.overlap > 1 and project.adjudicate:
        readings = latest_readings(session, done.slice_id)
        # Equal masks are stored as equal bytes.
        if len({(each.kind, each.mask or each.mask_key) for each in readings}) > 1:
            return Purpose.ADJUDICATE
    if done.purpose != Purpose.REVIEW and _is_to_be_reviewed(session, project, done):
        return Purpose.REVIEW
    return None


def _is_to_be_reviewed(session: Session, project: Project, done: Assignment) -> bool:
    if project.review_percent <= 0:
        return False
    reviewed = select(Assignment.id).where(Assignment.slice_id == done.slice_id, Assignment.purpose == Purpose.REVIEW)
    if session.scalar(reviewed) is not None:
        return True  # it was sent back: it is looked at again
    # Drawn from the slice's place, not from a generator: whoever asks, and whenever, the sample is the same.
    picked = select(Pick.seed).where(Pick.project_id == project.id, Pick.slice_id == done.slice_id)
    seed = session.scalar(picked)
    digest = hashlib.sha256(f"{seed} {done.slice_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 * 100 < project.review_percent
