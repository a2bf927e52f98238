"""The loop over REST: rounds, leases, the oracle, training, evaluation, predictions, export, live jobs."""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app.api import jobs
from app.api.deps import House
from app.api.schemas import JobWire
from app.db.models import Assignment, Lease
from app.formats.nifti import read_nifti
from app.outbox import SilentBell, unit_of_work
from tests.api.conftest import Service, on_sqlite, packed


def open_round(service: Service, **body: Any) -> dict[str, Any]:
    opened: dict[str, Any] = service.client.post("/v1/projects/hearts/rounds", body or None)
    service.work_off()
    return opened


def state(service: Service, round_: dict[str, Any]) -> str:
    return str(service.client.get(f"/v1/rounds/{round_['id']}")["state"])


def test_the_loop_turns_from_proposal_to_proposal(service: Service, make_project: Callable[..., Any]) -> None:
    make_project(strategy="gcl", auto_propose=True)
    first = open_round(service)
    assert (first["state"], first["target"], first["budget_percent"]) == ("proposing", 3, 10)
    assert state(service, first) == "annotating"
    picks = list(service.client.items(f"/v1/rounds/{first['id']}/picks"))
    assert [pick["order"] for pick in picks] == [1, 2, 3]
    assert picks[0]["reason"].startswith("the first centre")
    assert picks[1]["reason"].startswith("farthest from everything annotated: the nearest is patient0")
    assert picks[1]["nearest_slice_id"] == picks[0]["slice_id"]

    assert service.client.post("/v1/projects/hearts/oracle")["annotated"] == 3
    assert state(service, first) == "training"
    service.work_off()
    closed = service.client.get(f"/v1/rounds/{first['id']}")
    assert closed["state"] == "closed"
    assert closed["summary"]["volumes"] == 4
    by_patient = closed["summary"]["dice_by_patient"]
    assert len(by_patient) == 2, "two test patients of two volumes each"
    assert np.mean(list(by_patient.values())) == pytest.approx(closed["summary"]["dice"])
    metrics = list(service.client.items(f"/v1/rounds/{first['id']}/metrics"))
    assert {(each["member"], each["class_value"]) for each in metrics} == {(m, c) for m in (0, None) for c in (1, 2, 3)}
    assert all(each["split"] == "test" and each["hd95_unit"] == "mm" for each in metrics)

    second = list(service.client.items("/v1/projects/hearts/rounds"))[1]
    assert (second["number"], second["state"], second["target"], second["open_picks"]) == (2, "annotating", 6, 3)
    again = list(service.client.items(f"/v1/rounds/{second['id']}/picks"))
    assert not {pick["slice_id"] for pick in picks} & {pick["slice_id"] for pick in again}
    kinds = [model["kind"] for model in service.client.items("/v1/projects/hearts/models")]
    assert kinds == ["encoder", "segmentation"]


def test_the_same_seed_gives_the_same_picks(service: Service, make_project: Callable[..., Any]) -> None:
    chosen = []
    for slug, seed in (("one", 5), ("two", 5), ("three", 6)):
        make_project(slug, strategy="gcl", seed=seed)
        opened = service.client.post(f"/v1/projects/{slug}/rounds")
        service.work_off()
        where = [
            service.client.get(f"/v1/slices/{pick['slice_id']}")
            for pick in service.client.items(f"/v1/rounds/{opened['id']}/picks")
        ]
        chosen.append([(each["patient"], each["volume"], each["index"]) for each in where])
    assert chosen[0] == chosen[1] != chosen[2]


def test_annotators_are_led_through_the_picks_in_order(service: Service, make_project: Callable[..., Any]) -> None:
    make_project()
    assert service.http.post("/v1/projects/hearts/leases").status_code == 204, "nothing was proposed yet"
    opened = service.client.post("/v1/projects/hearts/rounds")
    assert service.refusal("POST", "/v1/projects/hearts/leases") == (409, "round-pending")
    service.work_off()
    order = [pick["slice_id"] for pick in service.client.items(f"/v1/rounds/{opened['id']}/picks")]

    anna = service.client.post("/v1/projects/hearts/leases", {"annotator": "anna", "n": 2})["items"]
    assert [lease["slice"]["id"] for lease in anna] == order[:2]
    same = service.client.post("/v1/projects/hearts/leases", {"annotator": "anna"})["items"]
    assert [lease["id"] for lease in same] == [anna[0]["id"]], "asking again gives one's own"
    bert = service.client.post("/v1/projects/hearts/leases", {"annotator": "bert", "n": 8})["items"]
    assert [lease["slice"]["id"] for lease in bert] == order[2:]
    assert service.http.post("/v1/projects/hearts/leases", json={"annotator": "carl"}).status_code == 204

    body = packed(np.zeros((40, 48), np.uint8))
    path = f"/v1/slices/{order[0]}/annotations"
    headers = {"If-Match": '"0"'}
    stolen = service.http.post(path, params={"kind": "scribble", "annotator": "bert"}, content=body, headers=headers)
    assert (stolen.status_code, stolen.json()["code"]) == (410, "slice-leased-elsewhere")
    done = service.http.post(path, params={"kind": "scribble", "annotator": "anna"}, content=body, headers=headers)
    assert done.status_code == 201
    assert service.client.get(f"/v1/leases/{anna[0]['id']}")["state"] == "submitted"

    assert service.http.delete(f"/v1/leases/{anna[1]['id']}").status_code == 204
    carl = service.client.post("/v1/projects/hearts/leases", {"annotator": "carl"})["items"]
    assert [lease["slice"]["id"] for lease in carl] == [order[1]]
    assert service.refusal("POST", "/v1/projects/hearts/leases", json={"n": 9})[0] == 422
    assert service.refusal("DELETE", f"/v1/leases/{anna[0]['id']}") == (410, "lease-gone")


