"""What can be changed of a project under way, and what it does then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from tests.api.conftest import Service, on_sqlite, packed
from tests.api.test_projects import DRAFT

PATH = "/v1/projects/hearts"
NEW = {"value": 4, "name": "papillary", "color": "#aa3377"}


def change(service: Service, **fields: Any) -> httpx.Response:
    tag = service.http.get(PATH).headers["etag"]
    return service.http.patch(PATH, json=fields, headers={"If-Match": tag})


def changed(service: Service, **fields: Any) -> dict[str, Any]:
    answer = change(service, **fields)
    assert answer.status_code == 200, answer.text
    wire: dict[str, Any] = answer.json()
    return wire


def refused(service: Service, **fields: Any) -> tuple[int, str]:
    before = service.http.get(PATH).json()
    found = service.refusal("PATCH", PATH, json=fields, headers={"If-Match": "*"})
    assert service.http.get(PATH).json() == before
    return found


def newest(service: Service) -> dict[str, Any]:
    return list(service.client.items(f"{PATH}/rounds"))[-1]


def test_of_two_who_change_it_at_once_the_second_is_told(service: Service) -> None:
    tag = service.http.post("/v1/projects", json=DRAFT).headers["etag"]
    assert service.http.get(PATH).headers["etag"] == tag
    assert service.refusal("PATCH", PATH, json={"name": "A"}) == (428, "project-precondition-missing")
    first = service.http.patch(PATH, json={"name": "Left hearts", "review_percent": 20}, headers={"If-Match": tag})
    assert first.status_code == 200
    assert first.json() == service.http.get(PATH).json()
    assert (first.json()["name"], first.json()["review_percent"]) == ("Left hearts", 20)
    second = service.http.patch(PATH, json={"name": "Right hearts"}, headers={"If-Match": tag})
    assert (second.status_code, second.json()["code"]) == (412, "project-stale")
    assert second.headers["etag"] == first.headers["etag"] == service.http.get(PATH).headers["etag"] != tag
    assert service.http.get(PATH).json()["name"] == "Left hearts"
    assert changed(service) == first.json(), "nothing asked for, nothing changed"


@on_sqlite
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"name": " "}, "project-setting-refused"),
        ({"name": "A", "budgets": [3, 2]}, "budget-refused"),
        ({"name": "A", "budgets": []}, "budget-refused"),
        ({"overlap": 0}, "project-setting-refused"),
        ({"review_percent": 101}, "project-setting-refused"),
        ({"strategy": "random"}, "invalid-request"),
        ({"name": "A", "label_schema": []}, "label-schema-refused"),
        ({"label_schema": [DRAFT["label_schema"][0], NEW]}, "label-schema-refused"),  # type: ignore[index]
        ({"label_schema": [*DRAFT["label_schema"], NEW, NEW]}, "label-schema-refused"),  # type: ignore[misc]
    ],
)
def test_what_no_project_could_be_made_with_is_refused(service: Service, fields: dict[str, Any], code: str) -> None:
    service.http.post("/v1/projects", json=DRAFT)
    assert refused(service, **fields) == (422, code)


@on_sqlite
def test_the_schedule_goes_on_when_it_is_made_longer(service: Service, make_project: Callable[..., Any]) -> None:
    make_project(budgets=[10], auto_train=False)
    service.client.post(f"{PATH}/rounds")
    service.work_off()
    service.client.post(f"{PATH}/oracle")
    service.work_off()
    assert newest(service)["state"] == "annotating", "nothing trains by itself"
    changed(service, auto_train=True)
    assert newest(service)["state"] == "training", "all its slices are annotated"
    service.work_off()
    assert service.refusal("POST", f"{PATH}/rounds") == (409, "nothing-left")
    changed(service, auto_propose=True)
    assert newest(service)["number"] == 1, "there is no further budget"
    changed(service, budgets=[10, 25])
    assert (newest(service)["number"], newest(service)["budget_percent"]) == (2, 25)


@on_sqlite
def test_who_reads_is_settled_before_the_first_round(service: Service, make_project: Callable[..., Any]) -> None:
    make_project()
    assert changed(service, overlap=2, adjudicate=True)["overlap"] == 2
    service.client.post(f"{PATH}/rounds")
    assert refused(service, overlap=3) == (409, "round-state-conflict")
    assert refused(service, adjudicate=False, name="A") == (409, "round-state-conflict")
    assert changed(service, overlap=2, name="A")["name"] == "A", "what is so already is no change"


@on_sqlite
@pytest.mark.parametrize("strategy", ["clasp-pe", "foreground-aware-random"])
def test_a_class_is_added_in_the_middle_and_learned(
    service: Service, make_project: Callable[..., Any], strategy: str
) -> None:
    """The rule of the second round asks members who do not know the class; those of the second round do."""
    old = make_project(strategy=strategy, supervision="full", budgets=[10, 20])["label_schema"]
    service.client.post(f"{PATH}/rounds")
    service.work_off()
    leased = service.client.post(f"{PATH}/leases", {"annotator": "anna"})["items"][0]
    renamed = [each | {"name": each["name"].lower()} for each in old]
    assert changed(service, label_schema=[*renamed, NEW])["schema_version"] == 2
    mask = np.zeros((40, 48), np.uint8)
    mask[10:20, 10:20] = NEW["value"]
    send = {
        "params": {"kind": "full", "annotator": "anna", "schema_version": 1},
        "content": packed(mask),
        "headers": {"If-Match": '"0"'},
    }
    path = f"/v1/slices/{leased['slice']['id']}/annotations"
    assert service.refusal("POST", path, **send) == (422, "schema-version-stale")
    send["params"] |= {"schema_version": 2}
    assert service.http.post(path, **send).status_code == 201
    service.client.post(f"{PATH}/oracle", {"kind": "full"})
    assert newest(service)["state"] == "training"
    more = [*renamed, NEW, {"value": 5, "name": "scar", "color": "#112233"}]
    assert refused(service, label_schema=more) == (409, "round-state-conflict")
    assert changed(service, label_schema=[*old, NEW])["label_schema"] == [*old, NEW], "a name is no shape"
    service.work_off()
    changed(service, label_schema=[*old, NEW, more[-1]])
    service.client.post(f"{PATH}/rounds")
    service.work_off()
    assert newest(service)["state"] == "annotating"
    service.client.post(f"{PATH}/oracle", {"kind": "full"})
    service.work_off()
    assert newest(service)["state"] == "closed"
    classes = [
        each["config"]["classes"] for each in service.client.items(f"{PATH}/models") if each["kind"] == "segmentation"
    ]
    assert set(classes) == {5, 6}
