import contextlib
import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from app.errors import (
    AffineMismatch,
    AxisUnclear,
    ImageTooLarge,
    MaskNotIntegral,
    NextSliceError,
    NonFiniteVoxel,
    NotAnImage,
    PixelsNotExact,
    ShapeMismatch,
    TruncatedImage,
    UnknownAxis,
    UnknownMaskValues,
    UnsupportedDtype,
    WrongDimensions,
)
from app.formats.image import Geometry, from_stack
from app.formats.nifti import read_nifti, read_nifti_mask, write_nifti

AFFINE = np.array([[-1.5, 0, 0, 90], [0, -1.5, 0, 126], [0, 0, 8, -72], [0, 0, 0, 1]])
OBLIQUE = np.array([[0.9, 0.4, -0.3, 10], [-0.5, 1.1, 0.2, -20], [0.3, -0.1, 3.0, 30], [0, 0, 0, 1]])


def _nifti(voxels: NDArray[np.generic], affine: NDArray[np.float64] = AFFINE, **header: object) -> bytes:
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    content = bytearray(image.to_bytes())
    if header:
        changed = nib.Nifti1Header(bytes(content[:348]), check=False)
        for name, value in header.items():
            changed[name] = value
        content[:348] = changed.binaryblock
    return bytes(content)


@st.composite
def scans(draw: st.DrawFn) -> NDArray[np.generic]:
    dtype = draw(st.sampled_from(["uint8", "int16", "uint16", "float32"]))
    order = draw(st.sampled_from(["<", ">"]))
    shape = draw(npst.array_shapes(min_dims=3, max_dims=3, max_side=6))
    finite = {"allow_nan": False, "allow_infinity": False} if dtype == "float32" else {}
    return draw(npst.arrays(np.dtype(dtype).newbyteorder(order), shape, elements=finite))


@settings(max_examples=80, deadline=None)
@given(voxels=scans(), axis=st.sampled_from([0, 1, 2]), zipped=st.booleans())
def test_every_dtype_and_axis_comes_in_voxel_for_voxel_and_goes_out_again(
    voxels: NDArray[np.generic], axis: int, zipped: bool
) -> None:
    content = _nifti(voxels)
    image = read_nifti(gzip.compress(content, mtime=0) if zipped else content, axis=axis)
    native = voxels.astype(voxels.dtype.newbyteorder("="))
    assert image.array.dtype == native.dtype
    assert image.array.shape == image.geometry.stack_shape
    assert image.array.flags.c_contiguous
    assert image.exact
    for z in range(image.array.shape[0]):
        assert image.array[z].tobytes() == native.take(z, axis=axis).T.tobytes()
    assert np.array_equal(from_stack(image.array, axis), native)
    again = read_nifti(write_nifti(image.array, image.geometry), axis=axis)
    assert again.array.tobytes() == image.array.tobytes()
    assert again.geometry == image.geometry


@pytest.mark.parametrize("affine", [AFFINE, OBLIQUE, np.diag([1.0, 1.0, 1.0, 1.0])], ids=["axial", "sheared", "unit"])
def test_a_mask_goes_out_in_the_original_geometry(affine: NDArray[np.float64]) -> None:
    original = nib.Nifti1Image(np.zeros((4, 5, 6), np.int16), affine)
    original.header.set_zooms((1.5, 1.6, 8.0))  # as in ACDC: spacing that does not follow from the affine
    original = nib.Nifti1Image.from_bytes(original.to_bytes())  # as a file has it, in float32
    geometry = read_nifti(original.to_bytes()).geometry
    assert geometry.spacing_mm == pytest.approx((8.0, 1.6, 1.5))
    mask = np.random.default_rng(0).integers(0, 4, geometry.stack_shape).astype(np.uint8)
    written = nib.Nifti1Image.from_bytes(gzip.decompress(write_nifti(mask, geometry)))
    assert written.shape == (4, 5, 6)
    assert np.array_equal(written.affine, original.affine)
    assert np.allclose(written.header.get_zooms(), (1.5, 1.6, 8.0))
    assert np.array_equal(np.asanyarray(written.dataobj), mask.transpose(2, 1, 0))
    assert np.array_equal(read_nifti_mask(write_nifti(mask, geometry), geometry), mask)


def test_the_qform_agrees_with_the_affine_or_is_not_there() -> None:
    for affine, expected in ((AFFINE, 1), (OBLIQUE, 0)):
        geometry = read_nifti(_nifti(np.zeros((2, 3, 4), np.uint8), affine)).geometry
        written = nib.Nifti1Image.from_bytes(write_nifti(np.zeros((4, 3, 2), np.uint8), geometry, compress=False))
        qform, code = written.get_qform(coded=True)
        assert code == expected
        assert expected == 0 or np.allclose(qform, affine, atol=1e-4)


