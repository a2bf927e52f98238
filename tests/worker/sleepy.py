"""A worker whose tasks only sleep, to be killed in the middle of a job: loaded by `celery -A tests.worker.sleepy`."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.db.models import Patient
from app.names import JobKind, Split
from app.settings import settings
from worker.main import make_worker
from worker.runner import Record, Task, Work

STEP_S = 0.02


def sleep(work: Work) -> Record:
    """Sleep for `payload["seconds"]`, once the file `payload["started"]` names this process; then add one patient."""
    started = Path(work.payload["started"])
    written = started.with_name(f"{started.name}.part")
    written.write_text(f"{os.getpid()} {os.getppid()}", encoding="ascii")
    written.replace(started)  # whoever waits for the file finds both numbers in it
    steps = round(work.payload["seconds"] / STEP_S)
    for step in range(steps):
        work.progress(step, steps, "sleeping")
        time.sleep(STEP_S)

    def record(session: Session) -> dict[str, Any]:
        session.add(Patient(project_id=work.project_id, code=str(uuid.uuid4()), split=Split.TRAIN))
        return {"attempt": work.attempt}

    return record


def find_sleep(_kind: JobKind) -> Task:
    """Whatever the job, sleep."""
    return sleep


celery = make_worker(settings(), find_sleep)