def test_a_crowd_never_holds_a_slice_twice(service: Service, make_project: Callable[..., Any]) -> None:
    make_project(budgets=[100])
    open_round(service)
    held: list[str] = []

    def annotate(name: str) -> None:
        with httpx.Client(base_url=service.url) as http:
            while (answer := http.post("/v1/projects/hearts/leases", json={"annotator": name})).status_code == 200:
                lease = answer.json()["items"][0]
                held.append(lease["slice"]["id"])
                sent = http.post(
                    f"/v1/slices/{lease['slice']['id']}/annotations",
                    params={"kind": "scribble", "annotator": name},
                    content=packed(np.zeros((40, 48), np.uint8)),
                    headers={"If-Match": '"0"'},
                )
                assert sent.status_code == 201, sent.text
            assert answer.status_code in {204, 409}, answer.text

    with ThreadPoolExecutor(6) as crowd:
        for done in [crowd.submit(annotate, f"annotator {number}") for number in range(6)]:
            done.result()
    assert len(held) == len(set(held)) == 30
    assert service.client.get("/v1/projects/hearts")["annotated"] == 30


def test_an_expired_lease_frees_its_slice_but_a_late_submission_is_taken(
    service: Service, make_project: Callable[..., Any]
) -> None:
    make_project()
    open_round(service)
    anna = service.client.post("/v1/projects/hearts/leases", {"annotator": "anna"})["items"][0]
    with unit_of_work(service.database, SilentBell()) as session:
        past = session.get_one(Lease, uuid.UUID(anna["id"])).until - timedelta(days=1)
        session.execute(update(Lease).values(until=past))
        session.execute(update(Assignment).where(Assignment.leased_until.is_not(None)).values(leased_until=past))
    body, headers = packed(np.zeros((40, 48), np.uint8)), {"If-Match": '"0"'}
    bert = service.client.post("/v1/projects/hearts/leases", {"annotator": "bert"})["items"][0]
    assert bert["slice"]["id"] == anna["slice"]["id"]
    path = f"/v1/slices/{anna['slice']['id']}/annotations"
    late = service.http.post(path, params={"kind": "scribble", "annotator": "anna"}, content=body, headers=headers)
    assert late.status_code == 410, "bert holds it now"
    service.http.delete(f"/v1/leases/{bert['id']}")
    late = service.http.post(path, params={"kind": "scribble", "annotator": "anna"}, content=body, headers=headers)
    assert late.status_code == 201, "nobody holds it now"


def test_rounds_that_cannot_be_are_refused(service: Service, make_project: Callable[..., Any]) -> None:
    make_project(budgets=[10, 100], auto_train=False)
    path = "/v1/projects/hearts/rounds"
    assert service.refusal("POST", path, json={"budget_percent": 0}) == (422, "budget-refused")
    assert service.refusal("POST", path, json={"budget_percent": 101}) == (422, "budget-refused")
    assert service.refusal("POST", path, json={"budget_percent": "all"}) == (422, "invalid-request")
    first = open_round(service)
    assert service.refusal("POST", path) == (409, "round-open")
    assert service.refusal("POST", f"/v1/rounds/{first['id']}/training") == (409, "round-state-conflict")
    service.client.post("/v1/projects/hearts/oracle")
    assert state(service, first) == "annotating", "auto_train is off"
    service.client.post(f"/v1/rounds/{first['id']}/training")
    service.work_off()
    assert service.refusal("POST", path, json={"budget_percent": 5}) == (422, "budget-refused")
    second = open_round(service)
    assert second["target"] == 30
    service.client.post("/v1/projects/hearts/oracle")
    service.client.post(f"/v1/rounds/{second['id']}/training")
    service.work_off()
    assert service.refusal("POST", path) == (409, "nothing-left")
    assert service.refusal("POST", path, json={"budget_percent": 100}) == (409, "nothing-left")


