from pathlib import Path

import numpy as np
import pytest

from app.datasets.mscmr import list_mscmr
from app.datasets.records import Problem, read_full_mask, read_scribble_mask, read_volume_image
from app.errors import DatasetUnreadable
from app.formats.image import Geometry
from app.formats.nifti import write_nifti

GEOMETRY = Geometry((4, 3, 2), 2, tuple(map(tuple, np.diag([0.75, 0.75, 5.0, 1.0]).tolist())), (5.0, 0.75, 0.75))
VALIDATION = (1, 8, 29, 36, 41)
TEST = (3, 5, 10, 11, 12, 16, 17, 23, 28, 30, 33, 35, 38, 40, 43)


def _put(path: Path, values: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(write_nifti(np.resize(np.array(values, np.int16), GEOMETRY.stack_shape), GEOMETRY))


def _tree(root: Path) -> None:
    for number in range(1, 46):
        folder = "val" if number in VALIDATION else "TestSet" if number in TEST else "train"
        _put(root / folder / "images" / f"subject{number}_DE.nii.gz", (10, 20, 30))
        if folder == "train":
            _put(root / folder / "labels" / f"subject{number}_DE_scribble.nii.gz", (0, 1, 2, 3, 4))
        else:
            _put(root / folder / "labels" / f"subject{number}_DE_manual.nii.gz", (0, 1, 2, 3))


def test_the_published_counts(tmp_path: Path) -> None:
    _tree(tmp_path)
    listing = list_mscmr(tmp_path)
    assert listing.problems == ()
    counts = listing.counts()
    assert [counts[split]["patients"] for split in ("train", "validation", "test")] == [25, 5, 15]
    assert listing.patients("validation") == tuple(f"subject{number}" for number in VALIDATION)
    assert listing.patients("test") == tuple(f"subject{number}" for number in TEST)
    for volume in listing.volumes:
        assert (volume.scribble_mask is None) == (volume.split != "train")
        assert (volume.full_mask is None) == (volume.split == "train")


def test_scribbles_and_both_codings_of_masks_are_read(tmp_path: Path) -> None:
    _put(tmp_path / "train" / "images" / "subject2_DE.nii.gz", (10, 20))
    _put(tmp_path / "train" / "labels" / "subject2_DE_scribble.nii.gz", (0, 1, 2, 3, 4))
    _put(tmp_path / "train" / "labels" / "subject2_DE_manual.nii.gz", (0, 200, 500, 600))
    listing = list_mscmr(tmp_path)
    volume = listing.volumes[0]
    geometry = read_volume_image(volume).geometry
    scribble = read_scribble_mask(volume, geometry, listing.classes)
    full = read_full_mask(volume, geometry)
    assert scribble is not None
    assert full is not None
    assert scribble.reshape(-1)[:5].tolist() == [0, 1, 2, 3, 255]
    assert full.reshape(-1)[:4].tolist() == [0, 2, 3, 1]  # 200 myocardium, 500 left, 600 right ventricle


def test_without_folders_the_published_numbers_split(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        _put(tmp_path / f"subject{number}_DE.nii.gz", (1, 2))
    _put(tmp_path / "subject9_DE_manual.nii.gz", (0, 1))
    listing = list_mscmr(tmp_path)
    assert [v.split for v in listing.volumes] == ["validation", "train", "test"]
    assert listing.problems == (Problem("subject9", "it has a mask but no image"),)


def test_a_subject_in_two_splits_is_refused(tmp_path: Path) -> None:
    _put(tmp_path / "train" / "subject2_DE.nii.gz", (1, 2))
    _put(tmp_path / "val" / "subject2_DE_manual.nii.gz", (0, 1))
    with pytest.raises(DatasetUnreadable, match="subject2 lies in the folders of train and validation"):
        list_mscmr(tmp_path)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnreadable, match="subjectN_DE"):
        list_mscmr(tmp_path)
