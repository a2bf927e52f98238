"""Masks up and down, by slice and by volume."""

from __future__ import annotations

import gzip
import io
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.db.models import Project
from app.formats.nifti import read_nifti, write_nifti
from app.outbox import SilentBell, unit_of_work
from tests.api.conftest import Service, on_sqlite, packed

SHAPE = (40, 48)


@pytest.fixture
def slice_(service: Service, make_project: Callable[..., Any]) -> dict[str, Any]:
    """The first slice of the first volume of a scribble project."""
    make_project()
    volume = next(service.client.items("/v1/projects/hearts/volumes"))
    first: dict[str, Any] = next(service.client.items(f"/v1/volumes/{volume['id']}/slices"))
    return first


def scribble(seed: int = 0) -> NDArray[np.uint8]:
    mask = np.full(SHAPE, 255, dtype=np.uint8)
    mask[10:12, 5 + seed : 20 + seed] = 1
    mask[30, 5:20] = 0
    return mask


def submit(service: Service, slice_: dict[str, Any], body: bytes, **options: Any) -> Any:
    headers = {"If-Match": '"0"'} | options.pop("headers", {})
    parameters = {"kind": "scribble"} | options
    return service.http.post(f"/v1/slices/{slice_['id']}/annotations", params=parameters, content=body, headers=headers)


def read_mask(service: Service, slice_: dict[str, Any]) -> NDArray[np.uint8]:
    answer = service.http.get(f"/v1/slices/{slice_['id']}/annotation")
    return np.frombuffer(answer.content, dtype=np.uint8).reshape(SHAPE)


@pytest.mark.parametrize("encode", [packed, lambda mask: mask.tobytes()], ids=["gzip", "plain"])
def test_a_raw_mask_comes_back_as_it_was_sent(service: Service, slice_: dict[str, Any], encode: Any) -> None:
    answer = submit(service, slice_, encode(scribble()))
    assert answer.status_code == 201
    assert answer.json()["pixel_counts"] == {"0": 15, "1": 30, "255": 40 * 48 - 45}
    np.testing.assert_array_equal(read_mask(service, slice_), scribble())
    down = service.http.get(f"/v1/slices/{slice_['id']}/annotation")
    assert down.headers["etag"] == answer.headers["etag"]
    assert down.headers["x-kind"] == "scribble"


def test_an_indexed_png_comes_back_as_it_was_sent(service: Service, slice_: dict[str, Any]) -> None:
    submit(service, slice_, packed(scribble()))
    png = service.http.get(f"/v1/slices/{slice_['id']}/annotation?format=png")
    assert Image.open(io.BytesIO(png.content)).mode == "P"
    again = submit(
        service,
        slice_,
        png.content,
        headers={"Content-Type": "image/png", "If-Match": png.headers["etag"]},
    )
    assert again.status_code == 201
    np.testing.assert_array_equal(read_mask(service, slice_), scribble())


def test_versions_are_kept_and_a_stale_one_is_refused(service: Service, slice_: dict[str, Any]) -> None:
    first = submit(service, slice_, packed(scribble()))
    assert submit(service, slice_, packed(scribble(1))).json()["code"] == "annotation-stale"
    second = submit(service, slice_, packed(scribble(1)), headers={"If-Match": first.headers["etag"]})
    assert second.status_code == 201
    versions = list(service.client.items(f"/v1/slices/{slice_['id']}/annotations"))
    assert [each["number"] for each in versions] == [1, 2]
    assert versions[1]["parent_id"] == versions[0]["id"] == first.json()["id"]
    old = service.http.get(f"/v1/annotation-versions/{versions[0]['id']}/mask")
    np.testing.assert_array_equal(np.frombuffer(old.content, np.uint8).reshape(SHAPE), scribble())
    np.testing.assert_array_equal(read_mask(service, slice_), scribble(1))


BAD_VALUE = scribble()
BAD_VALUE[0, 0] = 7
TRANSPOSED = np.ascontiguousarray(scribble().T)
PNG_TYPE = {"Content-Type": "image/png"}


