from pathlib import Path

import numpy as np
import pytest

from app.datasets.phantom import PhantomConfig, list_phantoms
from app.datasets.records import VolumeSource, read_full_mask, read_scribble_mask, read_volume_image
from app.datasets.registry import list_dataset
from app.datasets.upload import PreparedVolume, Privacy, prepare_upload
from app.errors import NotAnImage
from app.formats.image import Image3D
from app.formats.nifti import read_nifti, read_nifti_mask
from tests.formats.dicoms import write_series
from tests.shared_data import shared_data


def _received(prepared: PreparedVolume) -> tuple[Image3D, np.ndarray | None]:
    image = read_nifti(prepared.image.path, axis=prepared.axis)
    if prepared.full_mask is None:
        return image, None
    mask = read_nifti_mask(prepared.full_mask.path, image.geometry, value_map=prepared.mask_values)
    return image, mask


def _check_round_trip(volume: VolumeSource, prepared: PreparedVolume) -> None:
    sent = read_volume_image(volume)
    image, mask = _received(prepared)
    assert image.array.dtype == sent.array.dtype
    assert np.array_equal(image.array, sent.array)
    assert (image.slope, image.intercept) == (sent.slope, sent.intercept)
    assert image.geometry.axis == sent.geometry.axis
    assert np.allclose(image.geometry.affine, sent.geometry.affine, rtol=1e-6)
    if sent.geometry.spacing_mm is None:
        assert image.geometry.spacing_mm is None
    else:
        assert image.geometry.spacing_mm == pytest.approx(sent.geometry.spacing_mm)
    full = read_full_mask(volume, sent.geometry)
    assert (mask is None) == (full is None)
    assert full is None or np.array_equal(mask, full)


def test_nifti_files_are_sent_as_they_are(tmp_path: Path) -> None:
    listing = list_phantoms(tmp_path, config=PhantomConfig(patients=1, slices=2, height=16, width=16))
    volume = listing.volumes[0]
    prepared = prepare_upload(volume, listing.classes, tmp_path, Privacy())
    assert prepared.image.name == volume.image.name
    assert prepared.image.path == volume.image
    assert prepared.unlabelled_value == 4
    assert prepared.axis == 2
    _check_round_trip(volume, prepared)


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    gone = VolumeSource("p", "v", "", "train", tmp_path / "gone.nii.gz")
    with pytest.raises(NotAnImage, match=r"gone\.nii\.gz"):
        prepare_upload(gone, (), tmp_path, Privacy())


def test_a_dicom_series_is_converted_with_its_remarks(tmp_path: Path) -> None:
    write_series(tmp_path / "CT" / "1" / "DICOM_anon", count=6)
    (tmp_path / "CT" / "1" / "DICOM_anon" / "i0003.dcm").unlink()
    listing = list_dataset("chaos", tmp_path)
    prepared = prepare_upload(listing.volumes[0], listing.classes, tmp_path, Privacy())
    assert prepared.remarks == ("1 slice is missing, at 2.0 mm",)
    assert prepared.image.name == "CT.nii.gz"
    _check_round_trip(listing.volumes[0], prepared)


@pytest.mark.parametrize(
    ("name", "folder"), [("chaos", "chaos_ct"), ("davis", "davis"), ("nifti", "metaimage"), ("nifti", "nrrd")]
)
def test_real_data_of_every_format_arrives_voxel_for_voxel(name: str, folder: str, tmp_path: Path) -> None:
    listing = list_dataset(name, shared_data(folder))
    volumes = [volume for volume in listing.volumes if volume.full_mask is not None]
    assert volumes
    for volume in volumes:
        prepared = prepare_upload(volume, listing.classes, tmp_path, Privacy())
        _check_round_trip(volume, prepared)


def test_scribbles_are_converted_to_255(tmp_path: Path) -> None:
    listing = list_phantoms(tmp_path, config=PhantomConfig(patients=1, slices=2, height=16, width=16))
    volume = listing.volumes[0]
    image = read_volume_image(volume)
    expected = read_scribble_mask(volume, image.geometry, listing.classes)
    # The image as NRRD beside NIfTI masks: all of it is converted.
    header = f"NRRD0004\ntype: int16\ndimension: 3\nsizes: 16 16 2\nspace: RAS\nspace directions: {_directions(image)}"
    body = image.array.astype("<i2").tobytes()
    (tmp_path / "scan.nrrd").write_bytes(f"{header}\nendian: little\nencoding: raw\n\n".encode() + body)
    mixed = VolumeSource("p", "v", "", "train", tmp_path / "scan.nrrd", None, volume.scribble_mask, 4)
    prepared = prepare_upload(mixed, listing.classes, tmp_path, Privacy())
    assert prepared.scribble_mask is not None
    received = read_nifti_mask(prepared.scribble_mask.path, read_nifti(prepared.image.path).geometry)
    assert np.array_equal(received, expected)
    assert prepared.unlabelled_value is None


def _directions(image: Image3D) -> str:
    columns = np.asarray(image.geometry.affine)[:3, :3].T
    return " ".join(f"({','.join(str(part) for part in column)})" for column in columns)
