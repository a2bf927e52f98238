"""What is deleted is hidden on every road, comes back whole, or goes for good with everything that was made of it."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import String, Uuid, cast, func, select, update
from typer.testing import CliRunner

from app.api.access import RULES
from app.cli import app as cli
from app.db.models import AuditEvent, Base, Deletion, Model, PurgedBlob, Round, Upload, Volume, Webhook, WebhookDelivery
from app.names import JobKind, JobState, ModelKind, WebhookEvent
from app.outbox import SilentBell, unit_of_work
from app.services.deletions import delete_volume
from app.services.housekeeping import find_bad_blobs, find_orphans, remove_purged
from app.services.jobs import queue_job
from app.services.purging import Sweep, purge_due
from app.services.rounds import ProposedPick, record_picks
from app.services.webhooks import address_delivery
from app.settings import settings
from app.storage.blobs import ORPHAN_GRACE_S
from app.storage.stores import LocalStore, open_store
from tests.api.conftest import Service, on_sqlite
from tests.api.test_housekeeping import close_round
from tests.rows import add_project, add_round, add_slices

MakeProject = Callable[..., Any]
TABLES_THAT_STAY = {"audit_events", "idempotent_answers", "accounts", "alembic_version"}


def volumes_of(service: Service) -> list[dict[str, Any]]:
    return list(service.client.items("/v1/projects/hearts/volumes"))


def delete(service: Service, path: str) -> dict[str, Any]:
    answer = service.http.delete(path)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def everything_shown(service: Service, ids: dict[str, str]) -> str:
    """All JSON that a walk over the GET routes gives, those of the objects that are asked for among them."""
    told = []
    for name in RULES:
        method, path = name.split()
        if method != "GET" or path in {"/metrics", "/v1/jobs/{job}/events"} or "deletions" in path or "audit" in path:
            continue
        for part in re.findall(r"{(\w+)}", path):
            path = path.replace(f"{{{part}}}", ids.get(part, "00000000-0000-7000-8000-000000000000"))
        answer = service.http.get(path)
        assert answer.status_code < 500, (path, answer.text)
        if answer.status_code == 200 and "json" in answer.headers["content-type"]:
            told.append(answer.text)
    return "\n".join(told)


def rows_naming(service: Service, words: list[str]) -> set[str]:
    """The tables in which one of these words stands, other than in what tells who did what."""
    found = set()
    with service.database.reading() as session:
        for table in Base.metadata.sorted_tables:
            for column in table.columns if table.name != "audit_events" else ():
                for word in words:
                    text = cast(column, String)
                    plain = (
                        word.replace("-", "") if isinstance(column.type, Uuid) and service.database.is_sqlite else word
                    )
                    if session.scalar(select(func.count()).select_from(table).where(text.contains(plain))):
                        found.add(f"{table.name}.{column.name}")
    return found


def age_blobs(service: Service) -> LocalStore:
    blobs = open_store(service.knobs)
    assert isinstance(blobs, LocalStore)
    for blob in blobs.iterate():
        os.utime(blobs.root / blob.key, (time.time() - ORPHAN_GRACE_S - 60,) * 2)
    return blobs


def test_a_deleted_volume_is_hidden_comes_back_and_is_purged_with_what_was_made_of_it(
    service: Service, make_project: MakeProject
) -> None:
    make_project(strategy="gcl")
    close_round(service)
    service.client.post("/v1/projects/hearts/rounds")
    service.work_off()
    before = volumes_of(service)
    train = [each for each in before if each["split"] == "train"]
    waiting = list(service.client.items("/v1/projects/hearts/rounds"))[-1]
    picks = list(service.client.items(f"/v1/rounds/{waiting['id']}/picks"))
    victim = next(
        each for each in train if each["patient"] == picks[0]["patient"] and each["name"] == picks[0]["volume"]
    )
    slices = [each["id"] for each in service.client.items(f"/v1/volumes/{victim['id']}/slices")]
    ids = {"project": "hearts", "volume": victim["id"], "slice_": slices[0], "round_": waiting["id"]}
    lease = service.client.post("/v1/projects/hearts/leases", {"annotator": "anna", "n": 8})

    deletion = delete(service, f"/v1/volumes/{victim['id']}")
    told = everything_shown(service, ids)
    # (why another slice was picked, and what an encoder saw, may name it by its id until it is purged)
    for each in (victim["id"], *slices):
        assert not [field for field in ("id", "slice_id", "volume_id") if f'"{field}":"{each}"' in told]
    assert service.refusal("GET", f"/v1/volumes/{victim['id']}")[0] == 404
    held = next(each for each in lease["items"] if each["slice"]["id"] in slices)
    assert service.refusal("GET", f"/v1/leases/{held['id']}")[0] == 404
    assert service.http.post(f"/v1/deletions/{deletion['id']}/restore").status_code == 204
    assert volumes_of(service) == before
    assert [each["id"] for each in service.client.items(f"/v1/volumes/{victim['id']}/slices")] == slices
    again = service.client.post("/v1/projects/hearts/leases", {"annotator": "bert", "n": 8})
    assert {each["slice"]["id"] for each in again["items"]} & set(slices), "its open work is to be done again"

    deletion = delete(service, f"/v1/volumes/{victim['id']}")
    service.work_off()
    service.client.post("/v1/projects/hearts/oracle")
    service.work_off()
    blobs = age_blobs(service)
    assert service.http.delete(f"/v1/deletions/{deletion['id']}").status_code == 204
    assert rows_naming(service, [victim["id"], *slices]) == set()
    assert len(volumes_of(service)) == len(before) - 1
    assert [bad for _, bad in find_bad_blobs(service.database, blobs) if bad] == []
    assert find_orphans(service.database, blobs, grace_s=0) == [], "nothing is left for gc"
    with service.database.reading() as session:
        last = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
        assert (last.action, last.object) == ("DELETE /v1/deletions/{deletion}", f"deletion {deletion['id']}")
    export = service.client.post("/v1/projects/hearts/exports")
    service.work_off()
    assert service.client.get(f"/v1/jobs/{export['id']}")["state"] == "succeeded"


def test_what_an_encoder_saw_goes_with_a_purge_and_is_made_anew_for_the_next_round(
    service: Service, make_project: MakeProject
) -> None:
    make_project(strategy="gcl")
    close_round(service)
    assert kept_of_slices(service) == (True, True)
    victim = next(each for each in volumes_of(service) if each["split"] == "train")
    deletion = delete(service, f"/v1/volumes/{victim['id']}")
    assert service.http.delete(f"/v1/deletions/{deletion['id']}").status_code == 204
    assert kept_of_slices(service) == (False, False)
    service.client.post("/v1/projects/hearts/rounds")
    service.work_off()
    waiting = list(service.client.items("/v1/projects/hearts/rounds"))[-1]
    assert (waiting["number"], waiting["state"]) == (2, "annotating")
    assert kept_of_slices(service) == (True, True)


def kept_of_slices(service: Service) -> tuple[bool, bool]:
    """Whether the encoder's features and the newest round's distances are kept."""
    with service.database.reading() as session:
        features = session.scalars(select(Model.features_key).where(Model.kind == ModelKind.ENCODER)).one()
        cover = session.scalars(select(Round.cover_key).order_by(Round.number.desc()).limit(1)).one()
        return features is not None, cover is not None


def test_a_purge_leaves_the_bytes_that_somebody_may_be_about_to_name(
    service: Service, make_project: MakeProject
) -> None:
    make_project()
    victim = volumes_of(service)[0]
    with service.database.reading() as session:
        volume = session.get_one(Volume, uuid.UUID(victim["id"]))
        pack, original = str(volume.pack_key), str(volume.original_key)
    deletion = delete(service, f"/v1/volumes/{victim['id']}")
    blobs = age_blobs(service)
    blobs.put(blobs.get(pack))  # as an upload of the same file does, before its volume has a row
    assert service.http.delete(f"/v1/deletions/{deletion['id']}").status_code == 204
    assert (blobs.exists(pack), blobs.exists(original)) == (True, False)
    assert remove_purged(service.database, blobs) == []
    age_blobs(service)
    purge_due(service.database, blobs)
    assert not blobs.exists(pack), "nobody named it in the end"
    assert rows_naming(service, [victim["id"]]) == set()
    with service.database.reading() as session:
        assert session.scalars(select(PurgedBlob)).all() == []


def test_a_patient_and_a_project_go_with_all_that_is_theirs(service: Service, make_project: MakeProject) -> None:
    make_project()
    close_round(service)
    victim = volumes_of(service)[0]
    theirs = [each["id"] for each in volumes_of(service) if each["patient"] == victim["patient"]]
    assert len(theirs) == 2
    inner = delete(service, f"/v1/volumes/{theirs[0]}")
    outer = delete(service, f"/v1/patients/{victim['patient_id']}")
    assert service.refusal("POST", f"/v1/deletions/{inner['id']}/restore") == (409, "still-deleted")
    assert service.http.post(f"/v1/deletions/{outer['id']}/restore").status_code == 204
    assert theirs[0] not in {each["id"] for each in volumes_of(service)}, "hidden by a deletion of its own"
    delete(service, f"/v1/patients/{victim['patient_id']}")
    waiting = list(service.client.items("/v1/projects/hearts/deletions"))
    assert {each["kind"] for each in waiting} == {"volume", "patient"}
    assert all(each["label"] in {victim["patient"], victim["name"]} for each in waiting)
    _let_time_pass(service)
    blobs = age_blobs(service)
    assert len(purge_due(service.database, blobs).purged) in {1, 2}
    assert rows_naming(service, [*theirs, victim["patient_id"]]) == set()
    assert find_orphans(service.database, blobs, grace_s=0) == []

    whole = delete(service, "/v1/projects/hearts")
    assert list(service.client.items("/v1/projects")) == []
    assert service.refusal("GET", "/v1/projects/hearts")[0] == 404
    assert service.refusal("GET", f"/v1/projects/{whole['project_id']}/jobs")[0] == 404
    refused = service.http.post("/v1/projects", json=_draft())
    assert (refused.status_code, refused.json()["code"]) == (409, "project-exists")
    assert service.http.post(f"/v1/deletions/{whole['id']}/restore").status_code == 204
    assert len(volumes_of(service)) == 10
    delete(service, "/v1/projects/hearts")
    assert purge_due(service.database, blobs) == Sweep(), "it is kept until its time has come"
    _let_time_pass(service)
    age_blobs(service)
    assert purge_due(service.database, blobs).purged == [f"project {whole['project_id']}"]
    assert list(blobs.iterate()) == []
    with service.database.reading() as session:
        left = {
            table.name
            for table in Base.metadata.sorted_tables
            if session.scalar(select(func.count()).select_from(table))
        }
        assert left <= TABLES_THAT_STAY
        last = session.scalars(select(AuditEvent).order_by(AuditEvent.id.desc()).limit(1)).one()
        assert (last.actor, last.action, last.object) == ("retention", "purge", f"project {whole['project_id']}")
        told = json.dumps([[row.action, row.object] for row in session.scalars(select(AuditEvent))])
        assert victim["patient"] not in told
    assert service.http.post("/v1/projects", json=_draft()).status_code == 201


@on_sqlite
def test_nothing_is_deleted_or_purged_while_a_job_is_at_work(
    service: Service, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project()
    volume = volumes_of(service)[0]
    deletion = delete(service, f"/v1/volumes/{volume['id']}")
    service.client.post("/v1/projects/hearts/rounds")
    for method, path in (
        ("DELETE", "/v1/projects/hearts"),
        ("DELETE", f"/v1/volumes/{volumes_of(service)[0]['id']}"),
        ("DELETE", f"/v1/deletions/{deletion['id']}"),
    ):
        assert service.refusal(method, path) == (409, "jobs-at-work")
    service.work_off()
    monkeypatch.setenv("NEXTSLICE_HOME", str(service.knobs.home))
    monkeypatch.setenv("NEXTSLICE_DATABASE_URL", service.knobs.database_url)
    settings.cache_clear()
    try:
        run = CliRunner().invoke
        assert "0 deletions purged" in run(cli, ["purge"]).output
        assert run(cli, ["purge", "nothing"]).exit_code != 0
        assert f"volume {volume['id']} purged" in run(cli, ["purge", deletion["id"]]).output
    finally:
        settings.cache_clear()


def test_a_purge_passes_by_a_project_at_work(service: Service) -> None:
    deletions = {}
    with unit_of_work(service.database, SilentBell()) as session:
        for slug in ("busy", "idle"):
            project = add_project(session, slug)
            volume = add_slices(session, project, 2)[0].volume
            deletions[slug] = f"volume {delete_volume(session, volume, 'anna', 0).object_id}"
            if slug == "busy":
                queue_job(session, project_id=project.id, kind=JobKind.EXPORT)
    swept = purge_due(service.database, open_store(service.knobs))
    assert swept.purged == [deletions["idle"]]
    assert swept.waiting == [deletions["busy"]]
    with service.database.reading() as session:
        assert [f"volume {each.object_id}" for each in session.scalars(select(Deletion))] == [deletions["busy"]]


def test_the_names_of_whom_was_purged_are_in_no_row(service: Service) -> None:
    with unit_of_work(service.database, SilentBell()) as session:
        project = add_project(session)
        gone = add_slices(session, project, 2)
        gone[0].volume.patient.code, gone[0].volume.name, gone[0].volume.original_name = "smith", "base", "ward9.nii"
        session.flush()
        left = add_slices(session, project, 2)
        patient_id, stays = gone[0].volume.patient_id, str(left[0].volume_id)
        round_ = add_round(session, project)
        why = "farthest from everything annotated: the nearest is smith, base, slice 1, at distance 3"
        record_picks(session, round_, [ProposedPick(left[0].id, 3.0, why, gone[0].id)], None)
        round_.summary = {"dice_by_patient": {"smith": 0.5, "p1": 0.25}, "dice_by_member": {"0": 0.5}}
        upload = Upload(project_id=project.id, file_name="scans.zip", size_bytes=1, part_bytes=1)
        named = Upload(project_id=project.id, file_name="smith.zip", size_bytes=1, part_bytes=1)
        hook = Webhook(project_id=project.id, url="https://hook.invalid/", events=["annotation.submitted"], secret="s")
        session.add_all([upload, named, hook])
        session.flush()
        address_delivery(session, hook, WebhookEvent.ANNOTATION_SUBMITTED, {"slice_id": str(gone[0].id)})
        address_delivery(session, hook, WebhookEvent.ANNOTATION_SUBMITTED, {"slice_id": str(left[0].id)})
        for outcome in _import_outcomes(str(gone[0].volume_id), stays):
            job = queue_job(session, project_id=project.id, kind=JobKind.IMPORT, payload={"upload": str(upload.id)})
            job.state, job.message = JobState.SUCCEEDED, "importing smith base"
            job.payload |= {"axes": {"smith base": 2, "p1 v1": 0}}
            job.result, job.error = outcome.get("result"), outcome.get("error")
    deletion = delete(service, f"/v1/patients/{patient_id}")
    assert service.http.delete(f"/v1/deletions/{deletion['id']}").status_code == 204
    assert rows_naming(service, ["smith", "ward9", "Smith", *(str(each.id) for each in gone)]) == set()
    with service.database.reading() as session:
        told = json.dumps([[row.actor, row.action, row.object] for row in session.scalars(select(AuditEvent))])
        assert "smith" not in told
        assert session.scalars(select(Round.summary)).one()["dice_by_patient"] == {"p1": 0.25}
        assert len(session.scalars(select(WebhookDelivery)).all()) == 1
        assert session.scalars(select(Upload)).all() == []
    report, *_ = (each for each in service.client.items("/v1/projects/hearts/jobs") if each["result"])
    shown = service.client.get(f"/v1/imports/{report['id']}")
    assert [each["id"] for each in shown["volumes"]] == [stays]
    assert (shown["source"], shown["left_out"], shown["counts"]["train"]["volumes"]) == ("purged", [], 2)


def _import_outcomes(gone: str, stays: str) -> list[dict[str, Any]]:
    """What two imports left in their rows: a report, and a refusal."""
    counts = {"train": {"patients": 2, "volumes": 2, "slices": 4}}
    volumes = [{"id": gone, "patient": "smith", "name": "base"}, {"id": stays, "patient": "p1", "name": "v1"}]
    report = {
        "dataset": "nifti",
        "source": "smith.zip",
        "counts": counts,
        "volumes": volumes,
        "refused": [{"name": "smith second", "reason": "no"}],
        "needs_axis": [{"name": "smith base", "views": ["x"]}],
        "left_out": [{"name": "Smith^John/notes.txt", "reason": "no scan"}],
        "remarks": ["smith has one volume"],
        "deidentified": None,
    }
    return [{"result": report}, {"error": {"code": "x", "detail": "smith/ward9.nii is cut short."}}]


def _let_time_pass(service: Service) -> None:
    with unit_of_work(service.database, SilentBell()) as session:
        session.execute(update(Deletion).values(purge_after=datetime(2000, 1, 1, tzinfo=UTC)))


def _draft() -> dict[str, Any]:
    schema = [{"value": value, "name": str(value), "color": "#000000"} for value in (0, 1)]
    return {
        "slug": "hearts",
        "name": "Hearts",
        "label_schema": schema,
        "supervision": "full",
        "strategy": "random",
        "budgets": [10],
        "preset": "tiny",
    }
