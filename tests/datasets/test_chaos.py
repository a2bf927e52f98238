import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.datasets.chaos import list_chaos_ct, list_chaos_mr
from app.datasets.dicom import list_dicom
from app.datasets.records import Problem, VolumeSource, read_full_mask, read_volume_image
from app.errors import DatasetUnreadable, UnknownMaskValues
from app.formats.image import Image3D
from tests.formats.dicoms import write_series
from tests.shared_data import shared_data


def _read(volume: VolumeSource) -> tuple[Image3D, np.ndarray]:
    image = read_volume_image(volume)
    mask = read_full_mask(volume, image.geometry)
    assert mask is not None
    return image, mask


def _write_patient(series: Path, ground: Path, values: tuple[int, ...]) -> np.ndarray:
    """A series whose z falls with the file name, and masks in order of file names; the mask in order of place."""
    voxels = write_series(series)
    mask = np.resize(np.array(values, np.uint8), voxels.shape)
    mask[0] = 0
    ground.mkdir(parents=True)
    for number, plane in enumerate(mask[::-1]):
        Image.fromarray(plane).save(ground / f"GT_{number:03d}.png")
    return mask


def test_pictures_belong_to_files_in_order_of_names_while_slices_are_in_order_of_place(tmp_path: Path) -> None:
    patient = tmp_path / "CT" / "5"
    mask = _write_patient(patient / "DICOM_anon", patient / "Ground", (0, 255, 255))
    listing = list_chaos_ct(tmp_path)
    _, found = _read(listing.volumes[0])
    assert np.array_equal(found, mask // 255)
    assert not found[0].any()


def test_the_published_split_holds_without_lists(tmp_path: Path) -> None:
    for number in range(1, 31):
        (tmp_path / "Train_Sets" / "CT" / str(number) / "DICOM_anon").mkdir(parents=True)
    listing = list_chaos_ct(tmp_path)
    assert listing.patients("validation") == ("ct-2", "ct-14")
    assert listing.patients("test") == ("ct-8", "ct-22", "ct-24")
    assert len(listing.patients("train")) == 25
    assert listing.volumes[0].full_mask is None


def test_lists_win_over_the_published_split(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / "CT" / str(number) / "DICOM_anon").mkdir(parents=True)
    (tmp_path / "train.txt").write_text("2\n")
    (tmp_path / "test.txt").write_text("1\n")
    listing = list_chaos_ct(tmp_path)
    assert {v.patient: v.split for v in listing.volumes} == {"ct-1": "test", "ct-2": "train"}
    assert listing.problems == (Problem("CT 3", "it stands in no split list"),)


def test_mr_has_three_volumes_a_patient_and_grey_ranges_for_organs(tmp_path: Path) -> None:
    for number in ("1", "10", "2"):
        patient = tmp_path / "MR" / number
        mask = _write_patient(patient / "T2SPIR" / "DICOM_anon", patient / "T2SPIR" / "Ground", (0, 60, 126, 189, 252))
        for phase in ("InPhase", "OutPhase"):
            write_series(patient / "T1DUAL" / "DICOM_anon" / phase)
    listing = list_chaos_mr(tmp_path)
    names = [(v.patient, v.name) for v in listing.volumes]
    assert names[:3] == [("mr-1", "T1DUAL InPhase"), ("mr-1", "T1DUAL OutPhase"), ("mr-1", "T2SPIR")]
    assert [patient for patient, _ in names[::3]] == ["mr-1", "mr-2", "mr-10"]
    assert sorted(split for split in (v.split for v in listing.volumes[::3])) == ["test", "train", "validation"]
    _, found = _read(listing.volumes[2])
    organ_of = np.zeros(256, np.uint8)
    organ_of[[60, 126, 189, 252]] = 1, 2, 3, 4
    assert np.array_equal(found, organ_of[mask])


def test_a_grey_value_of_no_organ_is_refused(tmp_path: Path) -> None:
    patient = tmp_path / "MR" / "1" / "T2SPIR"
    _write_patient(patient / "DICOM_anon", patient / "Ground", (0, 100))
    with pytest.raises(UnknownMaskValues):
        _read(list_chaos_mr(tmp_path).volumes[0])


@pytest.mark.parametrize("lister", [list_chaos_ct, list_chaos_mr, list_dicom])
def test_another_layout_is_refused(tmp_path: Path, lister: type) -> None:
    (tmp_path / "notes").mkdir()
    with pytest.raises(DatasetUnreadable):
        lister(tmp_path)


def test_a_plain_folder_of_dicom_names_no_person(tmp_path: Path) -> None:
    write_series(tmp_path / "Doe^Jane")
    (tmp_path / "Doe^Jane" / "notes.txt").write_text("x")
    listing = list_dicom(tmp_path)
    (volume,) = listing.volumes
    assert re.fullmatch(r"p-[a-z2-7]{10}", volume.patient)
    assert re.fullmatch(r"CT [a-z2-7]{6}", volume.name)
    assert read_volume_image(listing.volumes[0]).array.shape == (5, 4, 6)
    assert re.search(r"notes\.txt", listing.problems[0].name)


def test_the_real_patient_s_liver_is_where_the_mask_says() -> None:
    listing = list_chaos_ct(shared_data("chaos_ct"))
    assert [(v.patient, v.split) for v in listing.volumes] == [("ct-3", "train")]
    image, mask = _read(listing.volumes[0])
    assert image.array.shape == mask.shape == (78, 512, 512)
    assert image.geometry.spacing_mm == pytest.approx((2.0, 0.7265625, 0.7265625))
    assert 100 < (image.array[mask == 1] * image.slope + image.intercept).mean() < 200
