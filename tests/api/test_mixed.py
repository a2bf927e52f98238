"""A project of mixed supervision learns from scribbled and from fully masked slices in one training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.api.conftest import Service, on_sqlite, packed


@on_sqlite
def test_scribbled_and_masked_slices_are_taken_and_trained_on_together(
    service: Service, make_project: Callable[..., Any]
) -> None:
    protocol = {"segmentation": {"recipe": "modern", "pseudo_labels": "soft"}}
    make_project(supervision="mixed", protocol=protocol)
    opened = service.client.post("/v1/projects/hearts/rounds")
    service.work_off()
    leases = service.client.post("/v1/projects/hearts/leases", {"annotator": "anna", "n": 2})["items"]
    mask = np.zeros((40, 48), np.uint8)
    mask[10:20, 10:20] = 1
    scribble = np.full((40, 48), 255, np.uint8)
    scribble[5, 5:30], scribble[15, 12:18] = 0, 1
    for lease, kind, drawn in zip(leases, ("full", "scribble"), (mask, scribble), strict=True):
        answer = service.http.post(
            f"/v1/slices/{lease['slice']['id']}/annotations",
            params={"kind": kind, "annotator": "anna"},
            content=packed(drawn),
            headers={"If-Match": '"0"'},
        )
        assert answer.status_code == 201, answer.text
    assert service.client.post("/v1/projects/hearts/oracle", {"kind": "scribble"})["annotated"] == 1
    service.work_off()
    assert service.client.get(f"/v1/rounds/{opened['id']}")["state"] == "closed"
    model = next(each for each in service.client.items("/v1/projects/hearts/models") if each["kind"] == "segmentation")
    assert model["manifest"]["kinds"] == {"full": 1, "scribble": 2}
    assert model["config"]["network"] == "dmpls"
    assert (model["config"]["augmentation"], model["config"]["pseudo_labels"]) == ("strong", "soft")


@on_sqlite
def test_a_project_of_one_kind_refuses_the_other(service: Service, make_project: Callable[..., Any]) -> None:
    make_project(supervision="scribble")
    service.client.post("/v1/projects/hearts/rounds")
    service.work_off()
    lease = service.client.post("/v1/projects/hearts/leases", {"annotator": "anna"})["items"][0]
    refused = service.refusal(
        "POST",
        f"/v1/slices/{lease['slice']['id']}/annotations",
        params={"kind": "full", "annotator": "anna"},
        content=packed(np.zeros((40, 48), np.uint8)),
        headers={"If-Match": '"0"'},
    )
    assert refused[1] == "supervision-mismatch"
