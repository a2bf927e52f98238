"""Run one claimed job: context, heartbeat, and an end that is written once or not at all.

A task is two steps. It works for as long as it needs with short reading sessions, and gives back a recorder. The
recorder writes the results in the transaction that also closes the job, under the job's token: whoever lost the job
meanwhile writes nothing, and whoever is killed in between has written nothing.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.models import Job
from app.db.session import Database, wait_until_reachable
from app.errors import GpuOutOfMemory, JobCancelled, JobLostError, NextSliceError
from app.log import get_log, log_context
from app.names import JobKind, Queue
from app.outbox import Bell, SilentBell, unit_of_work
from app.services.claims import (
    claim_next_job,
    fail_job,
    finish_job,
    hold_job,
    mark_cancelled,
    put_off_job,
    release_job,
)
from app.settings import Settings
from app.storage.blobs import BlobStore
from worker.heartbeat import Heartbeat
from worker.learning.errors import MemoryExhaustedError
from worker.outages import outage_code, outage_sentence

DETAIL_CHARACTERS = 500

Progress = Callable[[int, int, str], None]
"""`progress(done, total, message)`: cheap, to be called at every step; raises `JobCancelled` and `JobLostError`."""

Keep = Callable[[Callable[[Session], None]], None]
"""`keep(write)`: store a part of the result now, under the job's token, so that another attempt need not redo it."""

Record = Callable[[Session], dict[str, Any]]
"""Writes the results in the closing transaction and gives back the job's result."""

_ABSOLUTE = re.compile(r"(?<![\w:/.>])(?:/|[A-Za-z]:\\)(?:[\w.@+~-]+[/\\])+([\w.@+~-]+)")
"""A path from the top of a disk, and the name at its end; neither an address (`https://...`) nor `<home>/...`."""

_log = get_log(__name__)


@dataclass(frozen=True)
class Work:
    """What a task gets: the facts of its job, and the places where it may look and store blobs."""

    database: Database
    blobs: BlobStore
    settings: Settings
    job_id: uuid.UUID
    kind: JobKind
    project_id: uuid.UUID
    round_id: uuid.UUID | None
    payload: dict[str, Any]
    attempt: int
    progress: Progress
    keep: Keep
    checkpoint: dict[str, Any] | None = None  # where an earlier attempt got to; see `worker.checkpoints`

    def tell(self, done: int, total: int, message: str) -> Callable[..., None]:
        """Tell the progress, and give what tells the same again: a cancellation is heard in the middle of a step."""
        self.progress(done, total, message)
        return lambda *_facts: self.progress(done, total, message)


Task = Callable[[Work], Record]
"""Does the work of one kind of job, without writing a row."""


@dataclass(frozen=True)
class Workplace:
    """What a worker process keeps from job to job; `owner` names it in the rows."""

    database: Database
    blobs: BlobStore
    settings: Settings
    bell: Bell
    find_task: Callable[[JobKind], Task]
    owner: str


def run_next_job(queue: Queue, place: Workplace) -> bool:
    """Take the next job of the queue and run it to its end; False when none waits.

    Whatever the task raises ends the job as failed, with one sentence in the row and the traceback in the log only;
    an outage of the database or the store does so at the last attempt only.
    """
    settings = place.settings
    with unit_of_work(place.database, SilentBell()) as session:
        job = claim_next_job(session, queue, place.owner, settings.job_lease_s, settings.job_attempts)
    if job is None:
        return False
    with log_context(job_id=str(job.id), job_kind=job.kind, attempt=job.attempts):
        _log.info("job_started", queue=str(queue), project_id=str(job.project_id))
        try:
            _run(job, place)
        except JobLostError:
            _log.warning("job_lost")
    return True


def _run(job: Job, place: Workplace) -> None:
    try:
        _work_and_record(job, place)
        _log.info("job_succeeded")
    except JobLostError:
        raise
    except JobCancelled:
        _cancel(job, place)
    except SystemExit:  # what the pool's process makes of SIGTERM: the worker was asked to stop
        _put_back(job, place)
        raise
    except Exception as error:  # noqa: BLE001 - the broad except of all tasks, see below
        # Whatever a task trips over must end in its row, not in a lost worker that is tried again and again.
        if outage_code(error) is not None:
            _put_off(job, place, error)
            return
        _log.exception("job_failed")
        with unit_of_work(place.database, place.bell) as session:
            fail_job(session, job.id, job.token, _problem(error, place.settings))


