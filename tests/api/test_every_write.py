"""Every write of the API: its audit row is in its own transaction, and what creates is done once under one key.

Walked over the table of routes: whoever adds a write says here how it is asked for.
"""

from __future__ import annotations

import gzip
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nibabel
import numpy as np
import pytest
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.api.access import RULES, SAFE_METHODS
from app.db.models import (
    AnnotationVersion,
    Assignment,
    AuditEvent,
    Job,
    Model,
    Pick,
    Project,
    Round,
    Slice,
    Snapshot,
    Upload,
    Volume,
    WebhookDelivery,
)
from app.db.session import Database
from app.embedded import running_service
from app.names import JobState, ModelKind, Role, RoundState, Scope
from app.outbox import SilentBell, unit_of_work
from app.protocols import load_protocol
from app.services import deletions, members, people
from app.settings import Settings
from app.storage.blobs import blob_key
from tests.api.garbage import nifti
from tests.api.hostile_words import DRAFT
from tests.api.populated import DEPTH, SIDE, add_full_project
from tests.api.test_foreign_ids import counted, filled
from tests.api.test_idempotency import EXEMPT
from tests.rows import refusing_audit_rows

PASSWORD = "correct horse battery"
ELSEWHERE = {"POST /v1/auth/provider/begin", "POST /v1/auth/provider/complete"}
"""They need a provider, and are tried so beside one in test_providers.py."""

GONE_AFTER = {"/v1/deletions/{deletion}/restore"}
"""What they name is not there any more, so that a repetition is told so."""
ALIKE_ALWAYS = {"/v1/uploads/{upload}/complete"}
"""Asked again they do nothing and answer alike, with a key or without one."""

WRITES = sorted(name for name in RULES if name.split()[0] not in SAFE_METHODS)
MASK = bytes(SIDE * SIDE)
FULL = {"params": {"kind": "full"}, "content": MASK}
PART, REST = bytes(65_536), bytes(70_000 - 65_536)
Prepare = Callable[[Session, dict[str, str]], None]


def _id(rows: dict[str, str], what: str) -> uuid.UUID:
    return uuid.UUID(rows[what])


def _idle(session: Session, rows: dict[str, str]) -> None:
    """No job is at work."""
    session.execute(update(Job).where(Job.project_id == _id(rows, "project")).values(state=JobState.FAILED))


def _all_done(session: Session, rows: dict[str, str]) -> None:
    session.execute(update(Assignment).where(Assignment.round_id == _id(rows, "round_")).values(done=True))


def _closed(session: Session, rows: dict[str, str]) -> None:
    """The round is over, and one slice was never picked."""
    session.execute(update(Round).where(Round.id == _id(rows, "round_")).values(state=RoundState.CLOSED))
    project, seen = _id(rows, "project"), {_id(rows, "slice_")}
    last = session.scalars(select(Slice.id).where(Slice.project_id == project).order_by(Slice.index.desc())).first()
    assert last not in seen
    for table in (Pick, Assignment):
        session.execute(delete(table).where(table.slice_id == last))
    session.execute(update(Project).where(Project.id == project).values(budgets=[100.0], strategy="random"))


def _trained(session: Session, rows: dict[str, str]) -> None:
    """Two rounds, each with all its models."""
    project = session.get_one(Project, _id(rows, "project"))
    later = Round(project_id=project.id, number=2, budget_percent=3.0, target=2, state="closed", strategy="gcl", seed=7)
    session.add(later)
    session.flush()
    for round_id in (_id(rows, "round_"), later.id):
        for member in range(load_protocol(project.protocol).members):
            model = Model(project_id=project.id, round_id=round_id, kind=ModelKind.SEGMENTATION, member=member)
            model.weights_key, model.config, model.manifest, model.metrics = "", {}, {}, {}
            session.add(model)


def _deleted(session: Session, rows: dict[str, str]) -> None:
    _idle(session, rows)
    volume = session.get_one(Volume, _id(rows, "volume"))
    for table, column in ((Volume, "pack_key"), (Volume, "original_key"), (Model, "weights_key")):
        of_project = update(table).where(table.project_id == volume.project_id)
        session.execute(of_project.values({column: blob_key("0" * 64)}))
    session.execute(delete(Snapshot).where(Snapshot.project_id == volume.project_id))
    rows["deletion"] = str(deletions.delete_volume(session, volume, "owner", 1.0).id)


