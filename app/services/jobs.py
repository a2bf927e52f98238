"""Jobs as people and the sweep see them; the worker's side is `app.services.claims`.

    queued ──claim──> running ──finish──> succeeded
      │  ▲               ├─────fail─────> failed ─────┐
      │  └───────────────┤ released                   │ retry
      └─────cancel───────┴───cancel────> cancelled ───┴──> queued

A running job whose lease has run out waits again, as a queued one does. One that an outage interrupted has no owner and
waits out its lease.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select, update
from sqlalchemy.orm import Session

from app.db.models import Job, Project, Round, UtcDateTime
from app.db.session import database_now
from app.errors import JobFinishedError, JobNotRetryable, RoundSuperseded
from app.names import QUEUE_OF, ROUND_STATE_DURING, JobKind, JobState, Queue, RoundState, WebhookEvent
from app.outbox import note_queued
from app.services.lookup import find_row
from app.services.paging import ALL, Listed, Span, list_rows
from app.services.webhooks import announce

WAKE_DELAYS_S = (1, 2, 4, 8, 16, 32, 60)
"""How long the sweep waits after each wake for a job, so that none pile up behind a long one; the last one stays."""

FRESH = {"synchronize_session": False, "populate_existing": True}
"""Execution options of an UPDATE that returns its row: what the database wrote is what the session then shows."""


def queue_job(
    session: Session,
    *,
    project_id: uuid.UUID,
    kind: JobKind,
    round_id: uuid.UUID | None = None,
    payload: dict[str, Any] | None = None,
) -> Job:
    """A new job in its kind's queue; its workers are woken when the unit of work has committed."""
    now = database_now(session)
    job = Job(
        project_id=project_id,
        round_id=round_id,
        kind=kind,
        queue=QUEUE_OF[kind],
        payload=payload or {},
        created_at=now,
        woken_at=now,  # the commit rings; the sweep need not be quicker than that
    )
    session.add(job)
    session.flush()
    note_queued(session, job)
    return job


def list_jobs(session: Session, project_id: uuid.UUID, span: Span = ALL) -> Listed[Job]:
    """All jobs of a project, the newest first."""
    return list_rows(session, select(Job).where(Job.project_id == project_id), [Job.id], span, descending=True)


def find_job(session: Session, job_id: uuid.UUID | str) -> Job:
    """The job of this id; raises `RecordNotFound`, for a text that is no id as well."""
    return find_row(session, Job, "job", job_id)


def request_cancel(session: Session, job: Job) -> Job:
    """Cancel a job that waits; ask the worker of a running one, which stops within about a tenth of the lease.

    Raises `JobFinishedError`. A round whose job is cancelled has failed, until the job is retried.
    """
    now = database_now(session)
    idle = or_(is_waiting(now), and_(Job.state == JobState.RUNNING, Job.owner.is_(None)))
    stop = update(Job).where(Job.id == job.id, idle).values(state=JobState.CANCELLED, **closed_fields(now))
    stopped = session.scalars(stop.returning(Job), execution_options=FRESH).one_or_none()
    if stopped is not None:
        move_round(session, stopped, RoundState.FAILED)
        return stopped
    ask = (
        update(Job)
        .where(Job.id == job.id, Job.state == JobState.RUNNING)
        .values(cancel_requested=True, revision=Job.revision + 1)
    )
    asked = session.scalars(ask.returning(Job), execution_options=FRESH).one_or_none()
    if asked is None:
        session.refresh(job)
        raise JobFinishedError(job.id, job.state)
    return asked


def retry_job(session: Session, job: Job) -> Job:
    """Queue a failed or cancelled job anew, with its attempts given back and its round as it was while the job ran.

    Raises `JobNotRetryable` for a job in any other state, and `RoundSuperseded` for one that would propose for a round
    which another one followed: what it should choose from is taken.
    """
    retry = (
        update(Job)
        .where(Job.id == job.id, Job.state.in_([JobState.FAILED, JobState.CANCELLED]))
        .values(attempts=0, error=None, finished_at=None, **queued_fields(database_now(session)))
    )
    queued = session.scalars(retry.returning(Job), execution_options=FRESH).one_or_none()
    if queued is None:
        session.refresh(job)
        raise JobNotRetryable(job.id, job.state)
    during = ROUND_STATE_DURING.get(JobKind(queued.kind), RoundState.FAILED)
    move_round(session, queued, during)
    if during == RoundState.PROPOSING:
        _refuse_superseded(session, queued)
    note_queued(session, queued)
    return queued


