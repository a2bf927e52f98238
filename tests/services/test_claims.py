"""A job is given to one worker at a time, and only who holds it may close it."""

from __future__ import annotations

import threading
import uuid

import pytest
from sqlalchemy import func, select

from app.db.models import Job
from app.db.session import Database, database_now
from app.errors import JobCancelled, JobLostError
from app.names import JobKind, JobState, Queue, RoundState
from app.outbox import SilentBell, unit_of_work
from app.services.claims import (
    Beat,
    beat_job,
    claim_next_job,
    fail_job,
    finish_job,
    hold_job,
    mark_cancelled,
    release_job,
)
from app.services.jobs import request_cancel
from tests.rows import age_jobs, queue_jobs, read_job, read_round

LEASE_S = 30.0
ATTEMPTS_MAX = 3


def claim(database: Database, queue: Queue = Queue.GPU, owner: str = "ward:1", attempts_max: int = 3) -> Job | None:
    with unit_of_work(database, SilentBell()) as session:
        return claim_next_job(session, queue, owner, LEASE_S, attempts_max)


def test_the_oldest_job_of_the_queue_is_claimed_and_runs_under_a_lease(database: Database) -> None:
    export, older, younger = queue_jobs(database, JobKind.EXPORT, JobKind.TRAIN_SEGMENTATION, JobKind.EVALUATE)
    job = claim(database)
    assert job is not None
    assert job.id == older
    assert (job.state, job.owner, job.token, job.attempts, job.revision) == (JobState.RUNNING, "ward:1", 1, 1, 1)
    with database.reading() as session:
        assert job.lease_until is not None
        assert 0 < (job.lease_until - database_now(session)).total_seconds() <= LEASE_S
    assert [read_job(database, left).state for left in (export, younger)] == [JobState.QUEUED, JobState.QUEUED]


def test_an_empty_queue_gives_no_job(database: Database) -> None:
    queue_jobs(database, JobKind.EXPORT)
    assert claim(database, Queue.GPU) is None


def test_many_claimers_at_once_never_get_one_job_twice(database: Database) -> None:
    jobs = queue_jobs(database, *[JobKind.PREDICT] * 24)
    claimed: list[uuid.UUID] = []
    barrier = threading.Barrier(6)

    def take_all(number: int) -> None:
        barrier.wait()
        while (job := claim(database, owner=f"ward:{number}")) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=take_all, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(jobs)
    with database.reading() as session:
        assert session.scalar(select(func.sum(Job.attempts))) == len(jobs)


def test_a_claimer_passes_over_a_job_that_another_is_taking_now(postgres_url: str) -> None:
    database = Database(postgres_url)
    first, second = queue_jobs(database, JobKind.PREDICT, JobKind.PREDICT)
    with unit_of_work(database, SilentBell()) as session:
        taken = claim_next_job(session, Queue.GPU, "ward:1", LEASE_S, ATTEMPTS_MAX)
        other = claim(database, owner="ward:2")  # answers at once: it does not wait for the open transaction
    assert taken is not None
    assert other is not None
    assert (taken.id, other.id) == (first, second)
    database.dispose()


def test_a_job_whose_lease_ran_out_is_claimed_again_under_a_new_token(database: Database) -> None:
    queue_jobs(database, JobKind.PREDICT)
    first = claim(database)
    assert claim(database) is None
    age_jobs(database, LEASE_S + 1)
    second = claim(database, owner="ward:2")
    assert first is not None
    assert second is not None
    assert (first.token, second.token, second.attempts, second.owner) == (1, 2, 2, "ward:2")


def test_who_lost_the_lease_can_neither_beat_nor_close(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)
    claim(database)
    age_jobs(database, LEASE_S + 1)
    claim(database, owner="ward:2")
    with unit_of_work(database, SilentBell()) as session:
        assert beat_job(session, job_id, 1, LEASE_S, 5, 10, "half") == Beat(lost=True, cancel=False)
        for close in (
            lambda: hold_job(session, job_id, 1),
            lambda: finish_job(session, job_id, 1, {}),
            lambda: fail_job(session, job_id, 1, {"code": "x"}),
            lambda: mark_cancelled(session, job_id, 1),
            lambda: release_job(session, job_id, 1),
        ):
            with pytest.raises(JobLostError, match="no longer held"):
                close()
    job = read_job(database, job_id)
    assert (job.state, job.owner, job.progress_done, job.error) == (JobState.RUNNING, "ward:2", 0, None)
    assert read_round(database).state == RoundState.TRAINING


