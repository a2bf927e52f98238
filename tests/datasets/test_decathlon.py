import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from app.datasets.published import PUBLISHED, differences
from app.datasets.records import read_full_mask, read_volume_image
from app.datasets.registry import list_dataset
from app.datasets.upload import Privacy, prepare_upload
from app.errors import WrongDimensions
from app.formats.nifti import load_nifti, read_nifti

STACK = np.random.default_rng(0).integers(0, 900, (6, 5, 4)).astype(np.int16)
MASK = (STACK % 3).astype(np.uint8)


def _write(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), path)


def _task(folder: Path, numbers: tuple[int, ...], *, frames: int = 1, **more: object) -> Path:
    """A task of the Decathlon as it is published: files, and a dataset.json that names them."""
    for number in numbers:
        image = STACK if frames == 1 else np.stack([STACK + frame for frame in range(frames)], axis=-1)
        _write(folder / "imagesTr" / f"prostate_{number:02d}.nii.gz", image)
        _write(folder / "labelsTr" / f"prostate_{number:02d}.nii.gz", MASK)
    names = [f"prostate_{number:02d}.nii.gz" for number in numbers]
    description = {
        "name": "PROSTATE",
        "modality": {str(frame): f"M{frame}" for frame in range(frames)},
        "labels": {"0": "background", "1": "PZ", "2": "TZ"},
        "numTraining": len(numbers),
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(description | more), encoding="utf-8")
    (folder / "imagesTr" / "._prostate_00.nii.gz").write_bytes(b"left by a desktop, as in the published archives")
    return folder


def test_a_task_is_as_its_description_says(tmp_path: Path) -> None:
    listing = list_dataset("decathlon", _task(tmp_path, (0, 1, 2)))
    assert [label.name for label in listing.classes] == ["background", "PZ", "TZ"]
    assert [volume.name for volume in listing.volumes] == ["prostate_00", "prostate_01", "prostate_02"]
    assert (listing.problems, listing.remarks) == ((), ())


def test_what_the_description_names_and_the_folder_has_not_is_said(tmp_path: Path) -> None:
    _task(tmp_path, (0, 1, 2), numTraining=32)
    (tmp_path / "imagesTr" / "prostate_01.nii.gz").unlink()
    (tmp_path / "labelsTr" / "prostate_02.nii.gz").unlink()
    _write(tmp_path / "imagesTr" / "extra.nii.gz", STACK)
    listing = list_dataset("decathlon", tmp_path)
    assert {(problem.name, problem.reason.split(",")[0]) for problem in listing.problems} >= {
        ("prostate_01.nii.gz", "dataset.json names it"),
        ("prostate_02.nii.gz", "it has no mask in labelsTr"),
    }
    assert listing.remarks == (
        "dataset.json announces 32 training volumes; 3 are here",
        "dataset.json does not name extra.nii.gz",
    )


def test_of_several_modalities_the_first_is_taken_and_that_is_said(tmp_path: Path) -> None:
    listing = list_dataset("decathlon", _task(tmp_path, (0,), frames=2))
    assert listing.remarks == ("each file holds 2 modalities (M0, M1), of which the first is taken",)
    (volume,) = listing.volumes
    image = read_volume_image(volume)
    assert np.array_equal(image.array, STACK.transpose(2, 1, 0))
    assert np.array_equal(read_full_mask(volume, image.geometry), MASK.transpose(2, 1, 0))
    prepared = prepare_upload(volume, listing.classes, tmp_path, Privacy())
    assert np.array_equal(read_nifti(prepared.image.path).array, image.array)
    assert prepared.original is not None
    assert prepared.original.path == volume.image  # all frames are kept
    with pytest.raises(WrongDimensions, match="2 frames"):
        load_nifti(volume.image)


def test_a_flat_file_is_a_volume_of_one_slice_and_a_voxel_size_beside_the_affine_is_said(tmp_path: Path) -> None:
    _write(tmp_path / "flat.nii", STACK[:, :, 0])
    assert load_nifti(tmp_path / "flat.nii").voxels.shape == (6, 5, 1)
    image = nib.Nifti1Image(STACK, np.eye(4))
    image.header.set_zooms((1.5, 1.5, 10.0))
    (tmp_path / "odd.nii.gz").write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    odd = load_nifti(tmp_path / "odd.nii.gz")
    assert odd.spacing == (1.5, 1.5, 10.0)
    assert odd.remarks == (
        "its voxel size is not that of its affine: distances are measured by the voxel size, the affine is kept",
    )


def test_counts_are_compared_with_the_published_ones() -> None:
    published = {
        split: {"patients": each.patients, "volumes": each.volumes, "slices": each.slices or 7}
        for split, each in PUBLISHED["mscmr"].items()
    }
    assert differences("mscmr", published) == []
    fewer = published | {"test": {"patients": 14, "volumes": 15, "slices": 229}}
    assert differences("mscmr", fewer) == ["test is not the published one: 14 patients instead of 15"]
    assert differences("decathlon", fewer) == []


@pytest.mark.parametrize(("name", "total"), [("acdc", 150), ("mscmr", 45), ("chaos", 20), ("davis", 50)])
def test_published_counts_add_up(name: str, total: int) -> None:
    assert sum(each.patients for each in PUBLISHED[name].values()) == total
