"""Other people's ids on every route: answered as ids that nobody has, and nothing is told or changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.api.access import RULES
from app.db.models import AuditEvent, Base, Job, Project
from app.db.session import Database
from app.embedded import running_service
from app.names import JobState, Role, Scope
from app.outbox import SilentBell, unit_of_work
from app.services import members, people
from app.settings import Settings
from tests.api.populated import add_full_project

NOBODYS = "00000000-0000-7000-8000-000000000000"
ROUTES = sorted(name for name in RULES if "{" in name and "{account}" not in name and "{token}" not in name)


@pytest.fixture(scope="module")
def town(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The owner's client, their own rows, another project's rows, the other's token, and the database."""
    folder = tmp_path_factory.mktemp("town")
    (folder / "data.db").write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{folder / 'data.db'}")
    with unit_of_work(database, SilentBell()) as session:
        own, foreign = add_full_project(session, "hearts", "owner"), add_full_project(session, "livers", "stranger")
        for name, project in (("owner", own), ("stranger", foreign)):
            account = people.create_account(session, name, None)
            token, secret = people.create_token(session, account, "test", Scope.ADMIN, 1)
            row = members.project_of(session, "project", project["project"])
            members.set_member(session, session.get_one(Project, row), account.id, Role.OWNER)
            project |= {"token": str(token.id), "account": str(account.id), "secret": secret}
    knobs = Settings(home=folder / "home", port=0, database_url=database.url, sign_in="accounts")
    with running_service(knobs, queues=()) as url, httpx.Client(base_url=url, timeout=20) as http:
        http.headers["Authorization"] = f"Bearer {own['secret']}"
        yield http, own, foreign, database
    database.dispose()


def counted(database: Database) -> dict[str, int]:
    """How many rows each table has."""
    with database.reading() as session:
        tables = Base.metadata.sorted_tables
        return {table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


def filled(path: str, rows: dict[str, str]) -> str:
    """The path of a route with these rows' ids."""
    return "/".join(rows.get(part[1:-1], "0") if part.startswith("{") else part for part in path.split("/"))


@pytest.mark.parametrize("name", ROUTES)
def test_anothers_id_is_answered_like_an_id_that_nobody_has(town: Any, name: str) -> None:
    http, _, foreign, database = town
    method, path = name.split()
    before = counted(database)
    theirs = http.request(method, filled(path, foreign))
    nobodys = http.request(method, filled(path, dict.fromkeys(foreign, NOBODYS)))
    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.headers["content-type"] == "application/problem+json"
    told, nothing = theirs.json(), nobodys.json()
    for problem in (told, nothing):
        del problem["request_id"], problem["instance"]
    for row in foreign.values():
        told["detail"] = told["detail"].replace(row, NOBODYS)
    assert told == nothing
    assert counted(database) == before


def test_ids_in_queries_and_bodies_are_no_way_around(town: Any) -> None:
    http, own, foreign, database = town
    before = counted(database)
    slice_, version = own["slice_"], own["version"]
    for method, path, options in (
        ("GET", f"/v1/annotation-versions/{version}/diff?against=X", {}),
        ("POST", f"/v1/slices/{slice_}/annotations?kind=full&prediction=X", {"content": bytes(16)}),
        ("POST", "/v1/projects/hearts/imports", {"json": {"upload": "X"}}),
        ("POST", "/v1/projects/hearts/exports", {"json": {"snapshot_id": "X"}}),
        ("DELETE", "/v1/tokens/X", {}),
    ):
        kind = "token" if "tokens" in path else "upload" if "imports" in path else "snapshot"
        row = foreign[kind if "version" not in path else "version"]
        answers = []
        for reference in (row, NOBODYS):
            given = {key: dict.fromkeys(value, reference) if key == "json" else value for key, value in options.items()}
            headers = {"If-Match": f'"{version}"'}
            answers.append(http.request(method, path.replace("X", reference), headers=headers, **given))
        assert [each.status_code for each in answers] == [404, 404], path
        assert answers[0].json()["code"] == answers[1].json()["code"], path
    assert counted(database) == before


def test_administration_is_closed_to_others(town: Any) -> None:
    http, _, foreign, _ = town
    for method, path in (
        ("GET", "/v1/users"),
        ("POST", "/v1/users"),
        ("PATCH", f"/v1/users/{foreign['account']}"),
        ("PATCH", "/v1/users/stranger"),
        ("POST", "/v1/projects"),
        ("GET", "/metrics"),
    ):
        answer = http.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (403, "administrator-only"), path
        assert "stranger" not in answer.text.replace(path, "")


def test_lists_show_nothing_of_others(town: Any) -> None:
    http, own, foreign, _ = town
    for name in RULES:
        method, path = name.split()
        if method != "GET" or not path.endswith(("s", "audit", "coverage")) or "events" in path:
            continue
        answer = http.get(filled(path, own))
        assert answer.status_code < 500 or "metrics" in path, path
        for word in ("livers", "stranger", *foreign.values()):
            assert word not in answer.text, path


def test_nothing_of_all_this_moved_anothers_job(town: Any) -> None:
    _, _, foreign, database = town
    with database.reading() as session:
        assert {str(job.id): job.state for job in session.scalars(select(Job))}[foreign["job"]] == JobState.QUEUED
        actors = set(session.scalars(select(AuditEvent.actor)))
    assert actors <= {"owner"}
