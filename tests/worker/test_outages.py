"""A database or a store that is away for a while costs a job an attempt, and fails it only with its last one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from app.db.models import Project
from app.db.session import Database
from app.errors import JobFinishedError, StoreUnreachable
from app.names import JobKind, JobState, Queue, RoundState
from app.outbox import SilentBell, unit_of_work
from app.services.jobs import find_job, queues_to_wake, request_cancel
from app.settings import Settings
from app.storage.stores import LocalStore
from tests.rows import age_jobs, queue_jobs, read_job, read_round
from worker.runner import Record, Work, Workplace, run_next_job

LEASE_S = 30.0
LOCKED = OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))


def place(database: Database, folder: Path, record: Callable[[Session], None]) -> Workplace:
    """A worker whose one task records by renaming the project, after what the test has in store for it."""

    def task(_work: Work) -> Record:
        def written(session: Session) -> dict[str, Any]:
            session.query(Project).one().name = "recorded"
            session.flush()
            record(session)
            return {}

        return written

    knobs = Settings(home=folder, job_lease_s=LEASE_S)
    return Workplace(database, LocalStore(knobs.blob_folder), knobs, SilentBell(), lambda _kind: task, "ward:1")


def raise_first(errors: list[Exception]) -> Callable[[Session], None]:
    def record(_session: Session) -> None:
        if errors:
            raise errors.pop(0)

    return record


def project_name(database: Database) -> str:
    with database.reading() as session:
        return session.query(Project).one().name


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LOCKED, "The database did not answer: database is locked."),
        (DBAPIError("UPDATE", {}, Exception("gone"), connection_invalidated=True), "The database did not answer: gone"),
        (StoreUnreachable("s3://scans", "timed out"), "The blob store s3://scans cannot be used: timed out."),
    ],
)
def test_an_outage_while_recording_costs_one_attempt(
    database: Database, tmp_path: Path, error: Exception, told: str
) -> None:
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)
    ward = place(database, tmp_path, raise_first([error]))
    assert run_next_job(Queue.GPU, ward) is True
    job = read_job(database, job_id)
    assert (job.state, job.attempts, job.error, job.owner) == (JobState.RUNNING, 1, None, None)
    assert told in job.message
    assert "attempt 2 of 3" in job.message
    assert read_round(database).state != RoundState.FAILED
    assert project_name(database) == "Hearts"

    assert run_next_job(Queue.GPU, ward) is False, "an outage is not over at once"
    age_jobs(database, LEASE_S + 1)
    with unit_of_work(database, SilentBell()) as session:
        assert queues_to_wake(session) == {Queue.GPU}
    assert run_next_job(Queue.GPU, ward) is True
    job = read_job(database, job_id)
    assert (job.state, job.attempts, job.error) == (JobState.SUCCEEDED, 2, None)
    assert project_name(database) == "recorded"


@pytest.mark.parametrize(
    ("error", "code"), [(LOCKED, "database-unavailable"), (StoreUnreachable("s3://scans", "x"), "store-unreachable")]
)
def test_the_last_attempt_fails_with_the_reason(
    database: Database, tmp_path: Path, error: Exception, code: str
) -> None:
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)
    ward = place(database, tmp_path, raise_first([error] * 3))
    for _ in range(3):
        assert run_next_job(Queue.GPU, ward) is True
        age_jobs(database, LEASE_S + 1)
    job = read_job(database, job_id)
    assert (job.state, job.attempts) == (JobState.FAILED, 3)
    assert job.error is not None
    assert job.error["code"] == code
    assert job.error["detail"].endswith("The job was tried 3 times.")
    assert read_round(database).state == RoundState.FAILED


def test_a_server_that_ends_the_connection_in_mid_recording_costs_one_attempt(
    postgres_url: str, tmp_path: Path
) -> None:
    database = Database(postgres_url)
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)
    ended: list[int] = []

    def end_connection(session: Session) -> None:
        if not ended:
            ended.append(session.scalars(text("SELECT pg_backend_pid()")).one())
            with database.reading() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": ended[0]})

    ward = place(database, tmp_path, end_connection)
    assert run_next_job(Queue.GPU, ward) is True
    job = read_job(database, job_id)
    assert (job.state, job.attempts) == (JobState.RUNNING, 1)
    assert "terminating connection" in job.message
    age_jobs(database, LEASE_S + 1)
    assert run_next_job(Queue.GPU, ward) is True
    assert read_job(database, job_id).state == JobState.SUCCEEDED
    database.dispose()


def test_a_job_that_waits_for_an_outage_to_pass_is_cancelled_at_once(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)
    run_next_job(Queue.GPU, place(database, tmp_path, raise_first([LOCKED])))
    with unit_of_work(database, SilentBell()) as session:
        request_cancel(session, find_job(session, job_id))
    assert read_job(database, job_id).state == JobState.CANCELLED
    with pytest.raises(JobFinishedError), unit_of_work(database, SilentBell()) as session:
        request_cancel(session, find_job(session, job_id))


def test_a_job_cancelled_before_the_outage_is_not_tried_again(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)

    def task(_work: Work) -> Record:
        with unit_of_work(database, SilentBell()) as session:
            request_cancel(session, find_job(session, job_id))
        raise LOCKED

    knobs = Settings(home=tmp_path)
    blobs = LocalStore(knobs.blob_folder)
    run_next_job(Queue.GPU, Workplace(database, blobs, knobs, SilentBell(), lambda _kind: task, "ward:1"))
    assert read_job(database, job_id).state == JobState.CANCELLED


def test_while_the_database_stays_away_the_job_is_left_to_its_lease(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)

    def away(*_facts: object) -> None:
        raise LOCKED

    monkeypatch.setattr("worker.runner.put_off_job", away)
    assert run_next_job(Queue.GPU, place(database, tmp_path, raise_first([LOCKED]))) is True
    job = read_job(database, job_id)
    assert (job.state, job.owner) == (JobState.RUNNING, "ward:1")