def test_equal_masks_give_equal_files() -> None:
    geometry = Geometry((2, 3, 4), 2, tuple(map(tuple, AFFINE.tolist())), (8.0, 1.5, 1.5))
    mask = np.ones((4, 3, 2), np.uint8)
    assert write_nifti(mask, geometry) == write_nifti(mask, geometry)
    with pytest.raises(ShapeMismatch):
        write_nifti(mask[1:], geometry)


@pytest.mark.parametrize(
    ("shape", "zooms", "axis"),
    [
        ((20, 20, 5), (1.5, 1.5, 8.0), 2),
        ((5, 20, 20), (8.0, 1.5, 1.5), 0),
        ((20, 5, 20), (1.5, 4.0, 1.5), 1),
        ((20, 20, 20), (1.0, 1.2, 1.0), 1),
        ((16, 20, 20), (0.8, 1.0, 1.005), 0),
        ((20, 1, 20), (1.0, 1.0, 1.0), 1),
    ],
)
def test_slices_are_cut_along_the_thick_axis(
    shape: tuple[int, ...], zooms: tuple[float, float, float], axis: int
) -> None:
    image = read_nifti(_nifti(np.zeros(shape, np.uint8), np.diag([*zooms, 1.0])))
    assert image.geometry.axis == axis
    assert image.array.shape[0] == shape[axis]
    assert image.geometry.spacing_mm is not None
    assert image.geometry.spacing_mm[0] == pytest.approx(zooms[axis])


@pytest.mark.parametrize("zooms", [(1.0, 1.0, 1.0), (1.0, 1.02, 1.0), (0.9, 1.0, 1.1)])
def test_where_the_grid_tells_no_axis_a_person_must(zooms: tuple[float, float, float]) -> None:
    content = _nifti(np.zeros((4, 5, 6), np.uint8), np.array([*np.diag([*zooms, 1.0])])[[0, 2, 1, 3]])
    with pytest.raises(AxisUnclear) as refused:
        read_nifti(content, name="head.nii")
    assert refused.value.views == ("sagittal", "axial", "coronal")
    assert "head.nii has 4x5x6 voxels of" in str(refused.value)
    assert "name it (0: 4 sagittal slices, 1: 5 axial slices, 2: 6 coronal slices)" in str(refused.value)
    assert read_nifti(content, axis=1).array.shape == (5, 6, 4)


def test_an_axis_that_is_none_is_refused() -> None:
    with pytest.raises(UnknownAxis):
        read_nifti(_nifti(np.zeros((2, 3, 4), np.uint8)), axis=3)


def test_stored_values_are_kept_and_the_scaling_stands_beside_them() -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = read_nifti(_nifti(voxels, scl_slope=0.5, scl_inter=-1024))
    assert (image.slope, image.intercept) == (0.5, -1024.0)
    assert image.array.dtype == np.int16
    for slope in (0, np.nan):
        image = read_nifti(_nifti(voxels, scl_slope=slope, scl_inter=7))
        assert (image.slope, image.intercept) == (1.0, 0.0)


def test_colour_keeps_its_three_channels() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, 5, 2, 3)).astype(np.uint8)
    structured = pixels.view([("R", "u1"), ("G", "u1"), ("B", "u1")]).reshape(4, 5, 2)
    image = read_nifti(_nifti(structured), axis=2)
    assert np.array_equal(image.array, pixels.transpose(2, 1, 0, 3))


def test_nifti_2_and_micrometres_are_read() -> None:
    image = nib.Nifti2Image(np.ones((2, 3, 4), np.int16), np.diag([500.0, 500.0, 2000.0, 1.0]))
    image.header.set_xyzt_units("micron")
    read = read_nifti(image.to_bytes())
    assert read.geometry.spacing_mm == pytest.approx((2.0, 0.5, 0.5))
    assert read.geometry.affine[0][0] == pytest.approx(0.5)


def test_a_file_that_does_not_say_its_spacing_has_none() -> None:
    content = _nifti(np.zeros((2, 3, 4), np.uint8), pixdim=[1, 0, 1, 1, 0, 0, 0, 0])
    assert read_nifti(content, axis=2).geometry.spacing_mm is None
    with pytest.raises(AxisUnclear):
        read_nifti(content)


