"""What an operator sees: metrics that agree between processes, and a readiness that names what fails."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Response
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from app.api.deps import SEATS
from app.api.health import readyz
from app.api.metrics import RequestMeter
from app.api.probes import Probe, ask_parts
from app.broker import check_broker
from app.embedded import running_service
from app.errors import BrokerUnreachable
from app.log import configure_logging
from app.main import open_house
from app.outbox import SilentBell, unit_of_work
from app.services.paging import list_items
from app.settings import Settings
from benchmarks.stack import free_port
from tests.api.conftest import Service, on_sqlite

Make = Callable[..., Any]


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The events that were logged so far."""
    handlers, stream = logging.getLogger().handlers[:], io.StringIO()
    configure_logging(stream=stream, as_json=True)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().handlers[:] = handlers


def scrape(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """(sample, sorted labels) -> value."""
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_count_in_the_database_what_all_processes_share(service: Service, make_project: Make) -> None:
    make_project()
    service.client.post("/v1/projects/hearts/rounds")
    assert scrape(service.url)["nextslice_queue_length", (("queue", "gpu"),)] == 1
    service.work_off()
    service.client.post("/v1/projects/hearts/leases", {"annotator": "anna", "n": 2})
    with running_service(service.knobs, queues=()) as other:
        for url in (service.url, other):
            found = scrape(url)
            assert found["nextslice_database_up", ()] == 1
            assert found["nextslice_leases_active", ()] == 2
            assert found["nextslice_projects", ()] == 1
            assert found["nextslice_jobs", (("kind", "propose"), ("state", "succeeded"))] == 1
            assert found["nextslice_jobs", (("kind", "import"), ("state", "failed"))] == 0
            assert found["nextslice_queue_length", (("queue", "gpu"),)] == 0
    service.client.post("/v1/projects/hearts/oracle")
    found = scrape(service.url)
    assert found["nextslice_annotation_versions", (("source", "oracle"),)] == 1


@on_sqlite
def test_requests_are_counted_by_route_and_never_by_path(service: Service) -> None:
    for _ in range(3):
        service.http.get("/v1/projects/nobody")
    service.http.get("/v1/no/such/route")
    service.http.get("/index.html")
    service.http.request("TRACE", "/v1/projects")
    found = scrape(service.url)
    route = ("route", "/v1/projects/{project}")
    assert found["nextslice_http_requests_total", (("method", "GET"), route, ("status", "404"))] == 3
    assert found["nextslice_http_request_seconds_count", (("method", "GET"), route)] == 3
    routes = {dict(labels)["route"] for name, labels in found if name == "nextslice_http_requests_total"}
    assert not any("nobody" in each or "such" in each or "index" in each for each in routes)
    assert any(dict(labels).get("method") == "other" for _, labels in found)


@on_sqlite
def test_a_request_and_the_job_that_it_asked_for_are_found_in_the_log(
    service: Service, make_project: Make, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    make_project()
    answer = service.http.post("/v1/projects/hearts/rounds", headers={"X-Request-Id": "ward-7"})
    assert answer.headers["x-request-id"] == "ward-7"
    lines = [line for line in logged() if line.get("request_id") == "ward-7"]
    queued = next(line for line in lines if line["event"] == "job_queued")
    assert queued["queued_job_id"] == answer.json()["job_id"]
    assert [(line["method"], line["status"]) for line in lines if line["event"] == "request"] == [("POST", 202)]


@on_sqlite
def test_what_nobody_foresaw_is_logged_under_the_id_that_the_answer_has(
    service: Service, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[dict[str, Any]]]
) -> None:
    def stumble(*_facts: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("app.api.projects.members.visible_projects", stumble)
    answer = service.http.get("/v1/projects")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal-error")
    eventually = time.monotonic() + 5
    while not any(line["logger"] == "uvicorn.error" for line in logged()) and time.monotonic() < eventually:
        time.sleep(0.02)
    lines = [line for line in logged() if "ZeroDivisionError" in line.get("exception", "")]
    assert {line["logger"] for line in lines} >= {"uvicorn.error"}
    assert {line.get("request_id") for line in lines} == {answer.json()["request_id"]}


def failing(url: str) -> dict[str, str]:
    answer = httpx.get(f"{url}/readyz", timeout=30)
    state = answer.json()
    assert (answer.status_code == 200) == state["ready"]
    return {name: reason for name, reason in state["parts"].items() if reason != "ok"}


def test_readiness_names_the_failing_part(service: Service) -> None:
    assert failing(service.url) == {}
    with unit_of_work(service.database, SilentBell()) as session:
        found = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    assert list(failing(service.url)) == ["migrations"]
    with unit_of_work(service.database, SilentBell()) as session:
        session.execute(text("UPDATE alembic_version SET version_num = :found"), {"found": found})
    shutil.rmtree(service.knobs.broker_folder)
    assert list(failing(service.url)) == ["broker"]
    shutil.rmtree(service.knobs.blob_folder)
    assert sorted(failing(service.url)) == ["blobs", "broker"]
    shutil.rmtree(service.knobs.home)
    assert "disk" in failing(service.url)


def test_a_part_that_hangs_is_named_and_not_asked_twice() -> None:
    asked, end = [], threading.Event()

    def hang() -> str:
        asked.append(1)
        end.wait(30)
        return "ok"

    probes: dict[str, Probe] = {}
    checks = {"quick": lambda: "ok", "slow": hang, "broken": lambda: str(1 / 0)}
    for _ in range(2):
        told = asyncio.run(ask_parts(checks, probes, within_s=0.3))
        assert told == {"quick": "ok", "slow": "no answer within 0.3 s", "broken": "ZeroDivisionError"}
    end.set()
    probes["slow"].join()
    assert asyncio.run(ask_parts(checks, probes))["slow"] == "ok"
    assert len(asked) == 2


@on_sqlite
def test_readiness_is_told_while_every_request_hangs(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    end, hanging = threading.Event(), threading.Semaphore(0)

    def hang(*asked: Any) -> Any:
        hanging.release()
        end.wait(60)
        return list_items(*asked)

    def ask() -> None:
        httpx.get(f"{service.url}/v1/strategies", timeout=60)

    monkeypatch.setattr("app.api.projects.list_items", hang)
    requests = [threading.Thread(target=ask) for _ in range(60)]  # more than there are seats and threads
    for each in requests:
        each.start()
    try:
        for _ in range(SEATS):
            assert hanging.acquire(timeout=30)
        bearer = {"authorization": "Bearer nobody's"}  # nor does it take one to look up who asks
        assert httpx.get(f"{service.url}/healthz", headers=bearer, timeout=10).status_code == 200
        assert httpx.get(f"{service.url}/readyz", headers=bearer, timeout=10).json()["ready"]
    finally:
        end.set()
        for each in requests:
            each.join()


def test_a_broker_that_takes_no_writes_is_not_ready(tmp_path: Path) -> None:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--maxmemory", "1000", "--dir", str(tmp_path)]
    try:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip("no redis-server on this machine")
    try:
        knobs = Settings(broker_url=f"redis://127.0.0.1:{port}/0")
        deadline = time.monotonic() + 20
        while True:
            try:
                check_broker(knobs)
            except BrokerUnreachable as error:
                if "memory" in str(error):
                    break
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("part", ["dispatcher", "postman", "janitor"])
def test_a_thread_of_the_service_that_ended_is_named(sqlite_url: str, tmp_path: Path, part: str) -> None:
    house, answer = open_house(Settings(home=tmp_path / "home", database_url=sqlite_url)), Response()
    for each in house.background.values():
        each.start()
    assert asyncio.run(readyz(house, answer)).parts[part] == "ok"
    house.background[part].stop()
    state = asyncio.run(readyz(house, answer))
    for each in house.background.values():
        each.stop()
    assert [name for name, found in state.parts.items() if found == "not running"] == [part]
    assert (state.ready, answer.status_code) == (False, 503)


@pytest.mark.parametrize(
    ("part", "settings"),
    [("disk", {"free_disk_bytes": 2**62}), ("broker", {"broker_url": "redis://127.0.0.1:1/0"})],
)
def test_a_full_disk_and_a_dead_broker_are_named(
    sqlite_url: str, tmp_path: Path, part: str, settings: dict[str, Any]
) -> None:
    knobs = Settings(home=tmp_path / "home", port=0, database_url=sqlite_url, **settings)
    with running_service(knobs, queues=()) as url:
        assert list(failing(url)) == [part]


def test_a_dead_database_is_named_and_metrics_go_on(tmp_path: Path) -> None:
    house = open_house(Settings(home=tmp_path / "home", database_url="postgresql://postgres@127.0.0.1:1/nothing"))
    assert {"database", "migrations"} <= {
        name for name, state in asyncio.run(readyz(house, Response())).parts.items() if state != "ok"
    }
    assert b"nextslice_database_up 0.0" in generate_latest(RequestMeter(house.database).registry)
