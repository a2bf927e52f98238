"""Wakes through the folder broker: whole, in their queue, and refused in one sentence where the folder is gone."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from app.broker import WAKE, WakeSender, make_celery
from app.errors import BrokerUnreachable
from app.names import Queue
from app.settings import Settings


def test_a_wake_is_one_whole_file_that_names_its_queue_and_ends_within_a_minute(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    WakeSender(make_celery(settings))(Queue.GPU)
    (message,) = settings.broker_folder.iterdir()
    assert message.name.endswith(".gpu.msg")
    headers = json.loads(message.read_text(encoding="utf-8"))["headers"]
    assert headers["task"] == WAKE
    assert headers["argsrepr"] == "('gpu',)"
    assert headers["expires"] is not None


def test_a_reader_sees_whole_messages_only_while_others_write(tmp_path: Path) -> None:
    celery = make_celery(Settings(home=tmp_path))
    send = WakeSender(celery)
    senders = [threading.Thread(target=lambda: [send(Queue.CPU) for _ in range(100)]) for _ in range(2)]
    for sender in senders:
        sender.start()
    received = 0
    with celery.connection_for_read() as connection, connection.channel() as channel:
        queue = celery.amqp.queues["cpu"].bind(channel)
        while received < 200:
            received += queue.get(no_ack=True) is not None
    for sender in senders:
        sender.join()
    assert received == 200


def test_a_queue_gets_its_own_wakes_only(tmp_path: Path) -> None:
    celery = make_celery(Settings(home=tmp_path))
    WakeSender(celery)(Queue.GPU)
    with celery.connection_for_read() as connection, connection.channel() as channel:
        assert celery.amqp.queues["cpu"].bind(channel).get(no_ack=True) is None
        assert celery.amqp.queues["gpu"].bind(channel).get(no_ack=True) is not None


def test_a_folder_that_is_gone_is_refused_as_an_unreachable_broker(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    send = WakeSender(make_celery(settings))
    shutil.rmtree(settings.broker_folder)
    with pytest.raises(BrokerUnreachable, match="message broker cannot be reached"):
        send(Queue.CPU)
