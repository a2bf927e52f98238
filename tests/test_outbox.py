"""A bell is rung for what was committed, and for nothing else; a dead broker costs no request any time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from app.broker import WakeSender, make_celery
from app.db.session import Database
from app.errors import BrokerUnreachable
from app.names import JobKind, Queue
from app.outbox import Dispatcher, SendingBell, unit_of_work
from app.services.jobs import queue_job, queues_to_wake
from app.settings import Settings
from tests.rows import add_project, age_jobs, queue_jobs

DEAD_REDIS = "redis://127.0.0.1:1/0"


class HeardBell:
    """A bell that remembers what it heard, and what was committed by then."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.heard: list[frozenset[Queue]] = []
        self.jobs_then: list[int] = []

    def ring(self, queues: frozenset[Queue]) -> None:
        self.heard.append(queues)
        with self.database.reading() as session:
            self.jobs_then.append(session.execute(text("SELECT count(*) FROM jobs")).scalar_one())


def eventually(holds: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@contextmanager
def running(dispatcher: Dispatcher) -> Iterator[Dispatcher]:
    dispatcher.start()
    try:
        yield dispatcher
    finally:
        dispatcher.stop()
        assert not dispatcher.is_alive


def test_a_commit_rings_once_for_the_queues_of_its_jobs_and_after_it(database: Database) -> None:
    bell = HeardBell(database)
    with unit_of_work(database, bell) as session:
        project = add_project(session)
        for kind in (JobKind.EXPORT, JobKind.PREDICT, JobKind.EVALUATE):
            queue_job(session, project_id=project.id, kind=kind)
        assert bell.heard == []
    assert bell.heard == [frozenset({Queue.CPU, Queue.GPU})]
    assert bell.jobs_then == [3]


def test_a_commit_without_jobs_rings_nothing(database: Database) -> None:
    bell = HeardBell(database)
    with unit_of_work(database, bell) as session:
        add_project(session)
    assert bell.heard == []


def test_an_error_rolls_back_and_rings_nothing(database: Database) -> None:
    bell = HeardBell(database)

    def queue_and_stumble() -> None:
        with unit_of_work(database, bell) as session:
            queue_job(session, project_id=add_project(session).id, kind=JobKind.EXPORT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        queue_and_stumble()
    assert bell.heard == []
    with database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 0


def test_a_savepoint_that_is_released_rings_nothing(database: Database) -> None:
    bell = HeardBell(database)

    def release_and_stumble() -> None:
        with unit_of_work(database, bell) as session:
            with session.begin_nested():
                queue_job(session, project_id=add_project(session).id, kind=JobKind.EXPORT)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        release_and_stumble()
    assert bell.heard == []


def test_a_commit_that_fails_raises_and_rings_nothing(database: Database) -> None:
    bell = HeardBell(database)
    with database.writing() as session:
        session.execute(text("CREATE TABLE parents (id INTEGER PRIMARY KEY)"))
        session.execute(text("CREATE TABLE children (id INTEGER REFERENCES parents DEFERRABLE INITIALLY DEFERRED)"))
        session.commit()

    def queue_and_break_a_promise() -> None:
        with unit_of_work(database, bell) as session:
            queue_job(session, project_id=add_project(session).id, kind=JobKind.EXPORT)
            session.execute(text("INSERT INTO children VALUES (1)"))

    try:
        with pytest.raises(IntegrityError):
            queue_and_break_a_promise()
        assert bell.heard == []
    finally:
        with database.writing() as session:
            session.execute(text("DROP TABLE children"))
            session.execute(text("DROP TABLE parents"))
            session.commit()


def test_ringing_sends_one_wake_a_queue_at_once(database: Database) -> None:
    sent: list[Queue] = []
    dispatcher = Dispatcher(database, lambda _session: frozenset(), sent.append, sweep_s=60)
    with running(dispatcher):
        dispatcher.ring(frozenset({Queue.GPU, Queue.CPU}))
        assert eventually(lambda: sorted(sent) == [Queue.CPU, Queue.GPU])
        dispatcher.ring(frozenset({Queue.CPU}))
        assert eventually(lambda: len(sent) == 3)


def test_the_sweep_finds_a_job_whose_wake_was_lost(database: Database) -> None:
    queue_jobs(database, JobKind.EXPORT)  # committed under a silent bell
    age_jobs(database, 2.0)
    sent: list[Queue] = []
    with running(Dispatcher(database, queues_to_wake, sent.append, sweep_s=0.05)):
        assert eventually(lambda: sent == [Queue.CPU])
        time.sleep(0.3)
    assert sent == [Queue.CPU]  # the next one is due a second or two later


def test_ringing_neither_blocks_nor_raises_while_the_broker_hangs(database: Database) -> None:
    release = threading.Event()
    dispatcher = Dispatcher(database, lambda _session: frozenset(), lambda _queue: bool(release.wait(10)), sweep_s=60)
    with running(dispatcher):
        began = time.monotonic()
        for _ in range(1000):
            dispatcher.ring(frozenset({Queue.CPU}))
        assert time.monotonic() - began < 0.5
        release.set()


def test_the_dispatcher_survives_a_dead_broker_and_sends_when_it_is_back(database: Database) -> None:
    dead = WakeSender(make_celery(Settings(broker_url=DEAD_REDIS)))
    refused: list[str] = []
    sent: list[Queue] = []
    back = threading.Event()

    def send(queue: Queue) -> None:
        if back.is_set():
            sent.append(queue)
            return
        try:
            dead(queue)
        except BrokerUnreachable as error:
            refused.append(error.reason)
            raise

    dispatcher = Dispatcher(database, lambda _session: frozenset(), send, sweep_s=0.05)
    with running(dispatcher):
        dispatcher.ring(frozenset({Queue.GPU}))
        assert eventually(lambda: len(refused) >= 3)
        assert dispatcher.is_alive
        back.set()
        assert eventually(lambda: sent == [Queue.GPU])


def test_the_dispatcher_survives_a_database_that_is_away(database: Database) -> None:
    sweeps: list[int] = []

    def find(session: Session) -> frozenset[Queue]:
        sweeps.append(1)
        if len(sweeps) < 3:
            session.execute(text("SELECT * FROM no_such_table"))
        return frozenset({Queue.CPU})

    sent: list[Queue] = []
    with running(Dispatcher(database, find, sent.append, sweep_s=0.05)):
        assert eventually(lambda: len(sent) > 0)


def test_a_worker_that_cannot_ring_goes_on(tmp_path: Path) -> None:
    refusing = SendingBell(WakeSender(make_celery(Settings(home=tmp_path, broker_url=DEAD_REDIS))))
    began = time.monotonic()
    refusing.ring(frozenset(Queue))
    assert time.monotonic() - began < 2.0


def test_a_database_that_cannot_be_opened_rings_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'no.db'}")
    bell = HeardBell(database)
    (tmp_path / "no.db").mkdir()
    with pytest.raises(OperationalError), unit_of_work(database, bell) as session:
        add_project(session)
    assert bell.heard == []
