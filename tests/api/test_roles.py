"""Every route for every role: what is not opened to somebody is closed, and a stranger learns of nothing.

The table below is written out, and not taken from `app.api.access`: a line that is changed there by mistake fails here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from app.api.access import RULES
from app.db.models import Deletion, Project, Volume
from app.db.session import Database, database_now
from app.embedded import running_service
from app.names import DeletedKind, Role, Scope
from app.outbox import SilentBell, unit_of_work
from app.services import members, people
from app.settings import Settings
from tests.api.populated import add_full_project
from tests.api.test_foreign_ids import counted, filled

ORDER = (Role.VIEWER, Role.ANNOTATOR, Role.REVIEWER, Role.MANAGER, Role.OWNER)
FIRST_FOR: dict[Role, str] = {
    Role.VIEWER: """
        GET /v1/projects/{project}  GET /v1/projects/{project}/volumes  GET /v1/volumes/{volume}
        GET /v1/volumes/{volume}/file  GET /v1/volumes/{volume}/slices  GET /v1/slices/{slice_}
        GET /v1/slices/{slice_}/image  GET /v1/slices/{slice_}/annotation  GET /v1/slices/{slice_}/annotations
        GET /v1/slices/{slice_}/prediction  GET /v1/slices/{slice_}/uncertainty  GET /v1/slices/{slice_}/reviews
        GET /v1/annotation-versions/{version}  GET /v1/annotation-versions/{version}/mask
        GET /v1/annotation-versions/{version}/diff  GET /v1/volumes/{volume}/annotation
        GET /v1/projects/{project}/coverage  GET /v1/projects/{project}/rounds  GET /v1/rounds/{round_}
        GET /v1/rounds/{round_}/picks  GET /v1/rounds/{round_}/metrics  GET /v1/projects/{project}/models
        GET /v1/projects/{project}/model-versions  GET /v1/models/{model}  GET /v1/projects/{project}/promotions
        GET /v1/projects/{project}/jobs  GET /v1/jobs/{job}  GET /v1/jobs/{job}/events""",
    Role.ANNOTATOR: """
        POST /v1/slices/{slice_}/annotations  POST /v1/annotation-versions/{version}/restore
        GET /v1/slices/{slice_}/draft  PUT /v1/slices/{slice_}/draft  DELETE /v1/slices/{slice_}/draft
        PUT /v1/volumes/{volume}/annotation  POST /v1/projects/{project}/leases  GET /v1/leases/{lease}
        DELETE /v1/leases/{lease}  POST /v1/leases/{lease}/heartbeat  POST /v1/leases/{lease}/skip""",
    Role.REVIEWER: """
        GET /v1/projects/{project}/agreement  GET /v1/slices/{slice_}/readings  GET /v1/projects/{project}/statistics
        POST /v1/annotation-versions/{version}/reviews  POST /v1/annotation-versions/{version}/adjudicate""",
    Role.MANAGER: """
        GET /v1/projects/{project}/members  GET /v1/projects/{project}/audit  DELETE /v1/patients/{patient}
        DELETE /v1/volumes/{volume}  GET /v1/projects/{project}/deletions  POST /v1/projects/{project}/volumes
        POST /v1/leases/{lease}/takeover  POST /v1/projects/{project}/uploads  GET /v1/uploads/{upload}
        PUT /v1/uploads/{upload}/parts/{number}  POST /v1/uploads/{upload}/complete  DELETE /v1/uploads/{upload}
        POST /v1/projects/{project}/imports  GET /v1/imports/{job}  GET /v1/projects/{project}/snapshots
        POST /v1/projects/{project}/snapshots  GET /v1/snapshots/{snapshot}  POST /v1/projects/{project}/coverage
        POST /v1/projects/{project}/rounds  POST /v1/rounds/{round_}/training  POST /v1/projects/{project}/oracle
        GET /v1/models/{model}/weights  POST /v1/projects/{project}/promotions  POST /v1/projects/{project}/rollback
        POST /v1/jobs/{job}/cancel  POST /v1/jobs/{job}/retry  POST /v1/projects/{project}/predictions
        POST /v1/projects/{project}/exports  GET /v1/exports/{job}/file  GET /v1/projects/{project}/webhooks
        POST /v1/projects/{project}/webhooks  GET /v1/webhooks/{webhook}  PATCH /v1/webhooks/{webhook}
        DELETE /v1/webhooks/{webhook}  POST /v1/webhooks/{webhook}/ping  GET /v1/webhooks/{webhook}/deliveries
        POST /v1/webhook-deliveries/{delivery}/redeliver  PATCH /v1/projects/{project}""",
    Role.OWNER: """
        PUT /v1/projects/{project}/members/{account}  DELETE /v1/projects/{project}/members/{account}
        DELETE /v1/projects/{project}  POST /v1/deletions/{deletion}/restore  DELETE /v1/deletions/{deletion}""",
}
"""Who is the least that a route is open to."""

FOR_ADMINISTRATORS = {
    "GET /metrics",
    "GET /v1/users",
    "POST /v1/users",
    "PATCH /v1/users/{account}",
    "POST /v1/projects",
    "GET /v1/deletions",
}
FOR_ANYBODY = {
    "GET /healthz",
    "GET /readyz",
    "GET /v1/version",
    "POST /v1/auth/login",
    "GET /v1/auth/provider",
    "POST /v1/auth/provider/begin",
    "POST /v1/auth/provider/complete",
}
FOR_ONESELF = {
    "GET /v1/strategies",
    "POST /v1/auth/logout",
    "GET /v1/me",
    "POST /v1/me/password",
    "GET /v1/tokens",
    "POST /v1/tokens",
    "DELETE /v1/tokens/{token}",
    "GET /v1/projects",
}
CLOSED = {"not-signed-in", "role-missing", "administrator-only", "scope-missing"}
NEEDS = {" ".join(pair): role for role in ORDER for pair in zip(*[iter(FIRST_FOR[role].split())] * 2, strict=True)}

Town = tuple[str, dict[str, str], dict[str, str], Database]


@pytest.fixture(scope="module")
def town(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A service whose database takes no write, so that a route that is open changes nothing for the next one."""
    folder = tmp_path_factory.mktemp("roles")
    (folder / "data.db").write_bytes(sqlite_template.read_bytes())
    database, tokens = Database(f"sqlite:///{folder / 'data.db'}"), {}
    with unit_of_work(database, SilentBell()) as session:
        rows = add_full_project(session, "hearts", "somebody")
        project_id, volume = uuid.UUID(rows["project"]), session.get_one(Volume, uuid.UUID(rows["volume"]))
        deletion = Deletion(project_id=project_id, kind=DeletedKind.VOLUME, object_id=volume.id, label="", author="")
        deletion.purge_after = database_now(session)
        session.add(deletion)
        session.flush()
        rows |= {"patient": str(volume.patient_id), "deletion": str(deletion.id)}
        add_full_project(session, "livers", "stranger")
        for name in (*ORDER, "stranger"):
            account = people.create_account(session, name, None)
            _, tokens[name] = people.create_token(session, account, "test", Scope.ADMIN, 1)
            slug = "livers" if name == "stranger" else "hearts"
            project = session.get_one(Project, members.project_of(session, "project", slug))
            members.set_member(session, project, account.id, Role.OWNER if name == "stranger" else Role(name))
    with database.writing() as session:
        session.execute(text("CREATE TRIGGER a BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'a test'); END"))
        session.commit()
    knobs = Settings(home=folder / "home", port=0, database_url=database.url, sign_in="accounts")
    with running_service(knobs, queues=()) as url:
        yield url, rows, tokens, database
    database.dispose()