def _complete(session: Session, rows: dict[str, str]) -> None:
    session.execute(update(Upload).where(Upload.id == _id(rows, "upload")).values(blob_key="x"))


def _delivered(session: Session, rows: dict[str, str]) -> None:
    session.execute(update(WebhookDelivery).values(state="failed"))


BEFORE: dict[str, Prepare] = {
    "DELETE /v1/projects/{project}": _idle,
    "DELETE /v1/patients/{patient}": _idle,
    "DELETE /v1/volumes/{volume}": _idle,
    "POST /v1/deletions/{deletion}/restore": _deleted,
    "DELETE /v1/deletions/{deletion}": _deleted,
    "POST /v1/jobs/{job}/retry": _idle,
    "POST /v1/rounds/{round_}/training": _all_done,
    "POST /v1/projects/{project}/rounds": _closed,
    "POST /v1/projects/{project}/oracle": _closed,
    "POST /v1/projects/{project}/rollback": _trained,
    "POST /v1/projects/{project}/predictions": _trained,
    "POST /v1/projects/{project}/imports": _complete,
    "POST /v1/webhook-deliveries/{delivery}/redeliver": _delivered,
}
"""What must be true before."""


def asked(name: str, rows: dict[str, str], number: int) -> dict[str, Any]:
    """What is sent with a write."""
    over = {"headers": {"If-Match": f'"{rows["version"]}"'}}
    known: dict[str, dict[str, Any]] = {
        "POST /v1/auth/login": {"json": {"name": "owner", "password": PASSWORD}},
        "POST /v1/me/password": {"json": {"current": PASSWORD, "new": PASSWORD}},
        "POST /v1/tokens": {"json": {"name": f"token {number}"}},
        "POST /v1/users": {"json": {"name": f"new{number}"}},
        "PATCH /v1/users/{account}": {"json": {"disabled": True}},
        "PUT /v1/projects/{project}/members/{account}": {"json": {"role": "viewer"}},
        "POST /v1/projects": {"json": DRAFT | {"slug": f"new{number}"}},
        "PATCH /v1/projects/{project}": {"json": {"review_percent": number}, "headers": {"If-Match": "*"}},
        "POST /v1/projects/{project}/volumes": {
            "data": {"patient": "p9", "name": "v9", "axis": "2"},
            "files": {"image": ("v9.nii", nifti())},
        },
        "POST /v1/slices/{slice_}/annotations": FULL | over,
        "POST /v1/annotation-versions/{version}/restore": over,
        "POST /v1/annotation-versions/{version}/adjudicate": over,
        "POST /v1/annotation-versions/{version}/reviews": {"json": {"verdict": "accept"}},
        "PUT /v1/slices/{slice_}/draft": FULL,
        "PUT /v1/volumes/{volume}/annotation": {
            "params": {"kind": "full", "slices": list(range(DEPTH))},
            "content": nibabel.Nifti1Image(
                np.zeros((SIDE, SIDE, DEPTH), np.uint8), np.diag([1.5, 1.5, 5, 1])
            ).to_bytes(),
            "headers": {"If-Match": rows["volume tag"]},
        },
        "POST /v1/leases/{lease}/skip": {"json": {"reason": "unsure"}},
        "POST /v1/leases/{lease}/takeover": {"json": {"force": True}},
        "POST /v1/projects/{project}/uploads": {"json": {"file_name": "a.zip", "size_bytes": 1}},
        "PUT /v1/uploads/{upload}/parts/{number}": {"content": PART},
        "POST /v1/projects/{project}/imports": {"json": {"upload": rows["upload"]}},
        "POST /v1/projects/{project}/promotions": {"json": {"version": None}},
        "POST /v1/projects/{project}/webhooks": {"json": {"url": "https://8.8.8.8/", "events": ["round.closed"]}},
        "PATCH /v1/webhooks/{webhook}": {"json": {"active": False}},
    }
    return known.get(name, {})


