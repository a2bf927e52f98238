"""A worker that is still loading what its first task needs holds the job, and hears of a cancellation."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.db.session import Database
from app.log import configure_logging
from app.names import JobKind, JobState, Queue, RoundState
from app.outbox import SilentBell, unit_of_work
from app.services.claims import claim_next_job
from app.services.jobs import find_job, request_cancel
from app.settings import Settings
from app.storage.stores import LocalStore
from tests.rows import queue_jobs, read_job, read_round
from worker.runner import Record, Task, Work, Workplace, run_next_job

LEASE_S = 0.5
LONG_LEASE_S = (
    5.0  # that no stall of a busy machine outlasts: a job nobody holds any more is cancelled without its worker
)


def run(
    database: Database, folder: Path, loading: Callable[[], None], task: Task, lease_s: float = LONG_LEASE_S
) -> None:
    """Run the next job in a worker where `loading` happens before the task is there."""

    def find(_kind: JobKind) -> Task:
        loading()
        return task

    knobs = Settings(home=folder, job_lease_s=lease_s)
    assert run_next_job(
        Queue.GPU, Workplace(database, LocalStore(knobs.blob_folder), knobs, SilentBell(), find, "ward:1")
    )


def nothing(_work: Work) -> Record:
    def record(_session: Session) -> dict[str, Any]:
        return {}

    return record


def cancel(database: Database, job_id: uuid.UUID) -> None:
    with unit_of_work(database, SilentBell()) as session:
        request_cancel(session, find_job(session, job_id))


def wait_until_cancelled(database: Database, job_id: uuid.UUID) -> None:
    deadline = time.monotonic() + 10
    while read_job(database, job_id).state != JobState.CANCELLED:
        assert time.monotonic() < deadline, "nobody looked"
        time.sleep(0.02)


def test_a_cancellation_holds_while_the_worker_is_still_loading(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PROPOSE)
    begun: list[Work] = []

    def load() -> None:
        cancel(database, job_id)
        wait_until_cancelled(database, job_id)

    def task(work: Work) -> Record:
        begun.append(work)
        return nothing(work)

    configure_logging(stream=(stream := io.StringIO()), as_json=True)
    run(database, tmp_path, load, task)
    assert begun == [], "what was cancelled is not begun"
    assert read_round(database).state == RoundState.FAILED
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert events.count("job_cancelled") == 1
    assert "job_lost" not in events


def test_a_cancellation_holds_while_a_task_has_not_told_of_any_progress(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PROPOSE)

    def task(work: Work) -> Record:
        cancel(database, job_id)
        wait_until_cancelled(database, job_id)
        work.progress(0, 1, "begun")
        raise AssertionError("it goes on though it was cancelled")

    run(database, tmp_path, lambda: None, task)
    assert (read_job(database, job_id).state, read_job(database, job_id).error) == (JobState.CANCELLED, None)


def test_a_job_is_held_while_its_worker_is_still_loading(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    taken: list[uuid.UUID] = []

    def load() -> None:
        time.sleep(3 * LEASE_S)
        with unit_of_work(database, SilentBell()) as session:
            other = claim_next_job(session, Queue.GPU, "ward:2", 60, 3)
        taken.extend([other.id] if other else [])

    run(database, tmp_path, load, nothing, LEASE_S)
    assert taken == []
    assert (read_job(database, job_id).state, read_job(database, job_id).attempts) == (JobState.SUCCEEDED, 1)
