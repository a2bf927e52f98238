"""Projects over REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conftest import Service, on_sqlite

DRAFT = {
    "slug": "hearts",
    "name": "Hearts",
    "label_schema": [
        {"value": 0, "name": "background", "color": "#000000"},
        {"value": 1, "name": "RV", "color": "#4477aa"},
    ],
}


def test_a_project_is_found_by_id_and_by_slug(service: Service) -> None:
    made = service.http.post("/v1/projects", json=DRAFT)
    assert made.status_code == 201
    project = made.json()
    assert service.http.get(made.headers["location"]).json() == project
    assert service.http.get("/v1/projects/hearts").json() == project
    assert project["budgets"] == [2, 3, 4, 5]
    assert project["protocol"]["segmentation"]["iterations_per_fraction"] == 60000
    assert [each["slug"] for each in service.client.items("/v1/projects")] == ["hearts"]


@on_sqlite
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"budgets": [0]}, "budget-refused"),
        ({"budgets": [100.5]}, "budget-refused"),
        ({"budgets": [-3, 5]}, "budget-refused"),
        ({"budgets": [5, 3]}, "budget-refused"),
        ({"budgets": []}, "budget-refused"),
        ({"slug": "No Spaces"}, "project-setting-refused"),
        ({"slug": "../../etc"}, "project-setting-refused"),
        ({"name": " "}, "project-setting-refused"),
        ({"name": "nul\0"}, "invalid-request"),
        ({"seed": -1}, "project-setting-refused"),
        ({"strategy": "best"}, "unknown-strategy"),
        ({"supervision": "guess"}, "invalid-request"),
        ({"preset": "huge"}, "protocol-refused"),
        ({"protocol": {"members": "many"}}, "protocol-refused"),
        ({"protocol": {"encoder": {"epoch": 3}}}, "protocol-refused"),
        ({"protocol": {"segmentation": {"image_size": 50}}}, "protocol-refused"),
        ({"label_schema": []}, "label-schema-refused"),
        ({"label_schema": [{"value": 0, "name": "background", "color": "#000000"}]}, "label-schema-refused"),
        (
            {"label_schema": [*DRAFT["label_schema"], {"value": 255, "name": "x", "color": "#000000"}]},
            "label-schema-refused",
        ),
        (
            {"label_schema": [*DRAFT["label_schema"], {"value": 1, "name": "x", "color": "#000000"}]},
            "label-schema-refused",
        ),
        ({"label_schema": [*DRAFT["label_schema"], {"value": 2, "name": "x", "color": "red"}]}, "label-schema-refused"),
        ({"surprise": 1}, "invalid-request"),
    ],
)
def test_a_project_that_could_not_work_is_refused(service: Service, change: dict[str, Any], code: str) -> None:
    assert service.refusal("POST", "/v1/projects", json=DRAFT | change) == (422, code)
    assert list(service.client.items("/v1/projects")) == []


def test_a_slug_is_taken_once(service: Service) -> None:
    service.client.post("/v1/projects", DRAFT)
    assert service.refusal("POST", "/v1/projects", json=DRAFT) == (409, "project-exists")


@on_sqlite
@pytest.mark.parametrize("reference", ["nothing", "01a2051f-cb52-7860-9e53-8e34dc6e2354", "%2e%2e", "a" * 300])
def test_an_unknown_project_is_not_found(service: Service, reference: str) -> None:
    assert service.refusal("GET", f"/v1/projects/{reference}") == (404, "project-not-found")
    assert service.refusal("POST", f"/v1/projects/{reference}/rounds") == (404, "project-not-found")
    assert service.refusal("POST", f"/v1/projects/{reference}/leases") == (404, "project-not-found")
    assert service.refusal("POST", f"/v1/projects/{reference}/oracle") == (404, "project-not-found")


@on_sqlite
@pytest.mark.parametrize("kind", ["volumes", "slices", "rounds", "leases", "jobs"])
@pytest.mark.parametrize("reference", ["nothing", "01a2051f-cb52-7860-9e53-8e34dc6e2354"])
def test_an_unknown_row_is_not_found(service: Service, kind: str, reference: str) -> None:
    assert service.refusal("GET", f"/v1/{kind}/{reference}") == (404, "record-not-found")


def test_an_unknown_path_is_a_problem_too(service: Service) -> None:
    assert service.refusal("GET", "/v1/nothing") == (404, "route-not-found")
    assert service.refusal("PUT", "/v1/projects") == (405, "method-not-allowed")
    assert service.refusal("POST", "/v1/projects", content=b"{") == (422, "invalid-request")


def test_strategies_say_what_they_need(service: Service) -> None:
    needs = {each["name"]: each["needs"] for each in service.client.items("/v1/strategies")}
    assert needs["gcl"] == ["encoder"]
    assert needs["random"] == []


def test_typiclust_has_an_encoder_without_groups_unless_weights_are_named(service: Service) -> None:
    made = service.client.post("/v1/projects", DRAFT | {"strategy": "typiclust"})
    encoder = made["protocol"]["encoder"]
    assert (encoder["weight_nt_xent"], encoder["weight_patient"], encoder["weight_volume"]) == (1, 0, 0)
    named = {"slug": "named", "strategy": "typiclust", "protocol": {"encoder": {"weights": "acdc"}}}
    assert service.client.post("/v1/projects", DRAFT | named)["protocol"]["encoder"]["weight_volume"] == 0.35


def test_health_and_readiness(service: Service) -> None:
    assert service.http.get("/healthz").json() == {"status": "alive"}
    assert service.http.get("/readyz").json()["ready"] is True
    assert service.http.get("/v1/version").json()["version"]


def test_counts_follow_the_volumes(service: Service, make_project: Callable[..., dict[str, Any]]) -> None:
    make_project()
    assert service.client.get("/v1/projects/hearts")["slices"] == {"train": 30, "validation": 10, "test": 20}
