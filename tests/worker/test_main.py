"""Real Celery workers under a real supervisor, killed at the worst moment: each job is done exactly once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app.broker import WakeSender, make_celery
from app.db.models import Job, Patient, Project
from app.db.session import Database
from app.names import JobKind, JobState, Queue
from app.outbox import Dispatcher, SilentBell, unit_of_work
from app.services.jobs import find_job, queue_job, queues_to_wake, request_cancel
from app.settings import Settings
from app.supervisor import Supervisor
from tests.rows import add_project, read_job

LEASE_S = 2.0
PATIENCE_S = 60.0


@dataclass
class Service:
    """The parts of an embedded service that jobs pass through, with workers that sleep."""

    settings: Settings
    database: Database
    dispatcher: Dispatcher
    supervisor: Supervisor
    started: Path

    def queue(self, seconds: float) -> uuid.UUID:
        """A committed job that sleeps."""
        self.started.unlink(missing_ok=True)
        with unit_of_work(self.database, self.dispatcher) as session:
            project = session.scalar(select(Project)) or add_project(session)
            payload = {"seconds": seconds, "started": str(self.started)}
            return queue_job(session, project_id=project.id, kind=JobKind.EXPORT, payload=payload).id

    def wait_for_start(self) -> tuple[int, int]:
        """The process ids of the pool's process that runs the job now, and of its parent."""
        eventually(lambda: self.started.exists() and len(self.started.read_text().split()) == 2)
        child, parent = map(int, self.started.read_text().split())
        return child, parent

    def wait_for(self, job_id: uuid.UUID, *states: JobState) -> Job:
        """The job, once it is in one of the states."""
        eventually(lambda: read_job(self.database, job_id).state in states)
        return read_job(self.database, job_id)

    def results(self) -> int:
        """How many results were written in all."""
        with self.database.reading() as session:
            return session.execute(select(func.count()).select_from(Patient)).scalar_one()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(params=["sqlite and a folder", "postgresql and redis"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    embedded = request.param == "sqlite and a folder"
    settings = Settings(
        home=tmp_path,
        database_url=request.getfixturevalue("sqlite_url" if embedded else "postgres_url"),
        broker_url="" if embedded else request.getfixturevalue("redis_url"),
        job_lease_s=LEASE_S,
        sweep_s=0.2,
    )
    database = Database(settings.database)
    dispatcher = Dispatcher(database, queues_to_wake, WakeSender(make_celery(settings)), settings.sweep_s)
    supervisor = Supervisor(settings, module="tests.worker.sleepy", queues=(Queue.CPU,))
    dispatcher.start()
    supervisor.start()
    yield Service(settings, database, dispatcher, supervisor, tmp_path / "started")
    supervisor.stop(grace_s=0.0)
    dispatcher.stop()
    database.dispose()


def test_a_job_whose_worker_is_killed_is_taken_up_again_by_itself_and_done_exactly_once(service: Service) -> None:
    job_id = service.queue(seconds=1.0)
    service.wait_for_start()
    os.killpg(service.supervisor.pids[Queue.CPU], signal.SIGKILL)
    job = service.wait_for(job_id, JobState.SUCCEEDED, JobState.FAILED)
    assert (job.state, job.attempts, job.token, job.result) == (JobState.SUCCEEDED, 2, 2, {"attempt": 2})
    assert service.results() == 1


def test_a_pool_process_that_is_killed_alone_is_replaced_and_its_job_done_once(service: Service) -> None:
    job_id = service.queue(seconds=1.0)
    child, _parent = service.wait_for_start()
    os.kill(child, signal.SIGKILL)
    job = service.wait_for(job_id, JobState.SUCCEEDED, JobState.FAILED)
    assert (job.state, job.attempts) == (JobState.SUCCEEDED, 2)
    assert service.results() == 1


def test_stopping_the_service_puts_a_running_job_back_and_takes_the_workers_along(service: Service) -> None:
    job_id = service.queue(seconds=60.0)
    child, parent = service.wait_for_start()
    service.supervisor.stop()
    job = read_job(service.database, job_id)
    assert (job.state, job.attempts, job.owner) == (JobState.QUEUED, 0, None)
    assert service.supervisor.pids == {}
    assert not is_running(child)
    assert not is_running(parent)


def test_a_cancelled_job_stops_and_the_worker_takes_the_next(service: Service) -> None:
    job_id = service.queue(seconds=60.0)
    service.wait_for_start()
    with unit_of_work(service.database, service.dispatcher) as session:
        request_cancel(session, find_job(session, job_id))
    assert service.wait_for(job_id, JobState.CANCELLED, JobState.FAILED).state == JobState.CANCELLED
    next_id = service.queue(seconds=0.0)
    assert service.wait_for(next_id, JobState.SUCCEEDED, JobState.FAILED).attempts == 1
    assert service.results() == 1

    def ended() -> list[str]:
        text = (service.settings.home / "logs" / "worker-cpu.log").read_text(encoding="utf-8")
        events = [json.loads(line) for line in text[: text.rfind("\n")].splitlines()]  # no banner, no bare line
        return [event["job_id"] for event in events if event["event"] in {"job_cancelled", "job_succeeded"}]

    eventually(lambda: len(ended()) == 2)  # a job's row is committed before its line is written
    assert ended() == [str(job_id), str(next_id)]


def test_workers_die_with_a_supervisor_that_is_killed(tmp_path: Path, sqlite_url: str) -> None:
    settings = Settings(home=tmp_path, database_url=sqlite_url, job_lease_s=LEASE_S)
    script = (
        "import sys, time\n"
        "from app.settings import Settings\n"
        "from app.supervisor import Supervisor\n"
        "from app.names import Queue\n"
        "settings = Settings.model_validate_json(sys.argv[1])\n"
        "Supervisor(settings, module='tests.worker.sleepy', queues=(Queue.CPU,)).start()\n"
        "time.sleep(600)\n"
    )
    database = Database(settings.database)
    with unit_of_work(database, SilentBell()) as session:
        payload = {"seconds": 60.0, "started": str(tmp_path / "started")}
        queue_job(session, project_id=add_project(session).id, kind=JobKind.EXPORT, payload=payload)
    owner = subprocess.Popen([sys.executable, "-c", script, settings.model_dump_json(by_alias=False)])
    try:
        # Nobody rang: a worker that starts looks once by itself.
        eventually(lambda: (tmp_path / "started").exists())
        child, parent = map(int, (tmp_path / "started").read_text().split())
    finally:
        owner.kill()
        owner.wait()
    eventually(lambda: not is_running(child) and not is_running(parent))
    database.dispose()


def test_what_the_service_and_the_pools_parent_import_has_no_torch_in_it() -> None:
    modules = "app.services.jobs, app.services.claims, app.outbox, app.broker, app.supervisor, worker.main"
    script = f"import sys, {modules}; print('torch' in sys.modules, 'worker.main' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["False", "True"]


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # a zombie waits for its parent, but runs no more
