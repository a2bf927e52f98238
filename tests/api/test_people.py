"""People on a service with accounts: who is known, who may do what, and what is written down about it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from app.api.access import RULES, Door
from app.client import Client
from app.db.models import ApiToken, AuditEvent
from app.db.session import Database, database_now
from app.embedded import running_service
from app.errors import AccountsNeeded, RequestRefused
from app.main import create_app
from app.names import JobKind, Role, Scope
from app.outbox import SilentBell, unit_of_work
from app.services import members, people
from app.services.jobs import queue_job
from app.services.sign_in import FAILURES_OF_NAME
from app.settings import Settings
from tests.api.conftest import on_sqlite
from tests.rows import add_project

PASSWORD = "correct horse battery"
NOBODYS_ID = "00000000-0000-7000-8000-000000000000"


@dataclass
class Ward:
    """A service with accounts: a project with one job, and somebody for each role."""

    url: str
    database: Database
    job: str
    tokens: dict[str, str] = field(default_factory=dict)

    def ask(self, who: str | None, method: str, path: str, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        if who is not None:
            headers["Authorization"] = f"Bearer {self.tokens[who]}"
        return httpx.request(method, self.url + path, headers=headers, **options)

    def audit_rows(self) -> list[AuditEvent]:
        with self.database.reading() as session:
            return list(session.scalars(select(AuditEvent).order_by(AuditEvent.id)))


@pytest.fixture
def ward(database: Database, tmp_path: Path) -> Iterator[Ward]:
    """An administrator, one member a role, and an outsider; each with a token that may do all that they may."""
    found = Ward("", database, "")
    with unit_of_work(database, SilentBell()) as session:
        project = add_project(session)
        for name in ("admin", *Role, "outsider"):
            account = people.create_account(session, name, None, administrator=name == "admin")
            _, found.tokens[name] = people.create_token(session, account, "test", Scope.ADMIN, 1)
            if name in list(Role):
                members.set_member(session, project, account.id, Role(name))
        people.set_password(session, people.find_account(session, "owner"), PASSWORD)
        _, found.tokens["reading owner"] = people.create_token(
            session, people.find_account(session, "owner"), "reads", Scope.READ, 1
        )
        found.job = str(queue_job(session, project_id=project.id, kind=JobKind.EXPORT).id)
    knobs = Settings(home=tmp_path / "home", port=0, database_url=database.url, sign_in="accounts")
    with running_service(knobs, queues=()) as found.url:
        yield found


@on_sqlite
def test_nothing_but_what_the_table_opens_is_answered_to_nobody(ward: Ward) -> None:
    for name, rule in RULES.items():
        method, path = name.split()
        for part in ("project", "job"):
            path = path.replace(f"{{{part}}}", "hearts" if part == "project" else ward.job)
        path = "/".join(NOBODYS_ID if each.startswith("{") else each for each in path.split("/"))
        status = ward.ask(None, method, path).status_code
        assert (status == 401) == (rule.needs not in {Door.ANYBODY, Door.PROBE}), (name, status)


@on_sqlite
def test_each_role_passes_where_the_table_says_and_nowhere_else(ward: Ward) -> None:
    for name, rule in RULES.items():
        method, path = name.split()
        if not isinstance(rule.needs, Role) or not {"{project}", "{job}"} & set(path.split("/")):
            continue
        if method == "GET" and path.endswith("/events"):
            continue  # it streams for as long as the job waits
        path = path.replace("{project}", "hearts").replace("{job}", ward.job).replace("{account}", NOBODYS_ID)
        assert ward.ask("outsider", method, path).status_code == 404, name
        for role in Role:
            code = _code(ward.ask(role, method, path))
            assert (code == "role-missing") == (not role.covers(rule.needs)), (name, role, code)


@on_sqlite
def test_what_one_may_not_know_of_looks_like_what_is_not_there(ward: Ward) -> None:
    for path, missing in (
        (f"/v1/jobs/{ward.job}", f"/v1/jobs/{NOBODYS_ID}"),
        ("/v1/projects/hearts", "/v1/projects/livers"),
    ):
        theirs, nothing = ward.ask("outsider", "GET", path), ward.ask("outsider", "GET", missing)
        assert theirs.status_code == nothing.status_code == 404
        told = [
            answer.json()["detail"].replace(path.split("/")[-1], "X").replace(missing.split("/")[-1], "X")
            for answer in (theirs, nothing)
        ]
        assert told[0] == told[1]
    assert ward.ask("outsider", "GET", "/v1/projects").json()["items"] == []
    assert [each["slug"] for each in ward.ask("viewer", "GET", "/v1/projects").json()["items"]] == ["hearts"]


def test_signing_in_and_out_with_a_cookie_that_other_sites_cannot_use(ward: Ward) -> None:
    with httpx.Client(base_url=ward.url) as browser:
        answer = browser.post("/v1/auth/login", json={"name": "owner", "password": PASSWORD})
        assert answer.status_code == 200
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "secure" not in cookie  # plain http; with an https:// public address it is, see below
        assert browser.get("/v1/me").json()["name"] == "owner"
        token = {"name": "mine", "scope": "read"}
        assert _code(browser.post("/v1/tokens", json=token)) == "cross-site-request"  # no word of a browser
        for headers in (
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": ward.url},
        ):
            assert _code(browser.post("/v1/tokens", json=token, headers=headers)) == "cross-site-request", headers
        assert browser.get("/v1/tokens").json()["items"][-1]["name"] == "test"
        own = {"Origin": ward.url}
        assert browser.post("/v1/tokens", json=token, headers=own).status_code == 201
        kept = dict(browser.cookies)
        assert browser.post("/v1/auth/logout", headers=own).status_code == 204
        assert httpx.get(f"{ward.url}/v1/me", cookies=kept).status_code == 401


def test_failures_are_counted_by_every_process_and_then_refused(ward: Ward, tmp_path: Path) -> None:
    second = Settings(home=tmp_path / "second", port=0, database_url=ward.database.url, sign_in="accounts")
    with running_service(second, queues=()) as other:
        told = set()
        for number in range(FAILURES_OF_NAME):
            url = (ward.url, other)[number % 2]
            answer = httpx.post(f"{url}/v1/auth/login", json={"name": "owner", "password": "wrong"})
            assert answer.status_code == 401
            told.add(answer.json()["detail"])
        assert len(told) == 1
        for url in (ward.url, other):  # the right one is refused too: it is not even looked at
            answer = httpx.post(f"{url}/v1/auth/login", json={"name": "owner", "password": PASSWORD})
            assert answer.status_code == 429
            assert 1 <= int(answer.headers["retry-after"]) <= 300


@on_sqlite
def test_unknown_names_fail_in_the_same_words(ward: Ward) -> None:
    wrong = httpx.post(f"{ward.url}/v1/auth/login", json={"name": "owner", "password": "wrong"}).json()
    unknown = httpx.post(f"{ward.url}/v1/auth/login", json={"name": "nobody", "password": "wrong"}).json()
    assert (wrong["code"], wrong["detail"]) == (unknown["code"], unknown["detail"])


@on_sqlite
def test_expired_revoked_and_disabled_are_not_signed_in(ward: Ward) -> None:
    for secret in ("-", "nxs_forged", ward.tokens["owner"] + "x", ward.tokens["owner"][:-1]):
        headers = {"Authorization": f"Bearer {secret}"}
        assert httpx.get(f"{ward.url}/v1/me", headers=headers).status_code == 401
    with unit_of_work(ward.database, SilentBell()) as session:
        viewer = people.find_account(session, "viewer")
        past = database_now(session) - timedelta(seconds=1)
        session.execute(update(ApiToken).where(ApiToken.account_id == viewer.id).values(until=past))
    assert ward.ask("viewer", "GET", "/v1/me").status_code == 401
    assert ward.ask("admin", "PATCH", "/v1/users/reviewer", json={"disabled": True}).status_code == 200
    assert ward.ask("reviewer", "GET", "/v1/me").status_code == 401
    (mine,) = [each for each in ward.ask("annotator", "GET", "/v1/tokens").json()["items"] if each["name"] == "test"]
    assert ward.ask("owner", "DELETE", f"/v1/tokens/{mine['id']}").status_code == 404
    assert ward.ask("annotator", "DELETE", f"/v1/tokens/{mine['id']}").status_code == 204
    assert ward.ask("annotator", "GET", "/v1/me").status_code == 401


@on_sqlite
def test_a_token_does_no_more_than_its_scope(ward: Ward) -> None:
    assert ward.ask("reading owner", "GET", "/v1/projects/hearts").status_code == 200
    assert _code(ward.ask("reading owner", "POST", "/v1/projects/hearts/exports")) == "scope-missing"
    assert _code(ward.ask("reading owner", "POST", "/v1/tokens", json={"name": "more"})) == "scope-missing"


@on_sqlite
def test_a_key_belongs_to_the_account_whichever_token_it_comes_with(ward: Ward) -> None:
    with unit_of_work(ward.database, SilentBell()) as session:
        again = people.create_token(session, people.find_account(session, "manager"), "new", Scope.MANAGE, 1)[1]
    ward.tokens["manager again"] = again
    key = {"Idempotency-Key": "night-1"}
    asked = [
        ward.ask(who, "POST", f"/v1/jobs/{ward.job}/cancel", headers=key)
        for who in ("manager", "manager again", "owner")
    ]
    assert [answer.status_code for answer in asked] == [202, 202, 409]  # another's key: asked anew, and it is cancelled
    assert [answer.headers.get("idempotency-replayed") for answer in asked] == [None, "true", None]
    assert asked[0].content == asked[1].content


@on_sqlite
def test_only_a_manager_acts_in_anothers_name(ward: Ward) -> None:
    path = "/v1/projects/hearts/leases"
    assert _code(ward.ask("annotator", "POST", path, json={"annotator": "anna"})) == "not-in-anothers-name"
    for who, body in (
        ("annotator", {}),
        ("annotator", {"annotator": "annotator"}),
        ("manager", {"annotator": "annotator"}),
    ):
        assert ward.ask(who, "POST", path, json=body).status_code == 204, who
    assert ward.ask("admin", "PATCH", "/v1/users/reviewer", json={"disabled": True}).status_code == 200
    for nobody in ("ghost", "viewer", "outsider", "reviewer"):
        refused = ward.ask("manager", "POST", path, json={"annotator": nobody})
        assert (refused.status_code, _code(refused)) == (422, "not-an-annotator"), nobody


@on_sqlite
def test_a_decision_is_signed_by_who_takes_it(ward: Ward) -> None:
    path = "/v1/projects/hearts/promotions"
    refused = ward.ask("manager", "POST", path, json={"version": None, "author": "owner"})
    assert (refused.status_code, _code(refused)) == (403, "signed-by-another")
    assert _code(ward.ask("admin", "POST", "/v1/projects/hearts/rollback", json={"author": "x"})) == "signed-by-another"
    for author in (None, "manager"):
        made = ward.ask("manager", "POST", path, json={"version": None, "author": author})
        assert (made.status_code, made.json()["author"]) == (201, "manager")


def test_members_come_and_go_and_an_owner_stays(ward: Ward) -> None:
    path = "/v1/projects/hearts/members"
    assert ward.ask("owner", "PUT", f"{path}/outsider", json={"role": "viewer"}).status_code == 200
    assert ward.audit_rows()[-1].object == "project hearts account outsider role viewer"
    assert ward.ask("outsider", "GET", "/v1/projects/hearts").status_code == 200
    assert _code(ward.ask("owner", "DELETE", f"{path}/owner")) == "last-owner"
    assert _code(ward.ask("owner", "PUT", f"{path}/owner", json={"role": "viewer"})) == "last-owner"
    assert ward.ask("owner", "DELETE", f"{path}/outsider").status_code == 204
    assert ward.ask("outsider", "GET", "/v1/projects/hearts").status_code == 404
    assert _code(ward.ask("admin", "PATCH", "/v1/users/admin", json={"disabled": True})) == "last-owner"


def test_every_acknowledged_write_has_its_row_and_a_refused_one_has_none(ward: Ward) -> None:
    before = len(ward.audit_rows())
    assert ward.ask("viewer", "POST", "/v1/projects/hearts/exports").status_code == 403
    assert ward.ask("owner", "POST", "/v1/projects/hearts/rounds").status_code == 409
    assert len(ward.audit_rows()) == before
    answer = ward.ask("manager", "POST", f"/v1/jobs/{ward.job}/cancel", headers={"X-Request-Id": "night-shift-1"})
    assert answer.status_code == 202
    (row,) = ward.audit_rows()[before:]
    assert (row.actor, row.action, row.object) == ("manager", "POST /v1/jobs/{job}/cancel", f"job {ward.job}")
    assert (row.request_id, row.address) == ("night-shift-1", "127.0.0.1")
    listed = ward.ask("manager", "GET", "/v1/projects/hearts/audit", params={"actor": "manager"}).json()["items"]
    assert [each["request_id"] for each in listed] == ["night-shift-1"]
    plain = ward.ask("manager", "GET", "/v1/projects/hearts/audit", params={"format": "csv"}).text
    assert "night-shift-1" in plain
    assert ward.ask("reviewer", "GET", "/v1/projects/hearts/audit").status_code == 403


@pytest.mark.parametrize("change", ["UPDATE audit_events SET actor = 'somebody'", "DELETE FROM audit_events"])
def test_the_database_refuses_to_change_the_log(ward: Ward, change: str) -> None:
    assert ward.ask("manager", "POST", f"/v1/jobs/{ward.job}/cancel").status_code == 202
    with pytest.raises(DBAPIError, match="append-only"), unit_of_work(ward.database, SilentBell()) as session:
        session.execute(text(change))
    assert [row.actor for row in ward.audit_rows()] == ["manager"]


@on_sqlite
def test_the_client_takes_a_token(ward: Ward) -> None:
    with Client(ward.url, ward.tokens["viewer"]) as client:
        assert client.get("/v1/projects/hearts")["slug"] == "hearts"
    with Client(ward.url) as client, pytest.raises(RequestRefused, match="Sign in"):
        client.get("/v1/projects/hearts")


def test_the_first_account_is_made_on_the_command_line(tmp_path: Path) -> None:
    def command(*words: str, typed: str = "") -> str:
        environment = {"NEXTSLICE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
        line = [sys.executable, "-m", "app.cli", *words]
        ran = subprocess.run(line, input=typed, env=environment, capture_output=True, text=True, check=False)
        return ran.stdout + ran.stderr

    assert "12 to 200" in command("user", "add", "head", "--administrator", typed="short\n")
    assert "is made" in command("user", "add", "head", "--administrator", typed=PASSWORD + "\n")
    assert command("user", "list").split() == ["head", "administrator"]
    assert command("token", "create", "head", "bench", "--scope", "manage").startswith("nxs_")


# --- without accounts -------------------------------------------------------------------------------------------------


@pytest.fixture
def local(sqlite_url: str, tmp_path: Path) -> Iterator[str]:
    """A service that answers this machine alone."""
    with running_service(Settings(home=tmp_path / "home", port=0, database_url=sqlite_url), queues=()) as url:
        yield url


def test_a_local_service_answers_neither_a_rebound_name_nor_another_sites_page(local: str) -> None:
    assert httpx.get(f"{local}/v1/me").json()["local"] is True
    for headers in ({"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example"}, {"Host": ""}):
        assert _code(httpx.get(f"{local}/v1/projects", headers=headers)) == "host-refused", headers
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert _code(httpx.post(f"{local}/v1/projects", json={}, headers=headers)) == "cross-site-request", headers
    for headers in ({}, {"Origin": local}, {"Sec-Fetch-Site": "same-origin"}, {"Host": "localhost"}):
        assert httpx.post(f"{local}/v1/projects", json={}, headers=headers).status_code == 422, headers


def test_a_service_that_others_reach_does_not_start_without_accounts(tmp_path: Path) -> None:
    with pytest.raises(AccountsNeeded):
        create_app(Settings(home=tmp_path, host="0.0.0.0", sign_in="local"))
    assert Settings(host="0.0.0.0").has_accounts
    assert not Settings(host="::1").has_accounts


def _code(answer: httpx.Response) -> str:
    return str(answer.json().get("code", "")) if answer.status_code >= 400 else ""