@pytest.mark.parametrize(
    ("dtype", "values", "kept"),
    [
        ("int32", [-5, 30000], "int16"),
        ("uint32", [0, 65535], "uint16"),
        ("int64", [0, 255], "uint8"),
        ("int32", [-1, 40000], "float32"),
        ("int8", [-3, 3], "int16"),
        ("float64", [-2.0, 3.0], "int16"),
        ("float64", [0.5, 1.25], "float32"),
    ],
)
def test_wide_types_are_narrowed_where_that_is_exact(dtype: str, values: list[float], kept: str) -> None:
    voxels = np.array(values, dtype=dtype).reshape(2, 1, 1)
    image = read_nifti(_nifti(voxels), axis=2)
    assert image.array.dtype.name == kept
    assert image.exact
    assert image.array.reshape(-1).tolist() == values


def test_doubles_that_float32_must_round_are_marked() -> None:
    image = read_nifti(_nifti(np.full((2, 2, 2), 0.1)))
    assert image.array.dtype == np.float32
    assert not image.exact


@pytest.mark.parametrize(("dtype", "value"), [("int32", 2**24 + 1), ("uint64", 2**63), ("float64", 1e39)])
def test_a_value_that_cannot_be_kept_is_named(dtype: str, value: float) -> None:
    voxels = np.zeros((2, 3, 4), dtype)
    voxels[1, 2, 3] = value
    with pytest.raises(PixelsNotExact) as refused:
        read_nifti(_nifti(voxels))
    assert refused.value.index == (1, 2, 3)


@pytest.mark.parametrize("dtype", ["complex64", [("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")]])
def test_voxels_that_are_no_intensities_are_refused(dtype: object) -> None:
    with pytest.raises(UnsupportedDtype):
        read_nifti(_nifti(np.zeros((2, 3, 4), dtype)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_voxel_that_is_no_number_is_named(value: float) -> None:
    voxels = np.zeros((3, 4, 5), np.float32)
    voxels[2, 1, 3] = voxels[0, 0, 4] = value
    with pytest.raises(NonFiniteVoxel, match=r"voxel \(2, 1, 3\)") as refused:
        read_nifti(_nifti(voxels), name="scan.nii")
    assert refused.value.index == (2, 1, 3)
    assert "scan.nii" in str(refused.value)


def test_one_frame_is_squeezed_and_more_are_refused_with_their_number() -> None:
    assert read_nifti(_nifti(np.zeros((3, 4, 5, 1), np.uint8)), axis=2).array.shape == (5, 4, 3)
    with pytest.raises(WrongDimensions, match="30 frames"):
        read_nifti(_nifti(np.zeros((3, 4, 5, 30), np.uint8)))
    assert read_nifti(_nifti(np.zeros((3, 4), np.uint8))).array.shape == (1, 4, 3)
    with pytest.raises(WrongDimensions, match="3-D volume"):
        read_nifti(_nifti(np.zeros(3, np.uint8)))


def test_a_header_that_announces_too_much_is_refused_before_a_voxel_is_read() -> None:
    bomb = _nifti(np.zeros((2, 2, 2), np.uint8), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
    with pytest.raises(ImageTooLarge) as refused:
        read_nifti(gzip.compress(bomb, mtime=0))
    assert refused.value.announced_bytes == 32767**3
    with pytest.raises(ImageTooLarge):
        read_nifti(_nifti(np.zeros((4, 4, 4), np.float32)), max_bytes=255)


def test_a_file_cut_short_is_refused() -> None:
    content = _nifti(np.zeros((4, 4, 4), np.int16))
    with pytest.raises(TruncatedImage) as refused:
        read_nifti(content[:-10])
    assert (refused.value.expected_bytes, refused.value.found_bytes) == (128, 118)
    with pytest.raises(TruncatedImage):
        read_nifti(content[:349])
    for cut in (200, 20, -4):
        with pytest.raises(NotAnImage):
            read_nifti(gzip.compress(content, mtime=0)[:cut] if cut < 100 else content[:cut])


def test_a_gzip_stream_with_a_wrong_checksum_is_refused() -> None:
    zipped = bytearray(gzip.compress(_nifti(np.zeros((4, 4, 4), np.int16)), mtime=0))
    zipped[-5] ^= 1
    zipped[-8] ^= 1
    with pytest.raises(NotAnImage, match="damaged"):
        read_nifti(bytes(zipped))


@pytest.mark.parametrize("content", [b"", b"no scan at all" * 50, gzip.compress(b"text" * 200, mtime=0), b"\x1f\x8b"])
def test_what_is_no_nifti_is_refused(content: bytes) -> None:
    with pytest.raises(NotAnImage):
        read_nifti(content)


def test_two_file_nifti_is_refused_in_words(tmp_path: Path) -> None:
    nib.Nifti1Pair(np.zeros((2, 3, 4), np.uint8), AFFINE).to_filename(tmp_path / "pair.hdr")
    with pytest.raises(NotAnImage, match=r"pair\.hdr .*two-file"):
        read_nifti(tmp_path / "pair.hdr")


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotAnImage, match=r"absent\.nii"):
        read_nifti(tmp_path / "absent.nii")
    with pytest.raises(NotAnImage):
        read_nifti(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        {"scl_slope": 1, "scl_inter": np.inf},
        {"vox_offset": np.nan},
        {"vox_offset": 1e12},
        {"dim": [3, 0, 3, 4, 1, 1, 1, 1]},
        {"dim": [9, 2, 3, 4, 1, 1, 1, 1]},
        {"srow_x": [np.nan, 0, 0, 0]},
        {"srow_x": [0, 0, 0, 0]},
    ],
    ids=["intercept", "offset", "far offset", "no length", "nine axes", "nan affine", "singular affine"],
)
def test_a_header_that_makes_no_sense_is_refused(header: dict[str, object]) -> None:
    with pytest.raises(NotAnImage):
        read_nifti(_nifti(np.zeros((2, 3, 4), np.uint8), **header))


def test_an_unknown_voxel_type_is_named_by_its_code() -> None:
    with pytest.raises(UnsupportedDtype, match="NIfTI code 1234"):
        read_nifti(_nifti(np.zeros((2, 3, 4), np.uint8), datatype=1234))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_files_are_read_or_refused_and_never_crash(data: st.DataObject) -> None:
    content = bytearray(_nifti(np.arange(60, dtype=np.float32).reshape(3, 4, 5)))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, 351))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    with contextlib.suppress(NextSliceError):
        assert np.isfinite(read_nifti(bytes(content[:cut]), max_bytes=10_000).array).all()


