import contextlib
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from pydicom.dataset import Dataset

from app.errors import ImageTooLarge, NextSliceError, NotAnImage
from app.formats.dicom import DicomVolume, find_dicom_volumes, load_dicom_volume
from app.formats.files import read_image
from app.formats.nifti import read_nifti_mask, write_nifti
from app.formats.voxels import FileVoxels, to_image
from tests.formats.dicoms import write_series, write_slice

PIXELS = np.arange(24, dtype=np.int16).reshape(4, 6)


def _only(folder: Path) -> DicomVolume:
    volumes, refused = find_dicom_volumes(folder)
    assert refused == ()
    assert len(volumes) == 1
    return volumes[0]


def _load(folder: Path) -> FileVoxels:
    return load_dicom_volume(_only(folder))


def test_slices_are_sorted_by_place_not_by_name_or_number(tmp_path: Path) -> None:
    voxels = write_series(tmp_path)
    file = _load(tmp_path)
    image = to_image(file)
    assert np.array_equal(image.array, voxels)
    assert (image.slope, image.intercept) == (1.0, -1024.0)
    assert image.geometry.spacing_mm == (3.0, 0.5, 0.75)
    assert image.geometry.axis == 2
    assert image.remarks == ()
    # Left-posterior in the file, right-anterior here; PixelSpacing names the distance between rows first.
    assert np.allclose(file.affine, [[-0.75, 0, 0, -10], [0, -0.5, 0, -20], [0, 0, 3, -7], [0, 0, 0, 1]])


def test_a_mask_of_a_series_goes_out_as_nifti_and_comes_back(tmp_path: Path) -> None:
    write_series(tmp_path)
    geometry = read_image(tmp_path).geometry
    mask = np.random.default_rng(1).integers(0, 3, geometry.stack_shape).astype(np.uint8)
    assert np.array_equal(read_nifti_mask(write_nifti(mask, geometry), geometry), mask)


def test_missing_slices_are_reported_with_their_place(tmp_path: Path) -> None:
    write_series(tmp_path, count=9)
    (tmp_path / "i0006.dcm").unlink()  # z = 3 * 3 - 7
    (tmp_path / "i0005.dcm").unlink()
    file = _load(tmp_path)
    assert file.voxels.shape[2] == 7
    assert file.remarks == ("2 slices are missing, at 2.0, 5.0 mm",)


def test_uneven_spacing_is_reported(tmp_path: Path) -> None:
    for z, height in enumerate((0.0, 3.0, 6.0, 10.0, 13.0)):
        write_slice(tmp_path / f"{z}.dcm", PIXELS, (0, 0, height))
    assert _load(tmp_path).remarks == ("slices are unevenly spaced, 3.00 to 4.00 mm apart",)


def test_a_tilted_gantry_stays_in_the_affine(tmp_path: Path) -> None:
    for z in range(4):
        write_slice(tmp_path / f"{z}.dcm", PIXELS, (0, 0.5 * z, 3.0 * z))
    file = _load(tmp_path)
    assert np.allclose(file.affine[:3, 2], [0, -0.5, 3.0])
    assert file.spacing == (0.75, 0.5, 3.0)
    assert file.remarks == ("the gantry is tilted by 9.5 degrees; the affine keeps it",)


def test_series_and_sizes_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_slice(tmp_path / "other.dcm", PIXELS, (0, 0, 0), SeriesInstanceUID="1.2.3")
    write_slice(tmp_path / "scout.dcm", np.zeros((3, 3), np.int16), (0, 0, 0))
    volumes, refused = find_dicom_volumes(tmp_path)
    assert refused == ()
    assert sorted(len(volume.pictures) for volume in volumes) == [1, 1, 5]
    assert len({volume.part for volume in volumes}) == 3
    with pytest.raises(NotAnImage, match="3 volumes, of which one must be named"):
        read_image(tmp_path)
    for volume in volumes:
        assert read_image(tmp_path, part=volume.part).array.shape[0] == len(volume.pictures)


