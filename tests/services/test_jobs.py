"""Queueing, cancelling, retrying and waking."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest

from app.db.models import Job, Round
from app.db.session import Database
from app.errors import JobFinishedError, JobNotRetryable, RecordNotFound, RoundSuperseded
from app.names import JobKind, JobState, Queue, RoundState
from app.outbox import SilentBell, unit_of_work
from app.services.claims import beat_job, claim_next_job, fail_job, finish_job
from app.services.jobs import (
    WAKE_DELAYS_S,
    find_job,
    queue_positions,
    queues_to_wake,
    request_cancel,
    retry_job,
    time_left_s,
)
from tests.rows import age_jobs, queue_jobs, read_job, read_round

LEASE_S = 30.0


def claim(database: Database, queue: Queue = Queue.GPU) -> Job:
    with unit_of_work(database, SilentBell()) as session:
        job = claim_next_job(session, queue, "ward:1", LEASE_S, 3)
    assert job is not None
    return job


def cancel(database: Database, job_id: uuid.UUID) -> Job:
    with unit_of_work(database, SilentBell()) as session:
        return request_cancel(session, find_job(session, job_id))


def due(database: Database) -> frozenset[Queue]:
    with unit_of_work(database, SilentBell()) as session:
        return queues_to_wake(session)


def test_a_queued_job_is_cancelled_at_once_and_never_claimed(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.TRAIN_SEGMENTATION)
    assert cancel(database, job_id).state == JobState.CANCELLED
    assert read_round(database).state == RoundState.FAILED
    with unit_of_work(database, SilentBell()) as session:
        assert claim_next_job(session, Queue.GPU, "ward:1", LEASE_S, 3) is None


def test_a_running_job_is_asked_to_stop(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.TRAIN_SEGMENTATION)
    running = claim(database)
    asked = cancel(database, job_id)
    assert (asked.state, asked.cancel_requested) == (JobState.RUNNING, True)
    assert asked.revision == running.revision + 1
    assert read_round(database).state == RoundState.TRAINING


def test_a_running_job_whose_worker_is_gone_is_cancelled_at_once(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    claim(database)
    age_jobs(database, LEASE_S + 1)
    assert cancel(database, job_id).state == JobState.CANCELLED


def test_a_finished_job_cannot_be_cancelled(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    claim(database)
    with unit_of_work(database, SilentBell()) as session:
        finish_job(session, job_id, 1, {})
    with pytest.raises(JobFinishedError, match="has succeeded and cannot be cancelled"):
        cancel(database, job_id)


def test_a_retried_job_starts_over_and_its_round_goes_on(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)
    claim(database)
    with unit_of_work(database, SilentBell()) as session:
        fail_job(session, job_id, 1, {"code": "x"})
    assert read_round(database).state == RoundState.FAILED
    with unit_of_work(database, SilentBell()) as session:
        job = retry_job(session, find_job(session, job_id))
        assert session.info["queued"] == {str(job_id): Queue.GPU}
    assert (job.state, job.attempts, job.error, job.finished_at) == (JobState.QUEUED, 0, None, None)
    assert read_round(database).state == RoundState.EVALUATING
    assert claim(database).token == 2


def test_a_cancelled_job_that_is_retried_is_not_cancelled_again(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)
    claim(database)
    cancel(database, job_id)
    age_jobs(database, LEASE_S + 1)
    with unit_of_work(database, SilentBell()) as session:
        assert claim_next_job(session, Queue.GPU, "ward:1", LEASE_S, 3) is None
    with unit_of_work(database, SilentBell()) as session:
        retry_job(session, find_job(session, job_id))
    assert claim(database).cancel_requested is False


@pytest.mark.parametrize("started", [False, True])
def test_a_job_that_is_still_to_be_done_cannot_be_retried(database: Database, started: bool) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    if started:
        claim(database)
    with pytest.raises(JobNotRetryable, match="only a failed or cancelled job"), database.writing() as session:
        retry_job(session, find_job(session, job_id))


def follow_with_a_round(database: Database) -> None:
    with unit_of_work(database, SilentBell()) as session:
        first = session.query(Round).one()
        facts = {"budget_percent": 3.0, "target": 2, "strategy": "gcl", "seed": 7}
        session.add(Round(project_id=first.project_id, number=2, state=RoundState.ANNOTATING, **facts))


@pytest.mark.parametrize("kind", [JobKind.TRAIN_ENCODER, JobKind.PROPOSE])
def test_a_round_that_another_followed_proposes_no_more(database: Database, kind: JobKind) -> None:
    (job_id,) = queue_jobs(database, kind)
    cancel(database, job_id)
    follow_with_a_round(database)
    with (
        pytest.raises(RoundSuperseded, match=r"Round 1 proposes nothing any more, for round 2 followed it"),
        unit_of_work(database, SilentBell()) as session,
    ):
        retry_job(session, find_job(session, job_id))
    assert read_job(database, job_id).state == JobState.CANCELLED
    with database.reading() as session:
        states = [each.state for each in session.query(Round).order_by(Round.number)]
    assert states == [RoundState.FAILED, RoundState.ANNOTATING]


def test_the_newest_round_proposes_again_and_an_earlier_one_is_trained_again(database: Database) -> None:
    proposing, training = queue_jobs(database, JobKind.PROPOSE, JobKind.TRAIN_SEGMENTATION)
    for job_id in (proposing, training):
        cancel(database, job_id)
    with unit_of_work(database, SilentBell()) as session:
        assert retry_job(session, find_job(session, proposing)).state == JobState.QUEUED
    follow_with_a_round(database)
    with unit_of_work(database, SilentBell()) as session:
        assert retry_job(session, find_job(session, training)).state == JobState.QUEUED


def test_an_unknown_job_is_not_found(database: Database) -> None:
    with pytest.raises(RecordNotFound), database.reading() as session:
        find_job(session, uuid.uuid4())


def test_wakes_for_a_waiting_job_come_more_and_more_rarely(database: Database) -> None:
    queue_jobs(database, JobKind.PREDICT)
    assert due(database) == frozenset()  # the commit itself rang
    for delay_s in [*WAKE_DELAYS_S, WAKE_DELAYS_S[-1]]:
        age_jobs(database, delay_s - 0.9)
        assert due(database) == frozenset()
        age_jobs(database, 1.0)
        assert due(database) == {Queue.GPU}
        assert due(database) == frozenset()


def test_many_jobs_behind_a_long_one_cause_no_more_wakes_than_one(database: Database) -> None:
    queue_jobs(database, *[JobKind.PREDICT] * 10)
    with unit_of_work(database, SilentBell()) as session:
        claim_next_job(session, Queue.GPU, "ward:1", 3600, 3)
    wakes = 0
    for _ in range(100):
        age_jobs(database, 1.0)
        wakes += len(due(database))
    assert 6 <= wakes <= 8  # 1 + 2 + 4 + 8 + 16 + 32 = 63 seconds for six, then one a minute


def test_a_running_job_is_woken_for_as_soon_as_its_lease_has_run_out(database: Database) -> None:
    queue_jobs(database, JobKind.EXPORT)
    age_jobs(database, 3600)
    assert due(database) == {Queue.CPU}
    claim(database, Queue.CPU)
    assert due(database) == frozenset()
    age_jobs(database, LEASE_S + 0.1)
    assert due(database) == {Queue.CPU}


def test_finished_jobs_wake_nobody(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    claim(database)
    with unit_of_work(database, SilentBell()) as session:
        finish_job(session, job_id, 1, {})
    age_jobs(database, 3600)
    assert due(database) == frozenset()


def test_the_queue_position_counts_the_older_jobs_of_the_same_queue(database: Database) -> None:
    gpu_1, cpu_1, gpu_2, gpu_3 = queue_jobs(
        database, JobKind.PREDICT, JobKind.EXPORT, JobKind.PREDICT, JobKind.EVALUATE
    )
    with database.reading() as session:
        asked = [find_job(session, job_id) for job_id in (gpu_1, cpu_1, gpu_2, gpu_3)]
        assert queue_positions(session, asked) == {gpu_1: 1, cpu_1: 1, gpu_2: 2, gpu_3: 3}
        assert queue_positions(session, asked[3:]) == {gpu_3: 3}
    claim(database)
    with database.reading() as session:
        asked = [find_job(session, job_id) for job_id in (gpu_1, gpu_2, gpu_3)]
        assert queue_positions(session, asked) == {gpu_2: 1, gpu_3: 2}


def test_the_time_left_follows_the_pace_of_the_present_stretch(database: Database) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    job = claim(database)

    def beat(done: int, total: int) -> Job:
        with unit_of_work(database, SilentBell()) as session:
            beat_job(session, job_id, job.token, LEASE_S, done, total, "")
        return read_job(database, job_id)

    def left(beaten: Job, after_s: float) -> float | None:
        assert beaten.progress_since is not None
        return time_left_s(beaten, beaten.progress_since + timedelta(seconds=after_s))

    assert time_left_s(job, job.created_at) is None, "nothing was said yet"
    assert left(beat(2, 3), 5) is None, "reading slices has only begun"
    begun = beat(40, 100)
    assert left(begun, 30) is None, "the forty were done by an attempt before this one"
    later = beat(50, 100)
    assert later.progress_since == begun.progress_since
    assert left(later, 30) == pytest.approx(150.0)
    assert left(beat(100, 100), 30) == 0.0
    again = beat(10, 100)
    assert left(again, 30) is None, "it began anew, with half the batch, say"
    with unit_of_work(database, SilentBell()) as session:
        finish_job(session, job_id, job.token, {})
    assert time_left_s(read_job(database, job_id), job.created_at) is None