class TestMask:
    geometry = read_nifti(_nifti(np.zeros((4, 5, 6), np.int16))).geometry

    def test_a_value_map_renames_and_must_name_every_value(self) -> None:
        voxels = np.zeros((4, 5, 6), np.int16)
        voxels[1, 2, 3], voxels[0, 0, 0] = 500, 4
        mask = read_nifti_mask(_nifti(voxels), self.geometry, value_map={0: 0, 4: 255, 500: 2})
        assert mask.dtype == np.uint8
        assert mask[3, 2, 1] == 2
        assert mask[0, 0, 0] == 255
        with pytest.raises(UnknownMaskValues) as refused:
            read_nifti_mask(_nifti(voxels), self.geometry, value_map={0: 0, 4: 255})
        assert refused.value.values == (500,)

    @pytest.mark.parametrize("value", [0.5, -1.0, 256.0])
    def test_a_value_that_is_no_class_is_named(self, value: float) -> None:
        voxels = np.zeros((4, 5, 6), np.float32)
        voxels[3, 1, 2] = value
        with pytest.raises(MaskNotIntegral) as refused:
            read_nifti_mask(_nifti(voxels), self.geometry)
        assert refused.value.index == (3, 1, 2)

    def test_whole_floats_and_scaled_integers_are_classes(self) -> None:
        voxels = np.full((4, 5, 6), 3.0, np.float32)
        assert (read_nifti_mask(_nifti(voxels), self.geometry) == 3).all()
        scaled = _nifti(np.full((4, 5, 6), 6, np.int16), scl_slope=0.5, scl_inter=0)
        assert (read_nifti_mask(scaled, self.geometry) == 3).all()

    def test_another_shape_is_refused(self) -> None:
        with pytest.raises(ShapeMismatch, match="5x4x6; its image has 4x5x6"):
            read_nifti_mask(_nifti(np.zeros((5, 4, 6), np.uint8)), self.geometry)

    def test_rounding_in_the_affine_is_taken_and_another_place_is_not(self) -> None:
        voxels = np.zeros((4, 5, 6), np.uint8)
        near, far = AFFINE.copy(), AFFINE.copy()
        near[0, 3] += 0.1
        far[0, 3] += 0.2
        read_nifti_mask(_nifti(voxels, near), self.geometry)
        with pytest.raises(AffineMismatch) as refused:
            read_nifti_mask(_nifti(voxels, far), self.geometry)
        assert refused.value.distance_mm == pytest.approx(0.2, abs=1e-3)
        flipped = AFFINE @ np.diag([1.0, 1.0, -1.0, 1.0])
        with pytest.raises(AffineMismatch):
            read_nifti_mask(_nifti(voxels, flipped), self.geometry)

    def test_nan_is_refused_and_not_called_background(self) -> None:
        with pytest.raises(NonFiniteVoxel):
            read_nifti_mask(_nifti(np.full((4, 5, 6), np.nan, np.float32)), self.geometry)