def test_an_empty_project_proposes_nothing(service: Service, make_project: Callable[..., Any]) -> None:
    make_project()
    service.client.post(
        "/v1/projects",
        {
            "slug": "empty",
            "name": "Empty",
            "label_schema": service.client.get("/v1/projects/hearts")["label_schema"],
        },
    )
    assert service.refusal("POST", "/v1/projects/empty/rounds") == (409, "nothing-left")
    assert service.refusal("POST", "/v1/projects/empty/predictions") == (409, "no-model-yet")
    assert service.client.post("/v1/projects/empty/oracle") == {"annotated": 0, "round": None}


def test_a_failed_job_fails_its_round_and_can_be_retried(service: Service, make_project: Callable[..., Any]) -> None:
    make_project()
    opened = service.client.post("/v1/projects/hearts/rounds")
    cancelled = service.client.post(f"/v1/jobs/{opened['job_id']}/cancel")
    assert cancelled["state"] == "cancelled"
    assert state(service, opened) == "failed"
    assert service.refusal("POST", f"/v1/jobs/{opened['job_id']}/cancel")[0] == 409
    service.client.post(f"/v1/jobs/{opened['job_id']}/retry")
    assert state(service, opened) == "proposing"
    service.work_off()
    assert state(service, opened) == "annotating"


def test_a_job_is_followed_live_and_from_where_one_was(service: Service, make_project: Callable[..., Any]) -> None:
    make_project()
    opened = open_round(service)
    path = f"/v1/jobs/{opened['job_id']}/events"
    with httpx.stream("GET", service.url + path) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[1] == "event: job"
    job = json.loads(lines[2].removeprefix("data: "))
    assert (job["state"], job["kind"]) == ("succeeded", "propose")
    last = lines[0].removeprefix("id: ")
    seen = service.http.get(path, headers={"Last-Event-ID": last})
    assert (seen.status_code, seen.text) == (204, ""), "nothing happened since, nor will: nobody need come back"
    before = service.http.get(path, headers={"Last-Event-ID": str(int(last) - 1)})
    assert before.text.startswith(f"id: {last}\nevent: job\n"), "what was missed"
    for unknown in (str(int(last) + 1_000), ""):  # of a time before a back-up was restored; and of a proxy
        anew = service.http.get(path, headers={"Last-Event-ID": unknown})
        assert anew.text.startswith(f"id: {last}\nevent: job\n"), "the present state"
    assert service.refusal("GET", path, headers={"Last-Event-ID": "last"}) == (422, "invalid-request")
    assert service.refusal("GET", "/v1/jobs/nothing/events") == (404, "record-not-found")


@on_sqlite
def test_a_stream_ends_whole_when_the_database_goes_away(
    service: Service, make_project: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project()
    opened = service.client.post("/v1/projects/hearts/rounds")
    read, asked = jobs._read_wire, []

    def away(house: House, job: str) -> JobWire:
        asked.append(job)
        if len(asked) > 2:
            raise OperationalError("SELECT", {}, Exception("the database is away"))
        return read(house, job)

    monkeypatch.setattr(jobs, "_read_wire", away)
    answer = service.http.get(f"/v1/jobs/{opened['job_id']}/events")  # raises where the stream is torn
    assert answer.text.count("event: job") == 1


@on_sqlite
@pytest.mark.parametrize("supervision", ["full", "mixed"])
def test_predictions_and_exports_open_elsewhere(
    service: Service, make_project: Callable[..., Any], supervision: str
) -> None:
    make_project(supervision=supervision)
    first = open_round(service)
    service.client.post("/v1/projects/hearts/oracle")
    service.work_off()
    assert state(service, first) == "closed"
    service.client.post("/v1/projects/hearts/predictions", {"split": "train"})
    service.work_off()
    export = service.client.post("/v1/projects/hearts/exports")
    assert service.refusal("GET", f"/v1/exports/{export['id']}/file") == (404, "record-not-found")
    service.work_off()
    content = service.http.get(f"/v1/exports/{export['id']}/file").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        predicted = [each for each in manifest["volumes"] if "prediction" in each]
        annotated = [each for each in manifest["volumes"] if "annotated_slices" in each]
        assert len(predicted) == 6
        assert sum(len(each["annotated_slices"]) for each in annotated) == 3
        mask = read_nifti(archive.read(annotated[0]["written"]["annotations"]))
    assert mask.geometry.stack_shape == (5, 40, 48)
    assert {each["author"] for each in annotated[0]["annotated_slices"].values()} == {"oracle"}
    volume = next(service.client.items("/v1/projects/hearts/volumes", split="train"))
    one = next(service.client.items(f"/v1/volumes/{volume['id']}/slices"))
    assert set(service.http.get(f"/v1/slices/{one['id']}/prediction").content) <= {0, 1, 2, 3}
