"""The postman: what one letter, or one receiver, does to the letters of all others."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from app import postman
from app.db.models import Webhook, WebhookDelivery
from app.db.session import Database
from app.names import WebhookEvent
from app.outbox import SilentBell, unit_of_work
from app.postman import Postman
from app.services.webhooks import Letter, address_delivery
from app.settings import Settings
from tests.api.conftest import on_sqlite
from tests.api.receiver import Receiver
from tests.rows import add_project

KNOBS = Settings(webhook_private=True, sweep_s=0.05)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


def add_letters(database: Database, *urls: str) -> list[uuid.UUID]:
    """One delivery to each address, all of one project; the ids in order."""
    with unit_of_work(database, SilentBell()) as session:
        project = add_project(session)
        hooks = [Webhook(project_id=project.id, url=url, events=["round.closed"], secret="s") for url in urls]
        session.add_all(hooks)
        session.flush()
        return [address_delivery(session, hook, WebhookEvent.PING, {}).id for hook in hooks]


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
