from pathlib import Path

import numpy as np
import pytest

from app.datasets.acdc import list_acdc
from app.datasets.phantom import PhantomConfig, write_phantoms
from app.datasets.records import Problem, read_full_mask, read_scribble_mask, read_volume_image
from app.errors import DatasetUnreadable, UnknownMaskValues
from tests.shared_data import shared_data


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    write_phantoms(tmp_path, PhantomConfig(patients=3, slices=2, height=16, width=16))
    return tmp_path


def _rename_patient(tree: Path, old: str, new: str) -> None:
    folder = tree / "training" / old
    for file in folder.glob("patient*"):
        file.rename(folder / file.name.replace(old, new))
    folder.rename(tree / "training" / new)


def _without_lists(tree: Path) -> Path:
    for name in ("train.txt", "val.txt", "test.txt"):
        (tree / name).unlink()
    return tree


def test_a_patient_has_two_volumes_named_by_its_info(tree: Path) -> None:
    listing = list_acdc(tree)
    assert [(v.patient, v.name, v.group) for v in listing.volumes[:2]] == [
        ("patient001", "frame01", "ED"),
        ("patient001", "frame09", "ES"),
    ]
    assert listing.volumes[0].attributes == {"group": "normal"}
    assert listing.volumes[0].unlabelled_value == 4
    assert [label.name for label in listing.classes] == ["background", "RV", "Myo", "LV"]


def test_patient090_has_other_frames(tree: Path) -> None:
    _rename_patient(_without_lists(tree), "patient001", "patient090")
    folder = tree / "training" / "patient090"
    for old, new in (("frame01", "frame11"), ("frame09", "frame04")):
        for file in folder.glob(f"*{old}*"):
            file.rename(folder / file.name.replace(old, new))
    (folder / "Info.cfg").write_text("ED: 11\nES: 4\nGroup: HCM\n")
    found = [(v.name, v.group, v.split) for v in list_acdc(tree).volumes if v.patient == "patient090"]
    assert found == [("frame11", "ED", "validation"), ("frame04", "ES", "validation")]


def test_without_lists_the_published_ranges_hold(tree: Path) -> None:
    _without_lists(tree)
    for old, new in (("patient001", "patient080"), ("patient002", "patient101"), ("patient003", "patient151")):
        _rename_patient(tree, old, new)
    listing = list_acdc(tree)
    assert {v.patient: v.split for v in listing.volumes} == {"patient080": "train", "patient101": "test"}
    assert listing.problems == (Problem("patient151", "it stands in no split list"),)


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(tree: Path) -> None:
    training = tree / "training"
    (training / "patient001" / "Info.cfg").write_text("ED: 1\n")
    (training / "patient002" / "patient002_frame09.nii.gz").unlink()
    (training / "patient003" / "patient003_frame01_gt.nii.gz").unlink()
    with (tree / "train.txt").open("a") as file:
        file.write("patient077\n")
    listing = list_acdc(tree)
    assert len(listing.volumes) == 4
    assert [v.full_mask is None for v in listing.volumes] == [False, False, True, False]
    assert set(listing.problems) == {
        Problem("patient001", "its Info.cfg names no ES frame"),
        Problem("patient002", "the file of its ES frame frame09 is missing"),
        Problem("patient077", "it stands in a split list but has no folder"),
    }


def test_a_folder_without_patients_is_no_acdc(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnreadable, match="no folder patientNNN"):
        list_acdc(tmp_path)


def test_a_scribble_value_that_is_no_class_is_refused(tree: Path) -> None:
    listing = list_acdc(tree)
    volume = listing.volumes[0]
    geometry = read_volume_image(volume).geometry
    with pytest.raises(UnknownMaskValues):
        read_scribble_mask(volume, geometry, listing.classes[:2])


def test_the_real_acdc_has_its_counts_and_every_mask_fits_its_image() -> None:
    listing = list_acdc(shared_data("acdc"))
    assert listing.problems == ()
    assert listing.counts() == {
        "train": {"patients": 40, "volumes": 80},
        "validation": {"patients": 5, "volumes": 10},
        "test": {"patients": 15, "volumes": 30},
    }
    train_slices = disagreeing = 0
    dtypes = set()
    for volume in listing.volumes:
        image = read_volume_image(volume)
        full = read_full_mask(volume, image.geometry)
        scribble = read_scribble_mask(volume, image.geometry, listing.classes)
        assert full is not None
        assert scribble is not None
        assert full.shape == scribble.shape == image.array.shape
        assert set(np.unique(full)) <= {0, 1, 2, 3}
        assert set(np.unique(scribble)) <= {0, 1, 2, 3, 255}
        assert image.geometry.axis == 2
        assert image.geometry.spacing_mm is not None
        assert image.geometry.spacing_mm[0] >= 5
        disagreeing += int(((scribble != 255) & (scribble != full)).sum())
        train_slices += image.array.shape[0] * (volume.split == "train")
        dtypes.add(image.array.dtype.name)
    assert train_slices == 784
    assert dtypes == {"int16", "float32", "uint8"}
    assert disagreeing < 200  # hand-drawn scribbles leave their class by a pixel now and then
