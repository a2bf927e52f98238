"""The worker's side of a job: take it, hold it by a lease, close it exactly once.

Every claim raises the token, and a worker writes only where the token is still its own: one that was frozen past its
lease, while another took the job over, writes nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, or_, select, update
from sqlalchemy.orm import Session

from app.db.models import Job
from app.db.session import database_now
from app.errors import JobCancelled, JobLostError
from app.names import JobState, Queue, RoundState
from app.outbox import note_queued
from app.services.jobs import FRESH, closed_fields, is_waiting, move_round, queued_fields


@dataclass(frozen=True)
class Beat:
    """What a heartbeat learned: the job is somebody else's now, or somebody wants it cancelled."""

    lost: bool
    cancel: bool


def claim_next_job(session: Session, queue: Queue, owner: str, lease_s: float, attempts_max: int) -> Job | None:
    """The oldest job of the queue that waits, now running under a new token; or None.

    Two claimers never get the same job: on PostgreSQL the one skips what the other has locked, on SQLite a writing
    session is alone. A job whose worker was lost `attempts_max` times is failed instead of being given out again.
    """
    now = database_now(session)
    _close_lost_jobs(session, queue, attempts_max, now)
    oldest = (
        select(Job.id)
        .where(Job.queue == queue, is_waiting(now))
        .order_by(Job.created_at, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    claim = (
        update(Job)
        .where(Job.id == oldest)
        .values(
            state=JobState.RUNNING,
            token=Job.token + 1,
            attempts=Job.attempts + 1,
            revision=Job.revision + 1,
            owner=owner,
            lease_until=now + timedelta(seconds=lease_s),
            heartbeat_at=now,
            started_at=now,
            wakes=0,
            woken_at=None,  # should this worker die, the sweep wakes another one as soon as the lease has run out
            progress_done=0,
            progress_total=0,
            progress_from=0,
            progress_since=None,
            message="",
        )
    )
    return session.scalars(claim.returning(Job), execution_options=FRESH).one_or_none()


def beat_job(
    session: Session, job_id: uuid.UUID, token: int, lease_s: float, done: int, total: int, message: str
) -> Beat:
    """Prolong the lease and write the progress; the revision grows only when something visible changed."""
    now = database_now(session)
    changed = or_(Job.progress_done != done, Job.progress_total != total, Job.message != message)
    new_stretch = or_(Job.progress_since.is_(None), Job.progress_total != total, Job.progress_done > done)
    beat = (
        update(Job)
        .where(_is_held(job_id, token))
        .values(
            lease_until=now + timedelta(seconds=lease_s),
            heartbeat_at=now,
            progress_done=done,
            progress_total=total,
            progress_from=case((new_stretch, done), else_=Job.progress_from),
            progress_since=case((new_stretch, now), else_=Job.progress_since),
            message=message,
            revision=Job.revision + case((changed, 1), else_=0),
        )
    )
    job = session.scalars(beat.returning(Job), execution_options=FRESH).one_or_none()
    return Beat(lost=job is None, cancel=job is not None and job.cancel_requested)


def keep_checkpoint(session: Session, job_id: uuid.UUID, checkpoint: dict[str, Any]) -> None:
    """Note where another attempt of the job can go on; the caller holds the job."""
    session.execute(update(Job).where(Job.id == job_id).values(checkpoint=checkpoint))


def hold_job(session: Session, job_id: uuid.UUID, token: int) -> None:
    """Lock the job for the rest of this transaction, so that nobody takes it while its results are written.

    Raises `JobLostError` when the token is no longer the job's, `JobCancelled` when a cancellation was asked for.
    """
    held = select(Job).where(_is_held(job_id, token)).with_for_update()
    job = session.scalars(held, execution_options={"populate_existing": True}).one_or_none()
    if job is None:
        raise JobLostError(job_id)
    if job.cancel_requested:
        raise JobCancelled(job_id)


def finish_job(session: Session, job_id: uuid.UUID, token: int, result: dict[str, Any]) -> None:
    """Close the job as succeeded; raises `JobLostError`, and then the whole transaction must go."""
    _close_job(session, job_id, token, {"state": JobState.SUCCEEDED, "result": result, "checkpoint": None})


def fail_job(session: Session, job_id: uuid.UUID, token: int, error: dict[str, Any]) -> None:
    """Close the job, and the round it is a step of, as failed; raises `JobLostError`."""
    job = _close_job(session, job_id, token, {"state": JobState.FAILED, "error": error})
    move_round(session, job, RoundState.FAILED)


def mark_cancelled(session: Session, job_id: uuid.UUID, token: int) -> None:
    """Close the job as cancelled, and the round it is a step of as failed; raises `JobLostError`."""
    job = _close_job(session, job_id, token, {"state": JobState.CANCELLED})
    move_round(session, job, RoundState.FAILED)


def release_job(session: Session, job_id: uuid.UUID, token: int) -> None:
    """Put the job back as if this attempt had not been: its worker was asked to stop. Raises as `hold_job` does."""
    hold_job(session, job_id, token)
    fields = {"attempts": Job.attempts - 1, **queued_fields(database_now(session))}
    release = update(Job).where(_is_held(job_id, token)).values(**fields)
    note_queued(session, session.scalars(release.returning(Job), execution_options=FRESH).one())


def put_off_job(session: Session, job_id: uuid.UUID, token: int, pause_s: float, reason: str) -> None:
    """Have the job taken up again after a pause, this attempt counted: it waits as one whose worker was lost does.

    Raises as `hold_job` does.
    """
    hold_job(session, job_id, token)
    until = database_now(session) + timedelta(seconds=pause_s)
    put_off = update(Job).where(_is_held(job_id, token))
    session.execute(put_off.values(owner=None, lease_until=until, message=reason, revision=Job.revision + 1))


def _is_held(job_id: uuid.UUID, token: int) -> ColumnElement[bool]:
    return and_(Job.id == job_id, Job.token == token, Job.state == JobState.RUNNING)


def _close_job(session: Session, job_id: uuid.UUID, token: int, outcome: dict[str, Any]) -> Job:
    close = update(Job).where(_is_held(job_id, token)).values(**outcome, **closed_fields(database_now(session)))
    job = session.scalars(close.returning(Job), execution_options=FRESH).one_or_none()
    if job is None:
        raise JobLostError(job_id)
    return job


def _close_lost_jobs(session: Session, queue: Queue, attempts_max: int, now: datetime) -> None:
    lost = select(Job).where(
        Job.queue == queue,
        Job.state == JobState.RUNNING,
        Job.lease_until < now,
        or_(Job.attempts >= attempts_max, Job.cancel_requested),
    )
    for job in session.scalars(lost.with_for_update(skip_locked=True)):
        outcome: dict[str, Any] = {"state": JobState.CANCELLED}
        if not job.cancel_requested:
            outcome = {"state": JobState.FAILED, "error": _lost_error(job.attempts)}
        move_round(session, _close_job(session, job.id, job.token, outcome), RoundState.FAILED)


def _lost_error(attempts: int) -> dict[str, Any]:
    times = "once" if attempts == 1 else f"{attempts} times"
    return {
        "type": "urn:nextslice:worker-lost",
        "title": "The worker was lost",
        "detail": f"The worker was lost {times} (killed, out of memory or cut off); the job is not tried again.",
        "code": "worker-lost",
    }
