"""The broker: an empty message that tells a worker to look at the table, and nothing else.

Without a broker URL the messages are files in a folder; with one they go to Redis. Neither is trusted: a lost message
is sent again by the sweep, a doubled one finds the job taken.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Connection, Exchange, Queue as MessageQueue
from kombu.exceptions import KombuError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.json import dumps

from app.errors import BrokerUnreachable
from app.names import Queue
from app.settings import Settings

WAKE = "nextslice.wake"
"""The only task that there is: look at the table."""

WAKE_EXPIRES_S = 60
POLLING_INTERVAL_S = 0.1
CHECK_TIMEOUT_S = 2.0
_CHECK_KEY = "nextslice-check"


class _FolderChannel(filesystem.Channel):  # type: ignore[misc]  # kombu has no types
    """Files that appear whole: the transport it extends writes in place, and a reader may take half a message."""

    def _put(self, queue: str, payload: dict[str, Any], **_options: object) -> None:
        final = Path(self.data_folder_out) / f"{time.monotonic_ns() // 1_000_000}_{uuid.uuid4()}.{queue}.msg"
        unfinished = final.with_suffix(".part")
        unfinished.write_text(dumps(payload), encoding="utf-8")
        unfinished.rename(final)

    def _queue_bind(self, *_binding: object) -> None:
        # Routes are fixed, so there is no table of them in a file, which processes that start together would tear.
        pass

    def get_table(self, exchange: str) -> list[tuple[str, str, str]]:
        """The routes of an exchange as (routing key, pattern, queue): each queue has an exchange of its name."""
        return [(exchange, "", exchange)]


class FolderTransport(filesystem.Transport):  # type: ignore[misc]  # kombu has no types
    """The folder broker of the embedded service: no server, 0.1 s between two looks."""

    Channel = _FolderChannel


TRANSPORT_ALIASES["folder"] = "app.broker:FolderTransport"


def make_celery(settings: Settings) -> Celery:
    """The Celery app of this house, for senders and workers alike; the folder broker's folder is made here."""
    celery = Celery("nextslice", set_as_current=False)
    celery.conf.update(
        broker_url=settings.broker_url or "folder://localhost//",
        broker_transport_options=_transport_options(settings),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a worker waits for its broker as long as it takes
        task_queues=[MessageQueue(str(queue), Exchange(str(queue)), routing_key=str(queue)) for queue in Queue],
        task_default_queue=str(Queue.CPU),
        task_acks_late=False,  # the row, not the message, survives a crash; a message given out twice would be noise
        task_ignore_result=True,
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False,
        worker_max_tasks_per_child=100,  # a process that ends gives all its memory back, the accelerator's too
        worker_hijack_root_logger=False,
    )
    return celery


class WakeSender:
    """Sends wakes and gives up at once where the broker does not answer."""

    def __init__(self, celery: Celery) -> None:
        self._celery = celery

    def __call__(self, queue: Queue) -> None:
        """Send one wake; it is worth nothing a minute later. Raises `BrokerUnreachable`."""
        try:
            self._celery.send_task(
                WAKE, args=(str(queue),), queue=str(queue), expires=WAKE_EXPIRES_S, ignore_result=True, retry=False
            )
        except (KombuError, OSError) as error:
            raise BrokerUnreachable(str(error)) from error


def check_broker(settings: Settings) -> None:
    """Raise `BrokerUnreachable` unless the broker answers, or its folder can be written to."""
    if not settings.broker_url:
        if not os.access(settings.broker_folder, os.W_OK | os.X_OK):
            raise BrokerUnreachable("its folder cannot be written to")
        return
    options = {"max_retries": 0, "socket_connect_timeout": CHECK_TIMEOUT_S, "socket_timeout": CHECK_TIMEOUT_S}
    try:
        with Connection(settings.broker_url, transport_options=options) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=CHECK_TIMEOUT_S)
            if connection.transport.driver_type == "redis":
                # One that is full answers, and takes no wake.
                connection.default_channel.client.set(_CHECK_KEY, "", ex=60)
    except (KombuError, OSError, *_refusals()) as error:
        raise BrokerUnreachable(str(error)) from error


def _refusals() -> tuple[type[Exception], ...]:
    try:
        from redis.exceptions import RedisError
    except ImportError:
        return ()
    return (RedisError,)


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.broker_url:
        # Without this a sender blocks for seconds when the broker is down.
        return {"max_retries": 0}
    folder = settings.broker_folder
    folder.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(folder),
        "data_folder_out": str(folder),
        "control_folder": str(folder),
        "polling_interval": POLLING_INTERVAL_S,
    }
