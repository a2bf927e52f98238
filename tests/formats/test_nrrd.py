import bz2
import contextlib
import gzip
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
from app.formats.files import image_stem, read_image, read_mask
from app.formats.nrrd import load_nrrd
from tests.shared_data import shared_data

HEADER = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "2 3 4",
    "space directions": "(0.5,0,0) (0,0.75,0) (0,0,5)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(10,-20,30)",
}
VOXELS = np.arange(24, dtype="<i2").reshape(2, 3, 4)
BODY = VOXELS.tobytes(order="F")


def _nrrd(body: bytes = BODY, changes: dict[str, str | None] | None = None) -> bytes:
    fields = {key: value for key, value in (HEADER | (changes or {})).items() if value is not None}
    lines = ["NRRD0004", "# a remark: not a field", *(f"{key}: {value}" for key, value in fields.items())]
    return "\n".join([*lines, "somebody:= byte skip: 7", "", ""]).encode() + body


def test_voxels_and_place_are_read() -> None:
    file = load_nrrd(_nrrd())
    assert np.array_equal(file.voxels, VOXELS)
    assert file.spacing == (0.5, 0.75, 5.0)
    assert np.array_equal(file.affine, [[-0.5, 0, 0, -10], [0, -0.75, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("RAS", (1, 1)),
        ("right-anterior-superior", (1, 1)),
        ("LAS", (-1, 1)),
        ("LPS", (-1, -1)),
        ("3D-right-handed", (1, 1)),
    ],
)
def test_every_anatomical_space_is_turned_to_right_anterior(space: str, signs: tuple[int, int]) -> None:
    affine = load_nrrd(_nrrd(changes={"space": space})).affine
    assert affine[0, 3] == 10 * signs[0]
    assert affine[1, 3] == -20 * signs[1]


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (VOXELS.astype(">i2").tobytes(order="F"), {"endian": "big"}),
        (gzip.compress(BODY, mtime=0), {"encoding": "gz"}),
        (gzip.compress(BODY[:20], mtime=0) + gzip.compress(BODY[20:], mtime=0), {"encoding": "gzip"}),
        (bz2.compress(BODY), {"encoding": "bzip2"}),
        (" ".join(map(str, VOXELS.reshape(-1, order="F"))).encode(), {"encoding": "ascii"}),
        (b"12345" + BODY, {"byte skip": "5"}),
        (b"12345" + BODY, {"byte skip": "-1"}),
        (gzip.compress(b"12345" + BODY, mtime=0), {"byte skip": "-1", "encoding": "gzip"}),
        (b"one line\nanother\n" + gzip.compress(BODY, mtime=0), {"line skip": "2", "encoding": "gzip"}),
        (BODY, {"dimension": "4", "sizes": "2 3 4 1", "kinds": None, "space directions": None}),
        (BODY, {"type": "int16_t", "kinds": None}),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_other_ways_to_write_the_same(body: bytes, changes: dict[str, str | None]) -> None:
    assert np.array_equal(load_nrrd(_nrrd(body, changes)).voxels, VOXELS)


def test_carriage_returns_end_lines_as_well() -> None:
    content = _nrrd(b"").replace(b"\n", b"\r\n") + BODY
    assert np.array_equal(load_nrrd(content).voxels, VOXELS)


def test_spacings_serve_where_there_are_no_directions() -> None:
    changes = {"space directions": None, "space": None, "space origin": None, "spacings": "0.5 0.75 5"}
    file = load_nrrd(_nrrd(changes=changes))
    assert file.spacing == (0.5, 0.75, 5.0)
    assert np.array_equal(file.affine, np.diag([0.5, 0.75, 5.0, 1.0]))
    assert load_nrrd(_nrrd(changes=changes | {"spacings": "0.5 nan 5"})).spacing is None


def test_a_colour_axis_may_stand_first_or_last() -> None:
    pixels = np.arange(72, dtype=np.uint8).reshape(2, 3, 4, 3)
    common: dict[str, str | None] = {"type": "uchar", "dimension": "4"}
    first = common | {
        "sizes": "3 2 3 4",
        "kinds": "RGB-color domain domain domain",
        "space directions": "none (1,0,0) (0,1,0) (0,0,1)",
    }
    last = common | {
        "sizes": "2 3 4 3",
        "kinds": "domain domain domain RGB-color",
        "space directions": "(1,0,0) (0,1,0) (0,0,1) none",
    }
    assert np.array_equal(load_nrrd(_nrrd(np.moveaxis(pixels, 3, 0).tobytes(order="F"), first)).voxels, pixels)
    assert np.array_equal(load_nrrd(_nrrd(pixels.tobytes(order="F"), last)).voxels, pixels)


def test_a_flat_image_is_one_slice() -> None:
    changes = {
        "dimension": "2",
        "sizes": "4 6",
        "kinds": None,
        "space directions": "(0.5,0) (0,0.75)",
        "space origin": "(1,2)",
    }
    file = load_nrrd(_nrrd(changes=changes | {"space": None}))
    assert file.voxels.shape == (4, 6, 1)
    assert file.spacing == (0.5, 0.75, 1.0)


def test_voxels_are_never_read_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(BODY)
    folder = tmp_path / "scan"
    folder.mkdir()
    (folder / "a.nhdr").write_bytes(_nrrd(b"", {"data file": "../secret.raw"}))
    with pytest.raises(NotAnImage, match="outside its folder"):
        read_image(folder / "a.nhdr")
    (folder / "a.raw").write_bytes(BODY)
    (folder / "a.nhdr").write_bytes(_nrrd(b"", {"data file": "a.raw"}))
    assert read_image(folder / "a.nhdr").array.shape == (4, 3, 2)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"sizes": "2 3 999999999"}, ImageTooLarge),
        ({"sizes": "2 3 5"}, TruncatedImage),
        ({"sizes": "2 3 -4"}, NotAnImage),
        ({"sizes": "two 3 4"}, NotAnImage),
        ({"sizes": None}, NotAnImage),
        ({"dimension": "2"}, NotAnImage),
        ({"type": "block"}, UnsupportedDtype),
        ({"encoding": "hex"}, NotAnImage),
        ({"encoding": "gzip"}, NotAnImage),
        ({"encoding": "bz2"}, NotAnImage),
        ({"encoding": "ascii"}, NotAnImage),
        ({"byte skip": "-5"}, NotAnImage),
        ({"line skip": "-1"}, NotAnImage),
        ({"space directions": "(0,0,0) (0,1,0) (0,0,1)"}, NotAnImage),
        ({"space directions": "(1,0,0) (0,1,0)"}, NotAnImage),
        ({"space directions": "(nan,0,0) (0,1,0) (0,0,1)"}, NotAnImage),
        ({"dimension": "1", "sizes": "24", "space directions": None, "kinds": None}, WrongDimensions),
        ({"kinds": "domain domain vector"}, WrongDimensions),
        ({"data file": "LIST"}, NotAnImage),
    ],
)
def test_what_cannot_be_used_is_refused(changes: dict[str, str | None], error: type[NextSliceError]) -> None:
    with pytest.raises(error):
        load_nrrd(_nrrd(changes=changes))


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_more_voxels_than_announced_are_refused_and_a_bomb_is_not_unpacked(encoding: str) -> None:
    body = {"gzip": gzip.compress, "bzip2": bz2.compress}[encoding](bytes(20_000_000))
    with pytest.raises(NotAnImage, match="more than the 48 bytes"):
        load_nrrd(_nrrd(body, {"encoding": encoding}))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_mutated_files_are_read_or_refused_and_never_crash(data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(["raw", "gzip", "ascii"]))
    body = {"raw": BODY, "gzip": gzip.compress(BODY, mtime=0), "ascii": b"1 2 3 " * 8}[encoding]
    content = bytearray(_nrrd(body, {"encoding": encoding}))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NextSliceError):
        load_nrrd(bytes(content[: data.draw(st.integers(0, len(content)))]), max_bytes=10_000)


def test_the_real_pairs_fit_and_the_edge_cases_agree() -> None:
    folder = shared_data("nrrd")
    for name in ("brain1", "brain2", "breast1"):
        image = read_image(folder / f"{name}_image.nrrd")
        mask = read_mask(folder / f"{name}_label.nrrd", image.geometry)
        assert mask.any()
        assert image.array[mask > 0].mean() > image.array[mask == 0].mean()
    balls, refused = [], []
    for path in sorted((folder / "pynrrd_edge_cases").iterdir()):
        if image_stem(path) is not None and path.name.startswith("Ball"):
            try:
                balls.append(read_image(path, axis=2).array)
            except NotAnImage:
                refused.append(path.name)
    assert len(balls) == 9
    assert all(np.array_equal(ball, balls[0]) for ball in balls)
    assert refused == ["BallBinary30x30x30_byteskip_minus_five.nhdr", "BallBinary30x30x30_nifti.nhdr"]
