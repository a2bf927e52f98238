from pathlib import Path

import h5py
import numpy as np
import pytest

from app.datasets.acdc_h5 import list_acdc_h5
from app.datasets.records import read_full_mask, read_scribble_mask, read_volume_image
from app.datasets.upload import Privacy, prepare_upload
from app.errors import DatasetUnreadable, ImageTooLarge, NotAnImage, UnsupportedDtype, WrongDimensions
from app.formats.hdf5 import load_hdf5
from app.formats.nifti import read_nifti

GENERATOR = np.random.default_rng(0)
ARRAYS = {
    "image": GENERATOR.random((3, 4, 5)).astype(np.float32),
    "label": GENERATOR.integers(0, 4, (3, 4, 5)).astype(np.uint8),
    "scribble": GENERATOR.integers(0, 5, (3, 4, 5)).astype(np.uint16),
}


def _put(path: Path, **arrays: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in (arrays or ARRAYS).items():
            file.create_dataset(name, data=array, compression="gzip")
    return path


def test_image_mask_and_scribble_come_from_one_file(tmp_path: Path) -> None:
    _put(tmp_path / "ACDC_training_volumes" / "patient001_frame01.h5")
    listing = list_acdc_h5(tmp_path)
    volume = listing.volumes[0]
    image = read_volume_image(volume)
    assert np.array_equal(image.array, ARRAYS["image"])
    assert image.geometry.spacing_mm is None
    full = read_full_mask(volume, image.geometry)
    scribble = read_scribble_mask(volume, image.geometry, listing.classes)
    assert np.array_equal(full, ARRAYS["label"])
    assert np.array_equal(scribble, np.where(ARRAYS["scribble"] == 4, 255, ARRAYS["scribble"]))
    sent = read_nifti(prepare_upload(volume, listing.classes, tmp_path, Privacy()).image.path, axis=2)
    assert np.array_equal(sent.array, ARRAYS["image"])
    assert sent.geometry.spacing_mm is None


def test_phases_and_published_ranges(tmp_path: Path) -> None:
    for name in ("patient001_frame01", "patient001_frame12", "patient090_frame04", "patient090_frame11"):
        _put(tmp_path / "ACDC_training_volumes" / f"{name}.h5")
    _put(tmp_path / "ACDC_testing_volumes" / "patient101_frame02.h5")
    _put(tmp_path / "ACDC_training_slices" / "patient001_frame01_slice_0.h5")
    (tmp_path / "ACDC_training_slices" / "patient090.cfg").write_text("ED: 11\nES: 4\nGroup: DCM\n")
    assert [(v.patient, v.name, v.group, v.split) for v in list_acdc_h5(tmp_path).volumes] == [
        ("patient001", "frame01", "ED", "train"),
        ("patient001", "frame12", "ES", "train"),
        ("patient090", "frame04", "ES", "validation"),
        ("patient090", "frame11", "ED", "validation"),
        ("patient101", "frame02", "", "test"),
    ]


def test_lists_of_files_win(tmp_path: Path) -> None:
    _put(tmp_path / "patient001_frame01.h5")
    _put(tmp_path / "patient002_frame01.h5")
    (tmp_path / "train.txt").write_text("ACDC_training_slices/patient002_frame01_slice_0.h5\n")
    listing = list_acdc_h5(tmp_path)
    assert [v.patient for v in listing.volumes] == ["patient002"]
    assert listing.problems[0].name == "patient001_frame01.h5"


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnreadable):
        list_acdc_h5(tmp_path)
    path = _put(tmp_path / "x.h5", flat=np.zeros((2, 3)), words=np.zeros((2, 3, 4), "S3"), image=np.zeros((2, 3, 4)))
    for part, error in (("flat", WrongDimensions), ("words", UnsupportedDtype), ("absent", NotAnImage)):
        with pytest.raises(error):
            load_hdf5(path, part=part)
    with pytest.raises(ImageTooLarge):
        load_hdf5(path, max_bytes=100)
    for content in (b"", b"no archive", path.read_bytes()[:700]):
        (tmp_path / "bad.h5").write_bytes(content)
        with pytest.raises(NotAnImage, match=r"bad\.h5"):
            load_hdf5(tmp_path / "bad.h5")