@dataclass
class Town:
    """A service with accounts, its database, and the client of an administrator."""

    http: httpx.Client
    database: Database
    number: int = 0

    def settle(self, name: str) -> dict[str, str]:
        """A project of this write's own, with everything that it needs; somebody else drew and leased there."""
        self.number += 1
        with unit_of_work(self.database, SilentBell()) as session:
            rows = add_full_project(session, f"p{self.number}", "anna")
            version = session.get_one(AnnotationVersion, _id(rows, "version"))
            version.mask = gzip.compress(MASK, mtime=0)
            rows["patient"] = str(session.get_one(Volume, _id(rows, "volume")).patient_id)
            account = people.create_account(session, f"member{self.number}", None)
            members.set_member(session, session.get_one(Project, _id(rows, "project")), account.id, Role.ANNOTATOR)
            owner = people.find_account(session, "owner")
            token, _ = people.create_token(session, owner, f"of {self.number}", Scope.READ, 1)
            rows |= {"account": account.name, "token": str(token.id), "number": "0", "volume tag": ""}
            prepare = BEFORE.get(name)
            if prepare is not None:
                prepare(session, rows)
        if name.startswith("PUT /v1/volumes"):
            tag = self.http.get(f"/v1/volumes/{rows['volume']}/annotation").headers["etag"]
            rows["volume tag"] = tag
        if name.endswith("/complete") and "uploads" in name:
            for number, content in enumerate((PART, REST)):
                self.http.put(f"/v1/uploads/{rows['upload']}/parts/{number}", content=content).raise_for_status()
        return rows

    def audited(self) -> list[AuditEvent]:
        with self.database.reading() as session:
            return list(session.scalars(select(AuditEvent).order_by(AuditEvent.id)))


@pytest.fixture(scope="module")
def town(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("writes")
    (folder / "data.db").write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{folder / 'data.db'}")
    with unit_of_work(database, SilentBell()) as session:
        account = people.create_account(session, "owner", PASSWORD, administrator=True)
        _, secret = people.create_token(session, account, "test", Scope.ADMIN, 1)
    knobs = Settings(home=folder / "home", port=0, database_url=database.url, sign_in="accounts")
    with running_service(knobs, queues=()) as url, httpx.Client(base_url=url, timeout=30) as http:
        http.headers["Authorization"] = f"Bearer {secret}"
        yield Town(http, database)
    database.dispose()


@pytest.mark.parametrize("name", [name for name in WRITES if name not in ELSEWHERE])
def test_a_write_and_its_audit_row_are_one_and_what_creates_is_done_once(town: Town, name: str) -> None:
    method, template = name.split()
    rows = town.settle(name)
    path, options = filled(template, rows), asked(name, rows, town.number)
    before = counted(town.database)
    with refusing_audit_rows(town.database):
        refused = town.http.request(method, path, **options)
    assert refused.status_code >= 400, "acknowledged without its audit row"
    assert counted(town.database) == before, "written without its audit row"

    keyed = options | {"headers": options.get("headers", {}) | {"Idempotency-Key": f"key-{town.number}"}}
    noted = len(town.audited())
    answer = town.http.request(method, path, **keyed)
    assert answer.status_code < 300, answer.text
    written = [each for each in town.audited()[noted:] if each.action == name]
    assert written, "acknowledged without an audit row"
    assert {each.actor for each in written} <= {"owner", ""}
    if isinstance(RULES[name].needs, Role):
        assert {str(each.project_id) for each in written} == {rows["project"]}

    if (method == "POST" and template not in EXEMPT | GONE_AFTER) or name == "PUT /v1/volumes/{volume}/annotation":
        after = counted(town.database)
        again = town.http.request(method, path, **keyed)
        replayed = None if template in ALIKE_ALWAYS else "true"
        assert (again.status_code, again.headers.get("idempotency-replayed")) == (answer.status_code, replayed)
        after["audit_events"] += template in ALIKE_ALWAYS
        assert counted(town.database) == after, "done twice under one key"
