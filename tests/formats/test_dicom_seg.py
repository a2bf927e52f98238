from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from app.datasets.dicom import list_dicom
from app.datasets.records import read_full_mask, read_volume_image
from app.errors import AffineMismatch, SegmentsOverlap, SegmentsUnknown
from app.formats.volume_masks import read_volume_mask
from tests.formats.dicoms import write_series


def _study(folder: Path, count: int = 5) -> list[Any]:
    """A series of `count` slices with what a segmentation needs to know of it, in order of place."""
    write_series(folder, count)
    datasets = []
    for path in sorted(folder.glob("*.dcm"), reverse=True):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = "1.2.3", "1.2.3.9"
        dataset.PatientName, dataset.PatientBirthDate, dataset.PatientSex = "Doe^Jane", "19610203", "F"
        dataset.StudyDate = dataset.StudyTime = dataset.AccessionNumber = dataset.StudyID = ""
        dataset.ReferringPhysicianName = ""
        dataset.save_as(path)
        datasets.append(dataset)
    return datasets


def _describe(number: int, label: str) -> Any:
    code = CodedConcept("85756007", "SCT", "Tissue")
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=code,
        segmented_property_type=code,
        algorithm_type="MANUAL",
    )


def _write_seg(
    path: Path, sources: list[Any], mask: NDArray[np.uint8], labels: list[str], kind: str = "BINARY", **more: Any
) -> None:
    """A segmentation made by an independent library, (Z, H, W) in order of the sources."""
    planes = np.stack([mask == number for number in range(1, len(labels) + 1)], axis=-1)
    pixels = mask if kind == "LABELMAP" else planes.astype(np.float32 if kind == "FRACTIONAL" else np.uint8)
    seg = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[_describe(number, label) for number, label in enumerate(labels, start=1)],
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Nobody",
        manufacturer_model_name="None",
        software_versions="0",
        device_serial_number="0",
        **more,
    )
    seg.save_as(path)


def _mask(count: int = 5) -> NDArray[np.uint8]:
    mask = np.zeros((count, 4, 6), np.uint8)
    mask[1, 1:3, 2:5], mask[3, 0, 0], mask[3, 3, 5] = 1, 2, 1
    return mask


def segmented_series(folder: Path) -> NDArray[np.uint8]:
    """Write a series with a segmentation of two structures beside it, and give back their mask (Z, H, W)."""
    _write_seg(folder / "labels.dcm", _study(folder / "ct"), _mask(), ["liver", "spleen"])
    return _mask()


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_segmentation_is_the_mask_of_the_series_that_it_names(tmp_path: Path, kind: str) -> None:
    _write_seg(tmp_path / "labels.dcm", _study(tmp_path / "ct"), _mask(), ["liver", "spleen"], kind)
    listing = list_dicom(tmp_path)
    assert [(each.value, each.name) for each in listing.classes] == [(0, "background"), (1, "liver"), (2, "spleen")]
    assert listing.problems == ()
    (volume,) = listing.volumes
    image = read_volume_image(volume)
    assert np.array_equal(read_full_mask(volume, image.geometry), _mask())


def test_frames_in_another_order_land_where_they_were_drawn(tmp_path: Path) -> None:
    sources = _study(tmp_path / "ct")
    _write_seg(tmp_path / "labels.dcm", sources[::-1], _mask()[::-1], ["liver", "spleen"])
    (volume,) = list_dicom(tmp_path).volumes
    assert np.array_equal(read_full_mask(volume, read_volume_image(volume).geometry), _mask())


def test_frames_that_run_the_other_way_land_where_they_were_drawn(tmp_path: Path) -> None:
    _write_seg(tmp_path / "labels.dcm", _study(tmp_path / "ct"), _mask(), ["liver", "spleen"])
    seg = pydicom.dcmread(tmp_path / "labels.dcm")
    frames = seg.pixel_array[:, :, ::-1]  # the last column becomes the first
    shared = seg.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    for group in seg.PerFrameFunctionalGroupsSequence:
        place = group.PlanePositionSequence[0]
        x, y, z = place.ImagePositionPatient
        place.ImagePositionPatient = [float(x) + 5 * 0.75, y, z]
    seg.PixelData = np.packbits(frames.reshape(-1), bitorder="little").tobytes()
    seg.save_as(tmp_path / "labels.dcm")
    (volume,) = list_dicom(tmp_path).volumes
    assert np.array_equal(read_full_mask(volume, read_volume_image(volume).geometry), _mask())


def test_one_file_a_structure_makes_one_mask_with_a_class_each(tmp_path: Path) -> None:
    sources = _study(tmp_path / "ct")
    liver, spleen = np.where(_mask() == 1, 1, 0), np.where(_mask() == 2, 1, 0)
    _write_seg(tmp_path / "a.dcm", sources, liver.astype(np.uint8), ["liver"])
    _write_seg(tmp_path / "b.dcm", sources, spleen.astype(np.uint8), ["spleen"])
    listing = list_dicom(tmp_path)
    assert [each.name for each in listing.classes] == ["background", "liver", "spleen"]
    (volume,) = listing.volumes
    assert np.array_equal(read_full_mask(volume, read_volume_image(volume).geometry), _mask())


