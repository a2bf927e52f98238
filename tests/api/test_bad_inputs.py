"""Inputs that nobody should send, in one table: each is refused in words, none is a 5xx, nothing leaves the folder.

Whoever adds a route adds rows. `{hearts}` stands for a project that the caller manages, `{livers}` for one that they
may not know of.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.db.session import Database
from app.embedded import running_service
from app.names import JobKind, Role, Scope
from app.outbox import SilentBell, unit_of_work
from app.services import members, people
from app.services.jobs import queue_job
from app.settings import Settings
from tests.rows import add_project

NAMES = (
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fsecret",
    "..%5c..%5csecret",
    "%2fetc%2fpasswd",
    "hearts%00",
    "hearts%0d%0aX-Evil:1",
    "'%20OR%201=1--",
    "1;DROP%20TABLE%20projects",
    "%27%20UNION%20SELECT%20*%20FROM%20accounts--",
    "{{7*7}}",
    "%24%7bjndi:ldap:x%7d",
    "%ff%fe",
    "a" * 4000,
    "-1",
    "0",
    "null",
    "00000000-0000-0000-0000-000000000000",
    "00000000000070008000000000000000",
    "LIVERS",
    "%F0%9F%92%80",
)
"""Tricks in a path, for every kind of thing that a path names."""

THINGS = ("projects", "volumes", "slices", "rounds", "jobs", "leases", "models", "webhooks", "annotation-versions")

TOKENS = (
    "Bearer",
    "Bearer x",
    "Bearer nxs_forged",
    "Bearer null",
    "Bearer ' OR '1'='1",
    "Basic YWRtaW46YWRtaW4=",
    "bearer",
    "Token x",
    "Bearer " + "x" * 5000,
    "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
)

DRAFT: dict[str, Any] = {
    "slug": "new",
    "name": "New",
    "label_schema": [
        {"value": 0, "name": "background", "color": "#000000"},
        {"value": 1, "name": "heart", "color": "#ff0000"},
    ],
    "supervision": "scribble",
    "strategy": "random",
    "budgets": [10],
    "preset": "tiny",
}
DRAFTS: tuple[dict[str, Any], ...] = (
    *({"slug": each} for each in ("", "../x", "a/b", "A", "x" * 101, "nul\0", "a b", None, 7, [], {})),
    *({"name": each} for each in ("", " ", "line\nbreak", "nul\0", None, 7, [])),
    *({"budgets": each} for each in ([], [0], [-1], [101], [2, 1], [5, 5], "5", None, ["x"], [None])),
    *({"seed": each} for each in (-1, 2**31, 2**70, "x", 1.5, None)),
    *({"strategy": each} for each in ("", "none", "../random", None, 7)),
    *({"label_schema": each} for each in ([], None, "x", [{}], [DRAFT["label_schema"][1]], DRAFT["label_schema"][:1])),
    *({"supervision": each} for each in ("", "none", None, 7)),
    *({"protocol": each} for each in ("x", {"unknown": 1}, {"members": -1}, {"encoder": 7})),
    {"unknown_field": 1},
)

BODIES: tuple[bytes, ...] = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe\x00",
    b'{"slug": ',
    b"[" * 5000,
    b'{"slug": "x", "slug"}',
    gzip.compress(b"{}", mtime=0),
    b"0" * 100_000,
)

PAGES = ("limit=0", "limit=-1", "limit=501", "limit=x", "cursor=x", "since=yesterday", "format=xml", "until=yesterday")


@pytest.fixture(scope="module")
def place(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path, str]]:
    """A manager's client, the folder around the service's home, and the id of a job in another's project."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "data.db").write_bytes(sqlite_template.read_bytes())
    url = f"sqlite:///{folder / 'data.db'}"
    database = Database(url)
    with unit_of_work(database, SilentBell()) as session:
        hearts, livers = add_project(session), add_project(session, "livers")
        account = people.create_account(session, "manager", None)
        members.set_member(session, hearts, account.id, Role.MANAGER)
        _, secret = people.create_token(session, account, "test", Scope.ADMIN, 1)
        job = str(queue_job(session, project_id=livers.id, kind=JobKind.EXPORT).id)
        admin = people.create_account(session, "admin", None, administrator=True)
        _, all_powerful = people.create_token(session, admin, "test", Scope.ADMIN, 1)
    database.dispose()
    knobs = Settings(home=folder / "home", port=0, database_url=url, sign_in="accounts")
    with running_service(knobs, queues=()) as address, httpx.Client(base_url=address, timeout=20) as http:
        http.headers["Authorization"] = f"Bearer {secret}"
        http.headers["X-Admin"] = all_powerful
        yield http, folder, job