def test_b_values_in_one_series_become_volumes(tmp_path: Path) -> None:
    for z in range(3):
        for b_value in (0, 800):
            path = tmp_path / f"{z}_{b_value}.dcm"
            write_slice(path, PIXELS + np.int16(b_value), (0, 0, 3.0 * z), DiffusionBValue=float(b_value))
    volumes, _ = find_dicom_volumes(tmp_path)
    assert [volume.part.rsplit("/", maxsplit=1)[1] for volume in volumes] == ["b-value 0", "b-value 800"]
    for volume, b_value in zip(volumes, (0, 800), strict=True):
        voxels = load_dicom_volume(volume).voxels
        assert voxels.shape == (6, 4, 3)
        assert voxels.min() == b_value


def test_repeated_places_without_a_name_become_turns(tmp_path: Path) -> None:
    for z in range(3):
        for turn in (1, 2):
            write_slice(tmp_path / f"{z}_{turn}.dcm", PIXELS * turn, (0, 0, 3.0 * z), AcquisitionNumber=turn)
    volumes, _ = find_dicom_volumes(tmp_path)
    assert [volume.part.rsplit("/", maxsplit=1)[1] for volume in volumes] == ["turn 1", "turn 2"]
    assert [load_dicom_volume(volume).voxels.max() for volume in volumes] == [23, 46]


def test_a_differing_echo_time_alone_splits_nothing(tmp_path: Path) -> None:
    for z in range(3):
        write_slice(tmp_path / f"{z}.dcm", PIXELS, (0, 0, 3.0 * z), EchoTime=10 + z / 100)
    assert len(_only(tmp_path).pictures) == 3


def test_a_copy_counts_once_and_is_named(tmp_path: Path) -> None:
    write_series(tmp_path)
    shutil.copy(tmp_path / "i0001.dcm", tmp_path / "zz copy.dcm")
    volumes, refused = find_dicom_volumes(tmp_path)
    assert len(volumes[0].pictures) == 5
    assert [(file.path.name, file.reason) for file in refused] == [
        ("zz copy.dcm", "zz copy.dcm has the identifier of a picture that was taken already: a copy.")
    ]


def test_scaling_that_differs_between_slices_is_applied(tmp_path: Path) -> None:
    for z in range(3):
        write_slice(tmp_path / f"{z}.dcm", PIXELS, (0, 0, 3.0 * z), RescaleSlope=str(z + 1), RescaleIntercept="5")
    image = to_image(_load(tmp_path))
    assert (image.slope, image.intercept) == (1.0, 0.0)
    assert image.array.dtype == np.float32
    assert np.array_equal(image.array[2], PIXELS * 3 + 5)


def test_colour_and_low_is_bright(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    write_slice(tmp_path / "a" / "rgb.dcm", pixels, None)
    assert np.array_equal(to_image(_load(tmp_path / "a"), 2).array[0], pixels)
    write_slice(tmp_path / "b" / "x.dcm", PIXELS, (0, 0, 0), PhotometricInterpretation="MONOCHROME1")
    assert "MONOCHROME1" in _load(tmp_path / "b").remarks[0]


def test_an_enhanced_file_holds_its_frames_places(tmp_path: Path) -> None:
    frames = np.random.default_rng(3).integers(0, 99, (3, 4, 6)).astype(np.int16)

    def item(**elements: object) -> Dataset:
        dataset = Dataset()
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        return dataset

    places = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])]) for z in (8, 0, 4)]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.75], SliceThickness=4)],
        PixelValueTransformationSequence=[item(RescaleSlope="2", RescaleIntercept="-7")],
    )
    write_slice(
        tmp_path / "enhanced.dcm",
        frames[0],
        None,
        NumberOfFrames=3,
        PixelData=frames.tobytes(),
        PerFrameFunctionalGroupsSequence=places,
        SharedFunctionalGroupsSequence=[shared],
        ImageOrientationPatient=None,
        PixelSpacing=None,
    )
    image = to_image(_load(tmp_path))
    assert np.array_equal(image.array, frames[[1, 2, 0]])
    assert (image.slope, image.intercept) == (2.0, -7.0)
    assert image.geometry.spacing_mm == (4.0, 0.5, 0.75)


