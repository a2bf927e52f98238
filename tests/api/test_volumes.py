"""Volumes and slices over REST: files in, pixels out, and what is refused."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.datasets.records import DatasetListing
from app.embedded import running_service
from app.formats.nifti import read_nifti
from app.settings import Settings
from tests.api.conftest import Service, on_sqlite


def nifti(voxels: NDArray[Any]) -> bytes:
    """The bytes of a NIfTI file with 2 x 2 x 8 mm voxels."""
    image = nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 8.0, 1.0]))
    return gzip.compress(image.to_bytes(), mtime=0)


def send(service: Service, image: bytes, masks: dict[str, bytes] | None = None, **fields: str) -> Any:
    files = {"image": ("scan.nii.gz", image)} | {name: (f"{name}.nii.gz", mask) for name, mask in (masks or {}).items()}
    return service.http.post("/v1/projects/hearts/volumes", data={"patient": "p1", "name": "v1", **fields}, files=files)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
def test_raw_pixels_come_back_in_the_volumes_own_type(
    service: Service, make_project: Callable[..., Any], dtype: str
) -> None:
    make_project()
    voxels = np.random.default_rng(1).uniform(0, 200, (6, 5, 4)).astype(dtype)
    volume = send(service, nifti(voxels)).json()
    assert (volume["shape"], volume["dtype"], volume["spacing_mm"]) == ([4, 5, 6], dtype, [8.0, 2.0, 2.0])
    for each in service.client.items(f"/v1/volumes/{volume['id']}/slices"):
        answer = service.http.get(f"/v1/slices/{each['id']}/image", params={"format": "raw"})
        assert (answer.headers["x-dtype"], answer.headers["x-shape"]) == (dtype, "5,6")
        plane = np.frombuffer(answer.content, dtype=dtype).reshape(5, 6)
        np.testing.assert_array_equal(plane, voxels[:, :, each["index"]].T)


def test_raw_pixels_come_unpacked_where_gzip_is_not_taken(service: Service, make_project: Callable[..., Any]) -> None:
    make_project()
    volume = send(service, nifti(np.arange(24, dtype=np.int16).reshape(4, 3, 2))).json()
    first = next(service.client.items(f"/v1/volumes/{volume['id']}/slices"))
    answer = service.http.get(f"/v1/slices/{first['id']}/image?format=raw", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in answer.headers
    assert len(answer.content) == 4 * 3 * 2


def test_a_png_follows_window_and_level(service: Service, make_project: Callable[..., Any]) -> None:
    make_project()
    voxels = np.zeros((4, 3, 2), dtype=np.int16)
    voxels[0, 0, 0], voxels[1, 0, 0], voxels[2, 0, 0] = -50, 50, 150
    volume = send(service, nifti(voxels)).json()
    first = next(service.client.items(f"/v1/volumes/{volume['id']}/slices"))
    answer = service.http.get(f"/v1/slices/{first['id']}/image", params={"window": 200, "level": 50})
    assert answer.headers["content-type"] == "image/png"
    grey = np.array(Image.open(io.BytesIO(answer.content)))
    assert grey.shape == (3, 4)
    assert grey[0, :3].tolist() == [0, 128, 255]


def test_the_original_file_comes_back_byte_for_byte(service: Service, make_project: Callable[..., Any]) -> None:
    make_project()
    content = nifti(np.ones((4, 3, 2), dtype=np.float32))
    volume = send(service, content).json()
    assert service.http.get(f"/v1/volumes/{volume['id']}/file").content == content
    assert send(service, content).json()["id"] == volume["id"], "the same file again is the same volume"


NAN = np.full((4, 3, 2), np.nan, dtype=np.float32)
GOOD = np.zeros((4, 3, 2), dtype=np.uint8)


@on_sqlite
@pytest.mark.parametrize(
    ("image", "code"),
    [
        (b"not an image at all", "not-an-image"),
        (b"", "empty-body"),
        (gzip.compress(b"still not an image", mtime=0), "not-an-image"),
        (nifti(GOOD)[:-20], "not-an-image"),
        (nifti(NAN), "non-finite-voxel"),
        (nifti(np.zeros((4,), dtype=np.uint8)), "wrong-dimensions"),
        (nifti(np.zeros((4, 3, 2, 5), dtype=np.uint8)), "wrong-dimensions"),
        (nifti(np.zeros((4, 3, 2), dtype=np.complex64)), "unsupported-dtype"),
    ],
    ids=["text", "empty", "gzipped text", "truncated", "NaN", "1-D", "4-D", "complex"],
)
def test_a_volume_that_is_no_image_is_refused_and_leaves_nothing(
    service: Service, make_project: Callable[..., Any], image: bytes, code: str
) -> None:
    make_project()
    before = list(service.client.items("/v1/projects/hearts/volumes"))
    answer = send(service, image)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert list(service.client.items("/v1/projects/hearts/volumes")) == before


@on_sqlite
@pytest.mark.parametrize(
    ("mask", "code"),
    [
        (nifti(np.zeros((4, 3, 3), dtype=np.uint8)), "shape-mismatch"),
        (nifti(np.full((4, 3, 2), 9, dtype=np.uint8)), "unknown-mask-values"),
        (nifti(np.full((4, 3, 2), 0.5, dtype=np.float32)), "mask-not-integral"),
        (b"nothing", "not-an-image"),
    ],
    ids=["shape", "values", "fractions", "text"],
)
def test_a_volume_whose_mask_is_wrong_is_refused_whole(
    service: Service, make_project: Callable[..., Any], mask: bytes, code: str
) -> None:
    make_project()
    before = len(list(service.client.items("/v1/projects/hearts/volumes")))
    answer = send(service, nifti(GOOD), {"full_mask": mask})
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert len(list(service.client.items("/v1/projects/hearts/volumes"))) == before


def test_names_and_splits_are_held(service: Service, make_project: Callable[..., Any]) -> None:
    make_project()
    assert send(service, nifti(GOOD)).status_code == 201
    assert send(service, nifti(GOOD + 1)).json()["code"] == "volume-exists"
    assert send(service, nifti(GOOD), name="v2", split="test").json()["code"] == "patient-split-conflict"
    assert send(service, nifti(GOOD), name=" ").json()["code"] == "project-setting-refused"
    assert send(service, nifti(GOOD), name="v3", axis="3").json()["code"] == "unknown-axis"
    assert send(service, nifti(GOOD), name="v3", attributes="[]").json()["code"] == "project-setting-refused"
    for values in ("[]", "{", '{"1": 999}', '{"one": 1}'):
        assert send(service, nifti(GOOD), name="v3", mask_values=values).json()["code"] == "project-setting-refused"
    assert send(service, nifti(GOOD), name="../../v3").status_code == 201, "a name is never a path"


def test_ground_truth_is_shown_to_nobody(
    service: Service, make_project: Callable[..., Any], phantoms: DatasetListing
) -> None:
    make_project()
    volume = next(service.client.items("/v1/projects/hearts/volumes"))
    assert volume["ground_truth"] == ["full", "scribble"]
    first = next(service.client.items(f"/v1/volumes/{volume['id']}/slices"))
    assert service.refusal("GET", f"/v1/slices/{first['id']}/annotation") == (404, "no-annotation-yet")
    assert service.http.get(f"/v1/slices/{first['id']}/prediction").status_code == 204
    blank = service.http.get(f"/v1/volumes/{volume['id']}/annotation").content
    assert (read_nifti(blank).array == 255).all()


def test_a_body_beyond_the_limit_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    knobs = Settings(home=tmp_path, port=0, database_url=sqlite_url, max_upload_bytes=1000)
    with running_service(knobs, queues=()) as url, httpx.Client(base_url=url) as http:
        announced = http.post("/v1/projects", content=b" " * 2000)
        streamed = http.post("/v1/projects", content=(b" " * 100 for _ in range(20)))
    assert [announced.status_code, streamed.status_code] == [413, 413]
