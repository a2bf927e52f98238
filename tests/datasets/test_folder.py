import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from app.datasets.folder import list_folder
from app.datasets.records import Problem, read_full_mask, read_scribble_mask, read_volume_image
from app.errors import DatasetUnreadable
from app.formats.image import Geometry
from app.formats.nifti import write_nifti
from tests.shared_data import shared_data

GEOMETRY = Geometry((4, 3, 2), 2, tuple(map(tuple, np.diag([1.0, 1, 3, 1]).tolist())), (3.0, 1.0, 1.0))


def _put(path: Path, values: Sequence[float] = (0, 1), dtype: str = "uint8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = np.resize(np.array(values, dtype=dtype), GEOMETRY.stack_shape)
    path.write_bytes(write_nifti(stack, GEOMETRY, compress=path.name.endswith(".gz")))


def test_two_folders_pair_by_name(tmp_path: Path) -> None:
    for number in range(10):
        _put(tmp_path / "imagesTr" / f"case_{number:02d}.nii.gz", range(24), "int16")
        _put(tmp_path / "labelsTr" / f"case_{number:02d}.nii.gz", (0, 1, 2))
    (tmp_path / "imagesTr" / "._case_00.nii.gz").write_bytes(b"left by another system")
    listing = list_folder(tmp_path)
    assert listing.problems == ()
    assert [v.patient for v in listing.volumes] == [f"case_{number:02d}" for number in range(10)]
    assert [(c.value, c.name) for c in listing.classes] == [(0, "background"), (1, "label 1"), (2, "label 2")]
    assert {s: c["patients"] for s, c in listing.counts().items()} == {"train": 7, "validation": 1, "test": 2}
    assert list_folder(tmp_path) == listing
    assert list_folder(tmp_path, seed=1) != listing


@pytest.mark.parametrize(
    "labels", [{"0": "background", "1": "liver"}, {"background": 0, "liver": 1}], ids=["Decathlon", "nnU-Net"]
)
def test_the_description_names_the_classes(tmp_path: Path, labels: dict[str, object]) -> None:
    _put(tmp_path / "imagesTr" / "a.nii")
    _put(tmp_path / "labelsTr" / "a.nii")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert [(c.value, c.name) for c in list_folder(tmp_path).classes] == [(0, "background"), (1, "liver")]


def test_a_description_that_says_nothing_is_passed_over(tmp_path: Path) -> None:
    _put(tmp_path / "imagesTr" / "a.nii")
    _put(tmp_path / "labelsTr" / "a.nii", (0, 3))
    for content in ("{", "[]", '{"labels": {"x": "y"}}', '{"labels": null}'):
        (tmp_path / "dataset.json").write_text(content)
        assert [c.value for c in list_folder(tmp_path).classes] == [0, 3]


def test_of_several_channels_the_first_is_taken(tmp_path: Path) -> None:
    for channel in ("0000", "0001"):
        _put(tmp_path / "imagesTr" / f"brain_{channel}.nii.gz")
    _put(tmp_path / "labelsTr" / "brain.nii.gz")
    listing = list_folder(tmp_path)
    assert [v.image.name for v in listing.volumes] == ["brain_0000.nii.gz"]
    assert listing.volumes[0].full_mask is not None
    assert listing.problems == (Problem("brain_0001.nii.gz", "only the first channel (0000) of an image is taken"),)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("scan", "scan_seg"),
        ("scan", "scan-label"),
        ("scan_image", "scan_label"),
        ("scan", "scan_GT"),
        ("scan", "mask_scan"),
        ("scan_small", "scan_mask"),
        ("case7/image", "case7/seg"),
    ],
)
def test_masks_beside_their_images_are_found(tmp_path: Path, image: str, mask: str) -> None:
    _put(tmp_path / f"{image}.nii.gz")
    _put(tmp_path / f"{mask}.nii.gz")
    listing = list_folder(tmp_path)
    assert listing.problems == ()
    assert len(listing.volumes) == 1
    assert listing.volumes[0].image.name.startswith(image.rsplit("/", maxsplit=1)[-1])
    assert listing.volumes[0].full_mask is not None
    assert listing.volumes[0].full_mask.name.startswith(mask.rsplit("/", maxsplit=1)[-1])


