"""One claimed job from the claim to its end, with real databases and tasks that are a few lines long."""

from __future__ import annotations

import io
import json
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.models import Job, Project
from app.db.session import Database
from app.errors import NoModelYet
from app.log import configure_logging, get_log
from app.names import JobKind, JobState, Queue, RoundState
from app.outbox import SilentBell, unit_of_work
from app.services.claims import claim_next_job
from app.services.jobs import find_job, queue_job, request_cancel
from app.settings import Settings
from app.storage.stores import LocalStore
from tests.rows import age_jobs, queue_jobs, read_job, read_round
from worker.learning.errors import MemoryExhaustedError
from worker.runner import Record, Task, Work, Workplace, run_next_job

LEASE_S = 0.5


class HeardBell:
    def __init__(self) -> None:
        self.heard: list[frozenset[Queue]] = []

    def ring(self, queues: frozenset[Queue]) -> None:
        self.heard.append(queues)


def place(database: Database, tmp_path: Path, task: Task, **settings: Any) -> Workplace:
    knobs = Settings(home=tmp_path, job_lease_s=LEASE_S, **settings)
    blobs = LocalStore(knobs.blob_folder)
    return Workplace(database, blobs, knobs, HeardBell(), lambda _kind: task, "ward:1")


def rename(session: Session, name: str) -> None:
    project = session.query(Project).one()
    project.name = name


def project_name(database: Database) -> str:
    with database.reading() as session:
        return session.query(Project).one().name


def renaming(work: Work) -> Record:
    def record(session: Session) -> dict[str, Any]:
        rename(session, "recorded")
        return {"attempt": work.attempt}

    return record


def test_an_empty_queue_runs_nothing(database: Database, tmp_path: Path) -> None:
    assert run_next_job(Queue.GPU, place(database, tmp_path, renaming)) is False


