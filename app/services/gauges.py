"""How much there is of what, counted in the database: the same from whichever API process it is asked."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.models import AnnotationVersion, Job, Lease, Project
from app.db.session import database_now
from app.names import JobKind, JobState, LeaseState, Queue


@dataclass(frozen=True)
class Gauges:
    """Counts at one moment; what does not occur is there with 0, so that an alert can tell it from no answer."""

    projects: int
    jobs: dict[tuple[JobKind, JobState], int]
    queue_lengths: dict[Queue, int]
    active_leases: int
    annotation_versions: dict[str, int]  # by source


def count_everything(session: Session) -> Gauges:
    """The counts now."""
    jobs = dict.fromkeys(((kind, state) for kind in JobKind for state in JobState), 0)
    lengths = dict.fromkeys(Queue, 0)
    by_kind = select(Job.kind, Job.state, Job.queue, func.count()).group_by(Job.kind, Job.state, Job.queue)
    for kind, state, queue, count in session.execute(by_kind):
        jobs[JobKind(kind), JobState(state)] += count
        if state == JobState.QUEUED:
            lengths[Queue(queue)] += count
    live = (Lease.state == LeaseState.ACTIVE) & (Lease.until > database_now(session))
    sources = session.execute(select(AnnotationVersion.source, func.count()).group_by(AnnotationVersion.source))
    return Gauges(
        projects=session.execute(select(func.count()).select_from(Project)).scalar_one(),
        jobs=jobs,
        queue_lengths=lengths,
        active_leases=session.execute(select(func.count()).select_from(Lease).where(live)).scalar_one(),
        annotation_versions={row[0]: row[1] for row in sources},
    )