def test_scribbles_beside_an_image_are_found_and_read(tmp_path: Path) -> None:
    _put(tmp_path / "scan.nii.gz")
    _put(tmp_path / "scan_gt.nii.gz", (0, 1))
    _put(tmp_path / "scan_scribble.nii.gz", (0, 1, 255))
    listing = list_folder(tmp_path)
    image = read_volume_image(listing.volumes[0])
    scribble = read_scribble_mask(listing.volumes[0], image.geometry, listing.classes)
    assert scribble is not None
    assert set(np.unique(scribble)) == {0, 1, 255}


def test_a_patient_in_the_names_keeps_its_scans_in_one_split(tmp_path: Path) -> None:
    for patient in range(6):
        for session in ("a", "b"):
            _put(tmp_path / f"sub-{patient:02d}_ses-{session}_T1w.nii.gz")
    listing = list_folder(tmp_path)
    assert len(listing.volumes) == 12
    assert len({v.patient for v in listing.volumes}) == 6
    assert len({(v.patient, v.split) for v in listing.volumes}) == 6


def test_a_mask_without_an_image_and_one_that_is_none_are_named(tmp_path: Path) -> None:
    _put(tmp_path / "a.nii.gz")
    _put(tmp_path / "a_seg.nii.gz", (0.5, 1), "float32")
    _put(tmp_path / "b.nii.gz")
    (tmp_path / "b_seg.nii.gz").write_bytes(b"broken")
    _put(tmp_path / "lost_label.nii.gz")
    listing = list_folder(tmp_path)
    assert [(v.name, v.full_mask) for v in listing.volumes] == [("a", None), ("b", None)]
    reasons = {problem.name: problem.reason for problem in listing.problems}
    assert reasons["lost_label.nii.gz"] == "it is a mask without an image"
    assert "0.5" in reasons["a"]
    assert "b_seg.nii.gz" in reasons["b"]


def test_values_beyond_a_byte_are_numbered_anew(tmp_path: Path) -> None:
    _put(tmp_path / "heart.nii.gz")
    _put(tmp_path / "heart_gt.nii.gz", (0, 200, 500, 600), "int16")
    listing = list_folder(tmp_path)
    assert [(c.value, c.name) for c in listing.classes] == [
        (0, "background"),
        (1, "label 200"),
        (2, "label 500"),
        (3, "label 600"),
    ]
    geometry = read_volume_image(listing.volumes[0]).geometry
    mask = read_full_mask(listing.volumes[0], geometry)
    assert mask is not None
    assert mask.reshape(-1)[:4].tolist() == [0, 1, 2, 3]


def test_255_as_a_class_does_not_become_unlabelled(tmp_path: Path) -> None:
    _put(tmp_path / "x.nii.gz")
    _put(tmp_path / "x_mask.nii.gz", (0, 255))
    listing = list_folder(tmp_path)
    mask = read_full_mask(listing.volumes[0], read_volume_image(listing.volumes[0]).geometry)
    assert mask is not None
    assert set(np.unique(mask)) == {0, 1}


def test_lists_in_the_folder_win_over_the_draw(tmp_path: Path) -> None:
    for name in "abcd":
        _put(tmp_path / "images" / f"{name}.nii.gz")
        _put(tmp_path / "masks" / f"{name}.nii.gz")
    (tmp_path / "train.txt").write_text("d\n")
    (tmp_path / "val.txt").write_text("a\n")
    (tmp_path / "test.txt").write_text("c\n")
    listing = list_folder(tmp_path)
    assert {v.name: v.split for v in listing.volumes} == {"a": "validation", "c": "test", "d": "train"}
    assert listing.problems == (Problem("b", "it stands in no split list"),)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(DatasetUnreadable, match="no image"):
        list_folder(tmp_path)


def test_the_real_hippocampus_has_160_patients_of_mixed_types() -> None:
    listing = list_folder(shared_data("hippocampus"))
    assert listing.problems == ()
    assert {s: c["patients"] for s, c in listing.counts().items()} == {"train": 112, "validation": 16, "test": 32}
    assert [c.value for c in listing.classes] == [0, 1, 2]
    dtypes = []
    for volume in listing.volumes:
        image = read_volume_image(volume)
        mask = read_full_mask(volume, image.geometry)
        assert mask is not None
        assert mask.shape == image.array.shape
        dtypes.append(image.array.dtype.name)
    assert (dtypes.count("float32"), dtypes.count("uint8")) == (130, 30)
