import contextlib
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from app.errors import (
    ImageTooLarge,
    NextSliceError,
    NotAnImage,
    TruncatedImage,
    UnsupportedDtype,
    WrongDimensions,
)
from app.formats.files import read_image, read_mask
from app.formats.metaimage import load_metaimage
from tests.shared_data import shared_data

HEADER = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryDataByteOrderMSB": "False",
    "DimSize": "2 3 4",
    "ElementSpacing": "0.5 0.75 5",
    "Offset": "10 -20 30",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}
VOXELS = np.arange(24, dtype="<i2").reshape(2, 3, 4)
BODY = VOXELS.tobytes(order="F")


def _mha(body: bytes = BODY, **changes: str | None) -> bytes:
    fields = {key: value for key, value in (HEADER | changes).items() if value is not None}
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    return "".join(f"{key} = {value}\n" for key, value in fields.items()).encode() + body


def test_voxels_and_place_are_read() -> None:
    file = load_metaimage(_mha())
    assert np.array_equal(file.voxels, VOXELS)
    assert file.spacing == (0.5, 0.75, 5.0)
    # Left-posterior in the file, right-anterior here.
    assert np.array_equal(file.affine, [[-0.5, 0, 0, -10], [0, -0.75, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]])


def test_a_line_of_the_matrix_is_the_direction_of_an_axis() -> None:
    file = load_metaimage(_mha(TransformMatrix="0 1 0 -1 0 0 0 0 1"))
    assert np.array_equal(file.affine[:3, 0], [0, -0.5, 0])
    assert np.array_equal(file.affine[:3, 1], [0.75, 0, 0])


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (VOXELS.astype(">i2").tobytes(order="F"), {"BinaryDataByteOrderMSB": "True"}),
        (zlib.compress(BODY), {"CompressedData": "True", "CompressedDataSize": "40"}),
        (b"12345" + BODY, {"HeaderSize": "5"}),
        (b"12345" + BODY, {"HeaderSize": "-1"}),
        (BODY + b"padding", {}),
        (BODY, {"NDims": "4", "DimSize": "2 3 4 1"}),
    ],
    ids=["big endian", "compressed", "skipped", "last bytes", "padded", "one frame"],
)
def test_other_ways_to_write_the_same(body: bytes, changes: dict[str, str]) -> None:
    assert np.array_equal(load_metaimage(_mha(body, **changes)).voxels, VOXELS)


def test_three_bytes_a_voxel_are_colours() -> None:
    pixels = np.arange(72, dtype=np.uint8).reshape(2, 3, 4, 3)
    body = np.moveaxis(pixels, 3, 0).tobytes(order="F")
    file = load_metaimage(_mha(body, ElementType="MET_UCHAR", ElementNumberOfChannels="3"))
    assert np.array_equal(file.voxels, pixels)


def test_a_flat_image_is_one_slice() -> None:
    flat = {"NDims": "2", "DimSize": "4 6", "ElementSpacing": "0.5 0.75", "Offset": "1 2"}
    file = load_metaimage(_mha(**flat))
    assert file.voxels.shape == (4, 6, 1)
    assert file.spacing == (0.5, 0.75, 1.0)
    assert load_metaimage(_mha(**(flat | {"ElementSpacing": None}))).spacing is None


def test_voxels_beside_the_header_are_read_and_never_from_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    (folder / "a.raw").write_bytes(BODY)
    (tmp_path / "secret.raw").write_bytes(BODY)
    path = folder / "a.mhd"
    path.write_bytes(_mha(b"", ElementDataFile="a.raw"))
    assert read_image(path).array.shape == (4, 3, 2)
    for name in ("../secret.raw", str(tmp_path / "secret.raw"), "..\\secret.raw", ".."):
        path.write_bytes(_mha(b"", ElementDataFile=name))
        with pytest.raises(NotAnImage, match=r"outside its folder|missing"):
            read_image(path)
    with pytest.raises(NotAnImage, match="another file"):
        load_metaimage(path.read_bytes())
    path.write_bytes(_mha(b"", ElementDataFile="b.raw"))
    with pytest.raises(NotAnImage, match=r"b\.raw', which is missing"):
        read_image(path)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"DimSize": "2 3 999999999"}, ImageTooLarge),
        ({"DimSize": "2 3 5"}, TruncatedImage),
        ({"DimSize": "2 3 0"}, NotAnImage),
        ({"DimSize": "2 x 4"}, NotAnImage),
        ({"DimSize": None}, NotAnImage),
        ({"DimSize": "2 3"}, NotAnImage),
        ({"NDims": "4", "DimSize": "2 3 2 2"}, WrongDimensions),
        ({"ElementNumberOfChannels": "2"}, WrongDimensions),
        ({"ElementType": "MET_STRING"}, UnsupportedDtype),
        ({"ElementType": None}, UnsupportedDtype),
        ({"ElementDataFile": "LIST"}, NotAnImage),
        ({"ElementDataFile": "slice%03d.raw 1 4 1"}, NotAnImage),
        ({"HeaderSize": "-7"}, NotAnImage),
        ({"BinaryData": "False"}, NotAnImage),
        ({"CompressedData": "True"}, NotAnImage),
        ({"ElementSpacing": "0 1 1"}, NotAnImage),
        ({"ElementSpacing": "nan 1 1"}, NotAnImage),
        ({"Offset": "1"}, NotAnImage),
    ],
)
def test_what_cannot_be_used_is_refused(changes: dict[str, str | None], error: type[NextSliceError]) -> None:
    with pytest.raises(error):
        load_metaimage(_mha(**changes))


def test_a_bomb_is_unpacked_no_further_than_announced() -> None:
    file = load_metaimage(_mha(zlib.compress(bytes(50_000_000)), CompressedData="True"))
    assert file.voxels.nbytes == 48


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_mutated_files_are_read_or_refused_and_never_crash(data: st.DataObject) -> None:
    content = bytearray(_mha())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NextSliceError):
        load_metaimage(bytes(content[: data.draw(st.integers(0, len(content)))]), max_bytes=10_000)


def test_the_real_lung_s_finer_mask_is_read_at_the_image_s_voxels() -> None:
    folder = shared_data("metaimage")
    image = read_image(folder / "3DCT_lung_baseline_small.mha")
    mask = read_mask(folder / "3DCT_lung_baseline_mask.mha", image.geometry)
    assert mask.shape == image.array.shape == (64, 78, 57)
    assert image.array[mask == 1].mean() < -800 < image.array[mask == 0].mean()  # lung is air
    flat = read_image(folder / "fixed.mhd")
    assert read_mask(folder / "mask_fixed.mhd", flat.geometry).sum() == 27363