def queues_to_wake(session: Session) -> frozenset[Queue]:
    """The queues whose oldest waiting job is due for another wake; asking counts as waking (see `WAKE_DELAYS_S`).

    Only the oldest job counts: whoever takes it looks for the next one by itself.
    """
    now = database_now(session)
    moments = [literal(now - timedelta(seconds=delay), UtcDateTime) for delay in WAKE_DELAYS_S]
    last_due = case(dict(enumerate(moments[:-1])), value=Job.wakes, else_=moments[-1])
    due = set()
    for queue in Queue:
        oldest = select(Job.id).where(Job.queue == queue, is_waiting(now)).order_by(Job.created_at, Job.id).limit(1)
        wake = (
            update(Job)
            .where(Job.id == oldest.scalar_subquery(), or_(Job.woken_at.is_(None), Job.woken_at <= last_due))
            .values(woken_at=now, wakes=Job.wakes + 1)
        )
        if session.scalars(wake.returning(Job), execution_options=FRESH).one_or_none() is not None:
            due.add(queue)
    return frozenset(due)


def queue_positions(session: Session, found: Sequence[Job]) -> dict[uuid.UUID, int]:
    """Job id -> its place in its queue, 1 being the next, for those of the given jobs that are queued."""
    waiting = [job for job in found if job.state == JobState.QUEUED]
    if not waiting:
        return {}
    place = func.row_number().over(partition_by=Job.queue, order_by=(Job.created_at, Job.id))
    queues = {job.queue for job in waiting}
    places = select(Job.id, place.label("place")).where(Job.queue.in_(queues), Job.state == JobState.QUEUED).subquery()
    rows = session.execute(select(places).where(places.c.id.in_([job.id for job in waiting])))
    return {row[0]: row[1] for row in rows}


def time_left_s(job: Job, now: datetime) -> float | None:
    """Seconds until a running job is done if it keeps its pace; None where nothing can be said yet.

    The pace is that of the present stretch: reading slices says nothing about training, and what an earlier attempt
    did took this one no time.
    """
    if job.state != JobState.RUNNING or job.progress_since is None:
        return None
    done = job.progress_done - job.progress_from
    left = job.progress_total - job.progress_done
    if done <= 0 or left < 0:
        return None
    return max(0.0, (now - job.progress_since).total_seconds()) / done * left


def is_waiting(now: datetime) -> ColumnElement[bool]:
    """Whether a job may be taken up: it is queued, or the worker that had it fell silent."""
    return or_(Job.state == JobState.QUEUED, and_(Job.state == JobState.RUNNING, Job.lease_until < now))


def queued_fields(now: datetime) -> dict[str, Any]:
    """What a job that goes back into its queue is set to."""
    return {
        "state": JobState.QUEUED,
        "owner": None,
        "lease_until": None,
        "heartbeat_at": None,
        "started_at": None,
        "cancel_requested": False,
        "wakes": 0,
        "woken_at": now,
        "progress_done": 0,
        "progress_total": 0,
        "progress_from": 0,
        "progress_since": None,
        "message": "",
        "revision": Job.revision + 1,
    }


def closed_fields(now: datetime) -> dict[str, Any]:
    """What a job that ends is set to, whichever way it ends."""
    return {"finished_at": now, "lease_until": None, "revision": Job.revision + 1}


def move_round(session: Session, job: Job, state: RoundState) -> None:
    """Set the state of the round that the job is a step of; an import or an export is a step of none."""
    if job.round_id is not None and JobKind(job.kind) in ROUND_STATE_DURING:
        step = update(Round).where(Round.id == job.round_id).values(state=state).returning(Round)
        moved = session.scalars(step, execution_options=FRESH).one()
        if state == RoundState.FAILED:
            facts = {"round_id": str(moved.id), "number": moved.number, "job_id": str(job.id), "kind": job.kind}
            announce(session, moved.project_id, WebhookEvent.ROUND_FAILED, facts)


def _refuse_superseded(session: Session, job: Job) -> None:
    # Held as by whoever opens a round: of a retry and a next round asked for at once, the second sees the first's.
    session.execute(select(Project.id).where(Project.id == job.project_id).with_for_update(key_share=True))
    number = session.scalars(select(Round.number).where(Round.id == job.round_id)).one()
    newest = session.scalars(select(func.max(Round.number)).where(Round.project_id == job.project_id)).one()
    if newest > number:
        raise RoundSuperseded(number, newest)