def test_files_that_say_nothing_of_space_have_none(tmp_path: Path) -> None:
    for number in (2, 10, 1):
        path = tmp_path / f"{number}.dcm"
        write_slice(path, PIXELS * number, None, InstanceNumber=number, PixelSpacing=None, ImageOrientationPatient=None)
    image = to_image(_load(tmp_path))
    assert image.geometry.spacing_mm is None
    assert image.array[:, 0, 1].tolist() == [1, 2, 10]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Rows": 0}, "no picture"),
        ({"Modality": "SEG"}, "segmentation"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette"),
        ({"ImagePositionPatient": [1, 2]}, "header is damaged"),
    ],
)
def test_what_is_no_image_is_refused_in_words(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    write_slice(tmp_path / "x.dcm", PIXELS, (0, 0, 0), **changes)
    (tmp_path / "notes.txt").write_text("hello")
    volumes, refused = find_dicom_volumes(tmp_path)
    assert volumes == ()
    assert reason in refused[1].reason
    assert "notes.txt" in refused[0].reason
    with pytest.raises(NotAnImage, match="neither pictures nor DICOM"):
        read_image(tmp_path)


@pytest.mark.parametrize("changes", [{"PixelData": bytes(10)}, {"PixelData": None}, {"BitsAllocated": 8}])
def test_pixels_that_are_not_what_the_header_says_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    write_slice(tmp_path / "x.dcm", PIXELS, (0, 0, 0), **changes)
    with pytest.raises(NotAnImage, match=r"x\.dcm .*cannot be decoded"):
        _load(tmp_path)


def test_a_header_that_announces_too_much_is_refused_undecoded(tmp_path: Path) -> None:
    write_slice(tmp_path / "x.dcm", PIXELS, (0, 0, 0), Rows=65535, Columns=65535)
    with pytest.raises(ImageTooLarge):
        _load(tmp_path)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_are_read_or_refused_and_never_crash(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = bytearray((Path(pydicom.__file__).parent / "data" / "test_files" / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(128, 2500))] = data.draw(st.integers(0, 255))
    folder = tmp_path / "x"
    folder.mkdir(exist_ok=True)
    (folder / "x.dcm").write_bytes(bytes(content[: data.draw(st.one_of(st.none(), st.integers(0, len(content))))]))
    with contextlib.suppress(NextSliceError):
        read_image(folder, max_bytes=10_000_000)


def test_every_test_file_of_pydicom_imports_or_is_refused_with_a_reason() -> None:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    volumes, refused = find_dicom_volumes(folder)
    files = {path for path in folder.rglob("*") if path.is_file()}
    assert {picture.path for volume in volumes for picture in volume.pictures} | {f.path for f in refused} == files
    assert all(file.reason.endswith(".") for file in refused)
    read, failed = 0, []
    for volume in volumes:
        try:
            image = to_image(load_dicom_volume(volume))
        except NextSliceError as error:
            failed.append(str(error))
        else:
            assert image.array.shape[0] == len(volume.pictures)
            read += 1
    assert read >= 40
    assert len(failed) <= 1


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ],
)
def test_every_lossless_transfer_syntax_decodes_to_the_same_picture(name: str, tmp_path: Path) -> None:
    source = Path(pydicom.__file__).parent / "data" / "test_files"
    pictures = []
    for number, file in enumerate(("MR_small.dcm", name)):
        (tmp_path / str(number)).mkdir()
        shutil.copy(source / file, tmp_path / str(number))
        pictures.append(read_image(tmp_path / str(number)).array)
    assert np.array_equal(*pictures)
