"""What `celery -A worker.main worker` loads: one task that says "look at the table".

Nothing heavy is imported here. The parent of the pool never sees torch; the pool's process imports it with its first
job.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from celery import Celery, signals

from app.broker import WAKE, WakeSender, make_celery
from app.db.session import Database
from app.log import configure_logging
from app.names import JobKind, Queue
from app.outbox import SendingBell
from app.settings import Settings, settings
from app.storage.stores import open_store
from app.supervisor import die_with_parent, die_with_supervisor
from worker.runner import Task, Workplace, run_next_job
from worker.tasks import find_task


def make_worker(knobs: Settings, find: Callable[[JobKind], Task]) -> Celery:
    """A Celery app whose workers run the jobs of their queues with the tasks that `find` gives."""
    worker = make_celery(knobs)
    send = WakeSender(worker)

    @lru_cache(maxsize=1)  # made in the pool's process: no connection may be shared across a fork
    def workplace() -> Workplace:
        return Workplace(
            database=Database(knobs.database),
            blobs=open_store(knobs),
            settings=knobs,
            bell=SendingBell(send),
            find_task=find,
            owner=f"{socket.gethostname()}:{os.getpid()}",
        )

    def wake(queue: str) -> None:
        """Run the jobs of the queue until none waits."""
        while run_next_job(Queue(queue), workplace()):
            pass

    worker.task(name=WAKE, shared=False)(wake)
    return worker


def _configure(**_facts: Any) -> None:
    configure_logging()
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)  # that a wake came and went is no news; the runner logs jobs


def _begin(**_facts: Any) -> None:
    die_with_supervisor()


def _begin_process(**_facts: Any) -> None:
    # Killed alone, the pool's parent would leave a process behind that runs on unsupervised.
    die_with_parent()


def _look(sender: Any, **_facts: Any) -> None:
    # Messages may have been lost while no worker ran: look once without being told.
    for queue in sender.app.amqp.queues.consume_from:
        SendingBell(WakeSender(sender.app)).ring(frozenset({Queue(queue)}))


signals.celeryd_init.connect(_configure)  # before Celery warns of what it does not like
signals.setup_logging.connect(_configure)
signals.worker_init.connect(_begin)
signals.worker_process_init.connect(_begin_process)
signals.worker_ready.connect(_look)

celery = make_worker(settings(), find_task)