def test_a_job_is_done_and_its_results_stand_with_its_end(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    seen: list[Work] = []

    def task(work: Work) -> Record:
        seen.append(work)
        work.progress(4, 4, "done")
        return renaming(work)

    assert run_next_job(Queue.GPU, place(database, tmp_path, task)) is True
    job = read_job(database, job_id)
    assert (job.state, job.result, job.error) == (JobState.SUCCEEDED, {"attempt": 1}, None)
    assert (job.progress_done, job.progress_total, job.message) == (4, 4, "done")
    assert project_name(database) == "recorded"
    assert (seen[0].job_id, seen[0].kind, seen[0].project_id) == (job.id, JobKind.PREDICT, job.project_id)
    assert seen[0].round_id == job.round_id


def test_jobs_that_a_recorder_queues_are_rung_for_after_the_commit(database: Database, tmp_path: Path) -> None:
    queue_jobs(database, JobKind.EXPORT)

    def task(work: Work) -> Record:
        def record(session: Session) -> dict[str, Any]:
            queue_job(session, project_id=work.project_id, kind=JobKind.PREDICT)
            return {}

        return record

    workplace = place(database, tmp_path, task)
    run_next_job(Queue.CPU, workplace)
    assert isinstance(workplace.bell, HeardBell)
    assert workplace.bell.heard == [frozenset({Queue.GPU})]


def test_a_refusal_ends_in_the_row_with_its_sentence_and_fails_the_round(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.EVALUATE)

    def task(_work: Work) -> Record:
        raise NoModelYet("hearts")

    assert run_next_job(Queue.GPU, place(database, tmp_path, task)) is True
    job = read_job(database, job_id)
    assert job.state == JobState.FAILED
    assert job.error == {
        "type": "urn:nextslice:no-model-yet",
        "title": "The job was refused",
        "detail": str(NoModelYet("hearts")),
        "code": "no-model-yet",
    }
    assert read_round(database).state == RoundState.FAILED


def test_an_unexpected_error_ends_in_the_row_without_its_traceback(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)

    def task(_work: Work) -> Record:
        raise ValueError("x" * 10_000)

    assert run_next_job(Queue.GPU, place(database, tmp_path, task)) is True
    error = read_job(database, job_id).error
    assert error is not None
    assert error["code"] == "job-crashed"
    assert error["detail"].startswith("ValueError: xxx")
    assert len(error["detail"]) == 500


def test_no_path_of_the_machine_gets_into_the_row(database: Database, tmp_path: Path) -> None:
    inner = tmp_path / "scratch" / "x" / "scan.nii"

    def crash(_work: Work) -> Record:
        raise OSError(2, f"No such file; see /srv/ward 7/x, /srv/secret/key.pem and https://example.org/a/b: {inner}")

    def report(_work: Work) -> Record:
        return lambda _session: {"left_out": [{"name": "a", "reason": f"{inner} is short"}], "slices": 3}

    queue_jobs(database, JobKind.PREDICT, JobKind.EVALUATE)
    assert run_next_job(Queue.GPU, place(database, tmp_path, crash)) is True
    assert run_next_job(Queue.GPU, place(database, tmp_path, report)) is True
    with database.reading() as session:
        failed, done = session.query(Job).order_by(Job.created_at, Job.id)
    assert failed.error is not None
    told = failed.error["detail"]
    assert str(tmp_path) not in told
    assert "secret" not in told
    assert "key.pem" in told
    assert "https://example.org/a/b" in told
    assert told.endswith("<home>/scratch/x/scan.nii")
    assert done.result == {"left_out": [{"name": "a", "reason": "<home>/scratch/x/scan.nii is short"}], "slices": 3}


def test_a_kind_without_a_task_fails_its_job(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)

    def find(_kind: JobKind) -> Task:
        raise ModuleNotFoundError("No module named 'torch'")

    workplace = place(database, tmp_path, renaming)
    run_next_job(
        Queue.GPU,
        Workplace(database, workplace.blobs, workplace.settings, workplace.bell, find, workplace.owner),
    )
    error = read_job(database, job_id).error
    assert error is not None
    assert error["detail"] == "ModuleNotFoundError: No module named 'torch'"


def test_a_recorder_that_raises_writes_nothing_and_rings_nothing(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.EXPORT)

    def task(work: Work) -> Record:
        def record(session: Session) -> dict[str, Any]:
            rename(session, "half")
            queue_job(session, project_id=work.project_id, kind=JobKind.PREDICT)
            session.flush()
            raise ZeroDivisionError("division by zero")

        return record

    workplace = place(database, tmp_path, task)
    run_next_job(Queue.CPU, workplace)
    assert read_job(database, job_id).state == JobState.FAILED
    assert project_name(database) == "Hearts"
    assert isinstance(workplace.bell, HeardBell)
    assert workplace.bell.heard == []


def test_a_worker_that_lost_its_job_writes_nothing(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)

    def task(work: Work) -> Record:
        age_jobs(database, 60)  # as if it had been frozen for a minute
        with unit_of_work(database, SilentBell()) as session:
            claim_next_job(session, Queue.GPU, "ward:2", 60, 3)
        return renaming(work)

    assert run_next_job(Queue.GPU, place(database, tmp_path, task)) is True
    job = read_job(database, job_id)
    assert (job.state, job.owner, job.result) == (JobState.RUNNING, "ward:2", None)
    assert project_name(database) == "Hearts"


def test_a_task_learns_within_a_beat_that_its_job_is_lost(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    stopped_after: list[float] = []

    def task(work: Work) -> Record:
        age_jobs(database, 60)
        with unit_of_work(database, SilentBell()) as session:
            claim_next_job(session, Queue.GPU, "ward:2", 60, 3)
        began = time.monotonic()
        try:
            return step_for_ever(work)
        finally:
            stopped_after.append(time.monotonic() - began)

    run_next_job(Queue.GPU, place(database, tmp_path, task))
    assert stopped_after[0] < 5
    assert read_job(database, job_id).owner == "ward:2"


def test_a_running_job_stops_when_it_is_cancelled(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.TRAIN_SEGMENTATION)

    def task(work: Work) -> Record:
        with unit_of_work(database, SilentBell()) as session:
            request_cancel(session, find_job(session, job_id))
        return step_for_ever(work)

    run_next_job(Queue.GPU, place(database, tmp_path, task))
    assert read_job(database, job_id).state == JobState.CANCELLED
    assert read_round(database).state == RoundState.FAILED


def test_a_cancellation_between_the_work_and_its_recording_holds(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)

    def task(work: Work) -> Record:
        with unit_of_work(database, SilentBell()) as session:
            request_cancel(session, find_job(session, job_id))
        return renaming(work)

    run_next_job(Queue.GPU, place(database, tmp_path, task))
    assert read_job(database, job_id).state == JobState.CANCELLED
    assert project_name(database) == "Hearts"


def test_a_job_longer_than_its_lease_is_held_by_its_heartbeat(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    taken: list[uuid.UUID] = []

    def task(work: Work) -> Record:
        until = time.monotonic() + 3 * LEASE_S
        while time.monotonic() < until:
            work.progress(1, 2, "half")
            with unit_of_work(database, SilentBell()) as session:
                other = claim_next_job(session, Queue.GPU, "ward:2", 60, 3)
            taken.extend([other.id] if other else [])
            time.sleep(0.1)
        return renaming(work)

    run_next_job(Queue.GPU, place(database, tmp_path, task))
    assert taken == []
    job = read_job(database, job_id)
    assert (job.state, job.attempts) == (JobState.SUCCEEDED, 1)


def test_what_a_task_keeps_stands_even_when_it_fails_later(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)

    def task(work: Work) -> Record:
        work.keep(lambda session: rename(session, "kept"))
        raise ZeroDivisionError

    run_next_job(Queue.GPU, place(database, tmp_path, task))
    assert read_job(database, job_id).state == JobState.FAILED
    assert project_name(database) == "kept"


def test_a_worker_that_lost_its_job_keeps_nothing(database: Database, tmp_path: Path) -> None:
    queue_jobs(database, JobKind.PREDICT)

    def task(work: Work) -> Record:
        age_jobs(database, 60)
        with unit_of_work(database, SilentBell()) as session:
            claim_next_job(session, Queue.GPU, "ward:2", 60, 3)
        work.keep(lambda session: rename(session, "kept"))
        return renaming(work)

    run_next_job(Queue.GPU, place(database, tmp_path, task))
    assert project_name(database) == "Hearts"


def test_a_gpu_that_is_too_small_is_named_with_what_was_tried(database: Database, tmp_path: Path) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)

    def task(_work: Work) -> Record:
        raise MemoryExhaustedError([256, 128])

    run_next_job(Queue.GPU, place(database, tmp_path, task))
    error = read_job(database, job_id).error
    assert error is not None
    assert error["code"] == "gpu-oom"
    assert "passes of 256 and of 128 slices" in error["detail"]


def test_every_line_about_a_job_has_its_id_those_of_the_heartbeat_too(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)
    beats: list[int] = []

    def away(*_beat: object) -> None:
        beats.append(1)
        raise OperationalError("UPDATE", {}, Exception("the database is away"))

    monkeypatch.setattr("worker.heartbeat.beat_job", away)

    def task(work: Work) -> Record:
        get_log("some.task").info("working")
        while not beats:
            time.sleep(0.01)
        return renaming(work)

    configure_logging(stream=(stream := io.StringIO()), as_json=True)
    run_next_job(Queue.GPU, place(database, tmp_path, task))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {"job_started", "working", "heartbeat_failed", "job_succeeded"} <= {line["event"] for line in lines}
    assert {line.get("job_id") for line in lines} == {str(job_id)}


@pytest.mark.parametrize(("cancelled", "state"), [(False, JobState.QUEUED), (True, JobState.CANCELLED)])
def test_a_worker_that_is_asked_to_stop_puts_its_job_back(
    database: Database, tmp_path: Path, cancelled: bool, state: JobState
) -> None:
    (job_id,) = queue_jobs(database, JobKind.PREDICT)

    def task(_work: Work) -> Record:
        if cancelled:
            with unit_of_work(database, SilentBell()) as session:
                request_cancel(session, find_job(session, job_id))
        raise SystemExit

    with pytest.raises(SystemExit):
        run_next_job(Queue.GPU, place(database, tmp_path, task))
    job = read_job(database, job_id)
    assert (job.state, job.attempts) == (state, 1 if cancelled else 0)


def test_no_thread_is_left_behind(database: Database, tmp_path: Path) -> None:
    queue_jobs(database, JobKind.PREDICT, JobKind.PREDICT)
    workplace = place(database, tmp_path, renaming)
    before = threading.active_count()
    while run_next_job(Queue.GPU, workplace):
        pass
    assert threading.active_count() == before


def step_for_ever(work: Work) -> Record:

    for done in range(1_000):
        work.progress(done, 1_000, "stepping")
        time.sleep(0.01)
    raise AssertionError("nobody stopped the task in ten seconds")
