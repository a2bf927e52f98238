"""Model versions: listed with what they saw, promoted, rolled back, downloaded; predictions say which made them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from tests.api.conftest import Service, on_sqlite

Make = Callable[..., Any]


def versions(service: Service) -> list[dict[str, Any]]:
    return list(service.client.items("/v1/projects/hearts/model-versions"))


@pytest.fixture
def two_versions(service: Service, make_project: Make) -> list[dict[str, Any]]:
    """A project with two closed rounds."""
    make_project(protocol={"segmentation": {"iterations_min": 4, "iterations_max": 4}})
    for _ in range(2):
        service.client.post("/v1/projects/hearts/rounds")
        service.work_off()
        service.client.post("/v1/projects/hearts/oracle")
        service.work_off()
    return versions(service)


def predict(service: Service) -> dict[str, Any]:
    job = service.client.post("/v1/projects/hearts/predictions", {"split": "train"})
    service.work_off()
    done: dict[str, Any] = service.client.get(f"/v1/jobs/{job['id']}")
    assert done["state"] == "succeeded", done["error"]
    return done


@on_sqlite
def test_a_version_tells_what_it_learned_from_and_can_be_chosen(
    service: Service, two_versions: list[dict[str, Any]]
) -> None:
    first, second = two_versions
    assert [each["version"] for each in two_versions] == [1, 2]
    assert [each["in_use"] for each in two_versions] == [False, True]
    assert all(each["complete"] and len(each["model_ids"]) == 1 for each in two_versions)
    slices = [pick["slice_id"] for pick in service.client.items(f"/v1/rounds/{first['round_id']}/picks")]
    seen = {next(service.client.items(f"/v1/slices/{each}/annotations"))["id"] for each in slices}
    assert set(first["annotation_versions"]) == seen
    assert seen < set(second["annotation_versions"])
    assert first["metrics"]["dice_ensemble"] is not None

    path = "/v1/projects/hearts/promotions"
    assert service.refusal("POST", path, json={"version": 3}) == (404, "record-not-found")
    assert service.refusal("POST", path, json={})[0] == 422
    rolled = service.client.post("/v1/projects/hearts/rollback", {"author": "anna"})
    assert (rolled["version"], rolled["author"]) == (1, "anna")
    assert [each["in_use"] for each in versions(service)] == [True, False]
    assert service.refusal("POST", "/v1/projects/hearts/rollback") == (409, "no-earlier-model")
    assert predict(service)["result"]["model_version"] == 1

    volume = next(service.client.items("/v1/projects/hearts/volumes", split="train"))
    one = next(service.client.items(f"/v1/volumes/{volume['id']}/slices"))
    answer = service.http.get(f"/v1/slices/{one['id']}/prediction")
    assert (answer.headers["x-model-version"], answer.headers["x-round"]) == ("1", first["round_id"])

    assert service.client.post(path, {"version": 2, "author": "bert"})["version"] == 2
    for what in ("prediction", "uncertainty"):
        answer = service.http.get(f"/v1/slices/{one['id']}/{what}")
        assert answer.status_code == 204, "version 2 predicted nothing yet"
    assert predict(service)["result"]["model_version"] == 2
    assert service.client.post(path, {"version": None})["version"] is None
    history = [(each["version"], each["author"]) for each in service.client.items(path)]
    assert history == [(None, "local"), (2, "bert"), (1, "anna")]
    assert [each["predicted_volumes"] for each in versions(service)] == [6, 6]

    check_weights(service, two_versions)
    check_uncertainty(service, one["id"])


def check_weights(service: Service, two_versions: list[dict[str, Any]]) -> None:
    """The weights are downloaded in a safe format."""
    model_id = two_versions[1]["model_ids"][0]
    model = service.client.get(f"/v1/models/{model_id}")
    assert (model["version"], model["kind"], model["member"]) == (2, "segmentation", 0)
    assert model["manifest"]["annotation_versions"] == two_versions[1]["annotation_versions"]
    answer = service.http.get(f"/v1/models/{model_id}/weights")
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.headers["content-disposition"].endswith('.safetensors"')
    assert sum(tensor.size for tensor in load(answer.content).values()) > 2_400_000
    for path in ("/v1/models/nothing", "/v1/models/nothing/weights"):
        assert service.refusal("GET", path) == (404, "record-not-found")


def check_uncertainty(service: Service, slice_id: str) -> None:
    """The uncertainty of a prediction is a map of its slice."""
    path = f"/v1/slices/{slice_id}/uncertainty"
    raw = service.http.get(path)
    assert (raw.headers["x-dtype"], raw.headers["x-shape"]) == ("uint8", "40,48")
    assert raw.headers["x-model-version"] == "2"
    unsure = np.frombuffer(raw.content, np.uint8).reshape(40, 48)
    assert unsure.min() > 200, "a net of four steps is sure of nothing"
    plain = service.http.get(path, headers={"Accept-Encoding": "identity"})
    assert plain.content == raw.content
    png = service.http.get(path, params={"format": "png"})
    with Image.open(io.BytesIO(png.content)) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.array(image), unsure)
    assert service.refusal("GET", "/v1/slices/nothing/uncertainty") == (404, "record-not-found")
