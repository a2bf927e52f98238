"""The sign of life of a running job, given by a thread beside its task."""

from __future__ import annotations

import threading
import uuid
from contextvars import copy_context
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from app.db.session import Database
from app.errors import JobCancelled, JobLostError
from app.log import get_log
from app.outbox import SilentBell, unit_of_work
from app.services.claims import Beat, beat_job, mark_cancelled

BEATS_PER_LEASE = 10

_log = get_log(__name__)


class Heartbeat:
    """Prolongs a job's lease from a thread for as long as the `with` lasts, and carries the progress along.

    A task hears of a cancellation from `progress`. Until it has called that it may be loading for long, so the thread
    itself closes the job: whatever the task does then is written nowhere, as for a job that was lost.
    """

    def __init__(self, database: Database, job_id: uuid.UUID, token: int, lease_s: float) -> None:
        self._database = database
        self._job_id = job_id
        self._token = token
        self._lease_s = lease_s
        self._progress = (0, 0, "")
        self._written = self._progress
        self._begun = False
        self._learned = Beat(lost=False, cancel=False)
        self._stopping = threading.Event()
        # A thread begins without a context, and its lines would lack the job's id.
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name="heartbeat", daemon=True)

    def progress(self, done: int, total: int, message: str) -> None:
        """Note how far the task is; raises `JobLostError` or `JobCancelled` as soon as a beat has learned of it."""
        self._progress = (done, total, message)
        self._begun = True
        self.check()

    def check(self) -> None:
        """Raise `JobLostError` or `JobCancelled` if a beat has learned of it."""
        if self._learned.lost:
            raise JobLostError(self._job_id)
        if self._learned.cancel:
            raise JobCancelled(self._job_id)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        if self._progress != self._written and not self._learned.lost:
            self._beat()

    def _run(self) -> None:
        while not self._stopping.wait(self._lease_s / BEATS_PER_LEASE):
            self._beat()
            if self._learned.cancel and not self._begun and self._close():
                return

    def _beat(self) -> None:
        progress = self._progress
        try:
            with unit_of_work(self._database, SilentBell()) as session:
                self._learned = beat_job(session, self._job_id, self._token, self._lease_s, *progress)
        except SQLAlchemyError as error:
            # The database may be back before the lease has run out; the token decides in the end.
            _log.warning("heartbeat_failed", reason=str(error))
        else:
            self._written = progress

    def _close(self) -> bool:
        """Close the job as cancelled; False where the next beat has to see."""
        try:
            with unit_of_work(self._database, SilentBell()) as session:
                mark_cancelled(session, self._job_id, self._token)
        except (SQLAlchemyError, JobLostError) as error:
            _log.warning("cancellation_waits", reason=str(error))
            return False
        _log.info("job_cancelled")
        return True
