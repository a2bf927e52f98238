"""A mask of several slices comes back as it was sent, in each format that annotations by volume take."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.formats.image import Geometry
from app.formats.nifti import read_nifti, write_nifti
from app.formats.nrrd import load_nrrd, write_nrrd
from app.formats.voxels import to_mask
from tests.api.conftest import Service, on_sqlite
from tests.exports.conftest import read_manifest

Export = Callable[..., zipfile.ZipFile]

# One exports what the other takes in, so that a mistake in both would still show against the masks that were drawn.
READERS: dict[str, Callable[[bytes, Geometry], Any]] = {
    "nifti": lambda content, geometry: read_nifti(content, axis=geometry.axis).array,
    "nrrd": lambda content, geometry: to_mask(load_nrrd(content), geometry),
}
WRITERS = {"nifti": write_nifti, "nrrd": write_nrrd}


def find_volume(service: Service, name: str) -> dict[str, Any]:
    return next(each for each in service.client.items("/v1/projects/everything/volumes") if each["name"] == name)


def put(service: Service, path: str, content: bytes, **options: Any) -> Any:
    etag = service.http.get(path).headers["etag"]
    return service.http.put(path, params={"kind": "full"} | options, content=content, headers={"If-Match": etag})


def outcomes(answer: Any) -> dict[int, str]:
    assert answer.status_code == 200, answer.text
    return {int(index): each["outcome"] for index, each in answer.json()["slices"].items()}


@on_sqlite
@pytest.mark.parametrize("format_", ["nifti", "nrrd"])
def test_only_what_differs_becomes_a_version_whatever_the_axes(service: Service, project: str, format_: str) -> None:
    for name in ("oblique.nii.gz", "coronal.nii", "grid.nrrd", "series"):
        volume = find_volume(service, name)
        path = f"/v1/volumes/{volume['id']}/annotation"
        geometry = read_nifti(service.http.get(path).content, axis=volume["axis"]).geometry
        down = service.http.get(path, params={"format": format_})
        stack = np.array(READERS[format_](down.content, geometry))
        assert stack.shape == tuple(volume["shape"])
        assert outcomes(put(service, path, down.content)) == dict.fromkeys(range(len(stack)), "unchanged")
        stack[2] = np.where(stack[2] == 1, 200, 1)
        changed = WRITERS[format_](stack, geometry)
        expected = dict.fromkeys(range(len(stack)), "unchanged") | {2: "written"}
        assert outcomes(put(service, path, changed, slices=list(range(len(stack))))) == expected, name
        again = service.http.get(path, params={"format": format_}).content
        np.testing.assert_array_equal(READERS[format_](again, geometry), stack)


@on_sqlite
def test_a_dicom_segmentation_of_ours_comes_back_through_the_same_door(
    service: Service, project: str, export: Export
) -> None:
    archive = export(format="dicom-seg", parts=["annotations"])
    content = archive.read(read_manifest(archive)["volumes"][0]["written"]["annotations"])
    volume = find_volume(service, "series")
    path = f"/v1/volumes/{volume['id']}/annotation"
    before = service.http.get(path).content
    depth = volume["shape"][0]
    every = list(range(depth))
    assert outcomes(put(service, path, content)) == dict.fromkeys(range(depth), "unchanged")
    swapped = put(service, path, content, mask_values='{"1": 200, "2": 1}', slices=every)
    assert outcomes(swapped) == dict.fromkeys(every, "written")
    assert service.http.get(path).content != before
    assert outcomes(put(service, path, content, slices=[1])) == {1: "written"}
    assert outcomes(put(service, path, content, slices=every)) == dict.fromkeys(every, "written") | {1: "unchanged"}
    assert service.http.get(path).content == before

    # As scribbles: pixels in no segment are unlabelled, where a full mask has background.
    assert set(outcomes(put(service, path, content, kind="scribble", slices=every)).values()) == {"written"}
    assert set(np.unique(read_nifti(service.http.get(path).content).array)) == {1, 200, 255}

    for bad, code in (
        (content[:-200], "not-an-image"),
        (content[:400], "not-an-image"),
        (b"\0" * 128 + b"DICM" + b"\xff" * 500, "not-an-image"),
    ):
        refused = put(service, path, bad)
        assert (refused.status_code, refused.json()["code"]) == (422, code), refused.text
    assert put(service, path, content, mask_values='{"1": 7, "2": 1}').json()["code"] == "unknown-mask-values"
    other = f"/v1/volumes/{find_volume(service, 'oblique.nii.gz')['id']}/annotation"
    assert put(service, other, content).json()["code"] == "affine-mismatch"
    assert put(service, path, content, slices=[depth]).json()["code"] == "plane-outside"
