"""A list of many rows asks the database as often as a list of one: nothing is looked up row by row."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from app.db.models import (
    AnnotationVersion,
    Assignment,
    Metric,
    Model,
    Patient,
    Pick,
    Project,
    Promotion,
    Review,
    Round,
    Slice,
    Snapshot,
    Volume,
    Webhook as Hook,
)
from app.db.session import Database
from app.embedded import running_service
from app.names import JobKind, ModelKind, Split, WebhookEvent
from app.outbox import SilentBell, unit_of_work
from app.services import webhooks
from app.services.jobs import queue_job
from app.settings import Settings
from tests.api.populated import add_full_project

ROWS = 6
LISTS = (
    "/v1/projects",
    "/v1/projects/{project}/volumes",
    "/v1/volumes/{volume}/slices",
    "/v1/slices/{slice_}/annotations",
    "/v1/slices/{slice_}/reviews",
    "/v1/slices/{slice_}/readings",
    "/v1/projects/{project}/rounds",
    "/v1/rounds/{round_}/picks",
    "/v1/rounds/{round_}/metrics",
    "/v1/projects/{project}/models",
    "/v1/projects/{project}/model-versions",
    "/v1/projects/{project}/promotions",
    "/v1/projects/{project}/jobs",
    "/v1/projects/{project}/snapshots",
    "/v1/projects/{project}/webhooks",
    "/v1/webhooks/{webhook}/deliveries",
    "/v1/projects/{project}/audit",
)


@pytest.fixture(scope="module")
def listed(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Any]]:
    """A client of a service with at least six rows in each of its lists, and the ids that paths name."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "data.db").write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{folder / 'data.db'}")
    with unit_of_work(database, SilentBell()) as session:
        rows = add_full_project(session, "hearts", "anna")
        _multiply(session, rows)
    with unit_of_work(database, SilentBell()) as session:
        for number in range(ROWS):
            add_full_project(session, f"other-{number}", "anna")
    database.dispose()
    knobs = Settings(home=folder / "home", port=0, database_url=database.url)
    with running_service(knobs, queues=()) as url, httpx.Client(base_url=url) as http:
        for _ in range(ROWS):  # each leaves its row in the audit log
            promoted = http.post(f"/v1/projects/{rows['project']}/promotions", json={"version": None})
            promoted.raise_for_status()
        yield http, rows


def _multiply(session: Session, rows: dict[str, str]) -> None:
    project = session.get_one(Project, uuid.UUID(rows["project"]))
    volume = session.get_one(Volume, uuid.UUID(rows["volume"]))
    version = session.get_one(AnnotationVersion, uuid.UUID(rows["version"]))
    hook = session.get_one(Hook, uuid.UUID(rows["webhook"]))
    for number in range(ROWS):
        patient = Patient(project_id=project.id, code=f"more-{number}", split=Split.TRAIN)
        round_ = Round(
            project_id=project.id, number=number + 2, budget_percent=3.0, target=1, state="closed", strategy="x", seed=7
        )
        session.add_all([patient, round_])
        session.flush()
        facts = {
            name: getattr(volume, name) for name in [each.name for each in Volume.__table__.columns] if name != "id"
        }
        more = Volume(**facts | {"patient_id": patient.id, "name": f"w{number}"})
        session.add(more)
        session.flush()
        slices = [
            Slice(project_id=project.id, volume_id=more.id, index=0),
            Slice(project_id=project.id, volume_id=volume.id, index=100 + number),
        ]
        reading = AnnotationVersion(
            annotation_id=version.annotation_id,
            number=number + 2,
            kind="full",
            author=f"reader {number}",
            source="annotator",
            pixel_counts={},
        )
        session.add_all([*slices, reading])
        session.flush()
        session.add_all(
            [
                Pick(
                    project_id=project.id,
                    round_id=uuid.UUID(rows["round_"]),
                    slice_id=slices[0].id,
                    order=100 + number,
                    value=0.0,
                    reason="a test",
                    seed=1,
                ),
                Assignment(project_id=project.id, round_id=round_.id, slice_id=slices[0].id, order=1, seat=1),
                Metric(
                    round_id=uuid.UUID(rows["round_"]),
                    volume_id=more.id,
                    split=Split.TEST,
                    class_value=1,
                    hd95_unit="mm",
                    missed=False,
                    slice_counts=[],
                ),
                Review(version_id=reading.id, reviewer="ruth", verdict="accept", comment=""),
                Model(
                    project_id=project.id,
                    round_id=round_.id,
                    kind=ModelKind.SEGMENTATION,
                    weights_key="",
                    config={},
                    manifest={},
                    metrics={},
                ),
                Promotion(project_id=project.id, round_id=round_.id, author="anna"),
                Snapshot(project_id=project.id, content_key="", mask_keys=[], counts={}),
                Hook(project_id=project.id, url="https://hook.invalid/", events=["round.closed"], secret="s"),
            ]
        )
        webhooks.address_delivery(session, hook, WebhookEvent.PING, {})
        queue_job(session, project_id=project.id, kind=JobKind.EXPORT, round_id=round_.id)


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every statement that any engine of this process is sent."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("template", LISTS)
def test_a_page_of_many_asks_no_more_than_a_page_of_one(listed: tuple[httpx.Client, Any], template: str) -> None:
    http, rows = listed
    path = template.format(**rows)
    asked = {}
    for limit, least in ((1, 1), (100, ROWS)):
        with counted() as statements:
            page = http.get(path, params={"limit": limit}).raise_for_status().json()
        assert len(page["items"]) >= least, "the list is too short to tell"
        asked[limit] = statements
    assert len(asked[1]) > 0
    assert len(asked[100]) <= len(asked[1]), asked[100]
