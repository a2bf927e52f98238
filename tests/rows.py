"""Rows that a test needs but is not about."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.models import Job, Patient, Project, Round, Slice, Volume
from app.db.session import Database
from app.names import JobKind, RoundState, Split, Supervision
from app.outbox import SilentBell, unit_of_work
from app.services.jobs import queue_job
from app.services.rounds import ProposedPick, record_picks


def add_project(session: Session, slug: str = "hearts") -> Project:
    """A project with nothing in it."""
    project = Project(
        slug=slug,
        name=slug.title(),
        label_schema=[{"value": 0, "name": "background", "color": "#000000"}],
        supervision=Supervision.SCRIBBLE,
        strategy="gcl",
        budgets=[2.0, 3.0],
        seed=7,
        protocol={},
    )
    session.add(project)
    session.flush()
    return project


def add_round(session: Session, project: Project, state: RoundState = RoundState.TRAINING) -> Round:
    """The first round of a project."""
    opened = Round(project_id=project.id, number=1, budget_percent=2.0, target=1, state=state, strategy="gcl", seed=7)
    session.add(opened)
    session.flush()
    return opened


def queue_jobs(database: Database, *kinds: JobKind) -> list[uuid.UUID]:
    """Committed jobs of one project, the oldest first; steps of its first round where their kind is one."""
    with unit_of_work(database, SilentBell()) as session:
        project = session.scalar(select(Project)) or add_project(session)
        opened = session.scalar(select(Round)) or add_round(session, project)
        return [queue_job(session, project_id=project.id, kind=kind, round_id=opened.id).id for kind in kinds]


def read_job(database: Database, job_id: uuid.UUID) -> Job:
    """The job as it stands in the database now."""
    with database.reading() as session:
        return session.get_one(Job, job_id)


def read_round(database: Database) -> Round:
    """The only round that there is, as it stands in the database now."""
    with database.reading() as session:
        return session.scalars(select(Round)).one()


def age_jobs(database: Database, seconds: float) -> None:
    """Move every job's lease and last wake into the past, as if so much time had gone by."""
    with unit_of_work(database, SilentBell()) as session:
        for job in session.scalars(select(Job)):
            job.lease_until = job.lease_until and job.lease_until - timedelta(seconds=seconds)
            job.woken_at = job.woken_at and job.woken_at - timedelta(seconds=seconds)


def add_slices(session: Session, project: Project, count: int, side: int = 4) -> list[Slice]:
    """One train volume of so many slices without pixels: for what asks only where a slice stands."""
    patient = Patient(project_id=project.id, code="p1", split=Split.TRAIN)
    session.add(patient)
    session.flush()
    volume = Volume(
        project_id=project.id,
        patient_id=patient.id,
        name="v1",
        original_name="v1.nii.gz",
        original_key="",
        original_sha256="",
        axis=2,
        depth=count,
        height=side,
        width=side,
        channels=1,
        dtype="uint8",
        spacing_mm=[5.0, 1.5, 1.5],
        affine=[[1.5, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]],
        window_low=0.0,
        window_high=1.0,
        pack_key="",
        pack_offsets=[],
    )
    session.add(volume)
    session.flush()
    slices = [Slice(project_id=project.id, volume_id=volume.id, index=index) for index in range(count)]
    session.add_all(slices)
    session.flush()
    return slices


def propose_all(session: Session, project: Project, slices: Sequence[Slice]) -> Round:
    """The first round of a project, these slices picked in their order and open for annotation."""
    opened = add_round(session, project, RoundState.PROPOSING)
    record_picks(session, opened, [ProposedPick(each.id, 0.0, "a test", None) for each in slices], None)
    return opened


@contextmanager
def refusing_audit_rows(database: Database) -> Iterator[None]:
    """An SQLite database that takes no new audit row meanwhile."""
    made = "CREATE TRIGGER refused BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'a test'); END"
    _execute(database, made)
    try:
        yield
    finally:
        _execute(database, "DROP TRIGGER refused")


def _execute(database: Database, statement: str) -> None:
    with database.writing() as session:
        session.execute(text(statement))
        session.commit()