CLASSES = {0: "background", 1: "LV", 2: "Myocardium"}


@pytest.mark.parametrize(
    ("labels", "written"),
    [
        (["myocardium ", "LV"], {1: 2, 2: 1}),
        (["liver", "spleen"], {1: 1, 2: 2}),  # no label is a class: the numbers are
    ],
)
def test_segments_are_classes_by_label_or_else_by_number(
    tmp_path: Path, labels: list[str], written: dict[int, int]
) -> None:
    _write_seg(tmp_path / "labels.dcm", _study(tmp_path / "ct"), _mask(), labels)
    (volume,) = list_dicom(tmp_path).volumes
    geometry = read_volume_image(volume).geometry
    mask = read_volume_mask((tmp_path / "labels.dcm").read_bytes(), geometry, CLASSES)
    assert {number: set(mask[_mask() == number].tolist()) for number in written} == {
        number: {value} for number, value in written.items()
    }


def test_segments_of_which_only_some_are_classes_are_refused_until_they_are_mapped(tmp_path: Path) -> None:
    _write_seg(tmp_path / "labels.dcm", _study(tmp_path / "ct"), _mask(), ["Myocardium", "edema"])
    (volume,) = list_dicom(tmp_path).volumes
    geometry = read_volume_image(volume).geometry
    content = (tmp_path / "labels.dcm").read_bytes()
    with pytest.raises(SegmentsUnknown, match=r"no class: 'edema'; .*mask_values") as refused:
        read_volume_mask(content, geometry, CLASSES)
    assert refused.value.labels == ("edema",)
    mask = read_volume_mask(content, geometry, CLASSES, {1: 2, 2: 0})
    assert set(mask[_mask() == 1].tolist()) == {2}
    assert set(mask[_mask() == 2].tolist()) == {0}


def test_a_class_name_that_an_export_had_to_cut_is_known_again(tmp_path: Path) -> None:
    long = "left ventricular myocardium " * 4
    _write_seg(tmp_path / "labels.dcm", _study(tmp_path / "ct"), _mask(), [long[:64], "LV"])
    (volume,) = list_dicom(tmp_path).volumes
    geometry = read_volume_image(volume).geometry
    mask = read_volume_mask((tmp_path / "labels.dcm").read_bytes(), geometry, {0: "background", 1: "LV", 2: long})
    assert set(mask[_mask() == 1].tolist()) == {2}


def test_segments_that_overlap_are_refused(tmp_path: Path) -> None:
    sources = _study(tmp_path / "ct")
    for name in ("a", "b"):
        _write_seg(tmp_path / f"{name}.dcm", sources, (_mask() > 0).astype(np.uint8), [name])
    (volume,) = list_dicom(tmp_path).volumes
    with pytest.raises(SegmentsOverlap, match="both 1 and 2"):
        read_full_mask(volume, read_volume_image(volume).geometry)


def test_a_segmentation_of_another_series_is_named(tmp_path: Path) -> None:
    sources = _study(tmp_path / "other")
    write_series(tmp_path / "ct")
    _write_seg(tmp_path / "ct" / "labels.dcm", sources, _mask(), ["liver", "spleen"])
    for path in (tmp_path / "ct").glob("i*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.9.9", generate_uid()
        dataset.save_as(path)
    listing = list_dicom(tmp_path / "ct")
    assert [(problem.name, "labels no series" in problem.reason) for problem in listing.problems] == [
        ("labels.dcm", True)
    ]


def test_a_segmentation_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    _write_seg(tmp_path / "labels.dcm", _study(tmp_path / "ct"), _mask(), ["liver", "spleen"])
    seg = pydicom.dcmread(tmp_path / "labels.dcm")
    for group in seg.PerFrameFunctionalGroupsSequence:
        group.PlanePositionSequence[0].ImagePositionPatient[0] += 0.4
    seg.save_as(tmp_path / "labels.dcm")
    (volume,) = list_dicom(tmp_path).volumes
    with pytest.raises(AffineMismatch):
        read_full_mask(volume, read_volume_image(volume).geometry)


def test_a_segmentation_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    _write_seg(tmp_path / "labels.dcm", _study(tmp_path / "ct"), _mask(), ["liver", "spleen"])
    seg = pydicom.dcmread(tmp_path / "labels.dcm")
    seg.SegmentSequence = seg.SegmentSequence[:1]
    seg.save_as(tmp_path / "labels.dcm")
    listing = list_dicom(tmp_path)
    assert "of segment 2, which it does not describe" in listing.problems[0].reason