def test_a_job_is_closed_once_only(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    claim(database)
    with unit_of_work(database, SilentBell()) as session:
        finish_job(session, job_id, 1, {"dice": 0.9})
    with pytest.raises(JobLostError), unit_of_work(database, SilentBell()) as session:
        fail_job(session, job_id, 1, {"code": "late"})
    job = read_job(database, job_id)
    assert (job.state, job.result, job.error, job.lease_until) == (JobState.SUCCEEDED, {"dice": 0.9}, None, None)
    assert job.finished_at is not None


def test_a_beat_prolongs_the_lease_and_raises_the_revision_only_for_news(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    claim(database)
    age_jobs(database, 20)
    before = read_job(database, job_id)
    for _ in range(2):
        with unit_of_work(database, SilentBell()) as session:
            assert beat_job(session, job_id, 1, LEASE_S, 3, 10, "epoch 3") == Beat(lost=False, cancel=False)
    after = read_job(database, job_id)
    assert before.lease_until is not None
    assert after.lease_until is not None
    assert (after.lease_until - before.lease_until).total_seconds() > 19
    assert (after.progress_done, after.progress_total, after.message) == (3, 10, "epoch 3")
    assert after.revision == before.revision + 1


def test_a_job_whose_worker_is_lost_too_often_fails_with_a_reason_and_its_round_with_it(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.TRAIN_SEGMENTATION)
    for _ in range(2):
        assert claim(database, attempts_max=2) is not None
        age_jobs(database, LEASE_S + 1)
    assert claim(database, attempts_max=2) is None
    job = read_job(database, job_id)
    assert job.state == JobState.FAILED
    assert job.error is not None
    assert job.error["code"] == "worker-lost"
    assert "lost 2 times" in job.error["detail"]
    assert read_round(database).state == RoundState.FAILED


def test_a_job_to_be_cancelled_whose_worker_died_is_cancelled_and_not_run_again(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)
    job = claim(database)
    assert job is not None
    with unit_of_work(database, SilentBell()) as session:
        request_cancel(session, job)
    age_jobs(database, LEASE_S + 1)
    assert claim(database) is None
    assert read_job(database, job_id).state == JobState.CANCELLED
    assert read_round(database).state == RoundState.FAILED


def test_a_failed_export_leaves_the_round_alone(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.EXPORT)
    claim(database, Queue.CPU)
    with unit_of_work(database, SilentBell()) as session:
        fail_job(session, job_id, 1, {"code": "disk-full"})
    assert read_job(database, job_id).error == {"code": "disk-full"}
    assert read_round(database).state == RoundState.TRAINING


def test_a_released_job_waits_again_with_its_attempt_given_back(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    claim(database)
    with unit_of_work(database, SilentBell()) as session:
        release_job(session, job_id, 1)
    released = read_job(database, job_id)
    assert (released.state, released.attempts, released.owner, released.lease_until) == (JobState.QUEUED, 0, None, None)
    again = claim(database)
    assert again is not None
    assert (again.token, again.attempts) == (2, 1)


def test_a_cancellation_that_was_asked_for_is_not_overtaken_by_the_closing(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    job = claim(database)
    assert job is not None
    with unit_of_work(database, SilentBell()) as session:
        request_cancel(session, job)
    for close in (hold_job, release_job):
        with pytest.raises(JobCancelled), unit_of_work(database, SilentBell()) as session:
            close(session, job_id, 1)
    with unit_of_work(database, SilentBell()) as session:
        assert beat_job(session, job_id, 1, LEASE_S, 0, 0, "") == Beat(lost=False, cancel=True)
