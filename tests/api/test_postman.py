"""The postman: what one letter, or one receiver, does to the letters of all others."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from app import postman
from app.db.models import Project, Webhook, WebhookDelivery
from app.db.session import Database
from app.names import WebhookEvent
from app.outbox import SilentBell, unit_of_work
from app.postman import Postman, send_letter
from app.services.deletions import delete_project, list_deletions, restore
from app.services.purging import purge
from app.services.webhooks import Letter, address_delivery, change_webhook
from app.settings import Settings
from app.storage.stores import LocalStore
from tests.api.conftest import on_sqlite
from tests.api.receiver import Receiver
from tests.rows import add_project

KNOBS = Settings(webhook_private=True, sweep_s=0.05)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


class DrippingReceiver:
    """A server that takes connections and answers each with a line of a header now and then, until it is closed."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/slow"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        give_up = time.monotonic() + 20
        while not self._closing.is_set() and time.monotonic() < give_up:
            with suppress(TimeoutError):
                self.connections.append(self._listener.accept()[0])
                self.connections[-1].sendall(b"HTTP/1.1 200 OK\r\n")
            for each in self.connections:
                with suppress(OSError):  # the sender has gone
                    each.sendall(b"X-More: to come\r\n")

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        for each in (*self.connections, self._listener):
            each.close()


@pytest.fixture
def dripping() -> Iterator[DrippingReceiver]:
    opened = DrippingReceiver()
    yield opened
    opened.close()


def add_letters(database: Database, *urls: str) -> list[uuid.UUID]:
    """A webhook for each address, all of one project, and a delivery to it for each time it is named; ids in order."""
    with unit_of_work(database, SilentBell()) as session:
        project = add_project(session)
        hooks = {url: Webhook(project_id=project.id, url=url, events=["round.closed"], secret="s") for url in urls}
        session.add_all(hooks.values())
        session.flush()
        return [address_delivery(session, hooks[url], WebhookEvent.PING, {}).id for url in urls]


def count_tries(database: Database) -> list[int]:
    """How often each delivery was sent, the oldest first."""
    with database.reading() as session:
        return list(session.scalars(select(WebhookDelivery.attempts).order_by(WebhookDelivery.id)))


def read_delivery(database: Database, delivery_id: uuid.UUID) -> WebhookDelivery:
    with database.reading() as session:
        return session.get_one(WebhookDelivery, delivery_id)


@on_sqlite
def test_what_one_letter_trips_over_is_its_own_failed_try(
    database: Database, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = postman.send_letter

    def stumble(letter: Letter, allow_private: bool) -> tuple[int | None, str]:
        if letter.url.endswith("/odd"):
            raise UnicodeEncodeError("ascii", "ü", 0, 1, "not in range")
        return send(letter, allow_private)

    monkeypatch.setattr(postman, "send_letter", stumble)
    odd, other = add_letters(database, f"{receiver.url}/odd", f"{receiver.url}/other")
    Postman(database, KNOBS).carry_due()
    failed = read_delivery(database, odd)
    assert (failed.state, failed.attempts, failed.status) == ("pending", 1, None)
    assert failed.error.startswith("UnicodeEncodeError: ")
    assert read_delivery(database, other).state == "delivered"


def test_a_letter_has_one_deadline_however_its_answer_trickles(
    dripping: DrippingReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postman, "TIMEOUT_S", 0.5)
    began = time.monotonic()
    letter = Letter(uuid.uuid4(), uuid.uuid4(), dripping.url, "ping", "secret", {})
    assert send_letter(letter, allow_private=True) == (None, "no answer within 0.5 s")
    assert time.monotonic() - began < 5


def test_a_slow_receiver_holds_up_its_own_letters_alone(
    database: Database, receiver: Receiver, dripping: DrippingReceiver
) -> None:
    slow, _, first, second = add_letters(database, dripping.url, dripping.url, receiver.url, receiver.url)
    carrier = Postman(database, KNOBS)
    carrier.start()
    receiver.wait_for(2)
    waiting = read_delivery(database, slow)
    assert (waiting.state, waiting.attempts, waiting.error) == ("pending", 1, ""), "it is being sent still"
    assert len(dripping.connections) == 1, "its next letter waits for it"
    dripping.close()
    carrier.stop()
    assert not carrier.is_alive
    assert {read_delivery(database, each).state for each in (first, second)} == {"delivered"}
    assert read_delivery(database, slow).error != ""


def test_nothing_is_sent_for_a_webhook_that_rests_nor_for_a_deleted_project(
    database: Database, receiver: Receiver, tmp_path: Path
) -> None:
    add_letters(database, f"{receiver.url}/resting", f"{receiver.url}/active")
    carrier = Postman(database, KNOBS)
    with unit_of_work(database, SilentBell()) as session:
        resting = session.scalars(select(Webhook).where(Webhook.url.endswith("/resting"))).one()
        change_webhook(session, resting, active=False)
        delete_project(session, session.scalars(select(Project)).one(), "anna", days=1)
    carrier.carry_due()
    assert count_tries(database) == [0, 0]
    with unit_of_work(database, SilentBell()) as session:
        restore(session, list_deletions(session)[0])
    carrier.carry_due()
    assert count_tries(database) == [0, 1]
    with unit_of_work(database, SilentBell()) as session:
        change_webhook(session, session.get_one(Webhook, resting.id), active=True)
    carrier.carry_due()
    assert count_tries(database) == [1, 1]
    assert [headers["path"] for headers, _ in receiver.got] == ["/active", "/resting"]
    with unit_of_work(database, SilentBell()) as session:
        deletion = delete_project(session, session.scalars(select(Project)).one(), "anna", days=0)
        purge(session, LocalStore(tmp_path / "blobs"), deletion)
    assert count_tries(database) == []