def _work_and_record(job: Job, place: Workplace) -> None:
    def keep(write: Callable[[Session], None]) -> None:
        with unit_of_work(place.database, place.bell) as session:
            hold_job(session, job.id, job.token)
            write(session)

    with Heartbeat(place.database, job.id, job.token, place.settings.job_lease_s) as heartbeat:
        # A cold worker loads torch here, which may take longer than the lease, and than anybody waits for a cancel.
        task = place.find_task(JobKind(job.kind))
        heartbeat.check()
        record = task(
            Work(
                database=place.database,
                blobs=place.blobs,
                settings=place.settings,
                job_id=job.id,
                kind=JobKind(job.kind),
                project_id=job.project_id,
                round_id=job.round_id,
                payload=job.payload,
                attempt=job.attempts,
                progress=heartbeat.progress,
                keep=keep,
                checkpoint=job.checkpoint,
            )
        )
    with unit_of_work(place.database, place.bell) as session:
        hold_job(session, job.id, job.token)
        finish_job(session, job.id, job.token, _without_folders(record(session), place.settings))


def _cancel(job: Job, place: Workplace) -> None:
    try:
        with unit_of_work(place.database, place.bell) as session:
            mark_cancelled(session, job.id, job.token)
    except JobLostError:
        _log.info("job_closed_before_stopping")  # by the heartbeat, before the task had begun
    else:
        _log.info("job_cancelled")


def _put_back(job: Job, place: Workplace) -> None:
    try:
        with unit_of_work(place.database, place.bell) as session:
            release_job(session, job.id, job.token)
    except JobCancelled:
        _cancel(job, place)
    except JobLostError:
        _log.info("job_closed_before_stopping")
    else:
        _log.info("job_released")


def _put_off(job: Job, place: Workplace, error: Exception) -> None:
    """Leave the job to another attempt after a pause, for an outage takes a while; the last attempt fails it."""
    knobs = place.settings
    _log.warning("job_interrupted", reason=str(error), exc_info=error)
    again = job.attempts < knobs.job_attempts
    told = f"{outage_sentence(error)} What follows is attempt {job.attempts + 1} of {knobs.job_attempts}."
    try:
        wait_until_reachable(place.database, knobs.job_lease_s)
        with unit_of_work(place.database, place.bell) as session:
            if again:
                put_off_job(session, job.id, job.token, knobs.job_lease_s, _without_folders(told, knobs))
            else:
                fail_job(session, job.id, job.token, _problem(error, knobs, job.attempts))
    except JobCancelled:
        _cancel(job, place)
    except SQLAlchemyError as still:
        # Nobody beats for the job any more: it waits as soon as its lease has run out.
        _log.warning("job_left_to_its_lease", reason=str(still))


def _problem(error: Exception, knobs: Settings, attempts: int = 1) -> dict[str, Any]:
    """An RFC 9457-like account of what ended the job, for whoever may see the job: no path of this machine is in it."""
    if (outage := outage_code(error)) is not None:
        times = "once" if attempts == 1 else f"{attempts} times"
        code, title = outage, "What the job leans on did not answer"
        detail = f"{outage_sentence(error)} The job was tried {times}."
    elif isinstance(error, NextSliceError):
        code, title, detail = error.code, "The job was refused", str(error)
    elif isinstance(error, MemoryExhaustedError):
        code, title, detail = GpuOutOfMemory.code, "The GPU is too small", str(error)
    else:
        code, title = "job-crashed", "The job stopped on an unexpected error"
        detail = f"{type(error).__name__}: {error}"
    detail = _ABSOLUTE.sub(r"\1", knobs.hide_folders(detail))
    return {"type": f"urn:nextslice:{code}", "title": title, "detail": detail[:DETAIL_CHARACTERS], "code": code}


def _without_folders(found: Any, knobs: Settings) -> Any:
    """The same JSON with the folders of this machine by their names: reasons quote what a file was called."""
    if isinstance(found, dict):
        return {key: _without_folders(value, knobs) for key, value in found.items()}
    if isinstance(found, list):
        return [_without_folders(each, knobs) for each in found]
    return knobs.hide_folders(found) if isinstance(found, str) else found
