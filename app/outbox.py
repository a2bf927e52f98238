"""The one way to commit: a unit of work, and the bell that is rung after it.

A job is a row; a message only tells a worker to look. So the request commits and sets an event, and the dispatcher's
thread sends the message: a dead broker costs no request any time and loses no job. What was not sent, or was lost on
its way, is found by the dispatcher's sweep of the table.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.audit import write_trace
from app.db.models import Job
from app.db.session import Database
from app.errors import BrokerUnreachable
from app.log import get_log
from app.names import Queue

_QUEUED = "queued"  # the key in Session.info
STOP_TIMEOUT_S = 10.0

_log = get_log(__name__)


class Bell(Protocol):
    """What is rung when jobs were committed."""

    def ring(self, queues: frozenset[Queue]) -> None:
        """Have the workers of these queues look at the table; neither blocks on a broker for long nor raises."""
        ...


class SilentBell:
    """For processes without a broker: the sweep of the service finds their jobs."""

    def ring(self, queues: frozenset[Queue]) -> None:
        """Do nothing."""


class SendingBell:
    """For workers: the wake is sent at once, by the thread that committed."""

    def __init__(self, send: Callable[[Queue], None]) -> None:
        self._send = send

    def ring(self, queues: frozenset[Queue]) -> None:
        """Send one wake a queue; a broker that does not answer is only logged, for the sweep finds the jobs."""
        for queue in sorted(queues):
            _sent(self._send, queue)


@contextmanager
def unit_of_work(database: Database, bell: Bell) -> Iterator[Session]:
    """A writing session that is committed on leaving, or rolled back on an error; then the bell rings.

    Nobody else commits. The bell rings for the jobs noted by `note_queued`, and only after a commit that succeeded:
    a worker that was woken earlier would find no row.
    """
    with database.writing() as session:
        yield session
        write_trace(session)
        session.commit()
    queued: dict[str, Queue] = session.info.get(_QUEUED, {})
    for job_id, queue in queued.items():
        # The one line that has the id of the request, or of the job before, beside the id that the worker's lines have.
        _log.info("job_queued", queued_job_id=job_id, queue=str(queue))
    if queued:
        bell.ring(frozenset(queued.values()))


def note_queued(session: Session, job: Job) -> None:
    """Remember that this unit of work put the job into its queue, so that the bell rings for it."""
    session.info.setdefault(_QUEUED, {})[str(job.id)] = Queue(job.queue)


class Dispatcher:
    """The bell of the service, and its sweeper: one thread that sends wakes, and nothing else does.

    `find_waiting` says, in a writing session, which queues hold jobs that nobody has taken up (see
    `app.services.jobs.queues_to_wake`); it is asked every `sweep_s` seconds. `send` raises `BrokerUnreachable`.
    """

    def __init__(
        self,
        database: Database,
        find_waiting: Callable[[Session], frozenset[Queue]],
        send: Callable[[Queue], None],
        sweep_s: float,
    ) -> None:
        self._database = database
        self._find_waiting = find_waiting
        self._send = send
        self._sweep_s = sweep_s
        self._lock = threading.Lock()
        self._rung: set[Queue] = set()
        self._event = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; it sweeps at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and wait for it; what was rung and not sent yet is left to the next sweep of somebody."""
        self._stopping = True
        self._event.set()
        self._thread.join(STOP_TIMEOUT_S)

    def ring(self, queues: frozenset[Queue]) -> None:
        """Note the queues for the thread: never blocks, never raises."""
        with self._lock:
            self._rung |= queues
        self._event.set()

    def _run(self) -> None:
        next_sweep = time.monotonic()
        while not self._stopping:
            self._event.wait(max(0.0, next_sweep - time.monotonic()))
            self._event.clear()
            with self._lock:
                queues, self._rung = self._rung, set()
            unsent = {queue for queue in sorted(queues) if not _sent(self._send, queue)}
            if time.monotonic() >= next_sweep:
                next_sweep = time.monotonic() + self._sweep_s
                # What could not be sent waits here for the next sweep: the table itself asks more and more rarely.
                waiting = self._sweep() - unsent - queues
                unsent |= {queue for queue in sorted(waiting) if not _sent(self._send, queue)}
            with self._lock:
                self._rung |= unsent

    def _sweep(self) -> frozenset[Queue]:
        try:
            with unit_of_work(self._database, SilentBell()) as session:
                return self._find_waiting(session)
        except SQLAlchemyError as error:
            _log.warning("sweep_failed", reason=str(error))
            return frozenset()


def _sent(send: Callable[[Queue], None], queue: Queue) -> bool:
    try:
        send(queue)
    except BrokerUnreachable as error:
        _log.warning("wake_not_sent", queue=str(queue), reason=error.reason)
        return False
    return True