def refused(answer: httpx.Response) -> None:
    """A refusal in words, that tells nothing of what is another's."""
    assert 400 <= answer.status_code < 500, (answer.request.url, answer.status_code, answer.text)
    assert "livers" not in answer.text or "livers" in str(answer.request.url).lower()
    assert "Traceback" not in answer.text
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:24])
def test_tricks_in_a_name(place: tuple[httpx.Client, Path, str], name: str) -> None:
    http, folder, _ = place
    for thing in THINGS:
        refused(http.get(f"/v1/{thing}/{name}"))
    refused(http.post(f"/v1/projects/{name}/rounds"))
    refused(http.delete(f"/v1/leases/{name}"))
    assert sorted(each.name for each in folder.iterdir() if not each.name.startswith("data.db")) == ["home"]


@pytest.mark.parametrize("header", TOKENS, ids=lambda header: header[:24])
def test_forged_tokens(place: tuple[httpx.Client, Path, str], header: str) -> None:
    http, _, _ = place
    for path in ("/v1/me", "/v1/projects", "/v1/projects/hearts"):
        answer = http.get(path, headers={"Authorization": header})
        refused(answer)
        assert answer.status_code == 401


@pytest.mark.parametrize("change", DRAFTS, ids=lambda change: str(change)[:40])
def test_projects_that_cannot_be(place: tuple[httpx.Client, Path, str], change: dict[str, Any]) -> None:
    http, _, _ = place
    as_admin = {"Authorization": f"Bearer {http.headers['X-Admin']}"}
    answer = http.post("/v1/projects", json=DRAFT | change, headers=as_admin)
    refused(answer)
    assert answer.status_code == 422
    assert [each["slug"] for each in http.get("/v1/projects").json()["items"]] == ["hearts"]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:16]))
def test_bodies_that_are_no_json(place: tuple[httpx.Client, Path, str], body: bytes) -> None:
    http, _, _ = place
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {http.headers['X-Admin']}"}
    refused(http.post("/v1/projects", content=body, headers=headers))
    refused(http.post("/v1/auth/login", content=body, headers=headers))
    refused(http.post("/v1/tokens", content=body, headers=headers))


@pytest.mark.parametrize("query", PAGES)
def test_pages_that_are_not_there(place: tuple[httpx.Client, Path, str], query: str) -> None:
    http, _, _ = place
    refused(http.get(f"/v1/projects/hearts/audit?{query}"))


def test_other_peoples_ids(place: tuple[httpx.Client, Path, str]) -> None:
    http, _, job = place
    for method, path in (
        ("GET", f"/v1/jobs/{job}"),
        ("GET", f"/v1/jobs/{job}/events"),
        ("POST", f"/v1/jobs/{job}/cancel"),
        ("GET", f"/v1/exports/{job}/file"),
        ("GET", "/v1/projects/livers"),
        ("GET", "/v1/projects/livers/audit"),
        ("GET", "/v1/projects/livers/volumes"),
        ("POST", "/v1/projects/livers/leases"),
    ):
        answer = http.request(method, path)
        refused(answer)
        assert answer.status_code == 404
