"""More requests at a time than the process has threads: all are answered, and nobody's slow line stops the others."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from app.db.migrate import migrate
from app.main import create_app
from app.settings import Settings
from tests.api.conftest import Service, on_sqlite
from tests.api.garbage import nifti
from tests.services.desk import Desk, drawn

CROWD = 100  # a process has 40 threads for requests
PATIENCE_S = 60.0


@pytest.mark.timeout(180)
def test_a_crowd_that_writes_at_once_is_answered(service: Service, tmp_path: Path) -> None:
    desk = Desk.make(service.database, tmp_path, count=CROWD)

    def annotate(number: int) -> tuple[str, list[int]]:
        name = f"reader {number}"
        with httpx.Client(base_url=service.url, timeout=PATIENCE_S) as http:
            leased = http.post("/v1/projects/hearts/leases", json={"annotator": name})
            held = leased.json()["items"][0]
            beaten = http.post(f"/v1/leases/{held['id']}/heartbeat")
            saved = http.post(
                f"/v1/slices/{held['slice']['id']}/annotations",
                params={"kind": "full", "annotator": name},
                content=drawn(number % 16).tobytes(),
                headers={"If-Match": '"0"', "Idempotency-Key": name.replace(" ", "-")},
            )
        return held["slice"]["id"], [leased.status_code, beaten.status_code, saved.status_code]

    with ThreadPoolExecutor(CROWD) as crowd:
        answers = list(crowd.map(annotate, range(CROWD)))
    assert Counter(code for _, codes in answers for code in codes) == {200: 2 * CROWD, 201: CROWD}
    assert {each for each, _ in answers} == {str(each) for each in desk.slices}


@on_sqlite
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "application/json", "multipart/form-data; boundary=x"]
)
def test_bodies_that_trickle_in_keep_nobody_waiting(service: Service, tmp_path: Path, content_type: str) -> None:
    desk = Desk.make(service.database, tmp_path)
    path = {
        "application/octet-stream": f"POST /v1/slices/{desk.slices[0]}/annotations?kind=full",
        "application/json": "POST /v1/projects/hearts/leases",
    }.get(content_type, "POST /v1/projects/hearts/volumes")
    where = urlsplit(service.url)
    with ExitStack() as lines:
        for _ in range(CROWD):
            line = lines.enter_context(socket.create_connection((where.hostname or "", where.port or 0)))
            line.sendall(
                f"{path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: {content_type}\r\n"
                'If-Match: "0"\r\nContent-Length: 1000\r\n\r\n{'.encode()
            )
        for _ in range(3):
            answer = httpx.post(f"{service.url}/v1/projects/hearts/leases", json={"annotator": "anna"}, timeout=30)
            assert answer.status_code == 200


@on_sqlite
@pytest.mark.parametrize("word", ["multipart/form-data", "Multipart/Form-Data"])
def test_a_form_is_read_once_however_its_type_is_written(service: Service, tmp_path: Path, word: str) -> None:
    Desk.make(service.database, tmp_path)
    form = httpx.Request("POST", service.url, data={"patient": "p9", "name": "v9"}, files={"image": nifti()})
    content_type = form.headers["content-type"].replace("multipart/form-data", word)
    answer = service.http.post(
        "/v1/projects/hearts/volumes", content=form.read(), headers={"Content-Type": content_type}
    )
    assert answer.status_code in {201, 422}, answer.text
    assert answer.status_code == 201 or answer.json()["code"] != "invalid-request", answer.text


@on_sqlite
@pytest.mark.timeout(120)
def test_those_who_follow_a_job_keep_nobody_waiting(service: Service, tmp_path: Path) -> None:
    desk = Desk.make(service.database, tmp_path)
    desk.lease("bert")
    desk.submit("bert", 0, drawn(1))
    job = service.client.post("/v1/projects/hearts/exports", {"format": "nifti"})["id"]  # no worker: it stays queued
    with ExitStack() as streams:
        http = streams.enter_context(httpx.Client(base_url=service.url, limits=httpx.Limits(), timeout=30))
        for _ in range(CROWD):
            stream = streams.enter_context(http.stream("GET", f"/v1/jobs/{job}/events"))
            assert next(stream.iter_lines()).startswith("id:")
        answer = httpx.post(f"{service.url}/v1/projects/hearts/leases", json={"annotator": "anna"}, timeout=30)
        assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/v1/projects/hearts", "/v1/projects"])  # asked for by the gate, by the route
def test_without_a_connection_left_nothing_is_broken(path: str, tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path, database_url="", broker_url=""))
    engine = app.state.house.database.engine
    migrate(app.state.house.database)
    engine.pool._timeout = 0.1
    transport = httpx.ASGITransport(app)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            return await http.get(path)

    with ExitStack() as taken:
        for _ in range(engine.pool.size() + engine.pool._max_overflow):
            taken.enter_context(engine.connect())
        answer = asyncio.run(ask())
        assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
        assert answer.headers["retry-after"] == "2"
    assert asyncio.run(ask()).status_code in {200, 404}
    engine.dispose()
