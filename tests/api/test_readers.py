"""Several people on one project with accounts: what a blind reader is shown, and what a volume's mask writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from app.api.access import RULES
from app.db.models import Job, Lease, Patient, Prediction, Project, Round, Volume
from app.db.session import Database
from app.formats.nifti import read_nifti
from app.formats.nrrd import load_nrrd
from app.names import JobKind, Purpose, Role
from app.outbox import SilentBell, unit_of_work
from app.services import members, people
from app.services.jobs import queue_job
from tests.api.conftest import on_sqlite
from tests.api.room import Room, open_room, whole
from tests.services.desk import SIDE, drawn


@pytest.fixture
def blind(database: Database, tmp_path: Path) -> Iterator[Room]:
    """Each of four slices goes to two readers."""
    yield from open_room(database, tmp_path / "home", overlap=2)


@pytest.fixture
def room(database: Database, tmp_path: Path) -> Iterator[Room]:
    """Each of four slices goes to one person."""
    yield from open_room(database, tmp_path / "home")


@pytest.fixture
def reviewed(database: Database, tmp_path: Path) -> Iterator[Room]:
    """Whatever is drawn on the four slices is looked at by somebody else."""
    yield from open_room(database, tmp_path / "home", review_percent=100.0)


def test_no_road_leads_a_blind_reader_to_the_other_reading(blind: Room) -> None:
    desk = blind.desk
    desk.lease("anna", 2)
    first = desk.submit("anna", 0, drawn(1))
    anna = desk.submit("anna", 0, drawn(1, 2, 7))
    bert_lease = str(desk.find_lease("bert", 0).id) if desk.lease("bert") == [0] else ""
    with unit_of_work(desk.database, SilentBell()) as session:
        job = queue_job(session, project_id=desk.project_id, kind=JobKind.PREDICT)
        job.state = "succeeded"
        ids = {
            "project": str(desk.project_id),
            "volume": str(session.scalars(select(Volume.id)).one()),
            "patient": str(session.scalars(select(Patient.id)).one()),
            "slice_": str(desk.slices[0]),
            "version": str(anna.id),
            "lease": bert_lease,
            "round_": str(session.scalars(select(Lease.assignment_id).limit(1)).one()),
            "job": str(session.scalars(select(Job.id)).one()),
        }
    walked = 0
    for who in ("bert", "rita"):
        for name in RULES:
            method, path = name.split()
            if method != "GET" or path in {"/metrics", "/v1/jobs/{job}/events"}:
                continue
            for part in re.findall(r"{(\w+)}", path):
                path = path.replace(f"{{{part}}}", ids.get(part, "00000000-0000-7000-8000-000000000000"))
            formats = ("raw", "png") if "/slices/" in path or "-versions/" in path else ("nifti", "nrrd")
            for format_ in formats if path.endswith(("annotation", "mask")) else formats[:1]:
                answer = blind.ask(who, "GET", path, params={"format": format_, "against": str(anna.id)})
                if answer.status_code == 200:
                    walked += 1
                    _assert_unseen(answer, str(anna.id), path)
    assert walked > 40
    for act in ("restore", "adjudicate", "reviews"):  # of a version that is none of theirs, and not the current one
        body = {"verdict": "accept"} if act == "reviews" else None
        path = f"/v1/annotation-versions/{first.id}/{act}"
        answer = blind.ask("rita", "POST", path, headers={"If-Match": '"0"'}, json=body)
        assert answer.status_code in {404, 409}, answer.text
        _assert_unseen(answer, str(anna.id), path)
    stale = blind.ask("bert", "POST", f"/v1/slices/{desk.slices[0]}/annotations", params={"kind": "full"},
                      content=drawn(1).tobytes(), headers={"If-Match": '"x"'})  # fmt: skip
    assert stale.status_code == 412
    assert str(anna.id) not in stale.text

    mine = read_nifti(blind.ask("anna", "GET", blind.volume_path).content).array
    np.testing.assert_array_equal(mine[0], drawn(1, 2, 7))
    desk.submit("bert", 0, drawn(3))
    both = read_nifti(blind.ask("bert", "GET", blind.volume_path).content).array
    np.testing.assert_array_equal(both[0], drawn(1, 2, 7), err_msg="all readings are in: the current one is shown")


def _assert_unseen(answer: httpx.Response, version: str, path: str) -> None:
    told = answer.text if "json" in answer.headers.get("content-type", "") else ""
    assert version not in told + str(dict(answer.headers)), path
    if "x-shape" in answer.headers:
        assert answer.content != drawn(1, 2, 7).tobytes(), path
    if path.startswith("/v1/volumes/") and answer.content.startswith(b"NRRD"):
        assert (load_nrrd(answer.content).voxels == 255).all(), path


def test_a_volume_writes_the_slices_that_are_leased_to_its_author(room: Room) -> None:
    assert room.desk.lease("anna", 2) == [0, 1]
    assert room.desk.lease("bert") == [2]
    mask = whole(*((index, drawn(index, 5)) for index in range(4)))
    answer = room.put_volume("anna", mask)
    assert answer.status_code == 200, answer.text
    told = {int(index): (each["outcome"], each["code"]) for index, each in answer.json()["slices"].items()}
    assert told == {
        0: ("written", None),
        1: ("written", None),
        2: ("left", "slice-not-leased"),
        3: ("left", "slice-not-leased"),
    }
    assert room.desk.sees("anna", 2) is None
    assert answer.headers["etag"] == room.ask("bert", "GET", room.volume_path).headers["etag"]

    revised = room.put_volume("anna", whole((0, drawn(9)), (1, drawn(1, 5))), slices=[0, 1])
    assert [each["outcome"] for each in revised.json()["slices"].values()] == ["written", "unchanged"]
    manager = room.put_volume("mary", whole((2, drawn(2)), (3, drawn(3))), slices=[2, 3])
    assert [each["code"] for each in manager.json()["slices"].values()] == ["slice-leased-elsewhere", None]
    others = room.put_volume("bert", whole((2, drawn(2)), (3, drawn(4))), slices=[2, 3])
    assert [each["code"] for each in others.json()["slices"].values()] == [None, "slice-not-leased"], "no manager"
    nothing = room.put_volume("bert", whole((0, drawn(0))))
    assert (nothing.status_code, nothing.json()["code"]) == (409, "no-slice-written")
    assert room.put_volume("anna", whole((0, drawn(4))), mask_values='{"0": 0, "1": 9}').status_code == 422


@on_sqlite
@pytest.mark.parametrize("who", ["anna", "mary"])
def test_the_zeros_of_a_whole_mask_overwrite_nothing_that_was_not_leased(room: Room, who: str) -> None:
    desk = room.desk
    assert desk.lease(who, 1) == [0]
    own = desk.submit(who, 0, drawn(1))
    desk.lease("bert", 1)
    theirs = desk.submit("bert", 1, drawn(1))
    assert desk.lease(who, 1) == [2]
    mask = np.zeros((4, SIDE, SIDE), np.uint8)
    mask[2] = drawn(7)
    answer = room.put_volume(who, mask)
    told = {int(index): (each["outcome"], each["code"]) for index, each in answer.json()["slices"].items()}
    assert told == dict.fromkeys((0, 1, 3), ("left", "slice-not-leased")) | {2: ("written", None)}
    assert (desk.sees(who, 0), desk.sees(who, 1), desk.sees(who, 3)) == (own.id, theirs.id, None)
    again = room.put_volume(who, mask)
    assert [each["outcome"] for each in again.json()["slices"].values()] == ["left", "left", "unchanged", "left"]


@on_sqlite
def test_the_written_slices_share_the_lead_time_and_name_the_prediction(room: Room) -> None:
    desk = room.desk
    with unit_of_work(desk.database, SilentBell()) as session:
        volume = session.scalars(select(Volume)).one()
        round_ = session.scalars(select(Round)).one()
        own = Prediction(project_id=desk.project_id, round_id=round_.id, volume_id=volume.id, mask_key="")
        session.add(own)
        session.flush()
        prediction = str(own.id)
    assert desk.lease("anna", 2) == [0, 1]
    mask = whole(*((index, drawn(index)) for index in range(3)))
    for bad, status, code in (
        ({"lead_time_ms": -1}, 422, "invalid-request"),
        ({"lead_time_ms": 2**31}, 422, "invalid-request"),
        ({"prediction": "x"}, 404, "record-not-found"),
        ({"prediction": str(desk.slices[0])}, 404, "record-not-found"),
    ):
        refused = room.put_volume("anna", mask, **bad)
        assert (refused.status_code, refused.json()["code"]) == (status, code), refused.text
    answer = room.put_volume("anna", mask, lead_time_ms=5001, prediction=prediction)
    versions = [each["version"] for each in answer.json()["slices"].values()]
    assert versions[2] is None, "not leased"
    assert [(each["lead_time_ms"], each["prediction_id"]) for each in versions[:2]] == [
        (2501, prediction),
        (2500, prediction),
    ]
    stored = room.ask("anna", "GET", f"/v1/slices/{desk.slices[1]}/annotations").json()["items"]
    assert [each["lead_time_ms"] for each in stored] == [2500]
    silent = room.put_volume("anna", whole((0, drawn(9))), slices=[0]).json()["slices"]["0"]["version"]
    assert (silent["lead_time_ms"], silent["prediction_id"]) == (None, None)


@on_sqlite
def test_a_slice_that_is_leased_for_review_is_reviewed_by_a_volume(reviewed: Room) -> None:
    reviewed.desk.lease("anna")
    reviewed.desk.submit("anna", 0)
    assert reviewed.desk.lease("rita", purpose=Purpose.REVIEW) == [0]
    answer = reviewed.put_volume("rita", whole((0, drawn(2))))
    assert (answer.status_code, answer.json()["slices"]["0"]["version"]["purpose"]) == (200, "review"), answer.text
    reviews = reviewed.ask("anna", "GET", f"/v1/slices/{reviewed.desk.slices[0]}/reviews").json()["items"]
    assert [each["verdict"] for each in reviews] == ["fix"]


@on_sqlite
def test_a_judgement_is_in_ones_own_name(reviewed: Room) -> None:
    desk = reviewed.desk
    desk.lease("mary")
    drawn_by_mary = desk.submit("mary", 0)
    slice_, version = f"/v1/slices/{desk.slices[0]}", f"/v1/annotation-versions/{drawn_by_mary.id}"
    over = {"If-Match": f'"{drawn_by_mary.id}"'}
    in_ritas = {"annotator": "rita"}
    for path, options in (
        (f"/v1/projects/{desk.project_id}/leases", {"json": in_ritas | {"purpose": "review"}}),
        (f"{version}/reviews", {"json": in_ritas | {"verdict": "accept"}}),
        (f"{version}/adjudicate", {"params": in_ritas, "headers": over}),
        (
            f"{slice_}/annotations",
            {
                "params": in_ritas | {"kind": "full", "purpose": "review"},
                "headers": over,
                "content": drawn(1).tobytes(),
            },
        ),
    ):
        answer = reviewed.ask("mary", "POST", path, **options)
        assert (answer.status_code, answer.json()["code"]) == (403, "signed-by-another"), path
    assert reviewed.ask("rita", "POST", f"{version}/reviews", json={"verdict": "accept"}).status_code == 201


@on_sqlite
def test_a_lease_for_review_is_of_no_use_to_who_is_no_reviewer_any_more(reviewed: Room) -> None:
    desk = reviewed.desk
    desk.lease("anna")
    desk.submit("anna", 0)
    assert desk.lease("rita", purpose=Purpose.REVIEW) == [0]
    with unit_of_work(desk.database, SilentBell()) as session:
        rita = people.find_account(session, "rita")
        members.set_member(session, session.get_one(Project, desk.project_id), rita.id, Role.ANNOTATOR)
    answer = reviewed.put_volume("rita", whole((0, drawn(2))))
    assert (answer.status_code, answer.json()["code"]) == (409, "no-slice-written"), answer.text
    assert reviewed.ask("anna", "GET", f"/v1/slices/{desk.slices[0]}/reviews").json()["items"] == []


def test_work_is_entered_in_no_name_that_nobody_has(reviewed: Room) -> None:
    slice_, ghost = f"/v1/slices/{reviewed.desk.slices[0]}", {"kind": "full", "annotator": "ghost"}
    sent: dict[str, Any] = {"params": ghost, "content": drawn(1).tobytes(), "headers": {"If-Match": '"0"'}}
    (lease,) = reviewed.ask("anna", "POST", f"/v1/projects/{reviewed.desk.project_id}/leases").json()["items"]
    answers = [
        reviewed.ask("mary", "POST", f"{slice_}/annotations", **sent),
        reviewed.ask("mary", "PUT", f"{slice_}/draft", **sent),
        reviewed.put_volume("mary", whole((0, drawn(1))), annotator="ghost"),
        reviewed.ask("mary", "POST", f"/v1/leases/{lease['id']}/takeover", json={"annotator": "ghost", "force": True}),
    ]
    assert [(each.status_code, each.json()["code"]) for each in answers] == [(422, "not-an-annotator")] * 4
    assert reviewed.ask("mary", "GET", f"{slice_}/draft", params={"annotator": "ghost"}).status_code == 204


def test_who_entered_anothers_work_does_not_judge_it(reviewed: Room) -> None:
    slice_, leases = f"/v1/slices/{reviewed.desk.slices[0]}", f"/v1/projects/{reviewed.desk.project_id}/leases"
    assert reviewed.ask("mary", "POST", leases, json={"annotator": "bert"}).status_code == 200
    in_berts: dict[str, Any] = {"params": {"kind": "full", "annotator": "bert"}, "content": drawn(1).tobytes()}
    made = reviewed.ask("mary", "POST", f"{slice_}/annotations", headers={"If-Match": '"0"'}, **in_berts).json()
    assert (made["author"], made["entered_by"]) == ("bert", "mary")
    verdict, review = {"json": {"verdict": "accept"}}, f"/v1/annotation-versions/{made['id']}/reviews"
    assert reviewed.ask("mary", "POST", leases, json={"purpose": "review"}).status_code == 204
    assert reviewed.ask("mary", "POST", review, **verdict).json()["code"] == "own-work"
    over = {"If-Match": f'"{made["id"]}"'}
    choose = reviewed.ask("mary", "POST", f"/v1/annotation-versions/{made['id']}/adjudicate", headers=over)
    assert choose.json()["code"] == "own-work"
    restored = reviewed.ask(
        "mary", "POST", f"/v1/annotation-versions/{made['id']}/restore", params={"annotator": "bert"}, headers=over
    )
    assert (restored.status_code, restored.json().get("entered_by")) == (201, "mary"), restored.text
    latest = f"/v1/annotation-versions/{restored.json()['id']}/reviews"
    assert reviewed.ask("rita", "POST", latest, **verdict).status_code == 201
