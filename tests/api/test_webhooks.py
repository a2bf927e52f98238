"""Webhooks against a real receiver on this machine: signed, retried, logged; private addresses refused."""

from __future__ import annotations

import hashlib
import hmac
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import Client
from app.db.session import Database
from app.embedded import running_service
from app.errors import WebhookRefused
from app.postman import send_letter
from app.services import webhooks
from app.services.webhooks import ATTEMPTS, resolve_address
from app.settings import Settings
from tests.api.conftest import Service, on_sqlite
from tests.api.receiver import Receiver

EVENTS = ["round.proposed", "round.closed", "round.failed", "annotation.submitted"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    opened = Receiver()
    yield opened
    opened.close()


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Iterator[Service]:
    """A service that may tell addresses on this machine, and does not wait long before it tries again."""
    knobs = Settings(
        home=tmp_path / "home",
        port=0,
        database_url=database_url,
        webhook_private=True,
        webhook_retry_s=0.001,
        sweep_s=0.05,
    )
    with running_service(knobs, queues=()) as url, Client(url) as client, httpx.Client(base_url=url) as http:
        database = Database(knobs.database)
        yield Service(url, http, client, knobs, database)
        database.dispose()


def make_hook(service: Service, url: str, events: list[str] | None = None) -> dict[str, Any]:
    made: dict[str, Any] = service.client.post("/v1/projects/hearts/webhooks", {"url": url, "events": events or EVENTS})
    return made


def test_a_round_is_told_from_proposal_to_end_and_signed(
    service: Service, make_project: Callable[..., Any], receiver: Receiver
) -> None:
    make_project()
    hook = make_hook(service, f"{receiver.url}/told")
    service.client.post("/v1/projects/hearts/rounds")
    service.work_off()
    service.client.post("/v1/projects/hearts/oracle")
    service.work_off()
    told = receiver.wait_for(5)
    assert [each["event"] for each in told] == ["round.proposed", *["annotation.submitted"] * 3, "round.closed"]
    assert told[0]["picks"] == 3
    assert 0 <= told[-1]["dice"] <= 1
    for headers, body in receiver.got:
        moment, given = (part.split("=", 1)[1] for part in headers["x-nextslice-signature"].split(","))
        wanted = hmac.new(hook["secret"].encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(given, wanted)
        assert abs(int(moment) - time.time()) < 60
        assert headers["host"] == receiver.url.removeprefix("http://")
    deliveries = list(service.client.items(f"/v1/webhooks/{hook['id']}/deliveries"))
    assert {headers["x-nextslice-delivery"] for headers, _ in receiver.got} == {each["id"] for each in deliveries}
    listed = next(service.client.items("/v1/projects/hearts/webhooks"))
    assert "secret" not in listed
    assert listed["url"] == hook["url"]


def test_a_failed_delivery_is_tried_again_under_one_id_then_given_up_then_sent_on_demand(
    service: Service, make_project: Callable[..., Any], receiver: Receiver
) -> None:
    make_project()
    receiver.statuses = [500, 302, 204]
    hook = make_hook(service, receiver.url)
    ping = service.client.post(f"/v1/webhooks/{hook['id']}/ping")
    receiver.wait_for(3)
    delivery = wait_for_state(service, hook, "delivered")
    assert (delivery["attempts"], delivery["status"], delivery["error"]) == (3, 204, "")
    assert {headers["x-nextslice-delivery"] for headers, _ in receiver.got} == {ping["id"]}
    assert {headers["path"] for headers, _ in receiver.got} == {"/"}, "no redirect is followed"

    receiver.statuses = [410]
    service.client.post(f"/v1/webhook-deliveries/{ping['id']}/redeliver")
    with service.database.writing() as session:  # its last try, without waiting for the pauses of all the others
        row = webhooks.find_delivery(session, ping["id"])
        row.attempts = ATTEMPTS - 1
        session.commit()
    delivery = wait_for_state(service, hook, "failed")
    assert (delivery["status"], delivery["error"]) == (410, "the answer was 410")

    receiver.statuses = [200]
    again = service.client.post(f"/v1/webhook-deliveries/{ping['id']}/redeliver")
    assert (again["state"], again["attempts"]) == ("pending", 0)
    assert wait_for_state(service, hook, "delivered")["attempts"] >= 1


def wait_for_state(service: Service, hook: dict[str, Any], state: str) -> dict[str, Any]:
    deadline = time.monotonic() + 20
    while True:
        delivery = next(service.client.items(f"/v1/webhooks/{hook['id']}/deliveries"))
        if delivery["state"] == state:
            return dict(delivery)
        assert time.monotonic() < deadline, delivery
        time.sleep(0.05)


@on_sqlite
def test_only_what_was_asked_for_is_told_and_nothing_to_one_that_rests(
    service: Service, make_project: Callable[..., Any], receiver: Receiver
) -> None:
    make_project()
    asked = make_hook(service, f"{receiver.url}/asked", ["round.proposed"])
    resting = make_hook(service, f"{receiver.url}/resting")
    changed = service.http.patch(f"/v1/webhooks/{resting['id']}", json={"active": False}).json()
    assert (changed["active"], changed["events"]) == (False, sorted(EVENTS))
    service.client.post("/v1/projects/hearts/rounds")
    service.work_off()
    service.client.post("/v1/projects/hearts/oracle")
    wait_for_state(service, asked, "delivered")
    assert [each["event"] for each in receiver.wait_for(1)] == ["round.proposed"]
    assert list(service.client.items(f"/v1/webhooks/{resting['id']}/deliveries")) == []
    assert service.http.delete(f"/v1/webhooks/{asked['id']}").status_code == 204
    assert service.refusal("GET", f"/v1/webhooks/{asked['id']}") == (404, "record-not-found")


@on_sqlite
def test_nobody_waits_for_a_slow_resolver_and_a_repetition_is_answered_as_before(
    service: Service, make_project: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project()
    hook = make_hook(service, "http://127.0.0.1/")
    asked, answered, look_up = threading.Semaphore(0), threading.Event(), socket.getaddrinfo

    def look_up_slowly(host: str, port: int, *rest: Any, **options: Any) -> Any:
        if host == "slow.example":
            asked.release()
            if not answered.wait(20):
                raise OSError
            host = "127.0.0.1"
        return look_up(host, port, *rest, **options)

    monkeypatch.setattr("app.services.webhooks.socket.getaddrinfo", look_up_slowly)
    body, key = {"url": "http://slow.example/", "events": EVENTS}, {"Idempotency-Key": "once"}
    path = "/v1/projects/hearts/webhooks"
    with ThreadPoolExecutor() as threads:
        made = threads.submit(service.http.post, path, json=body, headers=key, timeout=60)
        changed = threads.submit(service.http.patch, f"/v1/webhooks/{hook['id']}", json=body, timeout=60)
        assert asked.acquire(timeout=20)
        assert asked.acquire(timeout=20), "neither waits for the other"
        assert service.http.post(f"/v1/webhooks/{hook['id']}/ping", timeout=10).status_code == 202
        answered.set()
        assert (made.result().status_code, changed.result().json()["url"]) == (201, body["url"])
    monkeypatch.setattr("app.services.webhooks.resolve_address", _refuse)
    again = service.http.post(path, json=body, headers=key)
    assert (again.status_code, again.json()["id"]) == (201, made.result().json()["id"])
    assert service.refusal("POST", path, json=body) == (422, "webhook-refused")
    assert service.refusal("PATCH", f"/v1/webhooks/{hook['id']}", json=body) == (422, "webhook-refused")


def _refuse(url: str, allow_private: bool) -> None:
    raise WebhookRefused(url, "its host has no address")


@on_sqlite
def test_an_event_that_is_rolled_back_is_told_to_nobody(
    service: Service, make_project: Callable[..., Any], receiver: Receiver
) -> None:
    make_project()
    hook = make_hook(service, receiver.url)
    with service.database.writing() as session:
        webhooks.announce(session, webhooks.find_webhook(session, hook["id"]).project_id, "round.closed", {})
        session.rollback()
    assert list(service.client.items(f"/v1/webhooks/{hook['id']}/deliveries")) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://localhost:8000",
        "http://10.1.2.3",
        "http://192.168.0.1",
        "http://169.254.169.254/latest/meta-data",
        "http://100.64.0.1",
        "http://0.0.0.0",
        "http://[::1]",
        "http://[::ffff:127.0.0.1]",
        "http://[fd00::1]",
        "http://[fec0::1]",
        "http://[4000::1]",
        "http://[2001:db8::1]",
        "http://[64:ff9b::7f00:1]",
        "http://[64:ff9b:1::a00:1]",
        "http://[::7f00:1]",
        "http://[::ffff:0:7f00:1]",
        "http://[2002:7f00:1::]",
        "http://224.0.0.1",
        "http://2130706433",
        "http://0x7f.1",
        "ftp://93.184.216.34",
        "file:///etc/passwd",
        "http://",
        "//93.184.216.34",
        "http://user:secret@93.184.216.34",
        "http://93.184.216.34:99999",
        "http://no-such-host.invalid",
        "http://a..b",
        f"http://{'ü' * 64}.example",
    ],
)
def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(WebhookRefused):
        resolve_address(url, allow_private=False)


def test_a_public_address_is_taken() -> None:
    assert resolve_address("https://93.184.216.34:8443/x?y", allow_private=False) == ("93.184.216.34", "93.184.216.34")


@pytest.mark.parametrize("host", ["2606:4700::1111", "64:ff9b::808:808", "::ffff:0:808:808", "2002:808:808::"])
def test_a_public_address_of_the_newer_kind_is_taken_and_one_within_it_is_judged_itself(host: str) -> None:
    assert resolve_address(f"https://[{host}]/", allow_private=False)[0] == host


@pytest.mark.parametrize(
    ("given", "meant"),
    [("８.8.8.8", "8.8.8.8"), ("8。8。8。8", "8.8.8.8"), ("Bücher.example", "xn--bcher-kva.example")],
)
def test_a_host_is_looked_up_and_told_in_ascii(given: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def look_up(host: str, port: int, **_options: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [(2, 1, 6, "", ("8.8.8.8", port))]

    monkeypatch.setattr("app.services.webhooks.socket.getaddrinfo", look_up)
    assert resolve_address(f"http://{given}/", allow_private=False) == (meant, "8.8.8.8")
    assert asked == [meant]


def test_a_letter_to_digits_of_another_script_arrives(receiver: Receiver) -> None:
    url = receiver.url.replace("127", "１２７")
    assert send_letter(webhooks.Letter(uuid.uuid4(), uuid.uuid4(), url, "ping", "secret", {}), allow_private=True) == (
        204,
        "",
    )
    assert receiver.got[0][0]["host"] == receiver.url.removeprefix("http://")


def test_an_address_that_became_private_gets_nothing(receiver: Receiver) -> None:
    letter = webhooks.Letter(uuid.uuid4(), uuid.uuid4(), receiver.url, "ping", "secret", {})
    assert send_letter(letter, allow_private=False) == (None, "its address is private")
    assert send_letter(letter, allow_private=True) == (204, "")
    assert len(receiver.got) == 1


def test_what_cannot_be_a_webhook_is_refused(tmp_path: Path, sqlite_url: str) -> None:
    knobs = Settings(home=tmp_path / "other", port=0, database_url=sqlite_url)
    with running_service(knobs, queues=()) as url, Client(url) as client, httpx.Client(base_url=url) as http:
        service = Service(url, http, client, knobs, Database(knobs.database))
        schema = [
            {"value": 0, "name": "background", "color": "#000000"},
            {"value": 1, "name": "RV", "color": "#ff0000"},
        ]
        client.post("/v1/projects", {"slug": "hearts", "name": "Hearts", "label_schema": schema})
        path = "/v1/projects/hearts/webhooks"
        private = {"url": url, "events": ["round.closed"]}
        assert service.refusal("POST", path, json=private) == (422, "webhook-refused")
        assert service.refusal("POST", path, json={"url": url, "events": []}) == (422, "invalid-request")
        assert service.refusal("POST", path, json={"url": url, "events": ["round.begun"]}) == (422, "invalid-request")
        assert list(client.items(path)) == []
        service.database.dispose()
