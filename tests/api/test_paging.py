"""Lists by pages: the same shape everywhere, nothing twice and nothing missing while rows come and go."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from app.db.models import Base, Job, Metric, Slice, WebhookDelivery
from app.db.session import Database
from app.embedded import running_service
from app.names import DeliveryState, JobKind, Split, WebhookEvent
from app.outbox import SilentBell, unit_of_work
from app.services import webhooks
from app.services.jobs import queue_job
from app.services.projects import find_project
from app.settings import Settings
from tests.api.conftest import on_sqlite
from tests.rows import add_project, add_slices, propose_all

ROWS = 5


@pytest.fixture
def listed(database: Database, tmp_path: Path) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    """A client of a service with five rows in long lists, and the path of each by its template."""
    with unit_of_work(database, SilentBell()) as session:
        project = add_project(session)
        for number in range(ROWS - 1):
            add_project(session, f"other-{number}")
        slices = add_slices(session, project, ROWS, 4)
        round_ = propose_all(session, project, slices)
        judged = webhooks.judge_url("http://127.0.0.1:9/x", allow_private=True)
        hook = webhooks.create_webhook(session, project, judged, [WebhookEvent.ROUND_CLOSED])
        for number in range(ROWS):
            queue_job(session, project_id=project.id, kind=JobKind.EXPORT)
            webhooks.address_delivery(session, hook, WebhookEvent.PING, {}).state = DeliveryState.DELIVERED
            session.add(
                Metric(
                    round_id=round_.id,
                    volume_id=slices[0].volume_id,
                    split=Split.TEST,
                    class_value=number,
                    hd95_unit="mm",
                    missed=False,
                    slice_counts=[],
                )
            )
        paths = {
            "projects": "/v1/projects",
            "jobs": "/v1/projects/hearts/jobs",
            "slices": f"/v1/volumes/{slices[0].volume_id}/slices",
            "picks": f"/v1/rounds/{round_.id}/picks",
            "metrics": f"/v1/rounds/{round_.id}/metrics",
            "deliveries": f"/v1/webhooks/{hook.id}/deliveries",
            "strategies": "/v1/strategies",
        }
    knobs = Settings(home=tmp_path / "home", port=0, database_url=database.url)
    with running_service(knobs, queues=()) as url, httpx.Client(base_url=url) as http:
        yield http, paths


def turned(http: httpx.Client, path: str, limit: int, cursor: str | None = None) -> Iterator[dict[str, Any]]:
    """The pages of a list, one after another."""
    while True:
        page = http.get(path, params={"limit": limit} | ({"cursor": cursor} if cursor else {})).raise_for_status()
        yield page.json()
        cursor = page.json()["next_cursor"]
        if cursor is None:
            return


def test_pages_of_any_length_are_the_whole_list(listed: tuple[httpx.Client, dict[str, str]]) -> None:
    http, paths = listed
    for path in paths.values():
        whole = http.get(path, params={"limit": 500}).json()
        assert whole["next_cursor"] is None
        assert len(whole["items"]) >= ROWS
        for limit in (1, 2, ROWS):
            pages = list(turned(http, path, limit))
            assert [item for page in pages for item in page["items"]] == whole["items"], path
            assert all(len(page["items"]) == limit for page in pages[:-1])


def test_rows_that_come_and_go_neither_repeat_nor_hide_others(
    listed: tuple[httpx.Client, dict[str, str]], database: Database
) -> None:
    http, paths = listed
    before = [each["id"] for each in http.get(paths["jobs"]).json()["items"]]  # the newest first
    pages = turned(http, paths["jobs"], 2)
    seen = [each["id"] for each in next(pages)["items"]]
    with unit_of_work(database, SilentBell()) as session:
        queue_job(session, project_id=find_project(session, "hearts").id, kind=JobKind.EXPORT)
        session.delete(session.get_one(Job, uuid.UUID(seen[-1])))  # the very row that the cursor names
    seen += [each["id"] for page in pages for each in page["items"]]
    assert seen == before


@on_sqlite
def test_every_list_of_the_contract_takes_limit_and_cursor(listed: tuple[httpx.Client, dict[str, str]]) -> None:
    document = listed[0].get("/openapi.json").json()
    lists = [
        (path, {each["name"] for each in methods["get"].get("parameters", [])})
        for path, methods in document["paths"].items()
        if "get" in methods and "Page_" in json.dumps(methods["get"]["responses"].get("200", {}))
    ]
    assert len(lists) >= 20
    assert [path for path, names in lists if not {"limit", "cursor"} <= names] == []


def _cursor(*keys: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(keys).encode()).decode().rstrip("=")


@on_sqlite
def test_cursors_that_no_list_gave_are_refused(listed: tuple[httpx.Client, dict[str, str]]) -> None:
    http, paths = listed
    keys: tuple[object, ...] = (None, {}, 10**400, 1.5, True, "\0", "\ud800", [[[]]], "' OR 1=1 --", "x")
    for cursor in ("", "x", "!", "é", "A" * 900, _cursor(), _cursor(1, 2), *map(_cursor, keys)):
        for path in paths.values():
            answer = http.get(path, params={"cursor": cursor})
            assert (answer.status_code, answer.json()["code"]) == (422, "cursor-refused"), (path, cursor)


@pytest.mark.parametrize("table", [Job, WebhookDelivery, Metric, Slice], ids=lambda table: table.__tablename__)
def test_long_lists_are_read_in_the_order_of_an_index(sqlite_url: str, table: type[Base]) -> None:
    parent = {Job: "project_id", WebhookDelivery: "webhook_id", Metric: "round_id", Slice: "volume_id"}[table]
    order = '"index"' if table is Slice else "id"
    query = f"SELECT * FROM {table.__tablename__} WHERE {parent} = 'x' AND {order} > '1' ORDER BY {order}"
    database = Database(sqlite_url)
    with database.reading() as session:
        plan = " ".join(str(row[3]) for row in session.execute(text(f"EXPLAIN QUERY PLAN {query}")))
    database.dispose()
    assert "USING INDEX" in plan
    assert "TEMP B-TREE" not in plan