def png_of(array: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


@on_sqlite
@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (packed(BAD_VALUE), {}, 422, "unknown-mask-values"),
        (packed(np.full(SHAPE, 255, np.uint8)), {}, 422, "empty-mask"),
        (b"", {}, 422, "empty-body"),
        (b"garbage", {}, 422, "mask-length-wrong"),
        (packed(scribble())[:-9], {}, 422, "not-a-mask"),
        (packed(scribble()) + b"more", {}, 422, "not-a-mask"),
        (packed(np.zeros((40, 49), np.uint8)), {}, 422, "mask-length-wrong"),
        (gzip.compress(b"\0" * 50_000_000, mtime=0), {}, 413, "mask-too-large"),
        (b"not a png", PNG_TYPE, 422, "not-a-png"),
        (png_of(scribble())[:-30], PNG_TYPE, 422, "not-a-png"),
        (png_of(TRANSPOSED), PNG_TYPE, 422, "shape-mismatch"),
        (png_of(BAD_VALUE), PNG_TYPE, 422, "unknown-mask-values"),
        (png_of(np.zeros((*SHAPE, 3), np.uint8)), PNG_TYPE, 422, "not-a-png"),
        (packed(scribble()), {"Content-Type": "text/plain"}, 415, "mask-type-refused"),
        (packed(scribble()), {"If-Match": '"stale"'}, 412, "annotation-stale"),
    ],
)
def test_a_wrong_mask_is_refused_and_loses_nothing(
    service: Service, slice_: dict[str, Any], body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    kept = submit(service, slice_, packed(scribble()))
    answer = submit(service, slice_, body, headers={"If-Match": kept.headers["etag"]} | headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    np.testing.assert_array_equal(read_mask(service, slice_), scribble())
    assert len(list(service.client.items(f"/v1/slices/{slice_['id']}/annotations"))) == 1


def test_a_submission_must_say_what_it_replaces(service: Service, slice_: dict[str, Any]) -> None:
    answer = service.http.post(
        f"/v1/slices/{slice_['id']}/annotations", params={"kind": "scribble"}, content=packed(scribble())
    )
    assert (answer.status_code, answer.json()["code"]) == (428, "annotation-precondition-missing")


def test_the_kind_must_be_what_the_project_trains_on(service: Service, slice_: dict[str, Any]) -> None:
    answer = submit(service, slice_, packed(np.zeros(SHAPE, np.uint8)), kind="full")
    assert (answer.status_code, answer.json()["code"]) == (422, "supervision-mismatch")


def test_a_full_mask_must_be_complete(service: Service, make_project: Callable[..., Any]) -> None:
    make_project(supervision="full")
    volume = next(service.client.items("/v1/projects/hearts/volumes"))
    first = next(service.client.items(f"/v1/volumes/{volume['id']}/slices"))
    assert submit(service, first, packed(scribble()), kind="full").json()["code"] == "mask-incomplete"
    assert submit(service, first, packed(np.zeros(SHAPE, np.uint8)), kind="full").status_code == 201


def test_a_nifti_covers_several_slices(service: Service, slice_: dict[str, Any]) -> None:
    path = f"/v1/volumes/{slice_['volume_id']}/annotation"
    blank = service.http.get(path)
    geometry = read_nifti(blank.content).geometry
    mask = np.full((5, *SHAPE), 255, dtype=np.uint8)
    mask[1], mask[3] = scribble(1), scribble(3)
    answer = service.http.put(
        path,
        params={"kind": "scribble", "slices": [1, 3]},
        content=write_nifti(mask, geometry),
        headers={"If-Match": blank.headers["etag"]},
    )
    assert answer.status_code == 200, answer.text
    assert {index: each["outcome"] for index, each in answer.json()["slices"].items()} == {
        "1": "written",
        "3": "written",
    }
    down = service.http.get(path)
    np.testing.assert_array_equal(read_nifti(down.content).array, mask)
    assert down.headers["etag"] == answer.headers["etag"] != blank.headers["etag"]

    mask[2, 0, 0] = 9
    for body, etag, status in (
        (write_nifti(mask, geometry), down.headers["etag"], 422),
        (write_nifti(mask, geometry), blank.headers["etag"], 412),
        (b"", down.headers["etag"], 422),
        (b"nonsense", down.headers["etag"], 422),
    ):
        refused = service.http.put(path, params={"kind": "scribble"}, content=body, headers={"If-Match": etag})
        assert refused.status_code == status, refused.text
    assert service.http.get(path).headers["etag"] == down.headers["etag"], "all of a refused volume is refused"


def test_words_that_no_database_can_hold_are_refused(service: Service, slice_: dict[str, Any]) -> None:
    assert submit(service, slice_, packed(scribble()), lead_time_ms=2**40).status_code == 422
    answer = submit(service, slice_, packed(scribble()), annotator="nul\0")
    # SQLite can hold it, PostgreSQL cannot; neither may answer 5xx.
    assert answer.status_code in {201, 422}


def test_a_mask_of_an_old_label_schema_is_refused(service: Service, slice_: dict[str, Any]) -> None:
    project = service.client.get("/v1/projects/hearts")
    assert (project["schema_version"], slice_["schema_version"]) == (1, 1)
    made = submit(service, slice_, packed(scribble()), schema_version=1)
    assert (made.status_code, made.json().get("schema_version")) == (201, 1), made.text
    with unit_of_work(service.database, SilentBell()) as session:
        found = session.get_one(Project, uuid.UUID(project["id"]))
        found.label_schema = [*found.label_schema, {"value": 9, "name": "new", "color": "#123456"}]
    assert service.client.get(f"/v1/slices/{slice_['id']}")["schema_version"] == 2
    over: dict[str, Any] = {"headers": {"If-Match": made.headers["etag"]}}
    volume = f"/v1/volumes/{slice_['volume_id']}/annotation?kind=scribble&schema_version=1"
    for stale in (
        submit(service, slice_, packed(scribble(1)), schema_version=1, **over),
        service.http.put(volume, content=b"-", **over),
    ):
        assert (stale.status_code, stale.json()["code"]) == (422, "schema-version-stale")
    for stated in ({}, {"schema_version": 2}):
        again = submit(service, slice_, packed(scribble(1)), **stated, **over)
        assert (again.status_code, again.json().get("schema_version")) == (201, 2), again.text
        over = {"headers": {"If-Match": again.headers["etag"]}}