def ask(town: Town, name: str, who: str | None) -> tuple[int, str]:
    """(status, code) of a request."""
    url, rows, tokens, _ = town
    method, path = name.split()
    headers = {} if who is None else {"Authorization": f"Bearer {tokens[who]}"}
    with httpx.stream(method, url + filled(path, rows), headers=headers, timeout=20) as answer:
        if "problem" not in answer.headers.get("content-type", ""):
            return answer.status_code, ""  # a stream of events has no end to wait for
        answer.read()
        return answer.status_code, answer.json()["code"]


def test_the_table_of_routes_says_what_is_written_here() -> None:
    assert set(RULES) == set(NEEDS) | FOR_ADMINISTRATORS | FOR_ANYBODY | FOR_ONESELF
    assert {name: rule.needs for name, rule in RULES.items() if isinstance(rule.needs, Role)} == NEEDS


@pytest.mark.parametrize("name", sorted(set(RULES) - FOR_ANYBODY))
def test_a_route_is_open_to_those_named_and_to_nobody_else(town: Town, name: str) -> None:
    before = counted(town[3])
    assert ask(town, name, None) == (401, "not-signed-in")
    for role in ORDER:
        status, code = ask(town, name, role)
        if name in FOR_ADMINISTRATORS:
            assert (status, code) == (403, "administrator-only"), role
        elif name in FOR_ONESELF or ORDER.index(role) >= ORDER.index(NEEDS[name]):
            assert code not in CLOSED, (role, status, code)
            if "{lease}" in name and not role.covers(Role.MANAGER):
                assert status == 404, f"{role}: the lease is somebody else's"
        else:
            assert (status, code) == (403, "role-missing"), role
    if name in NEEDS:
        assert ask(town, name, "stranger")[0] == 404
    assert counted(town[3]) == before
