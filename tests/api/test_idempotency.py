"""A request that creates something, sent twice under one key, creates it once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import func, select, update

from app.api.idempotency import CreatingRoute
from app.api.schemas import unkept_fields
from app.db.models import Annotation, AnnotationVersion, IdempotentAnswer, Project, Webhook
from app.main import create_app
from app.outbox import SilentBell, unit_of_work
from app.settings import Settings
from tests.api.conftest import Service
from tests.services.desk import Desk, drawn

EXEMPT = {
    "/v1/auth/login",
    "/v1/auth/provider/begin",
    "/v1/auth/provider/complete",  # an attempt is counted each time
    "/v1/auth/logout",
    "/v1/me/password",
    "/v1/tokens",  # the answer is a secret, which nothing keeps
    "/v1/users",  # the digest of the request would be one of a password; the same name again is refused
    "/v1/projects/{project}/volumes",  # the same file under the same name is the same volume
}
KEY = {"Idempotency-Key": "6f2c-1"}
DRAFT = {
    "slug": "once",
    "name": "Once",
    "label_schema": [{"value": value, "name": str(value), "color": "#000000"} for value in (0, 1)],
}


@pytest.fixture
def desk(service: Service, tmp_path: Path) -> Desk:
    return Desk.make(service.database, tmp_path)


def count(service: Service, table: Any) -> int:
    with service.database.reading() as session:
        return session.scalars(select(func.count()).select_from(table)).one()


def test_the_same_request_is_answered_alike_and_done_once(service: Service, desk: Desk) -> None:
    path = f"/v1/slices/{desk.slices[0]}/annotations"
    options: dict[str, Any] = {"params": {"kind": "full"}, "content": drawn(1).tobytes()}
    first = service.http.post(path, headers=KEY | {"If-Match": '"0"'}, **options)
    again = service.http.post(path, headers=KEY | {"If-Match": '"0"'}, **options)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["etag"] == first.headers["etag"]
    assert (again.headers["idempotency-replayed"], first.headers.get("idempotency-replayed")) == ("true", None)
    assert count(service, AnnotationVersion) == 1
    other = service.http.post(path, headers=KEY | {"If-Match": '"0"'}, params={"kind": "full"}, content=b"\1" * 16)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    leases = [service.http.post("/v1/projects/hearts/leases", headers={"Idempotency-Key": "l"}) for _ in range(2)]
    assert leases[0].json() == leases[1].json()


def test_a_refused_request_may_be_sent_again_under_its_key(service: Service) -> None:
    refused = service.http.post("/v1/projects", json=DRAFT | {"budgets": []}, headers=KEY)
    assert refused.status_code == 422
    assert service.http.post("/v1/projects", json=DRAFT, headers=KEY).status_code == 201
    assert service.http.post("/v1/projects", json=DRAFT, headers=KEY).status_code == 201
    assert service.http.post("/v1/projects", json=DRAFT).json()["code"] == "project-exists"
    bad = {"Idempotency-Key": "a b"}
    assert service.http.post("/v1/projects", json=DRAFT, headers=bad).json()["code"] == "idempotency-key-refused"


def test_a_secret_is_shown_once_and_kept_in_no_answer(service: Service, desk: Desk) -> None:
    asked = {"url": "https://8.8.8.8/", "events": ["round.closed"]}
    path = f"/v1/projects/{desk.project_id}/webhooks"
    first, again = (service.http.post(path, json=asked, headers=KEY) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201), first.text
    secret = first.json()["secret"]
    assert len(secret) > 20
    assert again.json() == first.json() | {"secret": None}
    assert again.headers["idempotency-replayed"] == "true"
    assert count(service, Webhook) == 1
    with service.database.reading() as session:
        kept = session.scalars(select(IdempotentAnswer)).one()
        assert secret not in kept.body.decode() + str(kept.headers) + kept.fingerprint


def test_every_answer_with_a_secret_says_which_field_it_is(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path, database_url="", broker_url=""))
    app.state.house.database.dispose()
    secrets: dict[str, frozenset[str]] = {}
    for route in _all_routes(app.routes):
        if (
            isinstance(route, CreatingRoute)
            and "POST" in route.methods
            and hasattr(route.response_model, "model_fields")
        ):
            found = {"secret", "token", "password", "key"} & set(route.response_model.model_fields)
            assert found <= unkept_fields(route.response_model), route.path
            secrets[route.path] = unkept_fields(route.response_model)
    assert secrets["/v1/projects/{project}/webhooks"] == {"secret"}


def test_an_answer_is_kept_for_a_day(service: Service) -> None:
    assert service.http.post("/v1/projects", json=DRAFT, headers=KEY).status_code == 201
    with unit_of_work(service.database, SilentBell()) as session:
        old = session.scalars(select(IdempotentAnswer.created_at)).one()
        session.execute(update(IdempotentAnswer).values(created_at=old.replace(year=old.year - 1)))
    assert service.http.post("/v1/projects", json=DRAFT, headers=KEY).status_code == 409, "forgotten after a day"


def test_of_many_at_once_one_is_done(service: Service) -> None:
    def create(_number: int) -> httpx.Response:
        return httpx.post(f"{service.url}/v1/projects", json=DRAFT, headers=KEY)

    with ThreadPoolExecutor(6) as crowd:
        answers = list(crowd.map(create, range(6)))
    assert {each.status_code for each in answers} <= {201, 409}
    assert {each.json()["code"] for each in answers if each.status_code == 409} <= {"request-still-running"}
    assert len({each.json()["id"] for each in answers if each.status_code == 201}) == 1
    assert count(service, Project) == 1
    assert count(service, Annotation) == 0


def test_every_route_that_creates_honours_the_key(tmp_path: Path) -> None:
    app = create_app(Settings(home=tmp_path, database_url="", broker_url=""))
    routes = [route for route in _all_routes(app.routes) if route.path.startswith("/v1") and "POST" in route.methods]
    assert len(routes) > 15
    app.state.house.database.dispose()
    deaf = {route.path for route in routes if not isinstance(route, CreatingRoute)}
    assert deaf <= EXEMPT, deaf


def _all_routes(routes: Any) -> list[APIRoute]:
    found = []
    for route in routes:
        if isinstance(route, APIRoute):
            found.append(route)
        elif hasattr(route, "original_router"):
            found += _all_routes(route.original_router.routes)
        elif hasattr(route, "routes"):
            found += _all_routes(route.routes or [])
    return found
