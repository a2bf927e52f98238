"""DICOM SEG of series that came in otherwise than as a zip of single pictures."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage

from tests.api.conftest import Service, on_sqlite
from tests.api.test_imports import SCHEMA, upload_parts
from tests.exports.conftest import volumes_of
from tests.formats.dicoms import write_slice
from tests.formats.test_dicom_seg import _study

Export = Callable[..., zipfile.ZipFile]
HEIGHTS = (8.0, 0.0, 4.0)  # of the frames in their file: not in order


def _item(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def _multi_frame(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 900, (3, 4, 6)).astype(np.int16)
    shared = _item(
        PlaneOrientationSequence=[_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[_item(PixelSpacing=[0.5, 0.75], SliceThickness=4)],
    )
    write_slice(
        path,
        pixels[0],
        None,
        SOPClassUID=EnhancedCTImageStorage,
        NumberOfFrames=3,
        PixelData=pixels.tobytes(),
        PerFrameFunctionalGroupsSequence=[
            _item(PlanePositionSequence=[_item(ImagePositionPatient=[0, 0, z])]) for z in HEIGHTS
        ],
        SharedFunctionalGroupsSequence=[shared],
        ImageOrientationPatient=None,
        PixelSpacing=None,
        StudyInstanceUID="1.2.3",
        FrameOfReferenceUID="1.2.3.9",
        PatientName="Doe^Jane",
        PatientBirthDate="",
        PatientSex="",
        StudyDate="",
        StudyTime="",
        AccessionNumber="",
        StudyID="",
        ReferringPhysicianName="",
    )


def _one_picture(path: Path) -> None:
    _study(path.parent / "series", 1)
    next((path.parent / "series").iterdir()).rename(path)


@on_sqlite
@pytest.mark.parametrize(("write", "heights"), [(_multi_frame, sorted(HEIGHTS)), (_one_picture, [-7.0])])
def test_a_single_file_is_labelled_frame_by_frame(
    service: Service, export: Export, tmp_path: Path, write: Callable[[Path], None], heights: list[float]
) -> None:
    write(tmp_path / "scan.dcm")
    draft = {"slug": "one", "name": "One", "label_schema": SCHEMA, "supervision": "full", "budgets": [100]}
    service.client.post("/v1/projects", draft | {"strategy": "random", "preset": "tiny", "auto_train": False})
    upload = upload_parts(service, "one", "scan.dcm", (tmp_path / "scan.dcm").read_bytes())
    job = service.client.post("/v1/projects/one/imports", {"upload": upload["id"], "split": "train"})
    service.work_off()
    (line,) = service.client.get(f"/v1/imports/{job['id']}")["volumes"]
    masks = np.random.default_rng(1).integers(0, 3, (line["slices"], 4, 6)).astype(np.uint8)
    _annotate(service, masks)
    archive = export("one", format="dicom-seg", parts=["annotations"])
    seg = pydicom.dcmread(io.BytesIO(archive.read(next(iter(volumes_of(archive).values()))["written"]["annotations"])))
    found = np.zeros_like(masks)
    for frame, groups in zip(seg.pixel_array.reshape(-1, 4, 6), seg.PerFrameFunctionalGroupsSequence, strict=True):
        z = heights.index(float(groups.PlanePositionSequence[0].ImagePositionPatient[2]))
        found[z][frame > 0] = int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    assert np.array_equal(found, masks)


def _annotate(service: Service, masks: NDArray[np.uint8]) -> None:
    from tests.api.conftest import packed

    service.client.post("/v1/projects/one/rounds")
    service.work_off()
    leases: list[Any] = service.client.post("/v1/projects/one/leases", {"annotator": "anna", "n": len(masks)})["items"]
    assert len(leases) == len(masks)
    for lease in leases:
        answer = service.http.post(
            f"/v1/slices/{lease['slice']['id']}/annotations",
            params={"kind": "full", "annotator": "anna"},
            content=packed(masks[lease["slice"]["index"]]),
            headers={"If-Match": '"0"'},
        )
        assert answer.status_code == 201, answer.text
