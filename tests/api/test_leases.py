"""Leases, drafts and versions as a front end sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.formats.nifti import read_nifti, write_nifti
from tests.api.conftest import Service, on_sqlite
from tests.services.desk import SIDE, Desk, drawn

pytestmark = on_sqlite  # tests/services/test_leases.py asks both engines


@pytest.fixture
def desk(service: Service, tmp_path: Path) -> Desk:
    return Desk.make(service.database, tmp_path)


def lease(service: Service, person: str = "anna", **asked: Any) -> dict[str, Any]:
    answer: dict[str, Any] = service.client.post("/v1/projects/hearts/leases", {"annotator": person} | asked)
    return answer["items"][0] if answer["items"] else {}


def send(service: Service, method: str, path: str, *pixels: int, tag: str | None = None, **options: Any) -> Any:
    headers = {} if tag is None else {"If-Match": f'"{tag}"'}
    return service.http.request(
        method, path, params={"kind": "full"} | options, content=drawn(*pixels).tobytes(), headers=headers
    )


def test_a_lease_shows_its_clocks(service: Service, desk: Desk) -> None:
    held = lease(service)
    assert (held["state"], held["live_until"], held["until"]) == ("active", None, held["idle_until"])
    alive = service.client.post(f"/v1/leases/{held['id']}/heartbeat")
    assert alive["until"] == alive["live_until"] < alive["idle_until"] == held["idle_until"]
    desk.pass_time(100)
    assert service.client.get(f"/v1/leases/{held['id']}")["state"] == "expired"
    other = lease(service, "bert")
    assert other["slice"]["id"] == held["slice"]["id"]
    assert service.refusal("POST", f"/v1/leases/{held['id']}/heartbeat") == (410, "lease-gone")
    force = {"annotator": "chief", "force": True}
    service.client.post(f"/v1/leases/{other['id']}/heartbeat")
    path = f"/v1/leases/{other['id']}/takeover"
    assert service.refusal("POST", path, json={"annotator": "chief"}) == (409, "lease-in-use")
    assert service.client.post(path, force)["annotator"] == "chief"


def test_a_skip_needs_a_reason_and_excludes_what_is_unfit(service: Service, desk: Desk) -> None:
    held = lease(service)
    path = f"/v1/leases/{held['id']}/skip"
    assert service.refusal("POST", path, json={"reason": "bored"}) == (422, "invalid-request")
    skipped = service.client.post(path, {"reason": "bad_image", "note": "motion"})
    assert (skipped["state"], skipped["skip_reason"], skipped["skip_note"]) == ("skipped", "bad_image", "motion")
    assert skipped["slice"]["excluded"]
    assert lease(service)["slice"]["id"] != held["slice"]["id"]


def test_a_draft_is_kept_word_for_word(service: Service, desk: Desk) -> None:
    slice_ = lease(service)["slice"]["id"]
    path = f"/v1/slices/{slice_}/draft"
    assert service.http.get(path, params={"annotator": "anna"}).status_code == 204
    first = send(service, "PUT", path, 1, 2, annotator="anna", lead_time_ms=5)
    assert (first.status_code, first.json()["held"], first.json()["base_version"]) == (200, True, "0")
    down = service.http.get(path, params={"annotator": "anna"})
    assert down.content == drawn(1, 2).tobytes()
    assert (down.headers["etag"], down.headers["x-lead-time-ms"]) == (first.headers["etag"], "5")
    assert service.http.get(path, params={"annotator": "bert"}).status_code == 204, "a draft is its author's alone"
    assert send(service, "PUT", path, annotator="anna").json()["code"] == "draft-precondition-missing"
    stale = send(service, "PUT", path, annotator="anna", tag="0")
    assert (stale.status_code, stale.headers["etag"]) == (412, first.headers["etag"])
    lost = send(service, "PUT", path, 3, annotator="bert")
    assert (lost.status_code, lost.json()["held"]) == (200, False)
    assert service.http.delete(path, params={"annotator": "bert"}).status_code == 428
    tag = {"If-Match": lost.headers["etag"]}
    assert service.http.delete(path, params={"annotator": "bert"}, headers=tag).status_code == 204


def test_history_tells_what_changed_and_restores(service: Service, desk: Desk) -> None:
    path = f"/v1/slices/{desk.slices[0]}/annotations"
    one = send(service, "POST", path, 1, 2, tag="0", annotator="anna").json()
    two = send(service, "POST", path, 2, 3, tag=one["id"], annotator="bert").json()
    assert two["parent_id"] == one["id"]
    diff = service.client.get(f"/v1/annotation-versions/{two['id']}/diff")
    assert (diff["against_id"], diff["changed_pixels"]) == (one["id"], 2)
    assert diff["dice"] == {"0": pytest.approx(26 / 28), "1": 0.5}
    elsewhere = send(service, "POST", f"/v1/slices/{desk.slices[1]}/annotations", 1, tag="0").json()
    against = f"/v1/annotation-versions/{two['id']}/diff?against={elsewhere['id']}"
    assert service.refusal("GET", against) == (422, "other-slice")
    restore = f"/v1/annotation-versions/{one['id']}/restore"
    assert service.refusal("POST", restore)[0] == 428
    assert service.refusal("POST", restore, headers={"If-Match": one["id"]})[0] == 412
    back = service.http.post(restore, params={"annotator": "carl"}, headers={"If-Match": two["id"]}).json()
    assert (back["number"], back["parent_id"], back["origin_id"]) == (3, two["id"], one["id"])
    assert (back["author"], back["source"]) == ("carl", "restored")
    current = service.http.get(f"/v1/slices/{desk.slices[0]}/annotation")
    assert current.content == drawn(1, 2).tobytes()
    assert service.http.get(f"/v1/annotation-versions/{two['id']}/mask").content == drawn(2, 3).tobytes()


def test_a_prediction_that_is_none_is_not_taken_as_a_source(service: Service, desk: Desk) -> None:
    path = f"/v1/slices/{desk.slices[0]}/annotations"
    answer = send(service, "POST", path, 1, tag="0", prediction=str(desk.slices[0]))
    assert (answer.status_code, answer.json()["code"]) == (404, "record-not-found")


def test_readers_without_accounts_are_kept_blind_too(service: Service, tmp_path: Path) -> None:
    desk = Desk.make(service.database, tmp_path, overlap=2, picked=2)
    path = f"/v1/slices/{desk.slices[3]}/annotations"
    answer = send(service, "POST", path, 1, tag="0", annotator="anna")
    assert (answer.status_code, answer.json()["code"]) == (409, "slice-not-proposed")


def test_a_bare_asterisk_matches_any_version_that_there_is(service: Service, desk: Desk) -> None:
    slice_ = f"/v1/slices/{desk.slices[0]}"
    volume = f"/v1/volumes/{service.client.get(slice_)['volume_id']}/annotation"

    def ask(method: str, path: str, if_match: str, content: bytes = b"", **params: Any) -> Any:
        answer = service.http.request(
            method, path, params={"kind": "full"} | params, content=content, headers={"If-Match": if_match}
        )
        return answer.status_code if answer.is_success else (answer.status_code, answer.json()["code"])

    stale, drawing = (412, "annotation-stale"), drawn(1).tobytes()
    stack = service.http.get(volume)
    whole = write_nifti(np.ones((len(desk.slices), SIDE, SIDE), np.uint8), read_nifti(stack.content).geometry)
    for tag in ("*", '"*"'):
        assert ask("POST", f"{slice_}/annotations", tag, drawing) == stale
        assert ask("PUT", volume, tag, whole, slices=0) == stale
        assert ask("PUT", f"{slice_}/draft", tag, drawing) == (412, "draft-stale")
    assert ask("POST", f"{slice_}/annotations", '"0"', drawing) == 201
    assert ask("PUT", f"{slice_}/draft", '"0"', drawing) == 200
    version = service.client.get(f"{slice_}/annotations")["items"][0]["id"]
    for tag, told in (('"*"', stale), ("*", None)):
        assert ask("POST", f"{slice_}/annotations", tag, drawing) == (told or 201)
        assert ask("POST", f"/v1/annotation-versions/{version}/restore", tag) == (told or 201)
        assert ask("PUT", volume, tag, whole, slices=0) == (told or 200)
    ask("PUT", f"{slice_}/draft", '"0"', drawing)
    for method, done in (("PUT", 200), ("DELETE", 204)):
        assert ask(method, f"{slice_}/draft", '"*"', drawing) == (412, "draft-stale")
        assert ask(method, f"{slice_}/draft", "*", drawing) == done


def test_a_draft_remembers_what_it_was_drawn_over(service: Service, desk: Desk) -> None:
    slice_ = lease(service)["slice"]["id"]
    path, submit = f"/v1/slices/{slice_}/draft", f"/v1/slices/{slice_}/annotations"
    tag = send(service, "PUT", path, 1, annotator="anna").json()["tag"]
    service.client.post(f"/v1/leases/{desk.find_lease('anna', 0).id}/takeover", {"annotator": "mary", "force": True})
    newest = send(service, "POST", submit, 2, tag="0", annotator="mary").json()["id"]
    later = send(service, "PUT", path, 1, 3, tag=tag, annotator="anna").json()
    assert later["base_version"] == "0", "mary's version was not there when the draft was begun"
    base = service.http.get(path, params={"annotator": "anna"}).headers["x-base-version"]
    late = send(service, "POST", submit, 1, 3, tag=base, annotator="anna")
    assert (late.status_code, late.headers["etag"]) == (412, f'"{newest}"')
    seen = send(service, "PUT", path, 1, 3, tag=later["tag"], annotator="anna", base_version=newest).json()
    assert seen["base_version"] == newest
    assert send(service, "PUT", path, 1, tag=seen["tag"], annotator="anna", base_version="'").status_code == 422
    assert send(service, "POST", submit, 1, 3, tag=newest, annotator="anna").status_code == 201
