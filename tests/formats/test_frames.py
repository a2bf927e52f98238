from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.errors import ImageTooLarge, NotAnImage, ShapeMismatch, UnknownMaskValues, UnsupportedDtype, WrongDimensions
from app.formats.files import read_image, read_mask
from app.formats.frames import list_frames, read_picture

GREY = np.random.default_rng(0).integers(0, 256, (3, 4, 6)).astype(np.uint8)


def _write(folder: Path, planes: np.ndarray, names: list[str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, plane in enumerate(planes):
        Image.fromarray(plane).save(folder / (names[index] if names else f"{index:05d}.png"))
    return folder


@pytest.mark.parametrize(
    "planes",
    [GREY, GREY.astype(np.uint16) * 257, np.stack([GREY, GREY // 2, 255 - GREY], axis=-1)],
    ids=["8 bit", "16 bit", "colour"],
)
def test_pictures_stack_to_a_volume_without_spacing(tmp_path: Path, planes: np.ndarray) -> None:
    image = read_image(_write(tmp_path / "video", planes))
    assert image.array.dtype == planes.dtype
    assert np.array_equal(image.array, planes)
    assert image.geometry.spacing_mm is None
    assert image.geometry.axis == 2


def test_frame_2_comes_before_frame_10(tmp_path: Path) -> None:
    folder = _write(tmp_path, GREY, ["frame10.png", "frame2.png", "frame1.png"])
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "readme.txt").write_text("no picture")
    assert [path.name for path in list_frames(folder)] == ["frame1.png", "frame2.png", "frame10.png"]


def test_masks_follow_the_frames(tmp_path: Path) -> None:
    geometry = read_image(_write(tmp_path / "video", GREY)).geometry
    masks = (GREY > 128).astype(np.uint8) * 255
    folder = _write(tmp_path / "masks", masks)
    assert np.array_equal(read_mask(folder, geometry, value_map={0: 0, 255: 1}), masks // 255)
    with pytest.raises(UnknownMaskValues):
        read_mask(folder, geometry, value_map={0: 0, 1: 1})
    (folder / "00002.png").unlink()
    with pytest.raises(ShapeMismatch, match="2x4x6; its image has 3x4x6"):
        read_mask(folder, geometry)
    _write(folder, GREY[:, :3])
    with pytest.raises(ShapeMismatch, match="3x3x6"):
        read_mask(folder, geometry)


def test_one_bit_and_indexed_masks_are_read_by_value(tmp_path: Path) -> None:
    geometry = read_image(_write(tmp_path / "video", GREY[:2])).geometry
    (tmp_path / "masks").mkdir()
    wanted = (GREY[:2] > 99).astype(np.uint8)
    Image.fromarray(wanted[0] * 255).convert("1", dither=Image.Dither.NONE).save(tmp_path / "masks" / "0.png")
    indexed = Image.fromarray(wanted[1])
    indexed.putpalette([9, 9, 9, 200, 0, 0])
    indexed.save(tmp_path / "masks" / "1.png")
    assert np.array_equal(read_mask(tmp_path / "masks", geometry), wanted)


def test_a_colour_mask_is_refused(tmp_path: Path) -> None:
    geometry = read_image(_write(tmp_path / "video", GREY[:1])).geometry
    folder = _write(tmp_path / "masks", np.zeros((1, 4, 6, 3), np.uint8))
    with pytest.raises(WrongDimensions, match="one channel"):
        read_mask(folder, geometry)


def test_a_picture_unlike_the_first_is_named(tmp_path: Path) -> None:
    folder = _write(tmp_path, GREY)
    Image.fromarray(GREY[0, :3]).save(folder / "00001.png")
    with pytest.raises(WrongDimensions, match=r"00001\.png"):
        read_image(folder)


def test_transparency_is_taken_only_where_there_is_none_to_see(tmp_path: Path) -> None:
    pixels = np.dstack([GREY[0], GREY[1], GREY[2], np.full((4, 6), 255, np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "solid.png")
    assert np.array_equal(read_picture(tmp_path / "solid.png"), pixels[..., :3])
    pixels[0, 0, 3] = 128
    Image.fromarray(pixels).save(tmp_path / "clear.png")
    with pytest.raises(UnsupportedDtype):
        read_picture(tmp_path / "clear.png")


def test_damaged_huge_and_many_paged_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_bytes(b"no picture")
    Image.fromarray(GREY[0]).save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:50])
    for name in ("text.png", "cut.png", "absent.png"):
        with pytest.raises(NotAnImage, match=name):
            read_picture(tmp_path / name)
    (tmp_path / "huge.png").write_bytes(content[:16] + (60_000).to_bytes(4, "big") * 2 + content[24:])
    with pytest.raises((ImageTooLarge, NotAnImage)):
        read_picture(tmp_path / "huge.png", max_bytes=10**9)
    pages = [Image.fromarray(plane) for plane in GREY]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    with pytest.raises(WrongDimensions, match="several pages"):
        read_picture(tmp_path / "pages.tiff")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAnImage, match="neither pictures nor DICOM"):
        read_image(tmp_path)
